"""FreeBSD's own loader, an object such as userboot.so, for -l.

The object runs in a process forked for it, which can do nothing but write to
and read from one socket (csrc/bhyveload); this end answers what it asks.  A
VM is not touched before the loader hands over a kernel: what it writes and
sets until then is kept here.
"""

import os
import signal
import socket
import struct
from dataclasses import dataclass

from libvmmapi._ffi import ffi, lib

from .console import Console
from .errors import LoadError
from .userbootguest import Handoff
from .userboothost import Host, QuitRequested, Reply, Request, RestartRequested

MAX_OBJECT = 64 << 20
#: The ABI's versions, newest first: some loaders take none but their own.
VERSIONS = (6, 5, 4, 3)
#: How long a loader may be silent, and how often it may begin again.
SILENCE = 60.0
MAX_RESTARTS = 1000

_REQUEST = struct.Struct("=II3Q")
_REPLY = struct.Struct("=iI2Q")


class LoaderGaveUpError(LoadError):
    """The object ended before it had asked for anything."""


class LoaderProcess:
    """The process that an object runs in, and the socket to it."""

    def __init__(
        self, image: bytes, version: int, ndisks: int, silence: float = SILENCE
    ) -> None:
        data = ffi.from_buffer("char[]", image)
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(silence)
        self._silence = silence
        self._status: int | None = None
        self.served = 0
        self._pid = os.fork()
        if self._pid == 0:
            try:
                lib.userboot_child(theirs.fileno(), data, len(image), version, ndisks)
            finally:
                os._exit(1)
        theirs.close()

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            self._status = os.waitpid(self._pid, 0)[1]

    def _bytes(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                part = self._socket.recv(count - len(data))
            except TimeoutError:
                raise LoadError(
                    f"it has done nothing for {self._silence:g} seconds"
                ) from None
            except OSError:
                part = b""
            if not part:
                raise self._ended()
            data += part
        return bytes(data)

    def _ended(self) -> LoadError:
        """Say how the process ended."""
        self._status = os.waitpid(self._pid, 0)[1]
        code = os.waitstatus_to_exitcode(self._status)
        if code == -signal.SIGSYS:
            return LoadError("it made a system call, which no loader may")
        if code == -signal.SIGXCPU:
            return LoadError("it used up its processor time")
        if code < 0:
            return LoadError(f"it crashed ({signal.Signals(-code).name})")
        return LoadError("it ended without a word")

    def request(self) -> Request:
        """Return the next thing that the loader asks for."""
        op, size, *args = _REQUEST.unpack(self._bytes(_REQUEST.size))
        if op >= lib.UB_LASTOP or size > lib.UB_MAX_DATA:
            raise LoadError(f"it damaged its own process (request {op}, {size} bytes)")
        data = self._bytes(size) if size else b""
        if op == lib.UB_FAIL:
            text = data.decode("ascii", "replace")
            raise LoadError(text) if self.served else LoaderGaveUpError(text)
        self.served += 1
        return Request(op, args, data)

    def reply(self, answer: Reply) -> None:
        """Answer the last request."""
        low, high, *_ = *answer.args, 0, 0
        head = _REPLY.pack(answer.error, len(answer.data), low, high)
        try:
            self._socket.sendall(head + answer.data)
        except OSError:
            return  # the next request() says how the process ended


@dataclass(slots=True)
class Loader:
    """What the command line says."""

    path: str
    disks: list[str]
    host_root: str
    memory: int
    env: list[str]
    console: str = "stdio"


def read_object(path: str) -> bytes:
    """Return the bytes of a loader object.  Raises OSError."""
    with open(path, "rb") as file:
        return file.read(MAX_OBJECT + 1)


def run(loader: Loader, image: bytes, silence: float = SILENCE) -> Handoff | None:
    """Run a loader until it has a kernel; None: the user quit.

    Raises LoadError, naming the object, if it cannot be run or fails.
    """
    if len(image) > MAX_OBJECT:
        raise LoadError(f"-l: {loader.path}: larger than {MAX_OBJECT >> 20} MiB")
    with Console(loader.console) as console:
        host = Host(loader.disks, loader.host_root, loader.env, console)
        try:
            for _ in range(MAX_RESTARTS):
                try:
                    return _versions(loader, image, host, silence)
                except RestartRequested:
                    continue
                except QuitRequested:
                    return None
        except LoadError as error:
            raise LoadError(f"-l: {loader.path}: {error}") from None
        finally:
            host.close()
    raise LoadError(f"-l: {loader.path}: it begins again without end")


def _versions(loader: Loader, image: bytes, host: Host, silence: float) -> Handoff:
    """Run the object, offering older versions of the ABI if it gives up."""
    for version in VERSIONS:
        try:
            return _once(loader, image, host, version, silence)
        except LoaderGaveUpError as error:
            if "gave up" not in str(error) or version == VERSIONS[-1]:
                raise
    raise AssertionError("the last version returns or raises")


def _once(
    loader: Loader, image: bytes, host: Host, version: int, silence: float
) -> Handoff:
    """Serve one process from its start to the kernel's entry."""
    host.begin(loader.memory)
    process = LoaderProcess(image, version, len(loader.disks), silence)
    try:
        while True:
            request = process.request()
            answer = host.serve(request)
            if answer is not None:
                process.reply(answer)
            elif host.guest.entry is not None:
                return host.guest
    finally:
        host.flush()
        process.close()
