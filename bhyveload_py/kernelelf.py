"""FreeBSD's kernels and modules: where each part goes, and their metadata.

A kernel is linked at its virtual address and goes to that address less its
base; a module for amd64 is a relocatable object whose sections are laid out
one after the other.  The kernel relocates it, by the section headers.
"""

import struct
from typing import NamedTuple

from .errors import LoadError
from .preload import ModInfoMd, Preloaded

KERNEL_TYPE = "elf kernel"
MODULE_TYPE = "elf obj module"

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_ET_REL, _ET_EXEC, _ET_DYN = 1, 2, 3
_EM_386, _EM_X86_64 = 3, 62
_PT_LOAD, _PT_DYNAMIC = 1, 2
_PROGBITS, _SYMTAB, _STRTAB, _RELA, _NOBITS, _REL = 1, 2, 3, 4, 8, 9
_UNWIND = 0x70000001
_ALLOC = 2
_OSABI_FREEBSD = 9
_BASE_MASK = 0xFFFFFFFFFF000000
_LOWEST = 1 << 20
_MAX_PHDRS = 64
_MAX_SHDRS = 16384
_MAX_ALIGN = 1 << 21
_WORD = 1 << 64


class Header(NamedTuple):
    """The ELF header's fields."""

    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


class Segment(NamedTuple):
    """A program header's fields."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


class Section(NamedTuple):
    """A section header's fields."""

    name: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int


Image = bytes | bytearray


def header(image: Image, name: str) -> Header:
    """Return the header of an ELF file for amd64."""
    if image[:4] != b"\x7fELF" or len(image) < _EHDR.size:
        raise LoadError(f"{name}: not an ELF file")
    machine = struct.unpack_from("<H", image, 18)[0]
    if image[4] == 1 and machine == _EM_386:
        raise LoadError(f"{name}: an i386 kernel; only amd64 kernels are loaded")
    if image[4:7] != b"\x02\x01\x01" or machine != _EM_X86_64:
        raise LoadError(f"{name}: an ELF file for machine {machine}, not for amd64")
    head = Header(*_EHDR.unpack_from(image))
    if head.phnum > _MAX_PHDRS or head.shnum > _MAX_SHDRS:
        raise LoadError(f"{name}: damaged ELF header: {head.phnum} program headers, "
                        f"{head.shnum} sections")  # fmt: skip
    return head


def recognise(image: bytes) -> bool:
    """Return true for a kernel that says of itself that it is FreeBSD's."""
    if len(image) < _EHDR.size or image[:7] != b"\x7fELF\x02\x01\x01":
        return False
    head = Header(*_EHDR.unpack_from(image))
    return (
        head.ident[7] == _OSABI_FREEBSD
        and (head.type, head.machine) == (_ET_EXEC, _EM_X86_64)
        and head.entry >= 0xFFFFFFFF80000000
    )


def _segments(image: Image, head: Header, name: str) -> list[Segment]:
    end = head.phoff + head.phnum * _PHDR.size
    if head.phentsize != _PHDR.size or end > len(image):
        raise LoadError(f"{name}: damaged ELF: program headers at {head.phoff:#x}")
    return [Segment(*row) for row in _PHDR.iter_unpack(image[head.phoff : end])]


def sections(image: Image, head: Header, name: str) -> list[Section]:
    """Return the section headers; none if the file has none."""
    if not head.shnum or not head.shoff:
        return []
    end = head.shoff + head.shnum * _SHDR.size
    if head.shentsize != _SHDR.size or end > len(image):
        raise LoadError(f"{name}: damaged ELF: section headers at {head.shoff:#x}")
    return [Section(*row) for row in _SHDR.iter_unpack(image[head.shoff : end])]


def _part(image: Image, offset: int, size: int, name: str) -> memoryview:
    if offset + size > len(image):
        raise LoadError(
            f"{name}: truncated or damaged: {size} bytes at {offset:#x}, "
            f"the file has {len(image)}"
        )
    return memoryview(image)[offset : offset + size]


def _room(addr: int, size: int, limit: int, name: str) -> None:
    if addr < _LOWEST or addr + size > limit:
        raise LoadError(
            f"{name} needs guest memory at {addr:#x}-{addr + size:#x}; what can be "
            f"loaded to is {_LOWEST:#x}-{limit:#x}"
        )


def _align(value: int, step: int) -> int:
    return (value + step - 1) // step * step


def load_kernel(image: Image, name: str, limit: int) -> Preloaded:
    """Lay out a kernel below address `limit`."""
    head = header(image, name)
    if head.type != _ET_EXEC:
        raise LoadError(f"{name}: not a kernel: ELF type {head.type}")
    base = head.entry & _BASE_MASK
    file = Preloaded(name, KERNEL_TYPE, 0, 0, entry=head.entry)
    file.metadata[ModInfoMd.ELFHDR] = bytes(image[: _EHDR.size])
    first, last = limit, 0
    dynamic = None
    for seg in _segments(image, head, name):
        if seg.type == _PT_DYNAMIC and dynamic is None:
            dynamic = seg.vaddr
        if seg.type != _PT_LOAD or seg.memsz == 0:
            continue
        if seg.filesz > seg.memsz:
            raise LoadError(f"{name}: damaged ELF: a segment larger than its memory")
        data = _part(image, seg.offset, seg.filesz, name)
        addr = (seg.vaddr - base) % _WORD
        _room(addr, seg.memsz, limit, name)
        file.pieces.append((addr, data, seg.memsz))
        first, last = min(first, addr), max(last, addr + seg.memsz)
    if not file.pieces:
        raise LoadError(f"{name}: an ELF file without a segment to load")
    if not first <= (head.entry - base) < last:
        raise LoadError(f"{name}: the entry {head.entry:#x} is not in the kernel")
    end = _symbols(file, image, head, _align(last, 8), limit)
    file.addr, file.size = first, end - first
    if dynamic is not None:
        file.metadata[ModInfoMd.DYNAMIC] = dynamic.to_bytes(8, "little")
    return file


def _symbols(file: Preloaded, image: Image, head: Header, at: int, limit: int) -> int:
    """Put the symbol table and its strings at `at`; return their end.

    Each is led by its size in a word.
    """
    rows = sections(image, head, file.name)
    if not rows:
        return at
    raw = bytes(image[head.shoff : head.shoff + len(rows) * _SHDR.size])
    file.metadata[ModInfoMd.SHDR] = raw
    symtab = next((s for s in reversed(rows) if s.type == _SYMTAB and s.size), None)
    if symtab is None or symtab.link >= len(rows) or not symtab.link:
        return at
    start = at
    for section in (symtab, rows[symtab.link]):
        data = _part(image, section.offset, section.size, file.name)
        _room(at, section.size + 8, limit, file.name)
        file.pieces.append((at, section.size.to_bytes(8, "little"), 8))
        file.pieces.append((at + 8, data, section.size))
        at = _align(at + 8 + section.size, 8)
    file.metadata[ModInfoMd.SSYM] = start.to_bytes(8, "little")
    file.metadata[ModInfoMd.ESYM] = at.to_bytes(8, "little")
    return at


def load_module(image: Image, name: str, dest: int, limit: int) -> Preloaded:
    """Lay out a module, a relocatable object, at `dest` or behind it."""
    head = header(image, name)
    if head.type != _ET_REL:
        raise LoadError(f"{name}: not a module for amd64: ELF type {head.type}")
    rows = sections(image, head, name)
    order = _layout_order(rows, head, name)
    addrs = [0] * len(rows)
    at = dest
    file = Preloaded(name, MODULE_TYPE, dest, 0)
    for index in order:
        row = rows[index]
        if row.align > _MAX_ALIGN or row.align & (row.align - 1):
            raise LoadError(f"{name}: damaged ELF: alignment {row.align:#x}")
        if row.type == _SYMTAB:
            # FreeBSD's loader counts this table twice; so the rest of a
            # module stands where that loader has it.
            at += row.size
        at = _align(at, row.align or 1)
        _room(at, row.size, limit, name)
        addrs[index] = at
        if row.type == _NOBITS:
            file.pieces.append((at, b"", row.size))
        else:
            data = _part(image, row.offset, row.size, name)
            file.pieces.append((at, data, row.size))
        at += row.size
    file.size = at - dest
    file.metadata[ModInfoMd.ELFHDR] = bytes(image[: _EHDR.size])
    file.metadata[ModInfoMd.SHDR] = b"".join(
        _SHDR.pack(*row._replace(addr=addr))
        for row, addr in zip(rows, addrs, strict=True)
    )
    return file


def _layout_order(rows: list[Section], head: Header, name: str) -> list[int]:
    """Return the sections to load in the order of their addresses."""
    order = [
        i
        for i, s in enumerate(rows)
        if s.type in (_PROGBITS, _NOBITS, _UNWIND) and s.flags & _ALLOC and s.size
    ]
    symtabs = [i for i, s in enumerate(rows) if s.type == _SYMTAB]
    if len(symtabs) != 1:
        raise LoadError(f"{name}: a module with {len(symtabs)} symbol tables")
    strings = rows[symtabs[0]].link
    for index in (strings, head.shstrndx):
        if not 0 < index < len(rows) or rows[index].type != _STRTAB:
            raise LoadError(f"{name}: damaged ELF: no string table")
    order += [symtabs[0], strings]
    if head.shstrndx != strings:
        order.append(head.shstrndx)
    order += [
        i
        for i, s in enumerate(rows)
        if s.type in (_REL, _RELA)
        and s.info < len(rows)
        and rows[s.info].flags & _ALLOC
    ]
    return order


def load_raw(data: Image, name: str, kind: str, dest: int, limit: int) -> Preloaded:
    """Lay out a file as it is, such as a memory disk's image."""
    _room(dest, len(data), limit, name)
    return Preloaded(name, kind, dest, len(data), pieces=[(dest, data, len(data))])
