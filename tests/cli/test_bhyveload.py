"""bhyveload: kinds of kernels, and bad input: one line, status, nothing left."""

import gzip
import struct
from pathlib import Path

import pytest

from libvmmapi import VM, Prot, Reg
from support.ownguests import own_guest
from support.tools import Tool


def bzimage(setup_sects: int = 1, payload: bytes = b"\xf4" * 512) -> bytearray:
    """Return a small image that carries Linux' boot protocol header."""
    image = bytearray((setup_sects + 1) * 512) + payload
    image[0x1F1] = setup_sects
    struct.pack_into("<I", image, 0x1F4, len(payload) // 16)
    struct.pack_into("<H", image, 0x1FE, 0xAA55)
    image[0x201] = 0x66
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x020C)
    image[0x211] = 1
    struct.pack_into("<I", image, 0x22C, 0x7FFFFFFF)
    struct.pack_into("<I", image, 0x230, 0x200000)
    image[0x234] = 1
    struct.pack_into("<H", image, 0x236, 1)
    struct.pack_into("<I", image, 0x238, 255)
    struct.pack_into("<Q", image, 0x258, 0x1000000)
    struct.pack_into("<I", image, 0x260, 0x10000)
    return image


def elf64(paddr: int = 0x100000, memsz: int = 4096, offset: int = 0x78) -> bytes:
    """Return an ELF64 kernel of one segment holding a HLT."""
    head = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, paddr, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 1, 5, offset, paddr, paddr, 1, memsz, 4096)
    return head + b"\xf4"


@pytest.fixture
def bad(tool: Tool, vm_dir: Path, tmp_path: Path):
    """Load a damaged kernel; return the one line after checking the rest."""

    def run(image: bytes, *args: str, status: int = 1) -> str:
        (tmp_path / "kernel").write_bytes(image)
        done = tool("bhyveload", *args, "--kernel", "kernel", "t")
        assert done.status == status, done.err
        lines = done.err.strip().splitlines()
        assert len(lines) == 1, done.err
        assert lines[0].startswith("bhyveload: ")
        assert not (vm_dir / "t").exists()
        return lines[0]

    return run


def test_a_truncated_bzimage(bad) -> None:
    assert "truncated" in bad(bytes(bzimage())[:1100])


def test_an_old_boot_protocol(bad) -> None:
    image = bzimage()
    struct.pack_into("<H", image, 0x206, 0x0202)
    assert "2.02" in bad(bytes(image))


def test_a_kernel_larger_than_the_vm(bad) -> None:
    image = bzimage()
    struct.pack_into("<I", image, 0x260, 1 << 30)
    assert "MiB" in bad(bytes(image), "-m", "64M")


@pytest.mark.parametrize(
    "image",
    [
        elf64(paddr=0xFFFF_FFFF_FFFF_F000),
        elf64(paddr=1 << 40),
        elf64(memsz=1 << 62),
        elf64(offset=1 << 62),
        elf64()[:80],
        b"\x7fELF" + b"\xff" * 200,
        b"\x7fELF",
        struct.pack("<III", 0x1BADB002, 1 << 16, -(0x1BADB002 + (1 << 16)) & 0xFFFFFFFF)
        + b"\xff" * 64,
        b"not a kernel" * 100,
        b"\x1f\x8b" + b"\0" * 100,
        gzip.compress(b"still no kernel" * 100),
    ],
)
def test_wild_images(bad, image: bytes) -> None:
    bad(image)


def test_empty_and_missing_files(bad, tool: Tool) -> None:
    assert "empty" in bad(b"")
    done = tool("bhyveload", "--kernel", "/nonexistent", "t")
    assert done.status == 1
    assert "/nonexistent" in done.err


@pytest.mark.parametrize("size", ["0", "-1", "1Q", "", "12x"])
def test_bad_memory_sizes(bad, size: str) -> None:
    assert size in bad(bytes(bzimage()), "-m", size, status=64)


def test_more_memory_than_there_is(bad) -> None:
    bad(bytes(bzimage()), "-m", "64T")


@pytest.mark.parametrize("name", ["a/b", "..", ".", "x" * 300, "a\nb"])
def test_bad_names(tool: Tool, vm_dir: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "kernel").write_bytes(bytes(bzimage()))
    done = tool("bhyveload", "--kernel", "kernel", name)
    assert done.status == 1
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert not list(vm_dir.iterdir())


def test_a_missing_root_of_vms(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VMM_DIR", str(tmp_path / "file" / "vmm"))
    (tmp_path / "kernel").write_bytes(bytes(bzimage()))
    done = tool("bhyveload", "--kernel", "kernel", "t")
    assert done.status == 1
    assert len(done.err.strip().splitlines()) == 1, done.err


def test_usage(tool: Tool) -> None:
    for args in ([], ["a", "b"], ["--nonsense", "t"]):
        done = tool("bhyveload", *args)
        assert done.status == 1
        assert "usage: bhyveload" in done.err


def test_every_protocol_leaves_the_vm_at_its_entry(tool: Tool, tmp_path: Path) -> None:
    multiboot = own_guest("monitor").read_bytes()
    rows = {
        "linux": (bytes(bzimage()), 0x1000200, "0x0000000080000031"),
        "elf64": (elf64(), 0x100000, "0x0000000080000031"),
        "multiboot": (multiboot, None, "0x0000000000000031"),
        "packed": (gzip.compress(multiboot), None, "0x0000000000000031"),
    }
    for name, (image, rip, cr0) in rows.items():
        (tmp_path / "kernel").write_bytes(image)
        done = tool("bhyveload", "-m", "64M", "--kernel", "kernel", name)
        assert done.status == 0, done.err
        shown = tool("bhyvectl", f"--vm={name}", "--get-rip", "--get-cr0").out
        assert f"cr0[0]\t\t{cr0}" in shown
        if rip is not None:
            assert f"rip[0]\t\t{rip:#018x}" in shown
        if name == "multiboot":  # base memory, as a BIOS tells it
            with VM.open(name) as vm:
                assert bytes(vm.map_gpa(0x413, 2)) == (640).to_bytes(2, "little")
        assert tool("bhyvectl", f"--vm={name}", "--destroy").status == 0


@pytest.mark.parametrize(
    ("paddr", "memsz"),
    [(0x8000, 0x6000), (0x1000, 0x9E000), (0x1000, 0x3FF000), (0x29000, 0x8000)],
)
def test_a_kernel_in_low_memory_stays_whole(
    tool: Tool, vm_dir: Path, tmp_path: Path, paddr: int, memsz: int
) -> None:
    """What the loader leaves for the kernel lies beside it, not on it."""
    code = bytes(range(1, 256)) * (memsz // 255 + 1)
    image = elf64(paddr, memsz)[:-1]
    image = image[:96] + struct.pack("<Q", memsz) + image[104:] + code[:memsz]
    (tmp_path / "kernel").write_bytes(image)
    (tmp_path / "initrd").write_bytes(b"initrd" * 1000)
    done = tool(
        *("bhyveload", "-m", "64M", "--kernel", "kernel", "--initrd", "initrd"),
        *("--cmdline", "the words", "low"),
    )
    assert done.status == 0, done.err
    with VM.open("low") as vm:
        assert bytes(vm.map_gpa(paddr, memsz)) == code[:memsz]
        vcpu = vm.vcpu(0)
        zero = vcpu.get_register(Reg.RSI)
        page = bytes(vm.map_gpa(zero, 4096))
        at = int.from_bytes(page[0x228:0x22C], "little")
        assert bytes(vm.map_gpa(at, 10)) == b"the words\0"
        at = int.from_bytes(page[0x218:0x21C], "little")
        assert bytes(vm.map_gpa(at, 6000)) == b"initrd" * 1000
        # The tables work: the entry is mapped, and the stack is nobody's.
        assert vcpu.gla2gpa(paddr, Prot.READ) == paddr
        stack = vcpu.get_register(Reg.RSP)
        assert stack - 0x1000 >= paddr + memsz or stack <= paddr
        assert vcpu.get_desc(Reg.GDTR).base not in range(paddr, paddr + memsz)
        vm.destroy()
