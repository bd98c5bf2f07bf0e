"""`make bench`: paired measurements against QEMU, written to a file.

Each figure is a list of runs and a median; pairs are run in turn (A B A B),
so that a ratio holds when the machine's speed drifts.  Nothing is asserted.

    python tests/bench/bench.py [-n RUNS] [-o FILE] [NAME ...]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import fbsdimage, guestfiles
from support.machine import SLOTS
from support.tools import tool_argv

TOP = Path(__file__).parents[2]
CACHE = TOP / "build" / "guest"
GUESTS = TOP / "build" / "obj" / "guests"
QEMU = "qemu-system-x86_64"
PORT_EXITS = 200_000  # what guests/bench_portio.S does between S and E


def until(process: subprocess.Popen[bytes], mark: bytes, limit: float = 120) -> float:
    """Return the time at which `mark` has come out of the process."""
    assert process.stdout is not None
    seen = b""
    end = time.monotonic() + limit
    while mark not in seen:
        data = os.read(process.stdout.fileno(), 65536)
        if not data or time.monotonic() > end:
            raise RuntimeError(f"no {mark!r}: {seen[-500:].decode(errors='replace')}")
        seen += data
    return time.monotonic()


class Bhyve:
    """One VM of ours, loaded before the clock starts."""

    def __init__(self, backend: str, memory: str, load: list[str]) -> None:
        self.root = tempfile.mkdtemp()
        self.env = dict(os.environ, VMM_DIR=self.root, BHYVE_BACKEND=backend)
        self.memory = memory
        argv = tool_argv("bhyveload", "-m", memory, *load, "bench")
        subprocess.run(argv, env=self.env, check=True)

    def start(self, cpus: str = "1") -> subprocess.Popen[bytes]:
        """Exec bhyve."""
        args = ("-c", cpus, "-m", self.memory, *SLOTS, "-l", "com1,stdio", "bench")
        return subprocess.Popen(
            tool_argv("bhyve", *args),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def close(self) -> None:
        """Remove the VM."""
        shutil.rmtree(self.root, ignore_errors=True)


def qemu(accel: str, memory: str, load: list[str]) -> subprocess.Popen[bytes]:
    """Exec QEMU on the same guest."""
    argv = [QEMU, "-accel", accel, "-m", memory, "-display", "none", "-no-reboot"]
    argv += ["-serial", "stdio", "-monitor", "none", "-net", "none", *load]
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
        _, status, usage = os.wait4(process.pid, 0)
        took = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if process.returncode != 0:
        raise RuntimeError(f"bhyveload ended with {process.returncode}")
    return took, usage.ru_maxrss / 1024


def freebsd_seconds() -> float:
    """Return how long bhyveload takes for a large kernel and its modules."""
    return _freebsd()[0]


def freebsd_memory() -> float:
    """Return bhyveload's peak, the guest's pages that it fills included."""
    return _freebsd()[1]


#: name -> (unit, ours, the peer's or None)
FIGURES: dict[str, tuple[str, Callable[[], float], Callable[[], float] | None]] = {
    "boot to init, soft vs TCG": ("s", boot_ours, boot_qemu),
    "port exits, KVM": ("1/s", portio_ours, portio_qemu),
    "exec to first guest output": ("s", first_instruction, None),
    "resident beside the guest": ("MiB", resident, None),
    "FreeBSD kernel and 20 modules loaded": ("s", freebsd_seconds, None),
    "the same, memory with the guest's": ("MiB", freebsd_memory, None),
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
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        return {"unit": unit, "failed": str(error)}
    row: dict[str, object] = {"unit": unit, "ours": mine}
    row["median"] = statistics.median(mine)
    if theirs:
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
        row |= {"qemu": theirs, "qemu median": statistics.median(theirs)}
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
    for name in FIGURES:
        if args.names and not any(word in name for word in args.names):
            continue
        row = results[name] = measure(name, args.n)
        brief = {k: v for k, v in row.items() if not isinstance(v, list)}
        print(name, brief, flush=True)
    Path(args.o).write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
