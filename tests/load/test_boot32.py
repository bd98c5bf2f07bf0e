"""The same for i386: flat protected mode, old boot words, four-byte metadata."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bhyveload_py import kernelelf, modmeta
from bhyveload_py.errors import LoadError
from support.machine import Machine
from support.tools import Tool


@pytest.fixture
def machine(vm_dir: Path) -> Iterator[Machine]:
    with Machine(vm_dir) as made:
        yield made


@pytest.fixture
def tree32(tree: Path, fbsd32_files: Path) -> Path:
    for name in ("kernel", "first.ko", "bad.ko"):
        shutil.copy(fbsd32_files / name, tree / "boot" / "kernel")
    return tree


def boot(machine: Machine, *args: str) -> str:
    machine.load("-m", "64M", *args)
    machine.start("-m", "64M")
    machine.expect("PASS|FAIL [0-9a-f]+", timeout=60)
    assert machine.wait() == 1, machine.output
    assert "PASS" in machine.output, machine.output
    return machine.output.replace("\r", "")


def fields(text: str, label: str) -> list[str]:
    return re.findall(rf"^{re.escape(label)} (.*)$", text, re.MULTILINE)


def test_what_an_i386_kernel_finds(machine: Machine, tree32: Path) -> None:
    text = boot(machine, "-h", str(tree32), "-e", "boot_verbose=YES")
    assert fields(text, "howto") == ["80001800"]
    assert fields(text, "kernelname") == ["/boot/kernel/kernel"]
    assert fields(text, "extmem") == [f"{63 << 10:x}"]
    assert int(fields(text, "cr0")[0], 16) & ~0x10 == 0x21
    assert fields(text, "cr4") == ["0"]
    assert fields(text, "cs") == ["8"]
    assert fields(text, "tr") == ["18"]
    assert fields(text, "type") == ["elf kernel", "elf module", "md_image"]
    assert fields(text, "addr")[0] == "400000"
    assert fields(text, "smap") == ["0 a0000", "100000 3f00000"]
    assert "kern.test=a value" in fields(text, "env")
    assert "8007 = 1800" in fields(text, "md")
    kinds = {row.split(" ")[0] for row in fields(text, "md")}
    assert kinds >= {"8002", "8003", "8004", "8005", "8006", "8008", "8009"}


def test_an_i386_kernel_alone(machine: Machine, fbsd32_files: Path) -> None:
    text = boot(machine, "--kernel", str(fbsd32_files / "kernel"), "--cmdline", "a=b")
    assert "a=b" in fields(text, "env")


def test_a_module_of_the_other_kind(tool: Tool, tree32: Path, fbsd_files: Path) -> None:
    shutil.copy(fbsd_files / "module.ko", tree32 / "boot" / "kernel" / "first.ko")
    done = tool("bhyveload", "-m", "64M", "-h", str(tree32), "g")
    assert done.status == 0
    assert "first.ko: for amd64, unlike the kernel" in done.out
    assert tool("bhyvectl", "--vm=g", "--destroy").status == 0


def test_metadata_of_i386_files(fbsd32_files: Path) -> None:
    kernel = modmeta.read((fbsd32_files / "kernel").read_bytes(), "k")
    assert kernel.provides == {"inside": 7}
    module = modmeta.read((fbsd32_files / "first.ko").read_bytes(), "m")
    assert module.provides == {"first": 1}
    assert [tuple(need) for need in module.needs] == [("inside", 7, 7, 7)]


def test_damaged_i386_files(fbsd32_files: Path) -> None:
    kernel = (fbsd32_files / "kernel").read_bytes()
    module = (fbsd32_files / "first.ko").read_bytes()
    for blob, load in ((kernel, kernelelf.load_kernel), (module, None)):
        for at in range(24, 52 + 3 * 32):
            for wild in (b"\xff\xff\xff\xff", b"\0", b"\x80"):
                wrong = blob[:at] + wild + blob[at + len(wild) :]
                try:
                    if load is not None:
                        file = load(wrong, "k", 64 << 20)
                    else:
                        file = kernelelf.load_module(wrong, "m", 8 << 20, 64 << 20)
                except LoadError:
                    continue
                for addr, data, size in file.pieces:
                    assert 1 << 20 <= addr <= addr + max(len(data), size) <= 64 << 20
