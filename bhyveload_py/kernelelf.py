"""FreeBSD's kernels and modules: where each part goes, and their metadata.

A kernel is linked at its virtual address and goes to that address less its
base; a module for amd64 is a relocatable object whose sections are laid out
one after the other, one for i386 a shared object.  The kernel relocates it.
"""

import struct
from typing import NamedTuple

from .errors import LoadError
from .preload import ModInfoMd, Preloaded

KERNEL_TYPE = "elf kernel"
MODULE_TYPE = "elf obj module"
SHARED_TYPE = "elf module"

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_EHDR32 = struct.Struct("<16sHHIIIIIHHHHHH")
_PHDR32 = struct.Struct("<8I")
_SHDR32 = struct.Struct("<10I")
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

    @property
    def word(self) -> int:
        """Bytes of an address: 8, or 4 for i386."""
        return 4 if self.machine == _EM_386 else 8

    @property
    def shdr(self) -> struct.Struct:
        """The form of a section header."""
        return _SHDR32 if self.machine == _EM_386 else _SHDR


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


def _is_known(image: Image) -> bool:
    """Tell if a file is ELF for amd64 or i386."""
    if len(image) < _EHDR.size:
        return False
    machine = struct.unpack_from("<H", image, 18)[0]
    return (bytes(image[:7]), machine) in (
        (b"\x7fELF\x02\x01\x01", _EM_X86_64),
        (b"\x7fELF\x01\x01\x01", _EM_386),
    )


def header(image: Image, name: str) -> Header:
    """Return the header of an ELF file for amd64 or i386."""
    if image[:4] != b"\x7fELF" or len(image) < _EHDR.size:
        raise LoadError(f"{name}: not an ELF file")
    if not _is_known(image):
        machine = struct.unpack_from("<H", image, 18)[0]
        raise LoadError(
            f"{name}: an ELF file for machine {machine}, not for amd64 or i386"
        )
    form = _EHDR if image[4] == 2 else _EHDR32
    head = Header(*form.unpack_from(image))
    if head.phnum > _MAX_PHDRS or head.shnum > _MAX_SHDRS:
        raise LoadError(f"{name}: damaged ELF header: {head.phnum} program headers, "
                        f"{head.shnum} sections")  # fmt: skip
    return head


def recognise(image: bytes) -> bool:
    """Return true for a kernel that says of itself that it is FreeBSD's."""
    if not _is_known(image):
        return False
    head = header(image, "kernel")
    return (
        head.ident[7] == _OSABI_FREEBSD
        and head.type == _ET_EXEC
        and (head.machine == _EM_386 or head.entry >= 0xFFFFFFFF80000000)
    )


def _segment32(row: tuple[int, ...]) -> Segment:
    kind, offset, vaddr, paddr, filesz, memsz, flags, align = row
    return Segment(kind, flags, offset, vaddr, paddr, filesz, memsz, align)


def _segments(image: Image, head: Header, name: str) -> list[Segment]:
    form = _PHDR if head.word == 8 else _PHDR32
    end = head.phoff + head.phnum * form.size
    if head.phentsize != form.size or end > len(image):
        raise LoadError(f"{name}: damaged ELF: program headers at {head.phoff:#x}")
    rows = form.iter_unpack(image[head.phoff : end])
    return [Segment(*row) if head.word == 8 else _segment32(row) for row in rows]


def sections(image: Image, head: Header, name: str) -> list[Section]:
    """Return the section headers; none if the file has none."""
    if not head.shnum or not head.shoff:
        return []
    end = head.shoff + head.shnum * head.shdr.size
    if head.shentsize != head.shdr.size or end > len(image):
        raise LoadError(f"{name}: damaged ELF: section headers at {head.shoff:#x}")
    return [Section(*row) for row in head.shdr.iter_unpack(image[head.shoff : end])]


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


def _start(image: Image, name: str, kind: str, head: Header) -> Preloaded:
    """Return a file of which nothing is laid out yet."""
    file = Preloaded(name, kind, 0, 0, entry=head.entry, word=head.word)
    size = _EHDR.size if head.word == 8 else _EHDR32.size
    file.metadata[ModInfoMd.ELFHDR] = bytes(image[:size])
    return file


def _lay_out(file: Preloaded, image: Image, head: Header, base: int, limit: int) -> int:
    """Put the segments at their addresses less `base`; return their end."""
    name, first, last = file.name, limit, 0
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
    file.addr = first
    if dynamic is not None:
        file.metadata[ModInfoMd.DYNAMIC] = dynamic.to_bytes(head.word, "little")
    return last


def load_kernel(image: Image, name: str, limit: int) -> Preloaded:
    """Lay out a kernel below address `limit`."""
    head = header(image, name)
    if head.type != _ET_EXEC:
        raise LoadError(f"{name}: not a kernel: ELF type {head.type}")
    base = head.entry & _BASE_MASK
    file = _start(image, name, KERNEL_TYPE, head)
    last = _lay_out(file, image, head, base, limit)
    file.entry = head.entry if head.word == 8 else head.entry - base
    if not file.addr <= (head.entry - base) < last:
        raise LoadError(f"{name}: the entry {head.entry:#x} is not in the kernel")
    end = _symbols(file, image, head, _align(last, 8), limit)
    file.size = end - file.addr
    return file


def _symbols(file: Preloaded, image: Image, head: Header, at: int, limit: int) -> int:
    """Put the symbol table and its strings at `at`; return their end.

    Each is led by its size in a word.
    """
    rows = sections(image, head, file.name)
    if not rows:
        return at
    raw = bytes(image[head.shoff : head.shoff + len(rows) * head.shdr.size])
    file.metadata[ModInfoMd.SHDR] = raw
    symtab = next((s for s in reversed(rows) if s.type == _SYMTAB and s.size), None)
    if symtab is None or symtab.link >= len(rows) or not symtab.link:
        return at
    start, word = at, head.word
    for section in (symtab, rows[symtab.link]):
        data = _part(image, section.offset, section.size, file.name)
        _room(at, section.size + word, limit, file.name)
        file.pieces.append((at, section.size.to_bytes(word, "little"), word))
        file.pieces.append((at + word, data, section.size))
        at = _align(at + word + section.size, word)
    file.metadata[ModInfoMd.SSYM] = start.to_bytes(word, "little")
    file.metadata[ModInfoMd.ESYM] = at.to_bytes(word, "little")
    return at


def _load_shared(
    image: Image, name: str, head: Header, dest: int, limit: int
) -> Preloaded:
    """Lay out a module for i386, a shared object."""
    file = _start(image, name, SHARED_TYPE, head)
    last = _lay_out(file, image, head, -dest, limit)
    file.size = _symbols(file, image, head, _align(last, 8), limit) - file.addr
    return file


def load_module(image: Image, name: str, dest: int, limit: int) -> Preloaded:
    """Lay out a module at `dest` or behind it."""
    head = header(image, name)
    if (head.word, head.type) == (4, _ET_DYN):
        return _load_shared(image, name, head, dest, limit)
    if (head.word, head.type) != (8, _ET_REL):
        raise LoadError(f"{name}: not a module: ELF type {head.type}")
    rows = sections(image, head, name)
    order = _layout_order(rows, head, name)
    addrs = [0] * len(rows)
    at = dest
    file = _start(image, name, MODULE_TYPE, head)
    file.addr = dest
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
