"""ISO 9660 with Rock Ridge names, modes and links (ECMA-119, SUSP, RRIP)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from .errors import LoadError
from .media import Media
from .volume import MAX_DIRECTORY, MAX_ENTRIES, Kind, Node

_SECTOR = 2048
_FIRST = 16
_MAX_DESCRIPTORS = 64
_MAX_CONTINUATIONS = 16
_DIRECTORY, _ASSOCIATED, _MORE = 2, 4, 0x80
_KINDS = {0x8000: Kind.FILE, 0x4000: Kind.DIR, 0xA000: Kind.LINK}


@dataclass(slots=True)
class _Rock:
    """What the system use area of a record says."""

    name: str = ""
    mode: int = 0
    child: int = 0
    relocated: bool = False
    link: list[str] = field(default_factory=list)
    open_part: bool = False


def recognise(media: Media) -> Node | None:
    """Return the root directory of an ISO 9660 file system, or None."""
    for number in range(_FIRST, _FIRST + _MAX_DESCRIPTORS):
        at = number * _SECTOR
        if at + _SECTOR > media.size:
            return None
        raw = media.read(at, _SECTOR)
        if raw[1:6] != b"CD001" or raw[0] == 255:
            return None
        if raw[0] == 1:
            return _Volume(media, raw).root
    return None


class _Volume:
    """An opened file system."""

    def __init__(self, media: Media, descriptor: bytes) -> None:
        self.media = media
        self.block = struct.unpack_from("<H", descriptor, 128)[0]
        if self.block not in (512, 1024, 2048):
            raise LoadError(f"{media.name}: ISO 9660 with blocks of {self.block} bytes")
        record = descriptor[156:190]
        self.skip = -1
        self.lists = lru_cache(maxsize=16)(self._list)
        extent, size = _extent(record)
        self.root = _IsoNode(self, Kind.DIR, [(extent, size)], "")
        self._find_susp(extent)

    def _find_susp(self, extent: int) -> None:
        """Learn from the root's "." whether there is Rock Ridge."""
        first = self.media.read(extent * self.block, 256)
        area = _system_use(first[: first[0]]) if first[0] >= 34 else b""
        if len(area) >= 7 and area[:2] == b"SP" and area[4:6] == b"\xbe\xef":
            self.skip = area[6]

    def directory(self, extent: int) -> "_IsoNode":
        """Return a directory by its extent alone (Rock Ridge's CL)."""
        first = self.media.read(extent * self.block, 34)
        where, size = _extent(first)
        if where != extent:
            raise LoadError(f"{self.media.name}: damaged ISO 9660: relocated directory")
        return _IsoNode(self, Kind.DIR, [(extent, size)], "")

    def _list(self, extent: int, size: int) -> dict[str, Node]:
        """Return name -> node of a directory."""
        if size > MAX_DIRECTORY:
            raise LoadError(
                f"{self.media.name}: damaged ISO 9660: a directory of {size} bytes"
            )
        raw = self.media.read(extent * self.block, size)
        rows: dict[str, Node] = {}
        pieces: list[tuple[int, int]] = []
        at = 0
        while at < len(raw):
            length = raw[at]
            if length == 0:  # records do not cross sectors
                at = (at // _SECTOR + 1) * _SECTOR
                continue
            record = raw[at : at + length]
            if len(record) < 34 or len(record) < 33 + record[32]:
                raise LoadError(f"{self.media.name}: damaged ISO 9660: short record")
            at += length
            pieces.append(_extent(record))
            if record[25] & _MORE:
                if len(pieces) > MAX_ENTRIES:
                    raise LoadError(f"{self.media.name}: damaged ISO 9660: extents")
                continue
            node_pieces, pieces = pieces, []
            self._add(rows, record, node_pieces)
            if len(rows) > MAX_ENTRIES:
                raise LoadError(f"{self.media.name}: more than {MAX_ENTRIES} names")
        return rows

    def _add(
        self, rows: dict[str, Node], record: bytes, pieces: list[tuple[int, int]]
    ) -> None:
        raw_name = record[33 : 33 + record[32]]
        if record[25] & _ASSOCIATED or raw_name in (b"\0", b"\x01"):
            return
        rock = self._rock(record) if self.skip >= 0 else _Rock()
        if rock.relocated:
            return
        name = rock.name or _plain_name(raw_name)
        if "/" in name or name in (".", ".."):
            return
        if rock.child:
            rows[name] = self.directory(rock.child)
            return
        kind = Kind.DIR if record[25] & _DIRECTORY else Kind.FILE
        kind = _KINDS.get(rock.mode & 0xF000, Kind.OTHER) if rock.mode else kind
        rows[name] = _IsoNode(self, kind, pieces, _link_text(rock.link))

    def _rock(self, record: bytes) -> _Rock:
        """Read the Rock Ridge fields of a record, continuations included."""
        rock = _Rock()
        area = _system_use(record)[self.skip :]
        for _ in range(_MAX_CONTINUATIONS):
            more = _fields(area, rock)
            if more is None:
                return rock
            block, offset, size = more
            if size > _SECTOR:
                break
            area = self.media.read(block * self.block + offset, size)
        raise LoadError(f"{self.media.name}: damaged ISO 9660: continuation areas")


def _extent(record: bytes) -> tuple[int, int]:
    """Return (first block, bytes) of a directory record."""
    extent, size = struct.unpack_from("<I4xI", record, 2)
    return extent + record[1], size


def _system_use(record: bytes) -> bytes:
    start = 33 + record[32]
    return record[start + (start & 1) :]


def _fields(area: bytes, rock: _Rock) -> tuple[int, int, int] | None:
    """Read one system use area; return where it goes on."""
    more = None
    at = 0
    while at + 4 <= len(area):
        sign, length = area[at : at + 2], area[at + 2]
        if length < 4 or at + length > len(area):
            break
        body = area[at + 4 : at + length]
        at += length
        if sign == b"NM" and body and not body[0] & 6 and len(rock.name) < 1024:
            rock.name += body[1:].decode("utf-8", "replace")
        elif sign == b"PX" and len(body) >= 4:
            rock.mode = struct.unpack_from("<I", body)[0]
        elif sign == b"CL" and len(body) >= 4:
            rock.child = struct.unpack_from("<I", body)[0]
        elif sign == b"RE":
            rock.relocated = True
        elif sign == b"SL" and body:
            _link_parts(body[1:], rock)
        elif sign == b"CE" and len(body) >= 24:
            more = struct.unpack("<I4xI4xI4x", body[:24])
        elif sign == b"ST":
            break
    return more


def _link_parts(body: bytes, rock: _Rock) -> None:
    """Read the components of a symbolic link."""
    at = 0
    while at + 2 <= len(body) and len(rock.link) < 256:
        flags, length = body[at], body[at + 1]
        text = body[at + 2 : at + 2 + length].decode("utf-8", "replace")
        text = {2: ".", 4: "..", 8: "/"}.get(flags & 0x0E, text)
        at += 2 + length
        if rock.open_part:
            rock.link[-1] += text
        else:
            rock.link.append(text)
        rock.open_part = bool(flags & 1)


def _link_text(parts: list[str]) -> str:
    root = bool(parts) and parts[0] == "/"
    return ("/" if root else "") + "/".join(parts[1:] if root else parts)


def _plain_name(raw: bytes) -> str:
    """Return a name without Rock Ridge: lower case, no version."""
    name = raw.decode("latin-1").split(";")[0]
    return name.removesuffix(".").lower()


class _IsoNode:
    """A file, directory or link."""

    def __init__(
        self, volume: _Volume, kind: Kind, pieces: list[tuple[int, int]], link: str
    ) -> None:
        self.kind = kind
        self.size = len(link) if kind is Kind.LINK else sum(n for _, n in pieces)
        self._volume = volume
        self._pieces = pieces
        self._link = link

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer at the end."""
        parts = []
        for extent, length in self._pieces:
            if size > 0 and offset < length:
                count = min(size, length - offset)
                at = extent * self._volume.block + offset
                parts.append(self._volume.media.read(at, count))
                offset += count
                size -= count
            offset -= length
        return b"".join(parts)

    def _list(self) -> dict[str, Node]:
        return self._volume.lists(*self._pieces[0])

    def entries(self) -> Iterator[tuple[str, Node]]:
        """Yield what a directory holds."""
        yield from self._list().items()

    def lookup(self, name: str) -> Node | None:
        """Return what a directory holds under `name`."""
        rows = self._list()
        if self._volume.skip < 0:
            name = name.lower()
        return rows.get(name)

    def target(self) -> str:
        """Return the path in a symbolic link."""
        return self._link
