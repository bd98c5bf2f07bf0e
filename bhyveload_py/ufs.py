"""UFS2 and UFS1, read-only (FreeBSD's sys/ufs: fs.h, dinode.h, dir.h).

Both have the superblock at a fixed place, inodes in cylinder groups, and
files of 12 direct blocks and three levels of indirect ones.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from .errors import LoadError
from .media import Media
from .volume import MAX_DIRECTORY, MAX_ENTRIES, Kind, Node

_PLACES = (65536, 8192, 0, 262144)
_SUPER = 1376
_MAGIC1, _MAGIC2 = 0x00011954, 0x19540119
_ROOT = 2
_NDIRECT = 12
_DIRBLK = 512
_KINDS = {0x8000: Kind.FILE, 0x4000: Kind.DIR, 0xA000: Kind.LINK}


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the superblock says, checked."""

    two: bool
    iblkno: int
    cgoffset: int
    cgmask: int
    ncg: int
    bsize: int
    fsize: int
    ipg: int
    fpg: int
    maxsymlink: int


def _parse(media: Media, at: int) -> _Layout | None:
    """Return the layout from a superblock at `at`; None: there is none."""
    if at + _SUPER > media.size:
        return None
    raw = media.read(at, _SUPER)
    magic = struct.unpack_from("<I", raw, 1372)[0]
    if magic not in (_MAGIC1, _MAGIC2):
        return None
    where = struct.unpack_from("<q", raw, 1000)[0]
    # UFS1 with large blocks keeps an alternate superblock at UFS2's place.
    if (magic == _MAGIC2 and where != at) or (magic == _MAGIC1 and at == 65536):
        return None
    iblkno = struct.unpack_from("<i", raw, 16)[0]
    cgoffset, cgmask = struct.unpack_from("<ii", raw, 24)
    ncg, bsize, fsize, frag = struct.unpack_from("<Iiii", raw, 44)
    ipg, fpg = struct.unpack_from("<Ii", raw, 184)
    maxsymlink = struct.unpack_from("<i", raw, 1320)[0]
    two = magic == _MAGIC2
    sound = (
        4096 <= bsize <= 65536
        and bsize & (bsize - 1) == 0
        and 512 <= fsize <= bsize
        and fsize & (fsize - 1) == 0
        and bsize // fsize == frag
        and frag <= 8
        and 0 < ncg < 1 << 31
        and 0 < ipg < 1 << 31
        and fpg > 0
        and 0 < iblkno < fpg
        and 0 <= maxsymlink <= (120 if two else 60)
        and cgoffset >= 0
    )
    if not sound:
        raise LoadError(f"{media.name}: damaged UFS superblock")
    return _Layout(
        two, iblkno, cgoffset, cgmask, ncg, bsize, fsize, ipg, fpg, maxsymlink
    )


def recognise(media: Media) -> Node | None:
    """Return the root directory of a UFS file system, or None."""
    for at in _PLACES:
        layout = _parse(media, at)
        if layout is not None:
            return _Volume(media, layout).node(_ROOT)
    return None


class _Volume:
    """An opened file system."""

    def __init__(self, media: Media, layout: _Layout) -> None:
        self.media = media
        self.layout = layout
        self.indirect = lru_cache(maxsize=32)(self._indirect)
        self.lists = lru_cache(maxsize=8)(self._list)

    def node(self, ino: int) -> "_Inode":
        """Return an inode by its number."""
        lay = self.layout
        group, index = divmod(ino, lay.ipg)
        if ino < _ROOT or group >= lay.ncg:
            raise LoadError(f"{self.media.name}: damaged UFS: no inode {ino}")
        base = group * lay.fpg
        if not lay.two:
            base += lay.cgoffset * (group & ~lay.cgmask)
        step = 256 if lay.two else 128
        at = (base + lay.iblkno) * lay.fsize + index * step
        return _Inode(self, ino, self.media.read(at, step))

    def _indirect(self, block: int) -> tuple[int, ...]:
        """Return the block numbers in an indirect block."""
        lay = self.layout
        raw = self.media.read(block * lay.fsize, lay.bsize)
        return struct.unpack(f"<{lay.bsize // 8}q" if lay.two else
                             f"<{lay.bsize // 4}i", raw)  # fmt: skip

    def _list(self, ino: int) -> dict[str, int]:
        """Return name -> inode of a directory."""
        node = self.node(ino)
        if node.size > MAX_DIRECTORY or node.size % _DIRBLK:
            raise LoadError(
                f"{self.media.name}: damaged UFS: a directory of {node.size} bytes"
            )
        rows: dict[str, int] = {}
        for start in range(0, node.size, _DIRBLK):
            block = node.read(start, _DIRBLK)
            at = 0
            while at < _DIRBLK:
                child, reclen, _, length = struct.unpack_from("<IHBB", block, at)
                end = at + reclen
                # An entry of less than 8 bytes may not be left over either.
                if reclen < 8 + length or reclen % 4 or 504 < end != _DIRBLK:
                    raise LoadError(
                        f"{self.media.name}: damaged UFS: directory entry in "
                        f"inode {ino}"
                    )
                name = block[at + 8 : at + 8 + length].decode("utf-8", "replace")
                if child and name not in (".", ".."):
                    rows[name] = child
                at += reclen
            if len(rows) > MAX_ENTRIES:
                raise LoadError(f"{self.media.name}: more than {MAX_ENTRIES} names")
        return rows


class _Inode:
    """A file, directory or link."""

    def __init__(self, volume: _Volume, ino: int, raw: bytes) -> None:
        two = volume.layout.two
        self._volume = volume
        self._ino = ino
        mode = struct.unpack_from("<H", raw, 0)[0]
        self.kind = _KINDS.get(mode & 0xF000, Kind.OTHER)
        self.size: int = struct.unpack_from("<Q", raw, 16 if two else 8)[0]
        at = 112 if two else 40
        self._inline = raw[at : at + (120 if two else 60)]
        self._blocks = struct.unpack_from("<15q" if two else "<15i", raw, at)

    def _map(self, index: int) -> int:
        """Return the fragment where block `index` begins; 0: a hole."""
        if index < _NDIRECT:
            return int(self._blocks[index])
        index -= _NDIRECT
        per = self._volume.layout.bsize // (8 if self._volume.layout.two else 4)
        for level in range(3):
            span = per ** (level + 1)
            if index < span:
                block = int(self._blocks[_NDIRECT + level])
                while span > 1 and block:
                    span //= per
                    block = self._volume.indirect(block)[index // span]
                    index %= span
                return block
            index -= span
        raise LoadError(f"{self._volume.media.name}: damaged UFS: file size")

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer at the end."""
        lay, media = self._volume.layout, self._volume.media
        size = max(0, min(size, self.size - offset))
        parts = []
        while size > 0:
            index, skip = divmod(offset, lay.bsize)
            count = min(size, lay.bsize - skip)
            block = self._map(index)
            if block == 0:
                parts.append(bytes(count))
            else:
                parts.append(media.read(block * lay.fsize + skip, count))
            offset += count
            size -= count
        return b"".join(parts)

    def entries(self) -> Iterator[tuple[str, Node]]:
        """Yield what a directory holds."""
        for name, ino in self._volume.lists(self._ino).items():
            yield name, self._volume.node(ino)

    def lookup(self, name: str) -> Node | None:
        """Return what a directory holds under `name`."""
        ino = self._volume.lists(self._ino).get(name)
        return None if ino is None else self._volume.node(ino)

    def target(self) -> str:
        """Return the path in a symbolic link."""
        if self.size < self._volume.layout.maxsymlink:
            raw = self._inline[: self.size]
        elif self.size <= 1024:
            raw = self.read(0, self.size)
        else:
            raise LoadError(f"{self._volume.media.name}: damaged UFS: symbolic link")
        return raw.decode("utf-8", "replace")
