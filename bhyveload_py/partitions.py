"""Partition tables: GPT, MBR with its logical partitions, BSD labels.

``partitions`` names them as FreeBSD's loader does after the disk: p2 for a
GPT entry, s1 for an MBR slice, s1a for a partition of the label in it.
"""

import struct
import zlib
from dataclasses import dataclass

from .errors import LoadError
from .media import SECTOR, Media, SliceMedia

_GPT_SECTORS = (SECTOR, 4096)
_MAX_ENTRIES = 1024
_MAX_LOGICAL = 64
_MAX_LABEL = 26
_BSD_MAGIC = 0x82564557
_RAW_PART = 2
_EXTENDED = (0x05, 0x0F, 0x85)
_MBR_KINDS = {
    0xA5: "freebsd",
    0xEE: "gpt",
    0xEF: "efi",
    0x83: "linux",
    0x82: "linux-swap",
    0x07: "ntfs",
    **dict.fromkeys((0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E), "fat"),
}
_GPT_KINDS = {
    "516e7cb4-6ecf-11d6-8ff8-00022d09712b": "freebsd",
    "516e7cb5-6ecf-11d6-8ff8-00022d09712b": "freebsd-swap",
    "516e7cb6-6ecf-11d6-8ff8-00022d09712b": "freebsd-ufs",
    "516e7cba-6ecf-11d6-8ff8-00022d09712b": "freebsd-zfs",
    "83bd6b9d-7f41-11dc-be0b-001560b84f0f": "freebsd-boot",
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "efi",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "ms-basic-data",
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "linux",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "linux-swap",
}
_LABEL_KINDS = {1: "freebsd-swap", 7: "freebsd-ufs", 8: "fat", 27: "freebsd-zfs"}


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of a disk; `name` is "" for a whole disk without a table."""

    name: str
    kind: str
    start: int
    size: int

    def media(self, disk: Media) -> Media:
        """Return the bytes of the partition."""
        if not self.name:
            return disk
        return SliceMedia(disk, self.start, self.size, f"{disk.name}{self.name}")


def partitions(disk: Media) -> list[Partition]:
    """Return the partitions of a disk, in the table's order.

    A disk without a table gives one row that is the whole disk.  Entries that
    reach past the end of the disk are left out.
    """
    rows = _gpt(disk) or _mbr(disk) or _bsd_label(disk, 0, disk.size, "")
    if not rows:
        rows = [Partition("", "disk", 0, disk.size)]
    return rows


def _inside(disk: Media, start: int, size: int) -> bool:
    return size > 0 and start > 0 and start + size <= disk.size


# ---- GPT ----


def _guid(raw: bytes) -> str:
    first = struct.unpack("<IHH", raw[:8])
    return f"{first[0]:08x}-{first[1]:04x}-{first[2]:04x}-{raw[8:10].hex()}-" + (
        raw[10:16].hex()
    )


def _gpt(disk: Media) -> list[Partition]:
    """Return the rows of the first GPT header that is sound, else none.

    A disk's image does not say how large its sectors are: the place of the
    header does.
    """
    for sector in _GPT_SECTORS:
        last = disk.size // sector - 1
        for lba in (1, last):
            if lba < 1 or (lba + 1) * sector > disk.size:
                continue
            head = disk.read(lba * sector, SECTOR)
            if head[:8] != b"EFI PART" or head[24:32] != lba.to_bytes(8, "little"):
                continue
            table = _gpt_table(disk, head, sector)
            if table is not None:
                step = struct.unpack_from("<I", head, 84)[0]
                return _gpt_rows(disk, table, step, sector)
    return []


def _gpt_table(disk: Media, head: bytes, sector: int) -> bytes | None:
    """Return the entries behind a header whose two checksums are right."""
    size, crc = struct.unpack_from("<II", head, 12)
    if not 92 <= size <= SECTOR:
        return None
    if zlib.crc32(head[:16] + bytes(4) + head[20:size]) != crc:
        return None
    lba, count, step, crc = struct.unpack_from("<QIII", head, 72)
    if not 128 <= step <= 4096 or step % 8 or count > _MAX_ENTRIES:
        return None
    if lba * sector + count * step > disk.size:
        return None
    table = disk.read(lba * sector, count * step)
    return table if zlib.crc32(table) == crc else None


def _gpt_rows(disk: Media, table: bytes, step: int, sector: int) -> list[Partition]:
    rows = []
    for index in range(len(table) // step):
        entry = table[index * step : index * step + 128]
        if entry[:16] == bytes(16):
            continue
        first, last = struct.unpack_from("<QQ", entry, 32)
        start, size = first * sector, (last - first + 1) * sector
        guid = _guid(entry[:16])
        if _inside(disk, start, size):
            kind = _GPT_KINDS.get(guid, guid)
            name = f"p{index + 1}"
            rows.append(Partition(name, kind, start, size))
            if kind == "freebsd":
                rows += _bsd_label(disk, start, size, name)
    return rows


# ---- MBR ----


def _mbr_entries(sector: bytes) -> list[tuple[int, int, int]]:
    """Return (type, first sector, sectors) of the four entries."""
    rows = []
    for at in range(446, 510, 16):
        kind = sector[at + 4]
        first, count = struct.unpack_from("<II", sector, at + 8)
        rows.append((kind, first, count))
    return rows


def _mbr(disk: Media) -> list[Partition]:
    if disk.size < SECTOR:
        return []
    sector = disk.read(0, SECTOR)
    entries = _mbr_entries(sector)
    # A file system's boot sector ends in the same signature: a table has
    # entries that are active or not, and something in it.
    if sector[510:] != b"\x55\xaa" or any(
        sector[446 + 16 * i] not in (0, 0x80) for i in range(4)
    ):
        return []
    rows: list[Partition] = []
    for number, (kind, first, count) in enumerate(entries, 1):
        start, size = first * SECTOR, count * SECTOR
        if kind in _EXTENDED:
            rows += _logical(disk, first)
        elif kind and _inside(disk, start, size):
            name = f"s{number}"
            rows.append(Partition(name, _MBR_KINDS.get(kind, hex(kind)), start, size))
            if kind == 0xA5:
                rows += _bsd_label(disk, start, size, name)
    return rows


def _logical(disk: Media, base: int) -> list[Partition]:
    """Follow the chain of logical partitions; it must only go forward."""
    rows = []
    at, number = base, 5
    for _ in range(_MAX_LOGICAL):
        if (at + 1) * SECTOR > disk.size:
            break
        sector = disk.read(at * SECTOR, SECTOR)
        if sector[510:] != b"\x55\xaa":
            break
        (kind, first, count), (link, step, _), *_ = _mbr_entries(sector)
        start, size = (at + first) * SECTOR, count * SECTOR
        if kind and _inside(disk, start, size):
            kind_name = _MBR_KINDS.get(kind, hex(kind))
            rows.append(Partition(f"s{number}", kind_name, start, size))
            number += 1
        if link not in _EXTENDED or base + step <= at:
            break
        at = base + step
    return rows


# ---- BSD label ----


def _bsd_label(disk: Media, start: int, size: int, prefix: str) -> list[Partition]:
    """Return the partitions of the label in a slice, else none."""
    if size < 2 * SECTOR:
        return []
    label = disk.read(start + SECTOR, SECTOR)
    magic, again = (struct.unpack_from("<I", label, at)[0] for at in (0, 132))
    if magic != _BSD_MAGIC or again != _BSD_MAGIC:
        return []
    count = min(
        struct.unpack_from("<H", label, 138)[0], _MAX_LABEL, (SECTOR - 148) // 16
    )
    entries = [struct.unpack_from("<IIIB", label, 148 + 16 * i) for i in range(count)]
    # Offsets count from the disk or from the slice: the raw partition tells.
    raw = entries[_RAW_PART][1] if count > _RAW_PART else 0
    rows = []
    for index, (sectors, offset, _, fstype) in enumerate(entries):
        first, length = (offset - raw) * SECTOR, sectors * SECTOR
        if index == _RAW_PART or first < 0 or not length or first + length > size:
            continue
        name = prefix + chr(ord("a") + index)
        kind = _LABEL_KINDS.get(fstype, "unused" if not fstype else hex(fstype))
        rows.append(Partition(name, kind, start + first, length))
    return rows


def find(disk: Media, name: str) -> Partition:
    """Return a partition by its name, "" being the whole disk."""
    if not name:
        return Partition("", "disk", 0, disk.size)
    for row in partitions(disk):
        if row.name == name:
            return row
    raise LoadError(f"{disk.name}: no partition {name}")
