"""What every file system offers, and paths through it.

A file system is its root ``Node``.  ``resolve`` walks a path: ".." stops at
the root and symbolic links are followed here, beneath that root, so that no
file system, a directory of the host included, leads out of it.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Protocol

from .errors import LoadError

_MAX_LINKS = 32
_MAX_PATH = 1024
_MAX_DEPTH = 64
_CHUNK = 1 << 20

#: What a directory may hold and be before it counts as damaged.
MAX_ENTRIES = 65536
MAX_DIRECTORY = 16 << 20


class Kind(Enum):
    """What a node is."""

    FILE = "-"
    DIR = "d"
    LINK = "l"
    OTHER = "?"


class Node(Protocol):
    """A file, directory or link of a file system."""

    @property
    def kind(self) -> Kind:
        """What it is."""

    @property
    def size(self) -> int:
        """Bytes of a file or of a link's text."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes of a file from `offset`, fewer at its end."""

    def entries(self) -> Iterator[tuple[str, "Node"]]:
        """Yield what a directory holds, without "." and ".."."""

    def lookup(self, name: str) -> "Node | None":
        """Return what a directory holds under `name`."""

    def target(self) -> str:
        """Return the path in a symbolic link."""


def resolve(root: Node, path: str) -> Node | None:
    """Return the node at `path`, or None; every link is followed."""
    if len(path) > _MAX_PATH or "\0" in path:
        raise LoadError(f"a path of {len(path)} characters is too long")
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    trail, links = [root], 0
    while todo:
        part = todo.pop()
        here = trail[-1]
        if here.kind is not Kind.DIR:
            return None
        if part == "..":
            if len(trail) > 1:
                trail.pop()
            continue
        node = here.lookup(part)
        if node is None:
            return None
        if node.kind is Kind.LINK:
            links += 1
            text = node.target()
            if links > _MAX_LINKS or len(text) > _MAX_PATH:
                raise LoadError(f"{path}: too many symbolic links")
            if text.startswith("/"):
                del trail[1:]
            todo += [p for p in reversed(text.split("/")) if p not in ("", ".")]
            continue
        trail.append(node)
        if len(trail) > _MAX_DEPTH:
            raise LoadError(f"{path}: more than {_MAX_DEPTH} directories deep")
    return trail[-1]


def find_file(root: Node, path: str) -> Node | None:
    """Return the regular file at `path`, or None."""
    node = resolve(root, path)
    return node if node is not None and node.kind is Kind.FILE else None


def read_chunks(node: Node, name: str, limit: int) -> Iterator[bytes]:
    """Yield the bytes of a file of at most `limit` bytes."""
    if node.size > limit:
        raise LoadError(f"{name}: {node.size} bytes; at most {limit} are allowed")
    at = 0
    while at < node.size:
        data = node.read(at, min(_CHUNK, node.size - at))
        if not data:
            raise LoadError(f"{name}: ends at byte {at} of {node.size}")
        yield data
        at += len(data)


def read_file(node: Node, name: str, limit: int) -> bytearray:
    """Return the whole of a file of at most `limit` bytes."""
    data = bytearray()
    for chunk in read_chunks(node, name, limit):
        data += chunk
    return data
