"""A directory of the host as a file system, for -h.

Every name is opened in the directory that was opened before it, and no link
is followed by the host: volume.resolve() reads links and keeps them beneath
the root, whatever somebody does to the tree meanwhile.
"""

import os
import stat
import weakref
from collections.abc import Iterator
from itertools import islice

from .errors import LoadError
from .volume import MAX_ENTRIES, Kind, Node

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def open_directory(path: str) -> "HostNode":
    """Return the directory `path` as the root of a file system."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
    except OSError as error:
        raise LoadError(f"-h: {path}: {error.strerror}") from None
    return HostNode(fd, path)


class HostNode:
    """A file, directory or link that an O_PATH descriptor holds."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._reader = -1
        self._close = weakref.finalize(self, os.close, fd)
        info = os.fstat(fd)
        self.kind = {
            stat.S_IFREG: Kind.FILE,
            stat.S_IFDIR: Kind.DIR,
            stat.S_IFLNK: Kind.LINK,
        }.get(stat.S_IFMT(info.st_mode), Kind.OTHER)
        self.size = info.st_size

    def stat(self) -> os.stat_result:
        """Return what the host says of it."""
        return os.fstat(self._fd)

    def _open(self, flags: int) -> int:
        """Open the very object behind the descriptor for reading."""
        try:
            return os.open(f"/proc/self/fd/{self._fd}", flags | os.O_CLOEXEC)
        except OSError as error:
            raise LoadError(f"{self._name}: {error.strerror}") from None

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer at the end."""
        if self.kind is not Kind.FILE:
            raise LoadError(f"{self._name}: not a file")
        if self._reader < 0:
            self._reader = self._open(os.O_RDONLY)
            weakref.finalize(self, os.close, self._reader)
        try:
            return os.pread(self._reader, size, offset)
        except OSError as error:
            raise LoadError(f"{self._name}: {error.strerror}") from None

    def entries(self) -> Iterator[tuple[str, Node]]:
        """Yield what a directory holds."""
        fd = self._open(os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as rows:
                names = [row.name for row in islice(rows, MAX_ENTRIES)]
        finally:
            os.close(fd)
        for name in names:
            node = self.lookup(name)
            if node is not None:
                yield name, node

    def lookup(self, name: str) -> Node | None:
        """Return what a directory holds under `name`."""
        if "/" in name or "\0" in name or name in ("", ".", ".."):
            return None
        try:
            fd = os.open(name, os.O_PATH | _FLAGS, dir_fd=self._fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise LoadError(f"{self._name}/{name}: {error.strerror}") from None
        return HostNode(fd, f"{self._name}/{name}")

    def target(self) -> str:
        """Return the path in a symbolic link."""
        return os.readlink("", dir_fd=self._fd)
