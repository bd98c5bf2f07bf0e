"""Preload metadata: what FreeBSD's loader tells a kernel of what it loaded.

The numbers are those of sys/linker.h (MODINFO_*).

A list is records of a 32-bit type, a 32-bit size and the data, padded to the
machine's word.  A name begins the records of each file; type 0 ends the list.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from .errors import LoadError

_MAX_FILES = 4096


class ModInfo(IntEnum):
    """Types of records."""

    END = 0
    NAME = 1
    TYPE = 2
    ADDR = 3
    SIZE = 4
    EMPTY = 5
    ARGS = 6
    METADATA = 0x8000


class ModInfoMd(IntEnum):
    """Kinds of metadata; a record's type is METADATA with one of them."""

    AOUTEXEC = 0x0001
    ELFHDR = 0x0002
    SSYM = 0x0003
    ESYM = 0x0004
    DYNAMIC = 0x0005
    ENVP = 0x0006
    HOWTO = 0x0007
    KERNEND = 0x0008
    SHDR = 0x0009
    CTORS_ADDR = 0x000A
    CTORS_SIZE = 0x000B
    SMAP = 0x1001
    MODULEP = 0x1006


@dataclass(slots=True)
class Preloaded:
    """A file in guest memory: the kernel, a module, a disk image.

    ``pieces`` are (address, bytes, size in memory): what to write where;
    ``word`` is 4 for a kernel of i386.
    """

    name: str
    type: str
    addr: int
    size: int
    args: str = ""
    entry: int = 0
    word: int = 8
    metadata: dict[int, bytes] = field(default_factory=dict)
    pieces: list[tuple[int, bytes | bytearray | memoryview, int]] = field(
        default_factory=list
    )

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.addr + self.size


def encode(files: list[Preloaded], word: int = 8) -> bytes:
    """Return the metadata of `files` for a machine with words of `word` bytes."""
    out = bytearray()

    def put(kind: int, data: bytes) -> None:
        out.extend(struct.pack("<II", kind, len(data)) + data)
        out.extend(bytes(-len(data) % word))

    for file in files:
        put(ModInfo.NAME, file.name.encode() + b"\0")
        put(ModInfo.TYPE, file.type.encode() + b"\0")
        if file.args:
            put(ModInfo.ARGS, file.args.encode() + b"\0")
        put(ModInfo.ADDR, file.addr.to_bytes(word, "little"))
        put(ModInfo.SIZE, file.size.to_bytes(word, "little"))
        for kind, data in file.metadata.items():
            put(ModInfo.METADATA | kind, data)
    put(ModInfo.END, b"")
    return bytes(out)


def decode(data: bytes, word: int = 8) -> list[Preloaded]:
    """Return the files that a metadata list tells of: encode()'s inverse."""
    files: list[Preloaded] = []
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        body = data[at + 8 : at + 8 + size]
        if kind == ModInfo.END:
            return files
        if len(body) != size or len(files) > _MAX_FILES:
            break
        at += 8 + size + (-size % word)
        if kind == ModInfo.NAME:
            files.append(Preloaded(_text(body), "", 0, 0))
        elif not files:
            break
        elif kind == ModInfo.TYPE:
            files[-1].type = _text(body)
        elif kind == ModInfo.ARGS:
            files[-1].args = _text(body)
        elif kind == ModInfo.ADDR:
            files[-1].addr = int.from_bytes(body, "little")
        elif kind == ModInfo.SIZE:
            files[-1].size = int.from_bytes(body, "little")
        else:
            files[-1].metadata[kind & ~ModInfo.METADATA] = body
    raise LoadError("damaged preload metadata")


def _text(body: bytes) -> str:
    return body.split(b"\0")[0].decode("utf-8", "replace")


def environment(env: dict[str, str]) -> bytes:
    """Return the environment as a kernel gets it: sorted, ended by a NUL."""
    rows = (f"{name}={value}\0" for name, value in sorted(env.items()))
    return "".join(rows).encode("utf-8", "surrogateescape") + b"\0"
