"""GDB's remote protocol from its other end, a packet at a time; and gdb itself."""

import os
import shutil
import socket
import subprocess
import time

import pytest


def free_port() -> int:
    """Return a TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Client:
    """A connection to a debug server."""

    def __init__(self, port: int, timeout: float = 20) -> None:
        end = time.monotonic() + timeout
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.socket.settimeout(timeout)
        self._input = b""

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def _byte(self) -> bytes:
        while not self._input:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the server hung up")
            self._input = data
        byte, self._input = self._input[:1], self._input[1:]
        return byte

    def send(self, text: str) -> None:
        """Send a packet and wait for its acknowledgement."""
        self.socket.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 0xFF))
        assert self._byte() == b"+"

    def receive(self) -> str:
        """Return the next packet, acknowledged."""
        while (byte := self._byte()) != b"$":
            assert byte in b"+-"
        text = b""
        while (byte := self._byte()) != b"#":
            text += byte
        check = self._byte() + self._byte()
        assert int(check, 16) == sum(text) & 0xFF
        self.socket.sendall(b"+")
        return text.decode()

    def ask(self, text: str) -> str:
        """Send a packet and return the reply."""
        self.send(text)
        return self.receive()

    def interrupt(self) -> str:
        """Send Ctrl-C and return the stop reply."""
        self.socket.sendall(b"\x03")
        return self.receive()

    def word(self, address: int) -> int:
        """Return the 32-bit word at an address."""
        return int.from_bytes(bytes.fromhex(self.ask(f"m{address:x},4")), "little")


def gdb(*commands: str, timeout: float = 30, symbols: str = "") -> str:
    """Run gdb with commands; return what it says."""
    if shutil.which("gdb") is None:
        pytest.skip("no gdb here")
    argv = ["gdb", "-nx", "-batch", *([symbols] if symbols else [])]
    first = ("set pagination off", "set confirm off", "set width 0")
    words = [word for command in (*first, *commands) for word in ("-ex", command)]
    done = subprocess.run(
        [*argv, *words],
        env=dict(os.environ, DEBUGINFOD_URLS=""),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.stdout + done.stderr
