"""Where bytes of a disk come from: a file, or a part of another medium.

Every read is checked against the medium's end, so that a wild block number
in a damaged image becomes one LoadError.
"""

import os
import stat
from typing import Protocol

from .errors import LoadError

SECTOR = 512


class Media(Protocol):
    """Something with `size` bytes that can be read anywhere."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def size(self) -> int:
        """Bytes that it holds."""

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`, or raise LoadError."""


class FileMedia:
    """A disk image, or a block device of the host.

    With `writable` it is opened for writing where it may be.
    """

    def __init__(self, path: str, name: str = "", *, writable: bool = False) -> None:
        self.name = name or path
        self.writable = writable and os.access(path, os.W_OK)
        mode = os.O_RDWR if self.writable else os.O_RDONLY
        try:
            self._fd = os.open(path, mode | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise LoadError(f"{path}: {error.strerror}") from None
        kind = os.fstat(self._fd).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
            self.close()
            raise LoadError(f"{path}: neither a file nor a disk")
        self.size = os.lseek(self._fd, 0, os.SEEK_END)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`."""
        check_range(self, offset, size)
        try:
            data = os.pread(self._fd, size, offset)
        except OSError as error:
            raise LoadError(f"{self.name}: {error.strerror}") from None
        if len(data) != size:
            raise LoadError(f"{self.name}: the image was cut while it was read")
        return data

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""
        check_range(self, offset, len(data))
        try:
            written = os.pwrite(self._fd, data, offset)
        except OSError as error:
            raise LoadError(f"{self.name}: {error.strerror}") from None
        if written != len(data):
            raise LoadError(f"{self.name}: {written} of {len(data)} bytes written")


class BytesMedia:
    """An image in memory."""

    def __init__(self, data: bytes, name: str = "image") -> None:
        self.name = name
        self.size = len(data)
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`."""
        check_range(self, offset, size)
        return self._data[offset : offset + size]


class SliceMedia:
    """A partition: `size` bytes of `base` from `start`."""

    def __init__(self, base: Media, start: int, size: int, name: str) -> None:
        self.name = name
        self.size = size
        self._base = base
        self._start = start
        check_range(base, start, size)

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`."""
        check_range(self, offset, size)
        return self._base.read(self._start + offset, size)


def check_range(media: Media, offset: int, size: int) -> None:
    """Raise LoadError unless the range lies on the medium."""
    if offset < 0 or size < 0 or offset + size > media.size:
        raise LoadError(
            f"{media.name}: damaged or truncated: {size} bytes at {offset:#x} are "
            f"wanted, there are {media.size}"
        )
