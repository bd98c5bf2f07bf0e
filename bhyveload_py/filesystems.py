"""THE table of file systems, and what else may lie on a disk."""

from collections.abc import Callable
from dataclasses import dataclass

from . import fat, iso9660, ufs
from .media import Media
from .volume import Node


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One kind of file system: `recognise` returns its root, or None."""

    name: str
    recognise: Callable[[Media], Node | None]


#: Tried in order.  An ISO that boots from USB sticks has a FAT-like start.
FILE_SYSTEMS = (
    FileSystem("ufs", ufs.recognise),
    FileSystem("cd9660", iso9660.recognise),
    FileSystem("msdosfs", fat.recognise),
)

#: Signatures of what is named but not read: (offset, bytes, name).
_STRANGERS = (
    (1080, b"\x53\xef", "a Linux ext file system"),
    (0, b"XFSB", "a Linux XFS file system"),
    (0x10040, b"_BHRfS_M", "a Linux btrfs file system"),
    (536, b"LABELONE", "a Linux LVM volume"),
    (0, b"LUKS\xba\xbe", "an encrypted Linux volume"),
    (3, b"NTFS    ", "a Windows NTFS file system"),
)
_UBERBLOCK = 0x00BAB10C.to_bytes(8, "little")


def open_volume(media: Media) -> tuple[str, Node] | None:
    """Return the kind and the root of the file system on `media`, or None."""
    for row in FILE_SYSTEMS:
        root = row.recognise(media)
        if root is not None:
            return row.name, root
    return None


def describe(media: Media) -> str:
    """Return what lies on a medium that open_volume() does not know, or ""."""
    for offset, magic, name in _STRANGERS:
        if (
            offset + len(magic) <= media.size
            and media.read(offset, len(magic)) == magic
        ):
            return name
    if media.size >= 256 << 10:
        blob = media.read(128 << 10, 128 << 10)
        if any(blob[at : at + 8] == _UBERBLOCK for at in range(0, len(blob), 1024)):
            return "a ZFS pool"
    return ""
