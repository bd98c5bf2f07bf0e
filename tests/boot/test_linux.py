"""Debian's packaged kernel, from bhyveload to a shell, on the software processor."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import guestfiles
from support.machine import Machine

CACHE = Path(__file__).parents[2] / "build" / "guest"
BAD = re.compile(
    r"BUG|WARNING|Oops|Firmware Bug|ACPI Error|ACPI BIOS Error|Call Trace|"
    r"Lost \d+ .*ticks|clocksource .* unstable"
)


@pytest.fixture(scope="session")
def linux() -> tuple[str, str]:
    """Return kernel and initrd, or skip with the reason."""
    try:
        kernel = guestfiles.debian_kernel(CACHE)
        initrd = guestfiles.initrd(CACHE, CACHE / "test-initrd.cpio")
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    return str(kernel), str(initrd)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as made:
        yield made


def boot(
    m: Machine, linux: tuple[str, str], cpus: str, memory: str, args: str = "quiet"
) -> None:
    """Load and start the guest; return at its shell's prompt."""
    kernel, initrd = linux
    m.load(
        *("-m", memory, "--kernel", kernel, "--initrd", initrd),
        *("--cmdline", f"console=ttyS0 {args}"),
    )
    m.start("-c", cpus, "-m", memory)
    m.expect("GUEST-READY", 120)
    m.expect("guest# ", 30)


def test_a_shell_on_two_processors(machine: Machine, linux: tuple[str, str]) -> None:
    boot(machine, linux, "2", "512M", "")
    machine.shell("dmesg -n 1")  # late messages would stand in the answers
    assert machine.shell("nproc").strip() == "2"
    assert machine.shell("grep -c ^processor /proc/cpuinfo").strip() == "2"
    interrupts = machine.shell("cat /proc/interrupts")
    assert re.search(r"LOC: +[1-9]\d* +[1-9]", interrupts), interrupts
    assert re.search(r"(RES|CAL): +\d+ +[1-9]", interrupts), interrupts
    assert re.search(r"IO-APIC +4-edge +ttyS0", interrupts), interrupts
    assert "System RAM" in machine.shell("cat /proc/iomem")
    log = machine.shell("dmesg")
    assert not BAD.search(log), BAD.search(log)
    machine.send("poweroff\n")
    assert machine.wait() == 1


@pytest.mark.parametrize(
    ("command", "args", "status"),
    [
        ("reboot", "quiet", 0),
        ("poweroff", "quiet", 1),
        ("halt -f", "quiet", 2),
        ("reboot -f", "quiet reboot=t", 3),
    ],
)
def test_exit_statuses(
    machine: Machine, linux: tuple[str, str], command: str, args: str, status: int
) -> None:
    boot(machine, linux, "2", "256M", args)
    machine.send(f"{command}\n")
    assert machine.wait() == status


def test_sigterm_is_the_power_button(machine: Machine, linux: tuple[str, str]) -> None:
    boot(machine, linux, "1", "256M")
    machine.signal(signal.SIGTERM)
    assert machine.wait() == 1
    assert "Power down" in machine.output


def test_another_process_looks_in(machine: Machine, linux: tuple[str, str]) -> None:
    boot(machine, linux, "2", "256M")
    stats = machine.ctl("--get-stats")
    assert stats.returncode == 0
    for name in (
        "total number of vm exits",
        "number of times in/out was intercepted",
        "Blocks translated",
    ):
        assert re.search(rf"^{name}\s+[1-9]\d*$", stats.stdout, re.M), stats.stdout
    assert machine.ctl("--get-rip").stdout.startswith("rip[0]\t\t0x")
    assert machine.ctl("--get-active-cpus").stdout == "active cpus:\t 0, 1\n"
    assert machine.ctl("--inject-nmi").returncode == 0
    time.sleep(0.5)
    assert re.search(r"NMI: +[1-9]", machine.shell("cat /proc/interrupts"))
    second = machine.run("bhyve", "-m", "256M", machine.name)
    assert second.returncode == 4
    assert len(second.stderr.strip().splitlines()) == 1
    assert machine.ctl("--force-poweroff").returncode == 0
    assert machine.wait() == 1


def test_without_the_translator(machine: Machine, linux: tuple[str, str]) -> None:
    kernel, initrd = linux
    line = ("--cmdline", "console=ttyS0 quiet")
    machine.load("-m", "256M", "--kernel", kernel, "--initrd", initrd, *line)
    machine.start("-m", "256M", "-o", "vmm.soft.translate=false")
    machine.expect("GUEST-READY", 120)
    stats = machine.ctl("--get-stats").stdout
    assert re.search(r"^Blocks decoded\s+[1-9]\d*$", stats, re.M), stats
    assert not re.search(r"^Blocks translated\s+[1-9]", stats, re.M), stats


def test_a_killed_owner_is_told_and_destroyed(
    machine: Machine, linux: tuple[str, str]
) -> None:
    boot(machine, linux, "1", "256M")
    machine.signal(signal.SIGKILL)
    machine.wait()
    told = machine.ctl("--get-rip")
    assert told.returncode != 0
    assert machine.ctl("--destroy").returncode == 0
    assert machine.ctl("--get-rip").returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["256M", "2G", "6G"])
@pytest.mark.parametrize("cpus", ["1", "2", "4", "8"])
def test_sizes(
    machine: Machine, linux: tuple[str, str], cpus: str, memory: str
) -> None:
    boot(machine, linux, cpus, memory)
    assert machine.shell("nproc").strip() == cpus
    if memory == "6G":
        # Fill most of memory, so that what lies above 4 GiB is used, and
        # compare checksums of two copies.
        machine.shell("mount -t tmpfs -o size=5G big /tmp")
        made = "dd if=/dev/urandom of=/tmp/a bs=1M count=64 2>/dev/null"
        machine.shell(made, 300)
        copies = "for i in 1 2 3 4 5 6 7; do cp /tmp/a /tmp/c$i; done"
        machine.shell(copies, 300)
        sums = machine.shell("md5sum /tmp/a /tmp/c7 | cut -c1-32 | uniq | wc -l", 300)
        assert sums.strip() == "1"
    machine.send("poweroff\n")
    assert machine.wait() == 1


@pytest.mark.slow
def test_ten_boots_in_a_row(tmp_path: Path, linux: tuple[str, str]) -> None:
    for _ in range(10):
        with Machine(tmp_path) as machine:
            boot(machine, linux, "2", "256M")
            machine.send("poweroff\n")
            assert machine.wait() == 1


@pytest.mark.slow
def test_the_clock_is_right(machine: Machine, linux: tuple[str, str]) -> None:
    boot(machine, linux, "2", "256M")
    start = float(machine.shell("cut -d' ' -f1 /proc/uptime"))
    began = time.monotonic()
    time.sleep(60)
    took = float(machine.shell("cut -d' ' -f1 /proc/uptime")) - start
    assert took == pytest.approx(time.monotonic() - began, rel=0.01)
