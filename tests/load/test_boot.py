"""A FreeBSD-like kernel finds what its loader owes it, from every medium."""

import gzip
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import diskimages
from support.machine import Machine
from support.tools import Tool

Image = Callable[[str, Path], Path]


@pytest.fixture
def machine(vm_dir: Path) -> Iterator[Machine]:
    with Machine(vm_dir) as made:
        yield made


def report(machine: Machine, *args: str, memory: str = "64M") -> str:
    """Load, run, and return what the kernel printed up to PASS."""
    machine.load("-m", memory, *args)
    machine.start("-m", memory)
    machine.expect("PASS|FAIL [0-9a-f]+", timeout=60)
    assert machine.wait() == 1, machine.output
    assert "PASS" in machine.output, machine.output
    return machine.output.replace("\r", "")


def fields(text: str, label: str) -> list[str]:
    """Return the values of all lines that begin with `label`."""
    return re.findall(rf"^{re.escape(label)} (.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("kind", diskimages.KINDS)
def test_from_every_file_system(
    machine: Machine, image: Image, tree: Path, kind: str
) -> None:
    text = report(machine, "-d", str(image(kind, tree)))
    assert fields(text, "name") == [
        "/boot/kernel/kernel",
        "/boot/kernel/first.ko",
        "/boot/disk.img",
    ]
    assert fields(text, "type") == ["elf kernel", "elf obj module", "md_image"]
    assert "currdev=disk0:" in fields(text, "env")


def test_from_a_folder(machine: Machine, tree: Path) -> None:
    text = report(machine, "-h", str(tree))
    env = fields(text, "env")
    assert "currdev=host0:" in env
    assert "kern.test=a value" in env
    assert "hint.uart.0.port=0x3F8" in env
    assert "vfs.root.mountfrom=ufs:/dev/vtbd0p2" in env
    assert "boot_serial=1" in env
    assert "smbios.bios.vendor=BHYVE" in env
    assert not any(row.startswith("first_load") for row in env)


def test_the_registers_and_the_metadata(machine: Machine, tree: Path) -> None:
    text = report(machine, "-h", str(tree), "-e", "boot_verbose=YES")
    assert int(fields(text, "cr0")[0], 16) & ~0x10 == 0x80000021
    assert fields(text, "cr3") == ["2000"]
    assert fields(text, "cr4") == ["20"]
    assert fields(text, "efer") == ["500"]
    assert fields(text, "cs") == ["8"]
    assert fields(text, "addr")[0] == "200000"
    assert fields(text, "data")[1:] == ["31656c75646f6d", "6b736964"]
    assert "8007 = 1800" in fields(text, "md")
    assert fields(text, "smap") == ["0 a0000 1", "100000 3f00000 1"]
    # Symbols, ELF header, sections, environment, end.
    kinds = {row.split(" ")[0] for row in fields(text, "md")}
    assert kinds >= {"8002", "8003", "8004", "8006", "8008", "8009"}


def test_memory_above_four_gigabytes(machine: Machine, tree: Path) -> None:
    done = machine.run("bhyveload", "-m", "3200M", "-h", str(tree), machine.name)
    if "do not fit" in done.stderr:
        pytest.skip(done.stderr.strip())
    text = report(machine, "-h", str(tree), memory="3200M")
    assert fields(text, "smap")[1:] == ["100000 bff00000 1", "100000000 8000000 1"]


def test_the_first_of_two_values_counts(machine: Machine, tree: Path) -> None:
    text = report(
        machine, "-h", str(tree), "-e", "a=1", "-e", "a=2", "-e", "boot_serial=NO"
    )
    env = fields(text, "env")
    assert "a=1" in env
    assert "boot_serial=NO" in env
    assert "8007 = 0" in fields(text, "md")


def test_a_packed_kernel_and_a_packed_disk(machine: Machine, tree: Path) -> None:
    for path in (tree / "boot/kernel/kernel", tree / "boot/disk.img"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    text = report(machine, "-h", str(tree))
    assert fields(text, "name")[0] == "/boot/kernel/kernel"
    assert fields(text, "size")[2] == f"{8000:x}"


@pytest.mark.parametrize("table", ["gpt", "mbr", "label"])
def test_from_a_partition(
    machine: Machine, image: Image, tree: Path, tmp_path: Path, table: str
) -> None:
    blob = image("ufs2", tree).read_bytes()
    sectors = len(blob) // 512
    total = 4096 + sectors
    if table == "gpt":
        rows = [
            ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", 40, 50),
            (diskimages.UFS_GUID, 2048, 2047 + sectors),
        ]
        disk, name = diskimages.gpt(rows, total), "disk0p2"
    else:
        disk, name = diskimages.mbr([(0xA5, 63, total - 63)], total), "disk0s1"
        if table == "label":
            rows = [(sectors, 1985, 7), (8, 8, 1), (total - 63, 0, 0)]
            diskimages.put_label(disk, 63, rows)
            name += "a"
    where = 63 if table == "mbr" else 2048
    path = tmp_path / "disk"
    path.write_bytes(diskimages.put(disk, where, blob)[: total * 512])
    text = report(machine, "-d", str(path))
    assert f"currdev={name}:" in fields(text, "env")


def test_a_second_disk_is_found(machine: Machine, tree: Path, image: Image) -> None:
    disk = image("ufs2", tree)
    empty = disk.with_name("empty")
    empty.write_bytes(bytes(1 << 20))
    text = report(machine, "-d", str(empty), "-d", str(disk))
    assert "currdev=disk1:" in fields(text, "env")


def test_the_kernel_alone(machine: Machine, tree: Path) -> None:
    kernel = tree / "boot/kernel/kernel"
    data = bytearray(kernel.read_bytes())
    data[7] = 9  # FreeBSD's mark
    kernel.write_bytes(data)
    text = report(
        machine, "--kernel", str(kernel), "--cmdline", "-v a=b", "--initrd",
        str(tree / "boot/disk.img"),
    )  # fmt: skip
    assert "a=b" in fields(text, "env")
    assert "8007 = 1800" in fields(text, "md")
    assert fields(text, "type") == ["elf kernel", "md_image"]


def test_a_missing_module_is_no_obstacle(machine: Machine, tree: Path) -> None:
    (tree / "boot/kernel/first.ko").unlink()
    text = report(machine, "-h", str(tree))
    assert fields(text, "type") == ["elf kernel", "md_image"]


def test_loading_again_replaces_the_kernel(tool: Tool, tree: Path) -> None:
    for _ in range(2):
        done = tool("bhyveload", "-m", "64M", "-h", str(tree), "again")
        assert done.status == 0, done.err
    assert tool("bhyvectl", "--vm=again", "--destroy").status == 0


def test_a_failed_load_leaves_a_vm_as_it_was(
    tool: Tool, tree: Path, vm_dir: Path
) -> None:
    done = tool("bhyveload", "-m", "64M", "-h", str(tree), "kept")
    assert done.status == 0, done.err
    before = tool("bhyvectl", "--vm=kept", "--get-rip", "--get-cr3").out
    shutil.rmtree(tree / "boot" / "kernel")
    done = tool("bhyveload", "-m", "64M", "-h", str(tree), "kept")
    assert done.status == 1
    assert len(done.err.strip().splitlines()) == 1
    assert tool("bhyvectl", "--vm=kept", "--get-rip", "--get-cr3").out == before
    done = tool("bhyveload", "-h", str(tree), "other")
    assert done.status == 1
    assert not (vm_dir / "other").exists()
    assert tool("bhyvectl", "--vm=kept", "--destroy").status == 0


def test_modules_bring_what_they_need(
    machine: Machine, tree: Path, fbsd_files: Path
) -> None:
    for name in ("second", "third", "fourth", "fifth", "ping", "pong"):
        shutil.copy(fbsd_files / f"{name}.ko", tree / "boot" / "kernel")
    (tree / "boot/loader.conf").write_text(
        'autoboot_delay="0"\nthird_load="YES"\nfourth_load="YES"\n'
        'fifth_load="YES"\nping_load="YES"\n'
    )
    text = report(machine, "-h", str(tree))
    names = [Path(name).stem for name in fields(text, "name")]
    assert names == ["kernel", "third", "second", "first", "fifth", "ping", "pong"]


def test_modules_are_found_by_the_hints_and_fit(
    machine: Machine, tree: Path, fbsd_files: Path
) -> None:
    folder = tree / "boot" / "kernel"
    (folder / "first.ko").rename(folder / "one.ko")
    for name in ("second", "late"):
        shutil.copy(fbsd_files / f"{name}.ko", folder)
    row = struct.pack("<i", 3) + b"\5first" + b"\0\0" + struct.pack("<i", 1)
    row += b"\6one.ko" + b"\0"
    hints = struct.pack("<ii", 1, len(row)) + row
    (folder / "linker.hints").write_bytes(hints)
    (tree / "boot/loader.conf").write_text(
        'autoboot_delay="0"\nsecond_load="YES"\nlate_load="YES"\n'
    )
    done = machine.run("bhyveload", "-m", "64M", "-h", str(tree), machine.name)
    assert "late.ko needs first in version 2 to 3; here it is 1" in done.stdout
    text = report(machine, "-h", str(tree))
    names = [Path(name).stem for name in fields(text, "name")]
    assert names == ["kernel", "second", "one"]


def test_from_a_disk_with_large_sectors(
    machine: Machine, image: Image, tree: Path, tmp_path: Path
) -> None:
    blob = image("ufs2", tree).read_bytes()
    sectors = -(-len(blob) // 4096)
    disk = diskimages.gpt(
        [(diskimages.UFS_GUID, 256, 255 + sectors)], 512 + sectors, 4096
    )
    path = tmp_path / "disk"
    path.write_bytes(diskimages.put(disk, 256 * 8, blob)[: len(disk)])
    text = report(machine, "-d", str(path))
    assert "currdev=disk0p1:" in fields(text, "env")
