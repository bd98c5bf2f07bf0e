"""NUMA domains: what is refused, the warning, and the tables of a machine."""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.machine import Machine
from support.tools import Tool

#: A ROM of one page: HLT at the reset vector, interrupts off.
ROM = bytes(0xFF0) + b"\xf4\xeb\xfd" + bytes(13)
MB = 1 << 20
GB = 1 << 30


@pytest.fixture
def rom(tmp_path: Path) -> str:
    path = tmp_path / "rom"
    path.write_bytes(ROM)
    return f"bootrom,{path}"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            ("-n", "id=0,size=64M,cpus=0"),
            "bhyve: NUMA domains (-n) need a boot ROM (-l bootrom)",
        ),
        (
            ("ROM", "-n", "id=0,size=64M", "-o", "acpi_tables=false"),
            "bhyve: NUMA domains (-n) need ACPI tables (acpi_tables)",
        ),
        (
            ("ROM", "-n", "id=0,size=64M,cpus=2"),
            "bhyve: domains.0.cpus: the machine has vCPUs 0 to 1",
        ),
        (
            ("ROM", "-n", "id=0,size=1M,cpus=0", "-n", "id=1,size=1M,cpus=0-1"),
            "bhyve: domains.1.cpus: another domain has vCPU 0",
        ),
        (
            ("ROM", "-o", "domains.x.size=1M"),
            "bhyve: domains.x: domains have numbers from 0 to 255",
        ),
        (
            ("ROM", "-o", "domains.1.size=12345678"),
            "bhyve: domains.1.size: '12345678' is no size in whole pages",
        ),
        (
            ("ROM", "-n", "id=0,size=1M,domain_policy=best:0"),
            "bhyve: domains.0.domain_policy: 'best:0' is no first-touch, round-robin "
            "or prefer with host nodes",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    tool: Tool, rom: str, vm_dir: Path, args: tuple[str, ...], line: str
) -> None:
    words = [word for arg in args for word in (("-l", rom) if arg == "ROM" else (arg,))]
    done = tool("bhyve", "-c", "2", "-s", "0,hostbridge", "-s", "31,lpc", *words, "t")
    assert (done.status, done.err) == (4, line + "\n")
    assert not (vm_dir / "t").exists()


def tables(memory: bytes) -> dict[str, bytes]:
    """Return the ACPI tables of 0xF0000 to 0xFFFFF by signature."""

    def table(at: int) -> bytes:
        at -= 0xF0000
        return memory[at : at + struct.unpack_from("<I", memory, at + 4)[0]]

    xsdt = table(struct.unpack_from("<Q", memory, 0x2400 + 24)[0])
    found = [table(at) for (at,) in struct.iter_unpack("<Q", xsdt[36:])]
    return {one[:4].decode(): one for one in found}


@pytest.fixture
def machine(tmp_path: Path, vm_dir: Path) -> Iterator[Machine]:
    with Machine(vm_dir) as made:
        yield made


def read(machine: Machine) -> dict[str, bytes]:
    """Return the tables of a machine that has come up."""
    from libvmmapi import VM

    machine.wait(30)  # it halts at once
    if "of guest memory do not fit" in machine.output:
        pytest.skip("this host has no such memory to give at the moment")
    with VM.open(machine.name) as vm:
        return tables(bytes(vm.map_gpa(0xF0000, 0x10000)))


def ranges(srat: bytes) -> list[tuple[int, int, int]]:
    """Return (domain, base, size) of each part of memory."""
    found, at = [], 48
    while at < len(srat):
        if srat[at] == 1:
            (domain,) = struct.unpack_from("<I", srat, at + 2)
            found.append((domain, *struct.unpack_from("<QQ", srat, at + 8)))
        at += srat[at + 1]
    return found


def test_the_tables(machine: Machine, rom: str, tmp_path: Path) -> None:
    machine.start(
        *("-c", "3", "-l", rom, "-n", "id=5,size=64M,cpus=1"),
        *("-n", "id=2,size=32M,cpus=0,domain_policy=rr:0"),
    )
    found = read(machine)
    srat, slit = found["SRAT"], found["SLIT"]
    assert ranges(srat) == [(2, 0, 32 * MB), (5, 32 * MB, 64 * MB)]
    cpus = [(srat[at + 2], srat[at + 3]) for at in (48, 64, 80)]
    assert cpus == [(2, 0), (2, 2), (5, 1)]
    assert struct.unpack_from("<Q", slit, 36)[0] == 6
    assert slit[44 + 2 * 6 + 5] == 20
    assert slit[44 + 5 * 6 + 5] == 10
    if shutil.which("iasl") is None:
        return
    for name in ("SRAT", "SLIT"):
        (tmp_path / f"{name}.dat").write_bytes(found[name])
        for argv in (["iasl", "-d", f"{name}.dat"], ["iasl", "-we", f"{name}.dsl"]):
            subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)


def test_without_sizes_memory_is_divided(machine: Machine, rom: str) -> None:
    machine.start(
        *("-c", "2", "-m", "4G", "-l", rom),
        *("-n", "id=0,cpus=0", "-n", "id=1,size=1G,cpus=1"),
    )
    srat = read(machine)["SRAT"]
    # The second domain's memory goes around the hole below 4 GB.
    assert ranges(srat) == [(0, 0, 2 * GB), (1, 2 * GB, GB), (1, 4 * GB, GB)]
    assert (
        "Warning: a NUMA domain has no size: each of the 2 gets 2048 MB"
        in machine.output
    )
