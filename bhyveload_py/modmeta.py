"""What modules a file holds and which it needs, from its own tables.

A linker set of pointers leads to structs mod_metadata (sys/module.h): a
version, a kind, a pointer to data and one to the module's name.  In a kernel
and in a shared object the pointers are addresses; in a relocatable module
they are relocations.
"""

import struct
from dataclasses import dataclass, field

from .errors import LoadError
from .kernelelf import Header, Image, Section, header, sections
from .linkerhints import Wanted

_SET = b"set_modmetadata_set"
_ET_REL = 1
_NOBITS, _RELA, _SYMTAB = 8, 4, 2
_DEPEND, _VERSION = 1, 3
_MAX_ROWS = 4096
_MAX_NAME = 64

#: A place in the file: section and offset in it.
Place = tuple[int, int]


@dataclass(slots=True)
class ModMeta:
    """What a file holds, by version, and needs; without a table not `known`."""

    provides: dict[str, int] = field(default_factory=dict)
    needs: list[Wanted] = field(default_factory=list)
    known: bool = False


class _File:
    """An ELF file whose pointers can be followed."""

    def __init__(self, image: Image, name: str) -> None:
        self.image = image
        self.head: Header = header(image, name)
        self.rows: list[Section] = sections(image, self.head, name)
        self._relocations: dict[int, dict[int, Place]] = {}

    def part(self, index: int) -> memoryview:
        """Return the bytes of a section; none if they are not in the file."""
        row = self.rows[index]
        if row.type == _NOBITS or row.offset + row.size > len(self.image):
            return memoryview(b"")
        return memoryview(self.image)[row.offset : row.offset + row.size]

    def set_section(self) -> int | None:
        """Return the section that is the linker set."""
        if self.head.shstrndx >= len(self.rows):
            return None
        names = bytes(self.part(self.head.shstrndx))
        for index, row in enumerate(self.rows):
            if names[row.name : row.name + len(_SET) + 1] == _SET + b"\0":
                return index
        return None

    def follow(self, place: Place) -> Place | None:
        """Return where the pointer at `place` points."""
        index, offset = place
        if self.head.type == _ET_REL:
            return self._table(index).get(offset)
        raw = self.part(index)[offset : offset + self.head.word]
        if len(raw) < self.head.word:
            return None
        addr = int.from_bytes(raw, "little")
        for number, row in enumerate(self.rows):
            if row.addr and row.addr <= addr < row.addr + row.size:
                return number, addr - row.addr
        return None

    def _table(self, index: int) -> dict[int, Place]:
        """Return offset -> target of a section's relocations."""
        found = self._relocations.get(index)
        if found is None:
            found = self._relocations[index] = {}
            for number, row in enumerate(self.rows):
                if row.type == _RELA and row.info == index:
                    self._read_table(number, row.link, found)
        return found

    def _read_table(self, number: int, link: int, found: dict[int, Place]) -> None:
        if link >= len(self.rows) or self.rows[link].type != _SYMTAB:
            return
        raw, symbols = self.part(number), self.part(link)
        for offset, info, addend in struct.iter_unpack(
            "<QQq", raw[: len(raw) // 24 * 24]
        ):
            at = (info >> 32) * 24
            if at + 24 > len(symbols):
                continue
            shndx, value = struct.unpack_from("<6xHQ", symbols, at)
            if 0 < shndx < len(self.rows) and value + addend >= 0:
                found[offset] = (shndx, value + addend)

    def numbers(self, place: Place, count: int) -> tuple[int, ...] | None:
        """Return the words that the pointer at `place` leads to."""
        target = self.follow(place)
        if target is None:
            return None
        raw = self.part(target[0])[target[1] : target[1] + 4 * count]
        return struct.unpack(f"<{count}i", raw) if len(raw) == 4 * count else None

    def text(self, place: Place) -> str:
        """Return the string at `place`."""
        raw = bytes(self.part(place[0])[place[1] : place[1] + _MAX_NAME])
        return raw.split(b"\0")[0].decode("ascii", "replace")


def read(image: Image, name: str) -> ModMeta:
    """Return what modules a kernel or a module holds and needs."""
    meta = ModMeta()
    file = _File(image, name)
    index = file.set_section()
    if index is None:
        return meta
    size = file.rows[index].size
    word = file.head.word
    if size > word * _MAX_ROWS:
        raise LoadError(f"{name}: damaged ELF: {size // word} rows of module metadata")
    meta.known = True
    for at in range(0, size // word * word, word):
        place = file.follow((index, at))
        if place is None:
            continue
        raw = file.part(place[0])[place[1] : place[1] + 8]
        label = file.follow((place[0], place[1] + 8 + word))
        if len(raw) < 8 or label is None:
            continue
        _add(meta, file, struct.unpack("<4xi", raw)[0], place, file.text(label))
    return meta


def _add(meta: ModMeta, file: _File, kind: int, place: Place, name: str) -> None:
    """Add one row: a version, or a range of versions that is needed."""
    data = place[0], place[1] + 8
    if kind == _VERSION:
        found = file.numbers(data, 1)
        meta.provides[name] = found[0] if found is not None else 1
    elif kind == _DEPEND and all(need.module != name for need in meta.needs):
        found = file.numbers(data, 3)
        meta.needs.append(Wanted(name, *(found or ())))
