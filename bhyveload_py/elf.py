"""ELF kernels: loading segments, and the PVH and plain 64-bit entries.

PVH is Xen's direct boot ABI (xen/arch-x86/hvm/start_info.h): a note names a
32-bit entry that gets a start_info block.  An ELF64 kernel without the note
is entered as Linux' vmlinux wants it: 64-bit mode, zero page in RSI.
"""

import io
import struct

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from libvmmapi import VCPU, VM

from .errors import LoadError
from .handoff import Places, enter_long, enter_protected
from .request import PAGE, GuestRam, LoadRequest

_XEN_ELFNOTE_PHYS32_ENTRY = 18
_PT_LOAD, _PT_NOTE = 1, 4
_EM_386, _EM_X86_64 = 3, 62
_START_MAGIC = 0x336EC578
_RSDP = 0xF2400
_MAX_HEADERS = 256
_MAX_NOTES = 1 << 20

#: (address, size) of pieces of guest memory.
Ranges = list[tuple[int, int]]


def _open(req: LoadRequest) -> ELFFile:
    """Parse the header and reject what cannot be a kernel."""
    try:
        elf = ELFFile(io.BytesIO(req.kernel))
    except (ELFError, ValueError, OverflowError) as error:
        raise LoadError(f"{req.name}: damaged ELF header: {error}") from error
    machine = elf.header["e_machine"]
    if machine not in ("EM_386", "EM_X86_64"):
        raise LoadError(f"{req.name}: ELF for {machine}, not for x86")
    if elf.header["e_phnum"] > _MAX_HEADERS:
        raise LoadError(
            f"{req.name}: {elf.header['e_phnum']} program headers; "
            f"at most {_MAX_HEADERS} are allowed"
        )
    return elf


def is_elf(image: bytes) -> bool:
    """Return true for any ELF file."""
    return image[:4] == b"\x7fELF"


def segments(req: LoadRequest) -> list[tuple[int, int, memoryview]]:
    """Return the PT_LOAD segments as (physical address, size in memory, bytes)."""
    rows = []
    image = memoryview(req.kernel)
    elf = _open(req)
    try:
        headers = [segment.header for segment in elf.iter_segments()]
    except (ELFError, ValueError, OverflowError, AttributeError) as error:
        raise LoadError(f"{req.name}: damaged program headers: {error}") from error
    for header in headers:
        if header["p_type"] != "PT_LOAD" or header["p_memsz"] == 0:
            continue
        offset, size = header["p_offset"], header["p_filesz"]
        if offset + size > len(image) or size > header["p_memsz"]:
            raise LoadError(
                f"{req.name}: truncated or damaged: a segment of {size} bytes at "
                f"{offset:#x}, the file has {len(image)}"
            )
        rows.append((header["p_paddr"], header["p_memsz"], image[offset:][:size]))
    if not rows:
        raise LoadError(f"{req.name}: an ELF file without a segment to load")
    return rows


def load_segments(ram: GuestRam, req: LoadRequest) -> Ranges:
    """Copy the segments to guest memory; return where they lie."""
    rows = segments(req)
    for paddr, memsz, _ in rows:
        ram.check(paddr, memsz, req.name)
    for paddr, memsz, data in rows:
        ram.write(paddr, data, req.name)
        ram.zero(paddr + len(data), memsz - len(data), req.name)
    return [(paddr, memsz) for paddr, memsz, _ in rows]


def entry_point(req: LoadRequest) -> int:
    """Return e_entry."""
    return int(_open(req).header["e_entry"])


def _notes(req: LoadRequest) -> dict[int, bytes]:
    """Return the notes named Xen, by type."""
    found: dict[int, bytes] = {}
    elf = _open(req)
    try:
        headers = [segment.header for segment in elf.iter_segments()]
    except (ELFError, ValueError, OverflowError, AttributeError) as error:
        raise LoadError(f"{req.name}: damaged program headers: {error}") from error
    for header in headers:
        if header["p_type"] != "PT_NOTE":
            continue
        size = min(header["p_filesz"], _MAX_NOTES)
        blob = req.kernel[header["p_offset"] : header["p_offset"] + size]
        at = 0
        while at + 12 <= len(blob):
            namesz, descsz, kind = struct.unpack_from("<III", blob, at)
            name_at = at + 12
            desc_at = name_at + (namesz + 3 & ~3)
            if desc_at + descsz > len(blob):
                break
            if blob[name_at : name_at + namesz] == b"Xen\0":
                found[kind] = blob[desc_at : desc_at + descsz]
            at = desc_at + (descsz + 3 & ~3)
    return found


def recognise_pvh(image: bytes) -> bool:
    """Return true for an ELF kernel with a PVH entry note."""
    if not is_elf(image):
        return False
    try:
        return _XEN_ELFNOTE_PHYS32_ENTRY in _notes(LoadRequest("", image))
    except LoadError:
        return False


def load_pvh(vm: VM, vcpu: VCPU, req: LoadRequest) -> None:
    """Load an ELF kernel and enter it as PVH does."""
    ram = GuestRam(vm)
    note = _notes(req)[_XEN_ELFNOTE_PHYS32_ENTRY]
    if len(note) not in (4, 8):
        raise LoadError(f"{req.name}: damaged PVH entry note")
    taken = load_segments(ram, req)
    at = place_handoff(ram, req, taken)

    rows = ram.e820()
    modules = place_modules(ram, req, taken)
    modlist = at.info + 0x100
    memmap = at.info + 0x800
    info = struct.pack(
        "<IIIIQQQQII",
        _START_MAGIC, 1, 0, len(modules), modlist if modules else 0,
        at.cmdline, _RSDP, memmap, len(rows), 0,
    )  # fmt: skip
    ram.write(at.info, info, "start_info")
    for i, (where, size, _) in enumerate(modules):
        ram.write(
            modlist + 32 * i, struct.pack("<QQQQ", where, size, 0, 0), "start_info"
        )
    for i, (base, size, kind) in enumerate(rows):
        ram.write(
            memmap + 24 * i, struct.pack("<QQII", base, size, kind, 0), "start_info"
        )
    enter_protected(
        vcpu, ram, at, int.from_bytes(note, "little") & 0xFFFFFFFF, ebx=at.info
    )


def place_handoff(
    ram: GuestRam, req: LoadRequest, taken: Ranges, limit: int = 2047
) -> Places:
    """Choose places beside the kernel, add them to `taken`; put the command line."""
    raw = req.cmdline.encode()
    if len(raw) > limit:
        raise LoadError(f"--cmdline: {len(raw)} bytes; at most {limit} are allowed")
    at = Places.beside(taken)
    ram.check(at.base, at.end - at.base, "what the loader leaves to the kernel")
    ram.write(at.cmdline, raw + b"\0", "the command line")
    taken.append((at.base, at.end - at.base))
    return at


def place_modules(
    ram: GuestRam, req: LoadRequest, taken: Ranges
) -> list[tuple[int, int, str]]:
    """Load the modules behind all else, page aligned: (address, size, path)."""
    if len(req.modules) > 32:
        raise LoadError(f"--initrd: {len(req.modules)} modules; at most 32 are allowed")
    where = max(1 << 20, *(start + size for start, size in taken))
    rows = []
    for path, data in req.modules:
        where = where + PAGE - 1 & ~(PAGE - 1)
        ram.write(where, data, path)
        rows.append((where, len(data), path))
        where += len(data)
    return rows


def recognise_elf64(image: bytes) -> bool:
    """Return true for an ELF64 kernel for x86-64."""
    return (
        is_elf(image)
        and len(image) > 20
        and image[4] == 2
        and struct.unpack_from("<H", image, 18)[0] == _EM_X86_64
    )


def load_elf64(vm: VM, vcpu: VCPU, req: LoadRequest) -> None:
    """Load an ELF64 kernel; enter it in 64-bit mode with a zero page in RSI."""
    ram = GuestRam(vm)
    taken = load_segments(ram, req)
    at = place_handoff(ram, req, taken)
    modules = place_modules(ram, req, taken)
    zero = bytearray(PAGE)
    struct.pack_into("<H", zero, 0x1FE, 0xAA55)
    zero[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", zero, 0x206, 0x020C)
    zero[0x210] = 0xFF
    struct.pack_into("<I", zero, 0x228, at.cmdline)
    if modules:
        struct.pack_into("<II", zero, 0x218, modules[0][0], modules[0][1])
    rows = ram.e820()
    zero[0x1E8] = len(rows)
    for i, row in enumerate(rows):
        struct.pack_into("<QQI", zero, 0x2D0 + 20 * i, *row)
    ram.write(at.zero_page, zero, "the zero page")
    entry = entry_point(req)
    ram.check(entry, 1, f"{req.name}: the entry point")
    enter_long(vcpu, ram, at, entry, rsi=at.zero_page)
