"""Disk images for tests of the loader.

Partition tables are written here, file systems by the host's tools.
"""

import shutil
import struct
import subprocess
import uuid
import zlib
from pathlib import Path

import pytest

SECTOR = 512
UFS_GUID = "516e7cb6-6ecf-11d6-8ff8-00022d09712b"
FREEBSD_GUID = "516e7cb4-6ecf-11d6-8ff8-00022d09712b"
DISK_GUID = uuid.UUID("0b5d3c1e-6a43-4b0f-9a35-6c1f2f0f4a77")
_FLAGS = {"ufs1": "version=1", "ufs2": "version=2"}
KINDS = ("ufs2", "ufs1", "rock", "iso", "fat12", "fat16", "fat32")


def _run(*argv: str) -> None:
    """Run one of the host's tools; the test is skipped without it."""
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    subprocess.run(argv, check=True, capture_output=True)


def make_image(kind: str, tree: Path, out: Path) -> Path:
    """Make a file system of `kind` that holds the folder `tree`."""
    if kind in _FLAGS:
        _run("makefs", "-t", "ffs", "-M", "4m", "-o", _FLAGS[kind], str(out), str(tree))
    elif kind in ("rock", "iso"):
        rock = ["-R"] if kind == "rock" else []
        _run("xorriso", "-as", "mkisofs", *rock, "-o", str(out), str(tree))
    else:
        bits = kind.removeprefix("fat")
        size, flags = {
            "12": (12, ("-s", "16")),
            "16": (32, ()),
            "32": (64, ()),
        }[bits]
        with out.open("wb") as file:
            file.truncate(size << 20)
        _run("mkfs.vfat", "-F", bits, *flags, str(out))
        names = [str(path) for path in sorted(tree.iterdir())]
        _run("mcopy", "-s", "-i", str(out), *names, "::/")
    return out


def gpt(
    parts: list[tuple[str, int, int]], sectors: int, sector: int = SECTOR
) -> bytearray:
    """Return a disk with a GPT of (type, first sector, last sector) rows."""
    table = bytearray(128 * 128)
    for i, (guid, first, last) in enumerate(parts):
        row = uuid.UUID(guid).bytes_le + uuid.uuid4().bytes
        struct.pack_into("<32sQQ", table, 128 * i, row, first, last)
    disk = bytearray(sectors * sector)
    disk[446:462] = struct.pack("<IIII", 0, 0xEE, 1, sectors - 1)
    disk[510:512] = b"\x55\xaa"
    room = len(table) // sector
    for header, at in ((1, 2), (sectors - 1, sectors - 1 - room)):
        disk[at * sector : at * sector + len(table)] = table
        put_gpt_header(disk, header, at, table, sector=sector)
    return disk


def put_gpt_header(
    disk: bytearray,
    lba: int,
    entries: int,
    table: bytes | bytearray,
    *,
    count: int = 128,
    step: int = 128,
    sector: int = SECTOR,
) -> None:
    """Write a header with right checksums at sector `lba`."""
    last = len(disk) // sector - 1
    room = 2 + len(table) // sector
    head = bytearray(92)
    struct.pack_into("<8sIIII", head, 0, b"EFI PART", 0x10000, 92, 0, 0)
    struct.pack_into("<QQQQ", head, 24, lba, last + 1 - lba, room, last - room)
    head[56:72] = DISK_GUID.bytes_le
    struct.pack_into("<QIII", head, 72, entries, count, step, zlib.crc32(table))
    struct.pack_into("<I", head, 16, zlib.crc32(head))
    disk[lba * sector : lba * sector + 92] = head


def mbr(rows: list[tuple[int, int, int]], sectors: int) -> bytearray:
    """Return a disk with an MBR of (type, first sector, sectors) rows."""
    disk = bytearray(sectors * SECTOR)
    put_mbr(disk, 0, rows)
    return disk


def put_mbr(disk: bytearray, lba: int, rows: list[tuple[int, int, int]]) -> None:
    """Write a table of slices at sector `lba`."""
    at = lba * SECTOR
    for i, (kind, first, count) in enumerate(rows):
        struct.pack_into("<IIII", disk, at + 446 + 16 * i, 0, kind, first, count)
    disk[at + 510 : at + 512] = b"\x55\xaa"


def put_label(disk: bytearray, start: int, rows: list[tuple[int, int, int]]) -> None:
    """Write a BSD label of (sectors, offset, type) rows into a slice."""
    label = bytearray(SECTOR)
    for at in (0, 132):
        struct.pack_into("<I", label, at, 0x82564557)
    struct.pack_into("<H", label, 138, len(rows))
    for i, (sectors, offset, kind) in enumerate(rows):
        struct.pack_into("<IIIB", label, 148 + 16 * i, sectors, offset, 0, kind)
    disk[(start + 1) * SECTOR : (start + 2) * SECTOR] = label


def put(disk: bytearray, sector: int, image: bytes) -> bytearray:
    """Write an image into a disk at a sector, growing it as needed."""
    at = sector * SECTOR
    if len(disk) < at + len(image):
        disk += bytes(at + len(image) - len(disk))
    disk[at : at + len(image)] = image
    return disk
