"""Debian's firmware images, and disks that they can boot."""

import os
import struct
import subprocess
from pathlib import Path

from .guestfiles import GuestUnavailableError, fetch

MIB = 1 << 20

#: Prints, waits for timer ticks, echoes keys; "q" resets the machine.
BOOT_SECTOR = r"""
	.code16
	.globl _start
_start:
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x7c00, %sp
	sti
	mov $text, %si
1:	lodsb
	test %al, %al
	jz 2f
	call put
	jmp 1b
2:	mov $0, %ah
	int $0x1a
	mov %dx, %di
3:	mov $0, %ah
	int $0x1a
	sub %di, %dx
	cmp $5, %dx
	jb 3b
	mov $'>', %al
	call put
4:	mov $0, %ah
	int $0x16
	call put
	cmp $'q', %al
	jne 4b
	mov $0xcf9, %dx
	mov $6, %al
	out %al, %dx
	hlt
put:	mov $0x0e, %ah
	mov $7, %bx
	int $0x10
	ret
text:	.asciz "SECTOR-RUNS\r\n"
	.org 510
	.word 0xaa55
"""

#: GRUB's first words: the serial line is its terminal.
GRUB_EARLY = """serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set root=(hd0,msdos1)
set prefix=(hd0,msdos1)/grub
normal
"""
GRUB_MENU = """set timeout=1
echo GRUB-MENU-OK
menuentry "Linux" {
	linux /vmlinuz console=ttyS0
	initrd /initrd.cpio
}
"""
#: A menu that waits for keys; its second entry and the command line tell.
GRUB_WAITS = """set timeout=-1
menuentry "First" {
	echo FIRST-WAS-CHOSEN
	read
}
menuentry "Second" {
	echo SECOND-WAS-CHOSEN
	read
}
"""
GRUB_MODULES = (
    "biosdisk part_msdos ext2 normal serial terminal linux configfile echo read"
)


def _find(package: str, names: tuple[str, ...], cache: Path) -> list[Path]:
    """Return files of a package, installed or fetched."""
    found = [Path("/") / name for name in names]
    if not all(path.exists() for path in found):
        found = [fetch(package, cache) / name for name in names]
    if not all(path.exists() for path in found):
        raise GuestUnavailableError(f"{package} has no {names[0]}")
    return found


def seabios(cache: Path) -> Path:
    """Return SeaBIOS with all of QEMU's parts."""
    return _find("seabios", ("usr/share/seabios/bios-256k.bin",), cache)[0]


def ovmf(cache: Path) -> list[Path]:
    """Return OVMF's code and its empty variable store."""
    names = ("usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd")
    return _find("ovmf", names, cache)


def _run(*argv: str | Path) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True)
    except FileNotFoundError:
        raise GuestUnavailableError(f"no {argv[0]} here") from None
    except subprocess.CalledProcessError as error:
        raise GuestUnavailableError(f"{argv[0]}: {error.stderr!r}") from None


def sector_image(folder: Path, size: int) -> Path:
    """Write a disk of `size` bytes whose first sector is BOOT_SECTOR."""
    source, obj, out = (folder / f"sector.{end}" for end in ("S", "o", "img"))
    source.write_text(BOOT_SECTOR)
    _run("gcc", "-m32", "-c", "-o", obj, source)
    link = ("-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary")
    _run("ld", *link, "-o", out, obj)
    os.truncate(out, size)
    return out


def _partitioned(boot: bytes, kind: int, size: int) -> bytes:
    """Return a first sector with one partition from 1 MiB to the end."""
    entry = struct.pack(
        "<B3sB3sII", 0x80, b"\0\2\0", kind, b"\xfe\xff\xff", 2048, (size - MIB) // 512
    )
    return boot[:446].ljust(446, b"\0") + entry.ljust(64, b"\0") + b"\x55\xaa"


def grub_disk(
    folder: Path,
    cache: Path,
    kernel: str,
    initrd: str,
    *,
    early: str = GRUB_EARLY,
    menu: str = GRUB_MENU,
) -> Path:
    """Write a disk with GRUB in the MBR and a Linux on ext2."""
    modules = fetch("grub-pc-bin", cache) / "usr" / "lib" / "grub" / "i386-pc"
    mkimage = fetch("grub-common", cache) / "usr" / "bin" / "grub-mkimage"
    config, core, out = (folder / name for name in ("early.cfg", "core", "disk.img"))
    config.write_text(early)
    options = ("-O", "i386-pc", "-p", "(hd0,msdos1)/grub", "-c", config, "-o", core)
    _run(mkimage, "-d", modules, *options, *GRUB_MODULES.split())
    root = folder / "root"
    (root / "grub").mkdir(parents=True)
    (root / "grub" / "grub.cfg").write_text(menu)
    for name, source in (("vmlinuz", kernel), ("initrd.cpio", initrd)):
        (root / name).write_bytes(Path(source).read_bytes())
    size = 64 * MIB
    where = ("-E", f"offset={MIB}", out, f"{(size - MIB) >> 10}k")
    _run("/sbin/mke2fs", "-q", "-t", "ext2", "-F", "-d", root, *where)
    os.truncate(out, size)
    with out.open("r+b") as file:
        file.write(_partitioned((modules / "boot.img").read_bytes(), 0x83, size))
        file.write(core.read_bytes())
    return out


def efi_disk(folder: Path, kernel: str, initrd: str) -> Path:
    """Write a disk whose FAT partition has a Linux that the UEFI shell starts."""
    out, script = folder / "efi.img", folder / "startup.nsh"
    size = 64 * MIB
    out.write_bytes(_partitioned(b"", 0xEF, size))
    os.truncate(out, size)
    script.write_text(
        "fs0:\r\n\\vmlinuz.efi initrd=\\initrd.cpio console=ttyS0\r\n", newline=""
    )
    fat = f"{out}@@1M"
    shape = ("-T", str((size - MIB) // 512), "-h", "255", "-s", "63")
    _run("mformat", "-i", fat, "-F", *shape, "::")
    files = (kernel, "vmlinuz.efi"), (initrd, "initrd.cpio"), (script, script.name)
    for source, name in files:
        _run("mcopy", "-i", fat, source, f"::/{name}")
    return out
