"""Multiboot kernels (Multiboot Specification 0.6.96, chapter 3)."""

import struct

from libvmmapi import VCPU, VM

from . import elf
from .errors import LoadError
from .handoff import enter_protected
from .request import LOW_TOP, MIB, GuestRam, LoadRequest

_MAGIC = 0x1BADB002
_BOOT_MAGIC = 0x2BADB002
_SEARCH = 8192
_ADDRESSES = 1 << 16  # the header carries load addresses
_MUST_UNDERSTAND = 0xFFFF
_UNDERSTOOD = 0x7  # aligned modules, memory information, video (a wish)

#: Kernels look for tables of the firmware below the end of base memory, whose
#: size in KiB the BIOS leaves here.
_BDA_BASE_MEMORY = 0x413

# Which fields of the information block are valid.
_INFO_MEM, _INFO_CMDLINE, _INFO_MODS, _INFO_MMAP, _INFO_LOADER = 1, 4, 8, 64, 512


def _header(image: bytes) -> int:
    """Return the offset of the header, or -1."""
    for at in range(0, min(len(image) - 11, _SEARCH - 11), 4):
        magic, flags, check = struct.unpack_from("<III", image, at)
        if magic == _MAGIC and magic + flags + check & 0xFFFFFFFF == 0:
            return at
    return -1


def recognise(image: bytes) -> bool:
    """Return true for a kernel with a multiboot header."""
    return _header(image) >= 0


def _load_by_addresses(
    ram: GuestRam, req: LoadRequest, at: int
) -> tuple[int, int, int]:
    """Load as the header's address fields say; return (entry, address, end)."""
    if at + 32 > len(req.kernel):
        raise LoadError(f"{req.name}: truncated multiboot header")
    header, load, load_end, bss_end, entry = struct.unpack_from(
        "<IIIII", req.kernel, at + 12
    )
    start = at - (header - load)
    size = (load_end - load) if load_end else len(req.kernel) - start
    if start < 0 or size <= 0 or load > header or start + size > len(req.kernel):
        raise LoadError(
            f"{req.name}: the multiboot header's load addresses are not in the file"
        )
    end = max(load + size, bss_end)
    ram.check(load, end - load, req.name)
    ram.write(load, memoryview(req.kernel)[start : start + size], req.name)
    ram.zero(load + size, end - load - size, req.name)
    return entry, load, end


def load(vm: VM, vcpu: VCPU, req: LoadRequest) -> None:
    """Load a multiboot kernel with its modules and enter it."""
    ram = GuestRam(vm)
    at = _header(req.kernel)
    flags = struct.unpack_from("<I", req.kernel, at + 4)[0]
    unknown = flags & _MUST_UNDERSTAND & ~_UNDERSTOOD
    if unknown:
        raise LoadError(
            f"{req.name}: wants multiboot features {unknown:#x} that are not offered"
        )
    if flags & _ADDRESSES:
        entry, start, end = _load_by_addresses(ram, req, at)
        taken = [(start, end - start)]
    elif elf.is_elf(req.kernel):
        taken = elf.load_segments(ram, req)
        entry = elf.entry_point(req) & 0xFFFFFFFF
    else:
        raise LoadError(f"{req.name}: multiboot without load addresses and not ELF")

    ram.check(entry, 1, f"{req.name}: the entry point")
    places = elf.place_handoff(ram, req, taken)
    if not any(a < _BDA_BASE_MEMORY + 2 and a + n > 0x400 for a, n in taken):
        kib = (LOW_TOP // 1024).to_bytes(2, "little")
        ram.write(_BDA_BASE_MEMORY, kib, "the BIOS data area")
    modules = elf.place_modules(ram, req, taken)
    mods_at, mmap_at, names_at = (places.info + x for x in (0x100, 0x400, 0x800))
    loader = b"bhyveload\0"
    ram.write(names_at, loader, "the information block")
    names_at += len(loader)
    for i, (where, size, path) in enumerate(modules):
        name = path.encode(errors="replace")[:255] + b"\0"
        ram.write(names_at, name, "the information block")
        row = struct.pack("<IIII", where, where + size, names_at, 0)
        ram.write(mods_at + 16 * i, row, "the information block")
        names_at += len(name)
    rows = b"".join(
        struct.pack("<IQQI", 20, base, size, kind) for base, size, kind in ram.e820()
    )
    ram.write(mmap_at, rows, "the information block")
    valid = _INFO_MEM | _INFO_CMDLINE | _INFO_MODS | _INFO_MMAP | _INFO_LOADER
    info = bytearray(120)
    struct.pack_into(
        "<IIIIIII", info, 0,
        valid, LOW_TOP // 1024, max(ram.low - MIB, 0) // 1024, 0,
        places.cmdline, len(modules), mods_at,
    )  # fmt: skip
    struct.pack_into("<II", info, 44, len(rows), mmap_at)
    struct.pack_into("<I", info, 64, places.info + 0x800)
    ram.write(places.info, info, "the information block")
    enter_protected(vcpu, ram, places, entry, eax=_BOOT_MAGIC, ebx=places.info)
