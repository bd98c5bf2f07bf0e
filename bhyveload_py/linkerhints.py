"""linker.hints: which file of a folder holds a module, as kldxref(8) says.

A version, then records: their length, their type, and by the type a module's
name, for MDT_VERSION its version, and the file's name.  Names are led by a
byte of length; numbers stand at multiples of four from the file's start.
"""

import struct
from typing import NamedTuple

NAME = "linker.hints"
MAX_SIZE = 8 << 20

_FORMAT = 1
_MODULE, _VERSION = 2, 3
_MAX_RECORDS = 65536
_MAX_RECORD = 4096


class Hint(NamedTuple):
    """A module and the file that holds it; `version` is -1 if unsaid."""

    module: str
    version: int
    file: str


class Wanted(NamedTuple):
    """A module that another one needs, in a range of versions."""

    module: str
    minimum: int = 0
    preferred: int = 0
    maximum: int = (1 << 31) - 1

    def suits(self, version: int) -> bool:
        """Tell if a version is in the range."""
        return self.minimum <= version <= self.maximum


def _text(data: bytes, at: int, end: int) -> tuple[str, int] | None:
    """Return the name at `at` and where it ends."""
    if at >= end or at + 1 + data[at] > end:
        return None
    stop = at + 1 + data[at]
    return data[at + 1 : stop].decode("utf-8", "replace"), stop


def _record(data: bytes, at: int, end: int, kind: int) -> Hint | None:
    """Return the hint of a record whose names begin at `at`."""
    name = _text(data, at, end)
    if name is None:
        return None
    module, at = name
    version = -1
    if kind == _VERSION:
        at = at + 3 & ~3
        if at + 4 > end:
            return None
        version = struct.unpack_from("<i", data, at)[0]
        at += 4
    file = _text(data, at, end)
    return None if file is None else Hint(module, version, file[0])


def parse(data: bytes) -> list[Hint]:
    r"""Return the hints in a file; what is damaged is left out.

    >>> parse(b"\1\0\0\0" b"\x0c\0\0\0" b"\2\0\0\0" b"\1m\4m.ko\0")
    [Hint(module='m', version=-1, file='m.ko')]
    """
    hints: list[Hint] = []
    if len(data) < 4 or struct.unpack_from("<i", data)[0] != _FORMAT:
        return hints
    at = 4
    for _ in range(_MAX_RECORDS):
        if at + 8 > len(data):
            break
        size, kind = struct.unpack_from("<ii", data, at)
        end = at + 4 + size
        if not 4 <= size <= _MAX_RECORD or end > len(data):
            break
        if kind in (_MODULE, _VERSION):
            hint = _record(data, at + 8, end, kind)
            if hint is not None:
                hints.append(hint)
        at = end
    return hints


def find(hints: list[Hint], wanted: Wanted) -> str | None:
    """Return the file of a module in its best version, or None."""
    best: Hint | None = None
    for hint in hints:
        if hint.module != wanted.module or hint.version < 0 or hint.file == "kernel":
            continue
        if hint.version == wanted.preferred:
            return hint.file
        if wanted.suits(hint.version) and (best is None or hint.version > best.version):
            best = hint
    return None if best is None else best.file
