"""Firmware tables as a running guest has them in its memory."""

import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.machine import Machine
from support.ownguests import own_guest

BASE = 0xF0000
CPUS = 3


def checksum(data: bytes) -> int:
    return sum(data) & 0xFF


@pytest.fixture(scope="module")
def rom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """Guest memory from 0xF0000 to 0xFFFFF of a running machine."""
    from libvmmapi import VM

    root = tmp_path_factory.mktemp("vmm")
    with Machine(root) as machine, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMM_DIR", str(root))
        machine.load("-m", "64M", "--kernel", str(own_guest("monitor")))
        uuid = "12345678-9abc-def0-1122-334455667788"
        machine.start(
            *("-c", f"{CPUS},sockets=1,cores={CPUS}", "-m", "64M", "-U", uuid),
            *("-o", "system.product_name=Test Product"),
        )
        machine.expect("monitor> ")
        with VM.open(machine.name) as vm:
            yield bytes(vm.map_gpa(BASE, 0x10000))


def acpi_tables(rom: bytes) -> dict[str, bytes]:
    """Return every ACPI table by signature, found from the RSDP."""
    rsdp = rom[0x2400:0x2424]
    assert rsdp[:8] == b"RSD PTR "
    assert checksum(rsdp[:20]) == 0
    assert checksum(rsdp) == 0
    found = {}

    def table(at: int) -> bytes:
        at -= BASE
        return rom[at : at + struct.unpack_from("<I", rom, at + 4)[0]]

    (xsdt_at,) = struct.unpack_from("<Q", rsdp, 24)
    xsdt = table(xsdt_at)
    for (address,) in struct.iter_unpack("<Q", xsdt[36:]):
        one = table(address)
        found[one[:4].decode()] = one
    facp = found["FACP"]
    found["DSDT"] = table(struct.unpack_from("<Q", facp, 140)[0])
    found["FACS"] = table(struct.unpack_from("<I", facp, 36)[0])
    found["XSDT"] = xsdt
    return found


def test_acpi_checksums_and_set(rom: bytes) -> None:
    tables = acpi_tables(rom)
    want = {"FACP", "APIC", "HPET", "MCFG", "SPCR", "DSDT", "FACS", "XSDT"}
    assert set(tables) == want
    for name, table in tables.items():
        if name != "FACS":
            assert checksum(table) == 0, name
            assert table[10:16] == b"BHYVE ", name


def test_iasl_takes_all_tables_back(rom: bytes, tmp_path: Path) -> None:
    if shutil.which("iasl") is None:
        pytest.skip("no iasl here (Debian: acpica-tools)")
    for name, table in acpi_tables(rom).items():
        if name == "XSDT":
            continue  # iasl has no compiler for it: tests above read it
        (tmp_path / f"{name}.dat").write_bytes(table)
        for argv in (["iasl", "-d", f"{name}.dat"], ["iasl", "-we", f"{name}.dsl"]):
            done = subprocess.run(
                argv, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            text = done.stdout + done.stderr
            assert done.returncode == 0, text
            assert not re.search(r"[1-9]\d* (Errors|Warnings)", text), text


def test_madt_lists_the_processors(rom: bytes) -> None:
    madt = acpi_tables(rom)["APIC"]
    at, lapics = 44, []
    while at < len(madt):
        if madt[at] == 0:
            lapics.append((madt[at + 2], madt[at + 3], madt[at + 4] & 1))
        at += madt[at + 1]
    assert lapics == [(i, i, 1) for i in range(CPUS)]


def test_mp_table(rom: bytes) -> None:
    assert rom[:4] == b"_MP_"
    assert checksum(rom[:16]) == 0
    at = struct.unpack_from("<I", rom, 4)[0] - BASE
    size = struct.unpack_from("<H", rom, at + 4)[0]
    table = rom[at : at + size]
    assert table[:4] == b"PCMP"
    assert checksum(table) == 0
    assert table[8:28] == b"BHyVe   Hypervisor  "
    at, rows = 44, []
    while at < size:
        length = 20 if table[at] == 0 else 8
        rows.append(table[at : at + length])
        at += length
    assert len(rows) == struct.unpack_from("<H", table, 34)[0]
    cpus = [row[1] for row in rows if row[0] == 0]
    assert cpus == list(range(CPUS))
    assert {row[2] for row in rows if row[0] == 0} == {0x10}
    # The IOAPIC has an ID of its own, and all pins are its.
    (ioapic,) = [row[1] for row in rows if row[0] == 2]
    assert ioapic not in cpus
    pins = [row for row in rows if row[0] == 3]
    assert len(pins) >= 15
    assert {row[6] for row in pins} == {ioapic}


def test_dmidecode_reads_the_smbios(rom: bytes, tmp_path: Path) -> None:
    entry = bytearray(rom[0x1000:0x101F])
    assert entry[:4] == b"_SM_"
    assert checksum(entry) == 0
    assert checksum(entry[16:31]) == 0
    if shutil.which("dmidecode") is None:
        pytest.skip("no dmidecode here")
    # dmidecode's dump: the entry point at 0, the table at 0x20.
    size, address = struct.unpack_from("<HI", entry, 22)
    struct.pack_into("<I", entry, 24, 0x20)
    entry[21] = entry[21] - checksum(entry[16:31]) & 0xFF
    entry[4] = entry[4] - checksum(entry) & 0xFF
    dump = bytes(entry).ljust(0x20, b"\0") + rom[address - BASE :][:size]
    (tmp_path / "dump").write_bytes(dump)
    done = subprocess.run(
        ["dmidecode", "--from-dump", "dump"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    text = done.stdout + done.stderr
    for line in (
        "Vendor: BHYVE",
        "Product Name: Test Product",
        "UUID: 12345678-9abc-def0-1122-334455667788",
        f"Core Count: {CPUS}",
        "Size: 64 MB",
        "End Of Table",
    ):
        assert line in text, text
    assert not re.search("invalid|broken|<BAD|truncated", text, re.I), text


def test_a_uuid_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    import socket
    import uuid

    from libvmmapi import VM

    monkeypatch.setenv("VMM_DIR", str(tmp_path))
    with Machine(tmp_path, name="alpha") as machine:
        machine.load("-m", "64M", "--kernel", str(own_guest("monitor")))
        machine.start("-m", "64M")
        machine.expect("monitor> ")
        with VM.open("alpha") as vm:
            table = bytes(vm.map_gpa(0xF1000, 0x1000))
    digest = hashlib.md5(("alpha" + socket.gethostname()).encode()).digest()
    assert uuid.UUID(bytes=digest, version=3).bytes_le in table
