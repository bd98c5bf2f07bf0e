"""The host's side of network tests: servers, and a name space of our own."""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
SIOCSIFADDR = 0x8916
SIOCSIFNETMASK = 0x891C
SIOCBRADDBR = 0x89A0
IFF_UP = 1


class NoNamespaceError(Exception):
    """A network name space is not for this user; the text says why."""


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    """Be in a new network name space: this thread and what it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise NoNamespaceError(os.strerror(ctypes.get_errno()))
        try:
            up("lo")
            yield
        finally:
            libc.setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def _ifreq(request: int, name: str, data: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, request, struct.pack("16s24s", name.encode(), data))


def up(name: str) -> None:
    """Bring an interface up."""
    _ifreq(SIOCSIFFLAGS, name, struct.pack("h", IFF_UP))


def address(name: str, ip: str, mask: str = "255.255.255.0") -> None:
    """Give an interface an IPv4 address, and bring it up."""
    for request, text in ((SIOCSIFADDR, ip), (SIOCSIFNETMASK, mask)):
        packed = struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(text))
        _ifreq(request, name, packed)
    up(name)


def bridge(name: str) -> None:
    """Make a bridge."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCBRADDBR, name.encode() + b"\0")


def payload(size: int) -> bytes:
    """Return bytes that neither repeat soon nor take long to make."""
    block = b"".join(hashlib.md5(b"%d" % n).digest() for n in range(4096))
    return (block * (size // len(block) + 1))[:size]


class Server:
    """A TCP server that sends what it has, then hashes what it gets."""

    def __init__(self, data: bytes = b"", host: str = "127.0.0.1") -> None:
        self.data = data
        self.received = hashlib.md5()
        self.count = 0
        self.done = threading.Event()
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except OSError:
            return
        with peer, contextlib.suppress(OSError):
            if self.data:  # else: the guest's nc ends when we end
                peer.sendall(self.data)
                peer.shutdown(socket.SHUT_WR)
            while block := peer.recv(1 << 20):
                self.received.update(block)
                self.count += len(block)
        self.done.set()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def free_port() -> int:
    """Return a TCP port of the loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
