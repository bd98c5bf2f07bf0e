"""FAT12, FAT16 and FAT32 with long names, read-only (Microsoft's fatgen103)."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from .errors import LoadError
from .media import Media
from .volume import MAX_ENTRIES, Kind, Node

_VOLUME, _DIRECTORY, _LONG = 0x08, 0x10, 0x0F
_MAX_DIR = 65536 * 32
_PAGE = 4096


class _Volume:
    """An opened FAT file system."""

    def __init__(self, media: Media, boot: bytes) -> None:
        self.media = media
        sector, per, reserved, fats = struct.unpack_from("<HBHB", boot, 11)
        roots, small, _, fat16 = struct.unpack_from("<HHBH", boot, 17)
        total = small or struct.unpack_from("<I", boot, 32)[0]
        fatsize = fat16 or struct.unpack_from("<I", boot, 36)[0]
        self.fat_at = reserved * sector
        self.fat_end = self.fat_at + fatsize * sector
        self.root_at = self.fat_at + fats * fatsize * sector
        self.root_size = roots * 32
        root_sectors = (self.root_size + sector - 1) // sector
        self.data_at = self.root_at + root_sectors * sector
        self.cluster = per * sector
        left = total * sector - self.data_at
        if left <= 0 or not fatsize or self.fat_end > media.size:
            raise LoadError(f"{media.name}: damaged FAT boot sector")
        self.clusters = left // self.cluster
        self.bits = 12 if self.clusters < 4085 else 16
        if self.clusters >= 65525 or not fat16:
            self.bits = 32
        self.root_cluster = (
            struct.unpack_from("<I", boot, 44)[0] if self.bits == 32 else 0
        )
        self._page = lru_cache(maxsize=64)(self._read_page)

    def _read_page(self, number: int) -> bytes:
        at = self.fat_at + number * _PAGE
        return self.media.read(at, max(0, min(_PAGE, self.fat_end - at)))

    def _word(self, at: int, size: int) -> int:
        """Return a little-endian number at byte `at` of the FAT."""
        raw = bytearray()
        for byte in range(at, at + size):
            page = self._page(byte // _PAGE)
            if byte % _PAGE >= len(page):
                raise LoadError(f"{self.media.name}: damaged FAT: it is too short")
            raw.append(page[byte % _PAGE])
        return int.from_bytes(raw, "little")

    def _next(self, cluster: int) -> int:
        """Return the cluster after `cluster`; 0 at the chain's end."""
        if self.bits == 12:
            pair = self._word(cluster + cluster // 2, 2)
            value = pair >> 4 if cluster & 1 else pair & 0xFFF
            end = 0xFF8
        elif self.bits == 16:
            value, end = self._word(2 * cluster, 2), 0xFFF8
        else:
            value, end = self._word(4 * cluster, 4) & 0x0FFFFFFF, 0x0FFFFFF8
        return 0 if value >= end else value

    def chain(self, cluster: int, size: int) -> Iterator[int]:
        """Yield the clusters that hold `size` bytes; shorter at the end."""
        for _ in range((size + self.cluster - 1) // self.cluster):
            if cluster == 0:
                return
            if not 2 <= cluster < self.clusters + 2:
                raise LoadError(f"{self.media.name}: damaged FAT: cluster {cluster}")
            yield cluster
            cluster = self._next(cluster)

    def read_cluster(self, cluster: int) -> bytes:
        """Return the bytes of a cluster."""
        return self.media.read(
            self.data_at + (cluster - 2) * self.cluster, self.cluster
        )


def recognise(media: Media) -> Node | None:
    """Return the root directory of a FAT file system, or None."""
    if media.size < 512:
        return None
    boot = media.read(0, 512)
    sector, per, reserved, fats = struct.unpack_from("<HBHB", boot, 11)
    if (
        boot[510:] != b"\x55\xaa"
        or boot[0] not in (0xEB, 0xE9)
        or sector not in (512, 1024, 2048, 4096)
        or per == 0
        or per & (per - 1)
        or reserved == 0
        or fats not in (1, 2)
    ):
        return None
    volume = _Volume(media, boot)
    return _FatNode(volume, Kind.DIR, volume.root_cluster, 0, root=True)


class _FatNode:
    """A file or a directory."""

    def __init__(
        self, volume: _Volume, kind: Kind, cluster: int, size: int, root: bool = False
    ) -> None:
        self.kind = kind
        self.size = size
        self._volume = volume
        self._cluster = cluster
        self._root = root
        # A file is not larger than its disk, so neither is its chain.
        limit = min(size, volume.clusters * volume.cluster)
        self._rest = volume.chain(cluster, limit)
        self._chain: list[int] = []

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer at the end."""
        vol = self._volume
        size = max(0, min(size, self.size - offset))
        first = offset // vol.cluster
        last = (offset + size + vol.cluster - 1) // vol.cluster
        self._chain += islice(self._rest, max(0, last - len(self._chain)))
        clusters = self._chain[first:last]
        if len(clusters) < last - first:
            raise LoadError(f"{vol.media.name}: damaged FAT: a chain ends early")
        data = b"".join(vol.read_cluster(c) for c in clusters)
        return data[offset - first * vol.cluster :][:size]

    def _raw(self) -> bytes:
        """Return the entries of a directory."""
        vol = self._volume
        if self._root and vol.bits != 32:
            return vol.media.read(vol.root_at, vol.root_size)
        seen: dict[int, None] = {}
        for cluster in vol.chain(self._cluster, _MAX_DIR):
            if cluster in seen:
                raise LoadError(f"{vol.media.name}: damaged FAT: a chain loops")
            seen[cluster] = None
        return b"".join(vol.read_cluster(c) for c in seen)

    def entries(self) -> Iterator[tuple[str, Node]]:
        """Yield what a directory holds."""
        raw = self._raw()
        long: dict[int, bytes] = {}
        for at in range(0, min(len(raw), MAX_ENTRIES * 32), 32):
            entry = raw[at : at + 32]
            if entry[0] == 0:
                return
            if entry[0] == 0xE5:
                long = {}
                continue
            if entry[11] & 0x3F == _LONG:
                if entry[0] & 0x40:
                    long = {}
                part = entry[1:11] + entry[14:26] + entry[28:32]
                long[entry[0] & 0x1F] = entry[13:14] + part
                continue
            name = _long_name(long, entry[:11]) or _short_name(entry)
            long = {}
            if entry[11] & _VOLUME or name in (".", ".."):
                continue
            kind = Kind.DIR if entry[11] & _DIRECTORY else Kind.FILE
            high, low = (struct.unpack_from("<H", entry, x)[0] for x in (20, 26))
            cluster = (high << 16 | low) if self._volume.bits == 32 else low
            size = struct.unpack_from("<I", entry, 28)[0] if kind is Kind.FILE else 0
            yield name, _FatNode(self._volume, kind, cluster, size)

    def lookup(self, name: str) -> Node | None:
        """Return what a directory holds under `name`, in any case."""
        wanted = name.casefold()
        return next((n for key, n in self.entries() if key.casefold() == wanted), None)

    def target(self) -> str:
        """FAT has no symbolic links."""
        raise LoadError(f"{self._volume.media.name}: not a symbolic link")


def _checksum(short: bytes) -> int:
    value = 0
    for byte in short:
        value = ((value & 1) << 7 | value >> 1) + byte & 0xFF
    return value


def _long_name(parts: dict[int, bytes], short: bytes) -> str:
    """Return the long name gathered for a short one; "": it is not its own."""
    if not parts or sorted(parts) != list(range(1, len(parts) + 1)):
        return ""
    check = _checksum(short)
    if any(part[0] != check for part in parts.values()):
        return ""
    raw = b"".join(parts[i][1:] for i in sorted(parts))
    return raw.decode("utf-16-le", "replace").split("\0")[0]


def _short_name(entry: bytes) -> str:
    """Return the 8.3 name, in lower case where Windows says so."""
    base, ext = entry[:8], entry[8:11]
    if base[0] == 0x05:
        base = b"\xe5" + base[1:]
    stem = base.decode("cp437").rstrip()
    tail = ext.decode("cp437").rstrip()
    if entry[12] & 0x08:
        stem = stem.lower()
    if entry[12] & 0x10:
        tail = tail.lower()
    return f"{stem}.{tail}" if tail else stem
