"""The host as FreeBSD's loader sees it: console, files of -h, disks, time.

Errors are FreeBSD's numbers; those used here are Linux' too.
"""

import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from libvmmapi._ffi import lib

from .console import Console
from .errors import LoadError
from .hostfs import HostNode, open_directory
from .media import FileMedia
from .userbootguest import Handoff
from .volume import Kind, resolve

_ENOENT, _EIO, _EBADF, _EFAULT, _EINVAL, _EMFILE, _EROFS = 2, 5, 9, 14, 22, 24, 30
_MAX_HANDLES = 1024
_MAX_DELAY = 60.0
_SPINS = 16
_EXIT_QUIT, _EXIT_REBOOT = 1, 2
_TYPES = {Kind.FILE: 8, Kind.DIR: 4, Kind.LINK: 10, Kind.OTHER: 0}
_STAT = struct.Struct("=QQQqIIII")
_SEEKS = (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END)
_SIGN = 1 << 63


class QuitRequested(Exception):  # noqa: N818
    """The loader ended as its user wanted, without a kernel."""


class RestartRequested(Exception):  # noqa: N818
    """The loader is to begin again."""


class Request(NamedTuple):
    """One call of the loader."""

    op: int
    args: list[int]
    data: bytes


class Reply(NamedTuple):
    """What it gets back."""

    error: int = 0
    args: tuple[int, ...] = ()
    data: bytes = b""


@dataclass(slots=True)
class _Open:
    """A file or folder that the loader holds open."""

    node: HostNode
    offset: int = 0
    entries: Iterator[tuple[str, int, int]] | None = None

    def names(self) -> Iterator[tuple[str, int, int]]:
        """Yield name, inode and type of what a folder holds."""
        yield ".", self.node.stat().st_ino, _TYPES[Kind.DIR]
        yield "..", self.node.stat().st_ino, _TYPES[Kind.DIR]
        for name, node in self.node.entries():
            inode = node.stat().st_ino if isinstance(node, HostNode) else 0
            yield name, inode, _TYPES[node.kind]


def _signed(value: int) -> int:
    return (value ^ _SIGN) - _SIGN


@dataclass(slots=True)
class Host:
    """Answers requests; `begin` makes it ready for a loader's start."""

    disk_paths: list[str]
    host_root: str
    given: list[str]
    console: Console
    disks: list[FileMedia] = field(default_factory=list)
    handles: dict[int, _Open] = field(default_factory=dict)
    guest: Handoff = field(init=False)
    env: list[str] = field(init=False)
    root: HostNode | None = None
    out: bytearray = field(default_factory=bytearray)
    spins: int = 0

    def begin(self, memory: int) -> None:
        """Forget what the last loader did."""
        self.guest = Handoff(memory)
        self.handles.clear()
        # FreeBSD's order: the last comes first, and the loader lets the
        # last it hears count, so of two values of one name the first does.
        rows = [*self.given, "smbios.bios.vendor=BHYVE", "boot_serial=1"]
        self.env = rows[::-1]
        if self.root is None and self.host_root:
            self.root = open_directory(self.host_root)
        if not self.disks:
            for i, path in enumerate(self.disk_paths):
                self.disks.append(FileMedia(path, f"disk{i}", writable=True))

    def close(self) -> None:
        """Close the disks."""
        for disk in self.disks:
            disk.close()

    def serve(self, request: Request) -> Reply | None:
        """Answer a request; None: it has no answer."""
        if request.op == lib.UB_PUTC:
            self.out.append(request.args[0] & 0xFF)
            if len(self.out) >= 1024:
                self.flush()
            return None
        self.flush()
        return _CALLS[request.op](self, request.args, request.data)

    # ---- console ----

    def flush(self) -> None:
        """Show what the loader has printed."""
        if self.out:
            self.console.raw_write(bytes(self.out))
            self.out.clear()

    def getc(self, args: list[int], data: bytes) -> Reply:
        """Wait for a key; at the console's end the user has quit."""
        byte = self.console.byte()
        if byte is None:
            raise QuitRequested
        return Reply(0, (byte,))

    def poll(self, args: list[int], data: bytes) -> Reply:
        """Say if there is a key.  Loaders spin on this, so it takes a while."""
        pending = self.console.pending()
        self.spins = 0 if pending else self.spins + 1
        if self.spins > _SPINS:
            time.sleep(0.001)
        return Reply(0, (int(pending),))

    # ---- files ----

    def open(self, args: list[int], data: bytes) -> Reply:
        """Open a file or a folder beneath -h."""
        if self.root is None:
            return Reply(_ENOENT)
        if len(self.handles) >= _MAX_HANDLES:
            return Reply(_EMFILE)
        try:
            node = resolve(self.root, os.fsdecode(data))
        except LoadError:
            return Reply(_ENOENT)
        if not isinstance(node, HostNode):
            return Reply(_ENOENT)
        if node.kind not in (Kind.FILE, Kind.DIR):
            return Reply(_EINVAL)
        handle = next(i for i in range(_MAX_HANDLES) if i not in self.handles)
        self.handles[handle] = _Open(node)
        return Reply(0, (handle,))

    def _handle(self, number: int, kind: Kind) -> _Open | None:
        found = self.handles.get(number)
        return found if found is not None and found.node.kind is kind else None

    def close_handle(self, args: list[int], data: bytes) -> Reply:
        """Close a handle."""
        gone = self.handles.pop(args[0], None)
        return Reply(_EBADF if gone is None else 0)

    def isdir(self, args: list[int], data: bytes) -> Reply:
        """Tell a folder from a file."""
        return Reply(0, (int(self._handle(args[0], Kind.DIR) is not None),))

    def read(self, args: list[int], data: bytes) -> Reply:
        """Read on in a file."""
        file = self._handle(args[0], Kind.FILE)
        if file is None:
            return Reply(_EINVAL)
        try:
            found = file.node.read(file.offset, min(args[1], lib.UB_MAX_DATA))
        except LoadError:
            return Reply(_EIO)
        file.offset += len(found)
        return Reply(0, (), found)

    def readdir(self, args: list[int], data: bytes) -> Reply:
        """Return the next name in a folder."""
        folder = self._handle(args[0], Kind.DIR)
        if folder is None:
            return Reply(_EINVAL)
        try:
            if folder.entries is None:
                folder.entries = folder.names()
            name, inode, kind = next(folder.entries)
        except StopIteration:
            return Reply(_ENOENT)
        except LoadError:
            return Reply(_EIO)
        return Reply(0, (inode & 0xFFFFFFFF, kind), os.fsencode(name)[:255])

    def seek(self, args: list[int], data: bytes) -> Reply:
        """Go elsewhere in a file."""
        file = self._handle(args[0], Kind.FILE)
        if file is None or args[2] not in _SEEKS:
            return Reply(_EINVAL)
        start = (0, file.offset, file.node.size)[args[2]]
        offset = start + _signed(args[1])
        if not 0 <= offset < _SIGN:
            return Reply(_EINVAL)
        file.offset = offset
        return Reply()

    def stat(self, args: list[int], data: bytes) -> Reply:
        """Tell of a file or folder."""
        found = self.handles.get(args[0])
        if found is None:
            return Reply(_EBADF)
        st = found.node.stat()
        mode, uid, gid = st.st_mode, st.st_uid, st.st_gid
        row = (st.st_size, st.st_dev, st.st_ino, int(st.st_mtime), mode, uid, gid, 0)
        return Reply(0, (), _STAT.pack(*row))

    # ---- disks ----

    def diskread(self, args: list[int], data: bytes) -> Reply:
        """Read from a disk, less at its end."""
        unit, offset, size = args
        if unit >= len(self.disks):
            return Reply(_EIO)
        disk = self.disks[unit]
        size = min(size, lib.UB_MAX_DATA, max(0, disk.size - offset))
        try:
            return Reply(0, (), disk.read(offset, size) if size else b"")
        except LoadError:
            return Reply(_EIO)

    def diskwrite(self, args: list[int], data: bytes) -> Reply:
        """Write to a disk, not beyond its end."""
        unit, offset, _ = args
        if unit >= len(self.disks) or offset + len(data) > self.disks[unit].size:
            return Reply(_EIO)
        try:
            self.disks[unit].write(offset, data)
        except LoadError:
            return Reply(_EIO if self.disks[unit].writable else _EROFS)
        return Reply(0, (len(data),))

    def disksize(self, args: list[int], data: bytes) -> Reply:
        """Return a disk's size."""
        if args[0] >= len(self.disks):
            return Reply(_EBADF)
        return Reply(0, (self.disks[args[0]].size,))

    # ---- the guest ----

    def copyin(self, args: list[int], data: bytes) -> Reply:
        """Write to the guest's memory."""
        return Reply(self.guest.copyin(args[0], data))

    def copyout(self, args: list[int], data: bytes) -> Reply:
        """Read the guest's memory."""
        found = self.guest.copyout(args[0], min(args[1], lib.UB_MAX_DATA))
        return Reply(_EFAULT) if found is None else Reply(0, (), found)

    def setreg(self, args: list[int], data: bytes) -> Reply:
        """Set a general register."""
        self.guest.setreg(_signed(args[0]), args[1])
        return Reply()

    def setmsr(self, args: list[int], data: bytes) -> Reply:
        """Set an MSR."""
        self.guest.setmsr(args[0], args[1])
        return Reply()

    def setcr(self, args: list[int], data: bytes) -> Reply:
        """Set a control register."""
        self.guest.setcr(_signed(args[0]), args[1])
        return Reply()

    def setgdt(self, args: list[int], data: bytes) -> Reply:
        """Set the GDT's register."""
        self.guest.setgdt(args[0], args[1])
        return Reply()

    def set_register(self, args: list[int], data: bytes) -> Reply:
        """Set any register."""
        vcpu, reg, value = args
        return Reply(self.guest.set_register(vcpu, reg, value))

    def set_desc(self, args: list[int], data: bytes) -> Reply:
        """Set any segment."""
        if len(data) != 8:
            return Reply(_EINVAL)
        limit, access = struct.unpack("=II", data)
        vcpu, reg, base = args
        return Reply(self.guest.set_desc(vcpu, reg, base, limit, access))

    def exec(self, args: list[int], data: bytes) -> None:
        """Take the kernel's entry: the loader is done."""
        self.guest.entry = args[0]

    def getmem(self, args: list[int], data: bytes) -> Reply:
        """Return how much memory there is below and above 4 GiB."""
        return Reply(0, (self.guest.low, self.guest.high))

    # ---- the rest ----

    def delay(self, args: list[int], data: bytes) -> Reply:
        """Wait."""
        time.sleep(min(args[0] / 1e6, _MAX_DELAY))
        return Reply()

    def exit(self, args: list[int], data: bytes) -> Reply:
        """End, or begin again."""
        if args[0] == _EXIT_REBOOT:
            raise RestartRequested
        if args[0] == _EXIT_QUIT:
            raise QuitRequested
        raise LoadError(f"it ended without a kernel (status {_signed(args[0])})")

    def getenv(self, args: list[int], data: bytes) -> Reply:
        """Return a row of the environment by its number."""
        if args[0] >= len(self.env):
            return Reply(_ENOENT)
        row = self.env[args[0]].encode("utf-8", "surrogateescape")
        return Reply(0, (), row[: lib.UB_MAX_PATH])

    def swap(self, args: list[int], data: bytes) -> Reply:
        """Refuse another interpreter: the user chose this object."""
        name = data.decode("ascii", "replace") or "none"
        raise LoadError(
            f"the guest's loader scripts want the interpreter {name}: give -l "
            f"a userboot_{name}.so, or no -l"
        )

    def accept(self, args: list[int], data: bytes) -> Reply:
        """Hear that the interpreter is the right one."""
        return Reply()


_Call = Callable[[Host, list[int], bytes], Reply | None]
_CALLS: dict[int, _Call] = {
    lib.UB_GETC: Host.getc,
    lib.UB_POLL: Host.poll,
    lib.UB_OPEN: Host.open,
    lib.UB_CLOSE: Host.close_handle,
    lib.UB_ISDIR: Host.isdir,
    lib.UB_READ: Host.read,
    lib.UB_READDIR: Host.readdir,
    lib.UB_SEEK: Host.seek,
    lib.UB_STAT: Host.stat,
    lib.UB_DISKREAD: Host.diskread,
    lib.UB_DISKWRITE: Host.diskwrite,
    lib.UB_DISKSIZE: Host.disksize,
    lib.UB_COPYIN: Host.copyin,
    lib.UB_COPYOUT: Host.copyout,
    lib.UB_SETREG: Host.setreg,
    lib.UB_SETMSR: Host.setmsr,
    lib.UB_SETCR: Host.setcr,
    lib.UB_SETGDT: Host.setgdt,
    lib.UB_EXEC: Host.exec,
    lib.UB_DELAY: Host.delay,
    lib.UB_EXIT: Host.exit,
    lib.UB_GETMEM: Host.getmem,
    lib.UB_GETENV: Host.getenv,
    lib.UB_VMSETREG: Host.set_register,
    lib.UB_VMSETDESC: Host.set_desc,
    lib.UB_SWAPINTERP: Host.swap,
    lib.UB_ACCEPT: Host.accept,
}
