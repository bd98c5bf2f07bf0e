"""Guest memory: what kinds there are, and buffers over it.

A view of guest memory is a plain memoryview over the pages that the guest
uses.  The VM behind it stays mapped until the last view is gone, even if the
VM object was closed before.
"""

import weakref
from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import NamedTuple

from ._ffi import CData, ffi, lib


class SegId(IntEnum):
    """Numbers of memory segments."""

    SYSMEM = lib.VM_SYSMEM
    BOOTROM = lib.VM_BOOTROM
    FRAMEBUFFER = lib.VM_FRAMEBUFFER


class MmapStyle(IntEnum):
    """How VM.setup_memory() maps the guest's memory into this process."""

    NONE = lib.VM_MMAP_NONE
    ALL = lib.VM_MMAP_ALL
    SPARSE = lib.VM_MMAP_SPARSE


class MemFlags(IntFlag):
    """Wishes about guest memory, set before VM.setup_memory()."""

    INCORE = lib.VM_MEM_F_INCORE
    WIRED = lib.VM_MEM_F_WIRED


class MemPolicy(IntEnum):
    """How a part of guest memory is spread over nodes of the host."""

    FIRST_TOUCH = lib.VM_MEM_FIRST_TOUCH
    ROUND_ROBIN = lib.VM_MEM_ROUND_ROBIN
    PREFER = lib.VM_MEM_PREFER


class MemDomain(NamedTuple):
    """``size`` bytes from the host's ``nodes``, bit N for node N; 0: all."""

    size: int
    policy: MemPolicy = MemPolicy.FIRST_TOUCH
    nodes: int = 0


class Prot(IntFlag):
    """What a guest may do with memory."""

    READ = lib.VM_PROT_READ
    WRITE = lib.VM_PROT_WRITE
    EXEC = lib.VM_PROT_EXEC
    ALL = lib.VM_PROT_ALL


class MemSeg(NamedTuple):
    """A memory segment: ``name`` is "" for ordinary memory, ``size`` bytes."""

    segid: int
    name: str
    size: int


class MemMap(NamedTuple):
    """``size`` bytes of a segment, from ``offset``, that stand at ``gpa``."""

    gpa: int
    segid: int
    offset: int
    size: int
    prot: Prot
    flags: int


class Views:
    """The memoryviews that were handed out, and what waits for their end."""

    def __init__(self) -> None:
        self._live: dict[int, weakref.ref[object]] = {}
        self._then: Callable[[], None] | None = None

    def add(self, pointer: CData, size: int) -> memoryview:
        """Return a writable memoryview of `size` bytes at `pointer`."""
        buffer = ffi.buffer(pointer, size)
        key = id(buffer)
        self._live[key] = weakref.ref(buffer, lambda _: self._drop(key))
        return memoryview(buffer)

    @property
    def live(self) -> bool:
        """True while a view is in use."""
        return bool(self._live)

    def when_gone(self, then: Callable[[], None]) -> None:
        """Call `then` now, or when the last view is dropped."""
        if self._live:
            self._then = then
        else:
            then()

    def _drop(self, key: int) -> None:
        self._live.pop(key, None)
        if not self._live and self._then is not None:
            then, self._then = self._then, None
            then()
