"""The PCI UART, with Linux's 8250_pci at the other side, over a pty."""

import hashlib
import os
import pty
import re
import select
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import guestfiles
from support.machine import SLOTS, Machine

CACHE = Path(__file__).parents[2] / "build" / "guest"


@pytest.fixture(scope="session")
def linux() -> tuple[str, str]:
    try:
        kernel = guestfiles.debian_kernel(CACHE)
        initrd = guestfiles.initrd(CACHE, CACHE / "uart-initrd.cpio")
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    return str(kernel), str(initrd)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as made:
        yield made


def read_until(fd: int, want: bytes, seconds: float = 30) -> bytes:
    """Read the terminal until `want` has come."""
    seen = b""
    end = time.monotonic() + seconds
    while want not in seen:
        ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
        assert ready, seen[-500:]
        seen += os.read(fd, 65536)
    return seen


def boot(m: Machine, linux: tuple[str, str], *slots: str, cmdline: str = "") -> None:
    kernel, initrd = linux
    m.load(
        *("-m", "256M", "--kernel", kernel, "--initrd", initrd),
        *("--cmdline", f"console=ttyS0 {cmdline}"),
    )
    extra = tuple(word for slot in slots for word in ("-s", slot))
    m.start("-m", "256M", slots=SLOTS + extra)
    m.expect("GUEST-READY", 120)
    m.expect("guest# ")


def test_a_login_on_the_pci_uart(machine: Machine, linux: tuple[str, str]) -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    boot(machine, linux, f"5,uart,{os.ttyname(theirs)}", cmdline="8250.nr_uarts=8")
    log = machine.shell("dmesg")
    found = re.search(r"0000:00:05\.0: (ttyS\d) at I/O 0x\w+ .*16550A", log)
    assert found, log
    name = found[1]
    machine.shell("cd /sys/bus/pci/devices/0000:00:05.0")
    ids = machine.shell("cat vendor device class")
    assert ids.split() == ["0x131f", "0x2000", "0x070000"]
    machine.send(f"while :; do /sbin/getty -n -l /bin/sh -L 115200 {name}; done &\n")
    read_until(ours, b"guest# ")
    os.write(ours, b"echo two-$((1+1))\r")
    assert b"two-2" in read_until(ours, b"two-2")
    # More than the FIFO holds, by interrupts, in both directions.
    os.write(ours, b"stty -echo; echo QUI''ET\r")
    read_until(ours, b"QUIET")
    os.write(ours, b"seq 1 2000; echo END\r")
    seen = read_until(ours, b"END").split()
    assert [b"%d" % n for n in range(1, 2001)] == [w for w in seen if w.isdigit()]
    lines = [b"%064d\n" % number for number in range(40)]
    os.write(ours, b"md5sum; echo DONE\r")
    time.sleep(0.5)
    for line in lines:
        os.write(ours, line)
    os.write(ours, b"\x04")
    digest = hashlib.md5(b"".join(lines)).hexdigest().encode()
    assert digest in read_until(ours, b"DONE")
    assert "fasteoi" in machine.shell(f"grep {name} /proc/interrupts")
    machine.send("poweroff -f\n")
    assert machine.wait() == 1
    os.close(ours)
    os.close(theirs)
