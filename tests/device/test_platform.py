"""The platform's ports and pages, as a guest finds them one access at a time."""

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.machine import Machine
from support.ownguests import as_firmware, own_guest

#: Accesses of one machine, in order: KIND ADDRESS [VALUE] as in guests/ports.c
#: -> what it answers; a write answers ".".
Rows = tuple[tuple[str, str], ...]

LPC = 0x8000F800  # mechanism 1, slot 31


def lpc(register: int) -> str:
    """Return the access that selects a dword of the bridge's configuration."""
    return f"l cf8 {LPC | register:x}"


TABLE: dict[str, Rows] = {
    "nobody": (
        ("b 80", "ff"),  # not claimed, nor is
        ("b 84", "ff"),  # that of POST codes read
        ("b 84 5a", "."),
        ("w 3000", "ffff"),
        ("l 3000", "ffffffff"),
        ("l 3000 12345678", "."),
        ("L c8000000", "ffffffff"),
        ("W d0001000", "ffff"),
        ("L c8000000 1", "."),
    ),
    "acpi power management": (
        ("w 400", "0000"),
        ("w 400 ffff", "."),
        ("w 400", "0000"),
        ("w 402 ffff", "."),
        # The power button, the global bit, and that of the RTC (pm.c says why).
        ("w 402", "0520"),
        ("w 402 0", "."),
        ("w 404", "0000"),
        ("b b2 a0", "."),
        ("w 404", "0001"),
        ("w 404 1c02", "."),  # SCI_EN belongs to the platform; no SLP_EN
        ("w 404", "1c01"),
        ("w 404 3001", "."),  # SLP_EN with another type than 5
        ("w 404", "1001"),
        ("b b2 a1", "."),
        ("w 404", "1000"),
        ("b 40c", "00"),
        ("b 40d ff", "."),
        ("b 40d", "01"),
        ("b 40d 0", "."),
    ),
    "reset control": (
        ("b cf9", "00"),
        ("b cf9 2", "."),
        ("b cf9", "02"),
        ("b 92", "02"),
        ("b 92 0", "."),
        ("b 92", "00"),
    ),
    "8259 and trigger modes": (
        ("b 21 5a", "."),
        ("b 21", "5a"),
        ("b a1 a5", "."),
        ("b a1", "a5"),
        ("b 4d0", "00"),
        ("b 4d1 2", "."),  # the SCI is a level
        ("b 4d1", "02"),
    ),
    "8042": (
        ("b 64 aa", "."),
        ("b 60", "55"),
        ("b 64 ab", "."),
        ("b 60", "00"),
        ("b 64 a9", "."),
        ("b 60", "00"),
        ("b 64 ad", "."),
        ("b 64 20", "."),
        ("b 60", "57"),
        ("b 64 60", "."),
        ("b 60 47", "."),
        ("b 64 20", "."),
        ("b 60", "47"),
        ("b 64 65", "."),  # a byte of its RAM
        ("b 60 12", "."),
        ("b 64 25", "."),
        ("b 60", "12"),
        ("b 64 d0", "."),
        ("b 60", "03"),
        ("b 64 d2", "."),
        ("b 60 99", "."),
        ("b 64", "15"),  # full, and not the mouse's
        ("b 60", "99"),
        ("b 64 d3", "."),
        ("b 60 77", "."),
        ("b 64", "35"),
        ("b 60", "77"),
        ("b 64 c0", "."),
        ("b 60", "00"),
    ),
    "keyboard": (
        ("b 64 60", "."),
        ("b 60 4", "."),  # no translation, no interrupts
        ("b 60 ee", "."),
        ("b 60", "ee"),
        ("b 60 f2", "."),
        ("b 60", "fa"),
        ("b 60", "ab"),
        ("b 60", "83"),
        ("b 60 ff", "."),
        ("b 60", "fa"),
        ("b 60", "aa"),
        ("b 60 ed", "."),
        ("b 60", "fa"),
        ("b 60 2", "."),
        ("b 60", "fa"),
        ("b 60 f4", "."),
        ("b 60", "fa"),
    ),
    "mouse": (
        ("b 64 d4", "."),
        ("b 60 ff", "."),
        ("b 64", "35"),
        ("b 60", "fa"),
        ("b 60", "aa"),
        ("b 60", "00"),
        ("b 64 d4", "."),
        ("b 60 f2", "."),
        ("b 60", "fa"),
        ("b 60", "00"),
        ("b 64 d4", "."),
        ("b 60 e9", "."),
        ("b 60", "fa"),
        ("b 60", "00"),
        ("b 60", "02"),
        ("b 60", "64"),
    ),
    "pirq router": (
        (lpc(0x60), "."),
        ("l cfc", "80808080"),  # no device has a pin here
        ("b cfc b", "."),
        ("b cfc", "0b"),
        ("b cfc ff", "."),
        ("b cfc", "8f"),
        (lpc(0x68), "."),
        ("l cfc", "80808080"),
        ("b cff 5", "."),
        ("l cfc", "05808080"),
        (lpc(0x64), "."),  # between the two groups
        ("l cfc ffffffff", "."),
        ("l cfc", "00000000"),
        (lpc(0), "."),
        ("l cfc", "70008086"),
        ("L e00f8000", "70008086"),  # ECAM: bus 0, slot 31
        ("L e00f8060", "8080808f"),
    ),
    "ioapic": (
        ("L fec00000 1", "."),
        ("L fec00010", "001f0011"),  # 32 pins, version 0x11
        ("L fec00000 0", "."),
        ("L fec00010", "00000000"),
        ("L fec00000 10", "."),
        ("L fec00010", "00010000"),  # masked
    ),
    "local apic": (
        ("L fee00020", "00000000"),
        ("L fee00080", "00000000"),
        ("L fee00350", "00000700"),  # LINT0: the 8259s
    ),
    "hpet": (
        ("L fed00000", "80860701"),
        ("L fed00004", "038d7ea4"),  # 10^15 / 2^24 fs
        ("L fed00104", "ff000000"),  # pins 24 to 31
    ),
    "rtc": (
        ("b 70 34", "."),
        ("b 71", "00"),  # (64 - 16) MB / 64 KB = 0x300
        ("b 70 35", "."),
        ("b 71", "03"),
        ("b 70 5b", "."),
        ("b 71", "00"),
        ("b 70 7f", "."),
        ("b 71 a5", "."),
        ("b 71", "a5"),
        ("b 70 d", "."),
        ("b 71", "80"),  # the battery is well
        ("b 70 32", "."),
        ("b 71", "20"),  # the century
    ),
    "com2": (
        ("b 2fe", "a0"),  # DCD and DSR, always
        ("b 2ff 5a", "."),
        ("b 2ff", "5a"),
        ("b 2fb 80", "."),
        ("w 2f8", "000c"),  # 9600 at 1.8432 MHz
        ("b 2fb 3", "."),
        ("b 2fa", "01"),
        ("b 2fa 1", "."),
        ("b 2fa", "c1"),  # with FIFOs
        ("b 2fd", "60"),
        ("b 2fc 1b", "."),  # loopback: OUT2, RTS, DTR
        ("b 2fe", "b1"),  # CTS has changed
        ("b 2f8 42", "."),
        ("b 2fd", "61"),
        ("b 2f8", "42"),
        ("b 2fd", "60"),
    ),
}


@pytest.fixture
def machine(vm_dir: Path, backend: str) -> Iterator[Machine]:
    with Machine(vm_dir, backend=backend) as made:
        made.load("-m", "64M", "--kernel", str(own_guest("ports")))
        made.start("-m", "64M", "-u")
        made.expect("READY", 60)
        yield made


def ask(machine: Machine, access: str) -> str:
    """Have the guest do one access; return its answer."""
    machine.send(access + "\n")
    return machine.expect(r"\n?([0-9a-f]+|\.)\r?\n", 20)[1]


def test_accesses_one_by_one(machine: Machine) -> None:
    wrong = []
    for name, rows in TABLE.items():
        for access, want in rows:
            got = ask(machine, access)
            if got != want:
                wrong.append(f"{name}: {access}: {got}, not {want}")
    assert not wrong, "\n".join(wrong)


#: A write that ends the machine -> bhyve's status.
ENDS = {
    "b cf9 4": 0,
    "b cf9 6": 0,
    "b 92 1": 0,
    "b 64 fe": 0,
    "w 404 3400": 1,
}


@pytest.mark.parametrize("access", ENDS)
def test_writes_that_end_it(machine: Machine, access: str) -> None:
    machine.send(access + "\n")
    assert machine.wait() == ENDS[access]


def test_the_power_button_and_the_sci(machine: Machine) -> None:
    """SIGTERM sets the status bit once ACPI is on; the SCI is level 9, low."""
    ask(machine, "b b2 a0")
    machine.signal(signal.SIGTERM)
    while ask(machine, "w 400") == "0000":
        pass
    assert ask(machine, "w 400") == "0100"
    ask(machine, "b 20 a")  # read the IRR
    assert ask(machine, "b a0 a") == "."
    assert int(ask(machine, "b a0"), 16) & 2 == 0
    ask(machine, "w 402 100")
    assert int(ask(machine, "b a0"), 16) & 2 == 2
    ask(machine, "w 400 100")
    assert ask(machine, "w 400") == "0000"
    assert int(ask(machine, "b a0"), 16) & 2 == 0


#: Conversations by fwctl, which is there with firmware.
FWCTL: Rows = (
    ("l 510", "ffffffff"),  # nobody has asked who it is
    ("w 510 1", "."),
    ("b 511", "ff"),
    ("w 510 0", "."),
    *(("b 511", letter.hex()) for letter in (b"B", b"H", b"Y", b"V")),
    # NULL; then ECHO of five bytes; then the length of hw.ncpu, and hw.ncpu.
    *((f"l 510 {word}", ".") for word in ("c", "1", "77")),
    *(("l 510", f"{word:08x}") for word in (16, 1, 0x77, 0)),
    *((f"l 510 {word}", ".") for word in ("11", "2", "5", "64636261", "65")),
    *(("l 510", f"{word:08x}") for word in (24, 2, 5, 0, 0x64636261, 0x65)),
    *((f"l 510 {word}", ".") for word in ("14", "4", "9", "6e2e7768", "757063")),
    *(("l 510", f"{word:08x}") for word in (24, 4, 9, 0, 4, 0)),
    *((f"l 510 {word}", ".") for word in ("14", "3", "a", "6e2e7768", "757063")),
    *(("l 510", f"{word:08x}") for word in (20, 3, 10, 0, 3)),
    # No such variable, and setting is not there.
    *((f"l 510 {word}", ".") for word in ("10", "3", "b", "78")),
    *(("l 510", f"{word:08x}") for word in (16, 3, 11, 2)),
    *((f"l 510 {word}", ".") for word in ("10", "5", "c", "78")),
    *(("l 510", f"{word:08x}") for word in (16, 5, 12, 2)),
    ("l 510", "ffffffff"),
    # Firmware gets its interrupt lines and BARs from nobody: they are as at reset.
    (lpc(0x60), "."),
    ("l cfc", "80808080"),
)


def test_firmware_has_fwctl(vm_dir: Path, backend: str, tmp_path: Path) -> None:
    with Machine(vm_dir, backend=backend) as made:
        rom = as_firmware("ports", tmp_path / "rom.fd")
        made.start("-c", "3", "-m", "64M", "-l", f"bootrom,{rom}")
        made.expect("READY", 60)
        wrong = [
            (n, access, got, want)
            for n, (access, want) in enumerate(FWCTL)
            if (got := ask(made, access)) != want
        ]
        assert not wrong


TESTDEV: Rows = (
    ("l e0 12345678", "."),
    ("b e1", "56"),
    ("w e2", "1234"),
    ("L ff00fffc a5a55a5a", "."),
    ("W ff00fffe", "a5a5"),
    ("b 20 a", "."),
    ("b 2005 1", "."),
    ("b 20", "20"),  # the 8259 has the request
    ("b 2005 0", "."),
    ("b 2005", "ff"),
)


def test_the_test_device(vm_dir: Path, backend: str) -> None:
    with Machine(vm_dir, backend=backend) as made:
        made.load("-m", "64M", "--kernel", str(own_guest("ports")))
        made.start("-m", "64M", "-l", "pc-testdev")
        made.expect("READY", 60)
        assert [ask(made, access) for access, _ in TESTDEV] == [
            want for _, want in TESTDEV
        ]
        made.send("b f4 15\n")
        assert made.wait() == 0x15 << 1 | 1


@pytest.mark.parametrize(
    ("host", "text"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")]
)
def test_a_serial_port_by_tcp(vm_dir: Path, host: str, text: str) -> None:
    """One client at a time; the next one is told, and finds room later."""
    try:
        with socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ) as probe:
            port = probe.getsockname()[1]
    except OSError as error:
        pytest.skip(f"{host}: {error}")
    with Machine(vm_dir) as made:
        made.load("-m", "64M", "--kernel", str(own_guest("ports")))
        made.start("-m", "64M", "-l", f"com2,tcp={text}:{port}")
        made.expect("READY", 60)
        with socket.create_connection((host, port), 20) as first:
            first.settimeout(20)
            first.sendall(b"Z")
            while ask(made, "b 2fd") != "61":
                pass
            assert ask(made, "b 2f8") == f"{ord('Z'):02x}"
            with socket.create_connection((host, port), 20) as second:
                second.settimeout(20)
                said = b"".join(iter(lambda: second.recv(100), b""))
                assert b"Socket already connected" in said
            ask(made, "b 2f8 41")
            assert first.recv(1) == b"A"
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.create_connection((host, port), 20) as third:
                third.settimeout(20)
                ask(made, "b 2f8 42")
                if third.recv(1) == b"B":
                    break
        else:
            pytest.fail("no room after the first has left")
        ask(made, "b b2 a1")
        made.send("w 404 3400\n")
        assert made.wait() == 1


BAD_PORTS = {
    "/dev/null": "uart: /dev/null is not a terminal device",
    "/nowhere": "uart: /nowhere: No such file or directory",
    "stdio": "uart: stdio is in use already",
    "tcp=1.2.3.4": 'uart: invalid address "tcp=1.2.3.4"',
    "tcp=[::1:5": "uart: tcp=[::1:5: ",
    "tcp=127.0.0.1:{busy}": "Address already in use",
    "socket,": "uart: ",
}


@pytest.mark.parametrize("backend", BAD_PORTS)
def test_serial_ports_that_cannot_be(vm_dir: Path, backend: str) -> None:
    with (
        Machine(vm_dir) as made,
        socket.create_server(("127.0.0.1", 0)) as busy,
    ):
        made.load("-m", "64M", "--kernel", str(own_guest("ports")))
        text = backend.format(busy=busy.getsockname()[1])
        lpc_ports = ("-l", "com1,stdio", "-l", f"com2,{text}")
        slots = ("-s", "0,hostbridge", "-s", "31,lpc")
        done = made.run("bhyve", "-m", "64M", *slots, *lpc_ports, made.name)
    assert done.returncode == 4
    assert BAD_PORTS[backend] in done.stderr
