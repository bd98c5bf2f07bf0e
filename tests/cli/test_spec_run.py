"""What a guest does and what bhyve makes of it: statuses, lines, switches.

Each row is a behaviour of bhyve(8): the guest's instructions (support/rom.py),
the options, the exit status (minus a signal's number), what it writes to COM1,
and what is on standard error.
"""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support import preload
from support.machine import Machine
from support.rom import write_rom
from support.tools import tool_argv

ABORT = -signal.SIGABRT

#: Reads MSR 0xdead: G for #GP with error code 0, 0 for zero, else B.
RDMSR = """
	trap 13, gp
	mov $0xdead, %ecx
	mov $-1, %eax
	mov $-1, %edx
	rdmsr
	or %edx, %eax
	jnz bad
	say '0'
	poweroff
gp:	pop %eax
	test %eax, %eax
	jnz bad
	say 'G'
	poweroff
bad:	say 'B'
	poweroff
"""
WRMSR = """
	trap 13, gp
	mov $0xdead, %ecx
	mov $0x12, %eax
	mov $0x34, %edx
	wrmsr
	say '0'
	poweroff
gp:	say 'G'
	poweroff
"""
#: Says how many ones the access widths give at a port of nobody: 124.
PORTS = """
	mov $0x1234, %dx
	xor %eax, %eax
	in %dx, %al
	cmp $0xff, %eax
	jne 1f
	say '1'
1:	mov $0x1234, %dx
	xor %eax, %eax
	in %dx, %ax
	cmp $0xffff, %eax
	jne 1f
	say '2'
1:	mov $0x1234, %dx
	in %dx, %eax
	cmp $-1, %eax
	jne 1f
	say '4'
1:	mov $0x1234, %dx
	out %eax, %dx
	poweroff
"""
#: Maps 2 MB at 64 GB by long mode's paging, and reads and writes there.
NOWHERE = """
	movl $0x3003, 0x2000
	movl $0x4003, 0x3000
	movl $0x5003, 0x3018
	movl $0x83, 0x4000
	movl $0x83, 0x4008
	movl $0x10, 0x400c
	movl $0xffe00083, 0x5ff8
	mov $0x2000, %eax
	mov %eax, %cr3
	mov $0x20, %eax
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax
	wrmsr
	mov %cr0, %eax
	or $0x80000000, %eax
	mov %eax, %cr0
	mov 0x200000, %eax
	movl $5, 0x200000
	inc %eax
	jnz 1f
	say '1'
1:	poweroff
"""
X2APIC = """
	mov $1, %eax
	cpuid
	bt $21, %ecx
	jc 1f
	say 'N'
	poweroff
1:	say 'Y'
	poweroff
"""
#: The decoding bits of the device at slot 3, as a digit.
DECODES = """
	pci 3, 4
	and $3, %al
	add $0x30, %al
	mov $0x3f8, %dx
	out %al, %dx
	poweroff
"""
#: The capabilities of the device at slot 3: A is MSI-X, 5 MSI, 9 virtio's own.
CAPABILITIES = """
	pci 3, 0x34
1:	mov %al, %bl
	test %bl, %bl
	jz 2f
	mov $0x80001800, %eax
	or %bl, %al
	mov $0xcf8, %dx
	out %eax, %dx
	mov $0xcfc, %dx
	in %dx, %eax
	mov %eax, %ecx
	add $0x30, %al
	mov $0x3f8, %dx
	out %al, %dx
	mov %ch, %al
	jmp 1b
2:	poweroff
"""
#: Vendor, device, revision and subsystem of slot 31 against the row's.
IDENTITY = """
	pci 31, 0
	cmp $0x12345678, %eax
	jne 1f
	pci 31, 0x2c
	cmp $0x9abcdef0, %eax
	jne 1f
	pci 31, 8
	cmp $0x42, %al
	jne 1f
	say 'Y'
1:	poweroff
"""
#: PM1: status bits go when ones are written; three enables stick.
PM1 = """
	mov $0x402, %dx
	mov $0xffff, %ax
	out %ax, %dx
	in %dx, %ax
	cmp $0x520, %ax
	jne 1f
	say 'E'
1:	mov $0x400, %dx
	mov $0xffff, %ax
	out %ax, %dx
	in %dx, %ax
	test %ax, %ax
	jnz 1f
	say 'S'
1:	poweroff
"""

#: What, instructions, options, status, COM1, lines on standard error.
ROWS: list[tuple[str, str, str, int, str, str]] = [
    ("0xcf9-resets", "reset", "", 0, "", ""),
    ("8042-resets", "mov $0xfe, %al\nout %al, $0x64", "", 0, "", ""),
    ("s5-powers-off", "poweroff", "", 1, "", ""),
    ("halt-without-interrupts", "cli\nhlt", "", 2, "", ""),
    ("halt-with-H", "cli\nhlt", "-H", 2, "", ""),
    ("triple-fault", "lidt no\nint3\nno: .quad 0", "", 3, "", ""),
    ("pause-with-P", "pause\nsay 'A'\npoweroff", "-P", 1, "A", ""),
    ("unclaimed-ports-read-ones", PORTS, "", 1, "124", ""),
    ("e-inb", PORTS, "-e", ABORT, "", r"Unhandled inb 0x1234 at 0xfffff0\w\w"),
    ("e-inw", "mov $5, %dx\nin %dx, %ax", "-e", ABORT, "",
     r"Unhandled inw 0x0005 at 0xfffff0\w\w"),
    ("e-outl", "mov $0x1234, %dx\nout %eax, %dx", "-e", ABORT, "",
     r"Unhandled outl 0x1234 at 0xfffff0\w\w"),
    ("e-by-its-variable", PORTS, "-o x86.strictio=YES", ABORT, "", "Unhandled inb .*"),
    ("rdmsr-faults", RDMSR, "", 1, "G", "rdmsr to register 0xdead on vcpu 0"),
    ("rdmsr-with-w", RDMSR, "-w", 1, "0", ""),
    ("rdmsr-verbose", RDMSR, "-w -o x86.verbosemsr=1", 1, "0",
     "rdmsr to register 0xdead on vcpu 0"),
    ("wrmsr-faults", WRMSR, "", 1, "G",
     r"wrmsr to register 0xdead\(0x3400000012\) on vcpu 0"),
    ("wrmsr-with-w", WRMSR, "-ww", 1, "0", ""),
    ("memory-of-nobody", NOWHERE, "", 1, "1",
     "(Unhandled memory access to 0x1000000000\n?){2}"),
    ("no-x2apic", X2APIC, "", 1, "N", ""),
    ("x2apic", X2APIC, "-x", 1, "Y", ""),
    ("the-later-of-x-and-a", X2APIC, "-xa", 1, "N", ""),
    ("bars-off-with-bootrom", DECODES, "-s 3,virtio-rnd", 1, "0", ""),
    ("bars-on-by-variable", DECODES, "-s 3,virtio-rnd -o pci.enable_bars=true",
     1, "3", ""),
    ("virtio-has-msix", CAPABILITIES, "-s 3,virtio-rnd", 1, "A59999", ""),
    ("virtio-without-msix", CAPABILITIES, "-W -s 3,virtio-rnd", 1, "59999", ""),
    ("virtio-legacy", CAPABILITIES, "-s 3,virtio-rnd -o virtio.modern=no", 1, "A5", ""),
    ("lpc-identity", IDENTITY, "-o lpc.pcireg.vendor=0x5678 "
     "-o lpc.pcireg.device=4660 -o lpc.pcireg.revid=0x42 "
     "-o lpc.pcireg.subvendor=0xdef0 -o lpc.pcireg.subdevice=0x9abc", 1, "Y", ""),
    ("pm1-registers", PM1, "", 1, "ES", ""),
    ("monitor-passes-power-off", "poweroff", "-M", 1, "", ""),
    ("monitor-passes-halt", "cli\nhlt", "-M", 2, "", ""),
    ("monitor-passes-triple-fault", "lidt no\nint3\nno: .quad 0", "-M", 3, "", ""),
    ("monitor-of-an-abort", PORTS, "-Me", 4, "", "Unhandled inb .*"),
    ("monitor-without-reboot", "reset", "-MN", 0, "", ""),
    ("pc-testdev-exit", "mov $0x21, %eax\nout %eax, $0xf4", "-l pc-testdev",
     0x43, "", ""),
]  # fmt: skip


def _start(vm_dir: Path, tmp_path: Path, code: str, *args: str) -> Machine:
    """Return a machine that runs the code; its COM1 is the terminal."""
    machine = Machine(vm_dir, backend=os.environ["BHYVE_BACKEND"])
    machine.start("-m", "16M", "-l", write_rom(tmp_path, code), *args)
    return machine


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_the_guest_does(
    vm_dir: Path, tmp_path: Path, backend: str, row: tuple[str, str, str, int, str, str]
) -> None:
    _, code, options, status, com1, lines = row
    rom = write_rom(tmp_path, code)
    argv = ["-m", "16M", "-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio"]
    done = subprocess.run(
        tool_argv("bhyve", *argv, "-l", rom, *options.split(), "guest"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, com1), done.stderr
    assert re.fullmatch(lines, done.stderr.removesuffix("\n")), done.stderr
    left = {path.name for path in vm_dir.iterdir()}
    assert left == (set() if "-M" in options else {"guest"})


SPIN = "say 'R'\n1: pause\njmp 1b"


def test_destroyed_at_power_off_and_only_there(vm_dir: Path, tmp_path: Path) -> None:
    for code, status, left in (("reset", 0, True), ("poweroff", 1, False)):
        machine = _start(vm_dir, tmp_path, code, "-D")
        assert machine.wait() == status
        assert (vm_dir / "guest").exists() is left


def test_the_vm_and_the_title_say_the_name(vm_dir: Path, tmp_path: Path) -> None:
    for name in ("vm0:1", "1_debian", "a.b-c", "testvm-main-amd64-1234"):
        with Machine(vm_dir, name) as machine:
            machine.start("-m", "16M", "-l", write_rom(tmp_path, SPIN))
            machine.expect("R")
            found = subprocess.run(
                ["pgrep", "-fx", f"bhyve: {name}"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert machine.process is not None
            assert found.stdout.split() == [str(machine.process.pid)]
            comm = Path(f"/proc/{machine.process.pid}/comm").read_text("ascii")
            assert comm == "bhyve\n"
            assert (vm_dir / name).is_dir()
            machine.signal(signal.SIGTERM)
            assert machine.wait() == -signal.SIGTERM
            assert (vm_dir / name).is_dir()


@pytest.mark.parametrize(
    ("code", "options", "end"),
    [
        (SPIN, (), -signal.SIGTERM),
        (SPIN, (), -signal.SIGINT),
        ("reset", (), 0),
        ("poweroff", ("-M",), 1),
        (PORTS, ("-e",), ABORT),
    ],
)
def test_the_terminal_is_as_it_was(
    vm_dir: Path, tmp_path: Path, code: str, options: tuple[str, ...], end: int
) -> None:
    with _start(vm_dir, tmp_path, code, *options) as machine:
        if code == SPIN:
            machine.expect("R")
            assert machine.terminal() != machine.cooked
            machine.signal(signal.Signals(-end))
        assert machine.wait() == end
        assert machine.terminal() == machine.cooked


#: Enables ACPI, or enables and disables it, then waits for the power button.
BUTTON = """
	mov $0xa0, %al
	out %al, $0xb2
	DISABLE
	mov $0x402, %dx
	mov $0x100, %ax
	out %ax, %dx
	say 'R'
	mov $0x400, %dx
1:	pause
	in %dx, %ax
	test $0x100, %ax
	jz 1b
	say 'B'
	poweroff
"""


@pytest.mark.parametrize("monitor", ["", "-M"])
def test_sigterm_is_the_power_button_once_acpi_is_on(
    vm_dir: Path, tmp_path: Path, backend: str, monitor: str
) -> None:
    options = [monitor] if monitor else []
    machine = _start(vm_dir, tmp_path, BUTTON.replace("DISABLE", ""), *options)
    with machine:
        machine.expect("R")
        machine.signal(signal.SIGTERM)
        machine.expect("B")
        assert machine.wait() == 1


def test_sigterm_ends_bhyve_when_acpi_is_off_again(
    vm_dir: Path, tmp_path: Path, backend: str
) -> None:
    code = BUTTON.replace("DISABLE", "mov $0xa1, %al\nout %al, $0xb2")
    with _start(vm_dir, tmp_path, code) as machine:
        machine.expect("R")
        machine.signal(signal.SIGTERM)
        assert machine.wait() == -signal.SIGTERM
        assert "B" not in machine.output


def _flags_of_memory(pid: int) -> list[set[str]]:
    """Return the VmFlags of each mapping of a segment of guest memory."""
    found: list[set[str]] = []
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text("ascii").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = "mem.sysmem" in line or "sysmem" in line
        elif inside and line.startswith("VmFlags:"):
            found.append(set(line.split()[1:]))
    return found


def test_memory_is_wired_and_in_core_files_by_option(
    vm_dir: Path, tmp_path: Path
) -> None:
    for options, core, wired in (((), False, False), (("-S", "-C"), True, True)):
        with _start(vm_dir, tmp_path, SPIN, *options) as machine:
            machine.expect("R")
            assert machine.process is not None
            pid = machine.process.pid
            flags = _flags_of_memory(pid)
            assert flags
            locked = wired and preload.locks_memory()
            assert {("dd" not in word, "lo" in word) for word in flags} == {
                (core, locked)
            }
            mask = Path(f"/proc/{pid}/coredump_filter").read_text("ascii")
            assert core is (int(mask, 16) & 0x48 == 0x48)


def test_a_vcpu_runs_where_it_is_pinned(vm_dir: Path, tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    with _start(vm_dir, tmp_path, SPIN, "-c", "2", "-p", f"0:{cpu}") as machine:
        machine.expect("R")
        assert machine.process is not None
        allowed = {}
        for task in Path(f"/proc/{machine.process.pid}/task").iterdir():
            name = (task / "comm").read_text("ascii").strip()
            allowed[name] = os.sched_getaffinity(int(task.name))
        assert allowed["vcpu 0"] == {cpu}
        assert allowed["vcpu 1"] == os.sched_getaffinity(0)


#: The hour of the RTC, as it stands there, and how the chip counts it.
CLOCK = """
	mov $4, %al
	out %al, $0x70
	in $0x71, %al
	mov $0x3f8, %dx
	out %al, %dx
	poweroff
"""


def test_the_rtc_keeps_local_time_or_utc(
    vm_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "XXX-5")
    rom = write_rom(tmp_path, CLOCK)
    for options, shift in (((), 5), (("-u",), 0), (("-o", "rtc.use_localtime=no"), 0)):
        argv = ("-m", "16M", "-s", "31,lpc", "-l", "com1,stdio", "-l", rom, *options)
        before = time.gmtime().tm_hour
        done = subprocess.run(
            tool_argv("bhyve", *argv, "guest"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        hours = {(hour + shift) % 24 for hour in (before, time.gmtime().tm_hour)}
        said = done.stdout[0]
        assert done.returncode == 1, done.stderr
        assert said in hours or (said >> 4) * 10 + (said & 15) in hours
