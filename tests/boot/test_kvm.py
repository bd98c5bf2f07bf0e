"""Kernels on KVM and, for comparison, on the software processor.

A KVM without vmx or svm behind it (kvm_pvm) interprets its guests and gives up
at instructions that it does not know; those run in the software processor, and
``bhyvectl --get-stats`` counts them.
"""

import re
from pathlib import Path

import pytest

from libvmmapi import VM
from support import guestfiles
from support.machine import Machine
from support.ownguests import own_guest
from support.tools import interprets

CACHE = Path(__file__).parents[2] / "build" / "guest"
NAMES = ("kvm_real16", "kvm_prot32", "kvm_long64", "kvm_irq", "kvm_io")
FALLBACKS = re.compile(r"^instructions run by the software processor\s+(\d+)$", re.M)
MSI_ADDRESS = 0xFEE00000

#: What brings Debian's kernel to its init on an interpreting KVM in the least
#: time.  At a million instructions a second the tick is most of the work: the
#: kernel is told of a faster TSC, so that the deadline timer of its local APIC
#: makes fewer, and, knowing its frequency, it wants no tick of other timers
#: before.  The rest leaves out checks of itself.
LINUX_ARGS = (
    "console=ttyS0 nokaslr tsc_early_khz=50000000 tsc=reliable hpet=disable "
    "lpj=1000000 no_timer_check nosoftlockup nowatchdog mitigations=off nosmap "
    "rcupdate.rcu_expedited=1 cryptomgr.notests "
    "initcall_blacklist=ftrace_check_for_weak_functions"
)


def fallbacks(machine: Machine) -> int:
    """Return how many instructions the software processor ran for KVM."""
    done = machine.ctl("--get-stats")
    assert done.returncode == 0, done.stderr
    found = FALLBACKS.search(done.stdout)
    return int(found[1]) if found else 0


def start(machine: Machine, name: str, cpus: str = "1") -> None:
    """Load and start one of our guests."""
    machine.load("-m", "64M", "--kernel", str(own_guest(name)))
    machine.start("-c", cpus, "-m", "64M")


def passes(machine: Machine, name: str) -> None:
    """Expect the guest's good end, a triple fault."""
    assert machine.wait(30) == 3, machine.output
    assert re.search(rf"^PASS {name}\r?$", machine.output, re.M), machine.output


def memtest() -> Path:
    """Return memtest86+, or skip with the reason."""
    try:
        where = guestfiles.fetch("memtest86+", CACHE)
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no memtest86+: {error}")
    return where / "boot" / "memtest86+x64.bin"


@pytest.mark.parametrize("name", NAMES)
def test_own_kernel(vm_dir: Path, backend: str, name: str) -> None:
    with Machine(vm_dir, backend=backend) as machine:
        start(machine, name)
        passes(machine, name)
        if "NO 32-BIT PAGING" in machine.output:
            assert interprets(backend)
            pytest.skip("this KVM interprets guests: no paging outside long mode")


def test_local_apic_timer(vm_dir: Path, backend: str) -> None:
    with Machine(vm_dir, backend=backend) as machine:
        start(machine, "lapic_timer")
        passes(machine, "lapic_timer")
        # CPUID hides the mode, as bhyve does, but from a KVM that interprets.
        if backend == "soft" or interprets(backend):
            assert "NO DEADLINE MODE" not in machine.output


def test_two_processors(vm_dir: Path, backend: str) -> None:
    with Machine(vm_dir, backend=backend) as machine:
        start(machine, "kvm_smp", cpus="2")
        passes(machine, "kvm_smp")


def test_messages_interrupt(vm_dir: Path, backend: str) -> None:
    with Machine(vm_dir, backend=backend) as machine:
        start(machine, "kvm_msi")
        machine.expect("READY", 20)
        with VM.open(machine.name) as vm:
            for answer in ("one", "two", "three"):
                vm.lapic_msi(MSI_ADDRESS, 0x35)
                machine.expect(answer, 20)
            vm.lapic_msi(MSI_ADDRESS, 0x36)
        passes(machine, "kvm_msi")


def test_instructions_that_kvm_cannot_emulate(vm_dir: Path, backend: str) -> None:
    with Machine(vm_dir, backend=backend) as machine:
        start(machine, "kvm_fallback")
        machine.expect("COUNT", 20)
        count = fallbacks(machine)
        assert count > 0 if interprets(backend) else backend == "kvm" or count == 0
        machine.send("x")
        passes(machine, "kvm_fallback")


@pytest.mark.slow
def test_memtest86(vm_dir: Path, backend: str) -> None:
    with Machine(vm_dir, backend=backend) as machine:
        machine.load(
            *("-m", "16M", "--kernel", str(memtest())),
            *("--cmdline", "console=ttyS0,115200"),
        )
        machine.start("-m", "16M")
        machine.expect(r"Memtest86\+ v\d", 60)
        machine.expect(r"#\d+ +\[", 120)
        machine.expect(r"Time:  0:0[0-9]:(0[1-9]|[1-5][0-9])", 120)
        if interprets(backend):
            assert fallbacks(machine) > 0
        else:
            machine.expect(r"#(8|9|10) +\[", 300)
        assert not re.search(r"Errors: [1-9]", machine.output)


@pytest.mark.slow
@pytest.mark.hours
def test_linux_to_init(vm_dir: Path, backend: str) -> None:
    try:
        kernel = guestfiles.debian_kernel(CACHE)
        initrd = guestfiles.initrd(CACHE, CACHE / "kvm-initrd.cpio")
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    with Machine(vm_dir, backend=backend) as machine:
        machine.load(
            *("-m", "128M", "--kernel", str(kernel), "--initrd", str(initrd)),
            *("--cmdline", LINUX_ARGS if interprets(backend) else "console=ttyS0"),
        )
        machine.start("-m", "128M")
        machine.expect("Run /init as init process", 1500)
        if interprets(backend):
            assert fallbacks(machine) > 0
