"""Variables that make, change or leave out the guest's tables."""

import struct
from pathlib import Path

import pytest

from libvmmapi import VM
from support.bhyvecmd import start
from support.rom import write_rom

BASE = 0xF0000

#: Variable, its default, the type of the table and where the string's number is.
STRINGS: list[tuple[str, str, int, int]] = [
    ("bios.vendor", "BHYVE", 0, 4),
    ("bios.version", "14.0", 0, 5),
    ("bios.release_date", "10/17/2021", 0, 8),
    ("system.manufacturer", "FreeBSD", 1, 4),
    ("system.product_name", "BHYVE", 1, 5),
    ("system.version", "1.0", 1, 6),
    ("system.serial_number", "None", 1, 7),
    ("system.sku", "None", 1, 0x19),
    ("system.family_name", "Virtual Machine", 1, 0x1A),
    ("board.manufacturer", "FreeBSD", 2, 4),
    ("board.product_name", "BHYVE", 2, 5),
    ("board.version", "1.0", 2, 6),
    ("board.serial_number", "None", 2, 7),
    ("board.asset_tag", "None", 2, 8),
    ("board.location", "None", 2, 0xA),
    ("chassis.manufacturer", "FreeBSD", 3, 4),
    ("chassis.version", "1.0", 3, 6),
    ("chassis.serial_number", "None", 3, 7),
    ("chassis.asset_tag", "None", 3, 8),
    ("chassis.sku", "None", 3, 0x15),
]


def _memory(tmp_path: Path, *options: str) -> bytes:
    """Return 0xF0000 to 0xFFFFF as a machine had it that powered off at once."""
    rom = write_rom(tmp_path, "poweroff")
    done = start(tmp_path, "-m", "16M", "-l", rom, *options, "t")
    assert (done.status, done.err) == (1, "")
    with VM.open("t") as vm:
        return bytes(vm.map_gpa(BASE, 0x10000))


def _strings(memory: bytes) -> dict[str, str]:
    """Return what the SMBIOS tables say for each variable of STRINGS."""
    assert memory[0x1000:0x1004] == b"_SM_"
    (at,) = struct.unpack_from("<I", memory, 0x1018)
    at -= BASE
    found: dict[str, str] = {}
    while memory[at] != 127:
        kind, size = memory[at], memory[at + 1]
        end = memory.index(b"\0\0", at + size)
        texts = memory[at + size : end].decode().split("\0")
        for name, _, table, offset in STRINGS:
            if table == kind:
                number = memory[at + offset]
                found[name] = texts[number - 1] if number else ""
        at = end + 2
    return found


def test_smbios_strings_by_default(tmp_path: Path) -> None:
    want = {name: text for name, text, _, _ in STRINGS}
    assert _strings(_memory(tmp_path)) == want


def test_smbios_strings_by_variable(tmp_path: Path) -> None:
    want = {name: f"{name} of %(x)"[::-1] for name, *_ in STRINGS}
    options = [f"{name}={text}" for name, text in want.items()]
    words = [word for option in options for word in ("-o", option)]
    assert _strings(_memory(tmp_path, *words)) == want


def test_smbios_strings_in_illumos_dialect(tmp_path: Path) -> None:
    """What zadm writes, a percent sign in it."""
    text = "1,manufacturer=OmniOS,product=HVM,version=100%,serial=ds=x;s=http://h/%20"
    found = _strings(_memory(tmp_path, "-B", text, "-B", "3,asset=42"))
    assert found["system.manufacturer"] == "OmniOS"
    assert found["system.version"] == "100%"
    assert found["system.serial_number"] == "ds=x;s=http://h/%20"
    assert found["chassis.asset_tag"] == "42"


@pytest.mark.parametrize(
    ("options", "mptable", "acpi"),
    [
        ([], True, True),
        (["-A"], True, True),
        (["-Y"], False, True),
        (["-o", "x86.mptable=off"], False, True),
        (["-o", "acpi_tables=false"], True, False),
        (["-o", "acpi_tables_in_memory=0"], True, False),
    ],
)
def test_tables_can_be_left_out(
    tmp_path: Path, options: list[str], mptable: bool, acpi: bool
) -> None:
    memory = _memory(tmp_path, *options)
    assert (memory[:4] == b"_MP_") is mptable
    assert (memory[0x2400:0x2408] == b"RSD PTR ") is acpi


#: The memory map of 4 GB: what is above 3 GB stands at 4 GB.
MAP = """\
e820: [0000000000000000, 00000000000a0000) RAM
e820: [00000000000a0000, 00000000000c0000) reserved
e820: [00000000000c0000, 0000000000100000) reserved
e820: [0000000000100000, 00000000c0000000) RAM
e820: [00000000e0000000, 00000000f0000000) reserved
e820: [0000000100000000, 0000000140000000) RAM
"""


def test_memory_above_three_gigabytes_stands_at_four(tmp_path: Path) -> None:
    rom = write_rom(tmp_path, "poweroff")
    done = start(tmp_path, "-m", "4G", "-o", "e820.debug=on", "-l", rom, "t")
    if "of guest memory do not fit" in done.err:
        pytest.skip("this host has no such memory to give at the moment")
    assert (done.status, done.err) == (1, MAP)
    with VM.open("t") as vm:
        assert (vm.lowmem_size, vm.highmem_size) == (3 << 30, 1 << 30)
        assert len(vm.map_gpa((4 << 30) + (1 << 30) - 4096, 4096)) == 4096
