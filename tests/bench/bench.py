"""`make bench`: paired measurements against QEMU, written to a file.

Each figure is a list of runs and a median; pairs are run in turn (A B A B),
so that a ratio holds when the machine's speed drifts.  Nothing is asserted.

    python tests/bench/bench.py [-n RUNS] [-o FILE] [NAME ...]
"""

import argparse
import json
import os
import platform
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

sys.path.insert(0, str(Path(__file__).parents[1]))

import blkbench
import netbench

from support import debroot, fbsdimage, guestfiles
from support.fleet import fleet
from support.machine import SLOTS
from support.tools import tool_argv

TOP = Path(__file__).parents[2]
CACHE = TOP / "build" / "guest"
GUESTS = TOP / "build" / "obj" / "guests"
QEMU = "qemu-system-x86_64"
SERVER_ARGS = "console=ttyS0 quiet root=/dev/vda ro"
PORT_EXITS = 200_000  # what guests/bench_portio.S does between S and E
GAP_WINDOW = 1 << 24  # TSC ticks of a window of guests/bench_gap.S


def until(process: subprocess.Popen[bytes], mark: bytes, limit: float = 120) -> float:
    """Return the time at which `mark` has come out of the process."""
    assert process.stdout is not None
    seen = b""
    end = time.monotonic() + limit
    while mark not in seen:
        left = max(end - time.monotonic(), 0)
        ready = select.select([process.stdout], [], [], left)[0]
        data = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not data:
            process.kill()
            raise RuntimeError(f"no {mark!r}: {seen[-500:].decode(errors='replace')}")
        seen += data
    return time.monotonic()


def remove(env: dict[str, str]) -> None:
    """Remove the VM and its root; its memory stands elsewhere, in /dev/shm."""
    argv = tool_argv("bhyvectl", "--vm=bench", "--destroy")
    subprocess.run(argv, env=env, check=False, capture_output=True)
    shutil.rmtree(env["VMM_DIR"], ignore_errors=True)


class Bhyve:
    """One VM of ours, loaded before the clock starts."""

    def __init__(self, backend: str, memory: str, load: list[str]) -> None:
        self.root = tempfile.mkdtemp()
        self.env = dict(os.environ, VMM_DIR=self.root, BHYVE_BACKEND=backend)
        self.memory = memory
        argv = tool_argv("bhyveload", "-m", memory, *load, "bench")
        subprocess.run(argv, env=self.env, check=True)

    def start(self, cpus: str = "1", *slots: str) -> subprocess.Popen[bytes]:
        """Exec bhyve with further -s arguments."""
        extra = [word for slot in slots for word in ("-s", slot)]
        args = ("-c", cpus, "-m", self.memory, *SLOTS, *extra, "-l", "com1,stdio")
        return subprocess.Popen(
            tool_argv("bhyve", *args, "bench"),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def close(self) -> None:
        """Remove the VM."""
        remove(self.env)


def qemu(
    accel: str, memory: str, load: list[str], net: tuple[str, ...] = ("-net", "none")
) -> subprocess.Popen[bytes]:
    """Exec QEMU on the same guest."""
    argv = [QEMU, "-accel", accel, "-m", memory, "-display", "none", "-no-reboot"]
    argv += ["-serial", "stdio", "-monitor", "none", *net, *load]
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def linux() -> tuple[str, str]:
    """Return kernel and initrd."""
    kernel = guestfiles.debian_kernel(CACHE)
    return str(kernel), str(guestfiles.initrd(CACHE, CACHE / "bench-initrd.cpio"))


def boot_ours() -> float:
    """Return the seconds from exec of bhyve to the guest's init."""
    kernel, initrd = linux()
    load = ["--kernel", kernel, "--initrd", initrd, "--cmdline", "console=ttyS0 quiet"]
    vm = Bhyve("soft", "512M", load)
    try:
        began = time.monotonic()
        with vm.start() as process:
            done = until(process, b"GUEST-READY")
            process.kill()
        return done - began
    finally:
        vm.close()


def boot_qemu() -> float:
    """Return the same of QEMU's TCG."""
    kernel, initrd = linux()
    began = time.monotonic()
    load = ["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet"]
    with qemu("tcg", "512M", load) as process:
        done = until(process, b"GUEST-READY")
        process.kill()
    return done - began


def _portio(process: subprocess.Popen[bytes]) -> float:
    began = until(process, b"S")
    took = until(process, b"E") - began
    process.kill()
    return PORT_EXITS / took


def portio_ours() -> float:
    """Return port exits a second on KVM."""
    vm = Bhyve("kvm", "64M", ["--kernel", str(GUESTS / "bench_portio.elf")])
    try:
        with vm.start() as process:
            return _portio(process)
    finally:
        vm.close()


def portio_qemu() -> float:
    """Return the same of QEMU on KVM."""
    with qemu("kvm", "64M", ["-kernel", str(GUESTS / "bench_portio.elf")]) as process:
        return _portio(process)


def first_instruction() -> float:
    """Return the seconds from exec of bhyve to a guest's first output."""
    vm = Bhyve("soft", "64M", ["--kernel", str(GUESTS / "bench_portio.elf")])
    try:
        began = time.monotonic()
        with vm.start() as process:
            done = until(process, b"S")
            process.kill()
        return done - began
    finally:
        vm.close()


def resident() -> float:
    """Return bhyve's own resident MiB (not the guest's) with Linux at a shell."""
    kernel, initrd = linux()
    load = ["--kernel", kernel, "--initrd", initrd, "--cmdline", "console=ttyS0 quiet"]
    vm = Bhyve("soft", "512M", load)
    try:
        with vm.start("2") as process:
            until(process, b"GUEST-READY")
            status = Path(f"/proc/{process.pid}/status").read_text()
            process.kill()
        rows = dict(line.split(":", 1) for line in status.splitlines())
        return sum(int(rows[k].split()[0]) for k in ("RssAnon", "RssFile")) / 1024
    finally:
        vm.close()


#: What is asked of a guest with a load on its disk.
Asks = Callable[[subprocess.Popen[bytes]], float]


def disk_ours(work: str, asks: Asks = blkbench.result) -> float:
    """Return what a load on virtio-blk reaches on the software processor."""
    kernel, initrd, image = blkbench.guest(CACHE, work)
    load = ["--kernel", kernel, "--initrd", initrd, "--cmdline", blkbench.CMDLINE]
    vm = Bhyve("soft", "512M", load)
    try:
        with vm.start("1", f"3,virtio-blk,{image}") as process:
            return asks(process)
    finally:
        vm.close()


def disk_qemu(work: str, asks: Asks = blkbench.result) -> float:
    """Return the same of QEMU's TCG."""
    kernel, initrd, image = blkbench.guest(CACHE, work)
    load = ["-kernel", kernel, "-initrd", initrd, "-append", blkbench.CMDLINE]
    load += ["-drive", f"file={image},format=raw,if=virtio"]
    with qemu("tcg", "512M", load) as process:
        return asks(process)


def disk_cost(work: str, run: Callable[[str, Asks], float]) -> float:
    """Return the processor time of one request of a load."""
    return run(work, lambda process: blkbench.cost(process, work))


#: Another process that asks for all that bhyvectl shows of a vCPU, without end.
ASKER = """
from libvmmapi import VM, Reg
with VM.open("bench") as vm:
    print("asks", flush=True)
    cpu = vm.vcpu(0)
    while True:
        for reg in (Reg.RIP, Reg.CR3, Reg.CS):
            cpu.get_register(reg)
        cpu.get_desc(Reg.CS)
        cpu.get_stats()
        vm.active_cpus()
"""


def gaps(backend: str, asked: bool) -> dict[str, float]:
    """Return p50, p99 and maximum of the time a vCPU is away, in ms.

    Of each window of some milliseconds the longest absence is taken.
    """
    vm = Bhyve(backend, "64M", ["--kernel", str(GUESTS / "bench_gap.elf")])
    asker = None
    try:
        with vm.start() as process:
            assert process.stdout is not None
            until(process, b"S")
            if asked:
                asker = subprocess.Popen(
                    [sys.executable, "-c", ASKER],
                    env=vm.env,
                    cwd=TOP,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
                until(asker, b"asks")
            text = b""
            # The asker is there for all windows that count.
            began, skipped = time.monotonic(), 0
            while not text.endswith(b"E"):
                text += os.read(process.stdout.fileno(), 65536)
                if not skipped:
                    began, skipped = time.monotonic(), text.count(b"\n")
            took = time.monotonic() - began
            process.kill()
        lines = text[:-1].split()[skipped:]
        ms = took * 1000 / len(lines) / GAP_WINDOW  # of a tick
        away = sorted(int(line, 16) * ms for line in lines)
        return {
            "p50": away[len(away) // 2],
            "p99": away[len(away) * 99 // 100],
            "max": away[-1],
        }
    finally:
        if asker is not None:
            asker.kill()
            asker.wait()
        vm.close()


def gap_row(backend: str, runs: int) -> dict[str, object]:
    """Measure gaps() with and without another process that asks, in turn."""
    row: dict[str, object] = {"unit": "ms"}
    alone, asked = [], []
    try:
        for _ in range(runs):
            alone.append(gaps(backend, asked=False))
            asked.append(gaps(backend, asked=True))
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        return row | {"failed": str(error)}
    for name, figures in (("alone", alone), ("asked", asked)):
        for key in ("p50", "p99", "max"):
            values = [figure[key] for figure in figures]
            row[f"{name} {key}"] = round(statistics.median(values), 4)
        row[f"{name} runs"] = figures
    return row


def _net_ours(*options: str) -> float:
    kernel, initrd = netbench.guest(CACHE)
    line = "console=ttyS0 quiet run=bench.sh"
    load = ["--kernel", kernel, "--initrd", initrd, "--cmdline", line]
    vm = Bhyve("soft", "512M", load)
    try:
        return netbench.measure(
            lambda: vm.start("1", f"3,virtio-net,{netbench.TAP},create"),
            lambda process: until(process, b"GUEST-READY"),
            *options,
        )
    finally:
        vm.close()


def _net_qemu(*options: str) -> float:
    kernel, initrd = netbench.guest(CACHE)
    line = "console=ttyS0 quiet run=bench.sh"
    load = ["-kernel", kernel, "-initrd", initrd, "-append", line]
    tap = f"tap,id=n,ifname={netbench.TAP},script=no,downscript=no,vhost=off"
    net = ("-netdev", tap, "-device", "virtio-net-pci,netdev=n")
    return netbench.measure(
        lambda: qemu("tcg", "512M", load, net),
        lambda process: until(process, b"GUEST-READY"),
        *options,
    )


def _freebsd() -> tuple[float, float]:
    """Load a 15 MB kernel with 20 modules from UFS2: seconds and peak MiB."""
    CACHE.mkdir(parents=True, exist_ok=True)
    image = fbsdimage.large_image(CACHE)
    root = tempfile.mkdtemp()
    env = dict(os.environ, VMM_DIR=root, BHYVE_BACKEND="soft")
    argv = tool_argv("bhyveload", "-m", "256M", "-d", str(image), "bench")
    try:
        began = time.monotonic()
        process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL)
        peak = 0
        # wait4()'s figure would hold this process' own size, too.
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+)", status.read_text("ascii"))
            peak = int(found[1]) if found else peak
            time.sleep(0.002)
        took = time.monotonic() - began
    finally:
        remove(env)
    if process.returncode != 0:
        raise RuntimeError(f"bhyveload ended with {process.returncode}")
    return took, peak / 1024


def freebsd_seconds() -> float:
    """Return how long bhyveload takes for a large kernel and its modules."""
    return _freebsd()[0]


def freebsd_memory() -> float:
    """Return bhyveload's peak, the guest's pages that it fills included."""
    return _freebsd()[1]


def _call(option: str) -> float:
    """Return the milliseconds of bhyvectl's whole exec beside 50 VMs."""
    root = tempfile.mkdtemp()
    env = dict(os.environ, VMM_DIR=root)
    names = [f"vm{number:02}" for number in range(50)]
    try:
        for name in names:
            subprocess.run(
                tool_argv("bhyvectl", f"--vm={name}", "--create", "--set-mem=16"),
                env=env,
                check=True,
            )
        argv = tool_argv("bhyvectl", option)
        argv += [] if option in {"--list", "--help"} else [f"--vm={names[7]}"]
        times = []
        for _ in range(21):
            began = time.monotonic()
            subprocess.run(argv, env=env, check=True, capture_output=True)
            times.append(time.monotonic() - began)
        return 1000 * statistics.median(times)
    finally:
        for name in names:
            subprocess.run(
                tool_argv("bhyvectl", f"--vm={name}", "--destroy"), env=env, check=True
            )
        shutil.rmtree(root)


def _beside_running(runs: int) -> dict[str, object]:
    """Time bhyvectl's calls beside 50 guests that idle, and what those cost.

    The least wall time is what a call takes where nothing else runs, the most
    what a user may meet; the processor time holds in any case.
    """
    root = Path(tempfile.mkdtemp())
    env = dict(os.environ, VMM_DIR=str(root))
    row: dict[str, object] = {"unit": "ms"}
    try:
        with fleet(root, GUESTS / "bench_idle.elf", 50) as running:
            for args in (
                ("--help",),
                ("--list",),
                ("--list", "--json"),
                ("--vm=vm07", "--get-all"),
                ("--vm=vm07", "--get-stats"),
            ):
                wall, cpu = [], []
                for _ in range(max(21, 4 * runs)):
                    before = getrusage(RUSAGE_CHILDREN)
                    began = time.monotonic()
                    subprocess.run(
                        tool_argv("bhyvectl", *args),
                        env=env,
                        check=True,
                        capture_output=True,
                    )
                    wall.append(1000 * (time.monotonic() - began))
                    used = getrusage(RUSAGE_CHILDREN)
                    cpu.append(1000 * (used.ru_utime + used.ru_stime))
                    cpu[-1] -= 1000 * (before.ru_utime + before.ru_stime)
                name = " ".join(args[-2:] if args[0] == "--list" else args[-1:])
                row[f"{name} least"] = round(min(wall), 1)
                row[f"{name} median"] = round(statistics.median(wall), 1)
                row[f"{name} most"] = round(max(wall), 1)
                row[f"{name} processor"] = round(min(cpu), 1)
            before_ticks = sum(map(_ticks, running.values()))
            time.sleep(10)
            used_ticks = sum(map(_ticks, running.values())) - before_ticks
            share = used_ticks / os.sysconf("SC_CLK_TCK") / 10 / len(running)
            row["idle guest, % of a processor"] = round(100 * share, 3)
        row["load"] = os.getloadavg()[0]
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        return row | {"failed": str(error)}
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return row


def _ticks(process: subprocess.Popen[bytes]) -> int:
    """Return the processor time of a process, in clock ticks."""
    text = Path(f"/proc/{process.pid}/stat").read_text("utf-8")
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def server_disk() -> tuple[debroot.Debian, str]:
    """Return the Debian server and a disk of its own with it."""
    guest = debroot.debian(CACHE)
    return guest, str(debroot.copy(debroot.raw_disk(guest), CACHE / "bench.img"))


def server_ours() -> float:
    """Return the seconds from exec of bhyve to the login of a Debian disk."""
    guest, disk = server_disk()
    load = ["--kernel", str(guest.kernel), "--initrd", str(guest.initrd)]
    vm = Bhyve("soft", "1024M", [*load, "--cmdline", SERVER_ARGS])
    try:
        began = time.monotonic()
        with vm.start("1", f"4,virtio-blk,{disk}") as process:
            done = until(process, b"debian login:", 600)
            process.kill()
        return done - began
    finally:
        vm.close()


def server_qemu() -> float:
    """Return the same of QEMU's TCG."""
    guest, disk = server_disk()
    load = ["-kernel", str(guest.kernel), "-initrd", str(guest.initrd)]
    load += ["-append", SERVER_ARGS, "-drive", f"file={disk},format=raw,if=virtio"]
    began = time.monotonic()
    with qemu("tcg", "1024M", load) as process:
        done = until(process, b"debian login:", 600)
        process.kill()
    return done - began


#: What leaves a figure out; the result file says why.
FAILURES = (
    RuntimeError,
    OSError,
    subprocess.CalledProcessError,
    guestfiles.GuestUnavailableError,
)

#: name -> (unit, ours, the peer's or None)
FIGURES: dict[str, tuple[str, Callable[[], float], Callable[[], float] | None]] = {
    "boot to init, soft vs TCG": ("s", boot_ours, boot_qemu),
    "Debian disk to login, soft vs TCG": ("s", server_ours, server_qemu),
    "port exits, KVM": ("1/s", portio_ours, portio_qemu),
    "virtio-net host to guest": ("Mbit/s", _net_ours, _net_qemu),
    "virtio-net guest to host": (
        "Mbit/s",
        lambda: _net_ours("-R"),
        lambda: _net_qemu("-R"),
    ),
    "virtio-blk 4 KiB random reads, soft vs TCG": (
        "1/s",
        lambda: disk_ours("iops"),
        lambda: disk_qemu("iops"),
    ),
    "virtio-blk 1 MiB sequential reads, soft vs TCG": (
        "MB/s",
        lambda: disk_ours("seq"),
        lambda: disk_qemu("seq"),
    ),
    "virtio-blk 4 KiB random reads, processor, soft vs TCG": (
        "us",
        lambda: disk_cost("iops", disk_ours),
        lambda: disk_cost("iops", disk_qemu),
    ),
    "virtio-blk 1 MiB sequential reads, processor, soft vs TCG": (
        "us",
        lambda: disk_cost("seq", disk_ours),
        lambda: disk_cost("seq", disk_qemu),
    ),
    "4 KiB past the page cache, io_uring vs threads: read": (
        "us of processor",
        lambda: blkbench.engine(CACHE, "io_uring", "r"),
        lambda: blkbench.engine(CACHE, "threads", "r"),
    ),
    "4 KiB past the page cache, io_uring vs threads: write": (
        "us of processor",
        lambda: blkbench.engine(CACHE, "io_uring", "w"),
        lambda: blkbench.engine(CACHE, "threads", "w"),
    ),
    "exec to first guest output": ("s", first_instruction, None),
    "resident beside the guest": ("MiB", resident, None),
    "FreeBSD kernel and 20 modules loaded": ("s", freebsd_seconds, None),
    "the same, memory with the guest's": ("MiB", freebsd_memory, None),
    "bhyvectl --help": ("ms", lambda: _call("--help"), None),
    "bhyvectl --list of 50": ("ms", lambda: _call("--list"), None),
    "bhyvectl --get-all of one of 50": ("ms", lambda: _call("--get-all"), None),
    "bhyvectl --get-stats of one of 50": ("ms", lambda: _call("--get-stats"), None),
}

#: Rows of their own shape: name -> function of the number of runs.
ROWS: dict[str, Callable[[int], dict[str, object]]] = {
    "bhyvectl beside 50 running VMs": _beside_running,
    "vCPU away while others ask, soft": lambda runs: gap_row("soft", runs),
    "vCPU away while others ask, KVM": lambda runs: gap_row("kvm", runs),
}


def measure(name: str, runs: int) -> dict[str, object]:
    """Run one figure and its peer in turn."""
    unit, ours, peer = FIGURES[name]
    mine: list[float] = []
    theirs: list[float] = []
    try:
        for _ in range(runs):
            mine.append(ours())
            if peer is not None:
                theirs.append(peer())
    except FAILURES as error:
        return {"unit": unit, "failed": str(error)}
    row: dict[str, object] = {"unit": unit, "ours": mine}
    row["median"] = statistics.median(mine)
    if theirs:
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
        row |= {"peer": theirs, "peer median": statistics.median(theirs)}
        row["ratio"] = statistics.median(ratios)
    return row


def main() -> int:
    """Measure, print a line a figure, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=5, help="runs of each")
    parser.add_argument("-o", default="bench-results.json", help="result file")
    parser.add_argument("names", nargs="*", help="part of a figure's name")
    args = parser.parse_args()
    results: dict[str, object] = {"host": platform.platform()}
    for name in (*FIGURES, *ROWS):
        if args.names and not any(word in name for word in args.names):
            continue
        row = ROWS[name](args.n) if name in ROWS else measure(name, args.n)
        results[name] = row
        brief = {k: v for k, v in row.items() if not isinstance(v, list)}
        print(name, brief, flush=True)
    Path(args.o).write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
