"""A guest under test: real processes of the three tools, one pseudo terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from pathlib import Path
from types import TracebackType

from .tools import tool_argv

SLOTS = ("-s", "0,hostbridge", "-s", "31,lpc")


class SilentConsoleError(AssertionError):
    """The console did not say what was expected; the text has its tail."""


class Machine:
    """A VM by name under its own root; ends and removes all it made."""

    def __init__(self, root: Path, name: str = "guest", backend: str = "soft") -> None:
        self.name = name
        self.env = dict(os.environ, VMM_DIR=str(root), BHYVE_BACKEND=backend)
        self.output = ""
        self._seen = 0
        self._master = -1
        self.cooked: list[object] = []
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Machine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
        self.ctl("--destroy")

    def run(self, name: str, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a tool to its end with the VM's root in its environment."""
        return subprocess.run(
            tool_argv(name, *args),
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def load(self, *args: str) -> None:
        """Run bhyveload; its failure is the test's."""
        done = self.run("bhyveload", *args, self.name)
        assert done.returncode == 0, done.stderr

    def ctl(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run bhyvectl on the VM."""
        return self.run("bhyvectl", f"--vm={self.name}", *args)

    def start(self, *args: str, slots: tuple[str, ...] = SLOTS) -> None:
        """Start bhyve with its COM1 on a pseudo terminal of ours."""
        self._master, slave = pty.openpty()
        self.cooked = self.terminal()
        self.process = subprocess.Popen(
            tool_argv("bhyve", *slots, "-l", "com1,stdio", *args, self.name),
            env=self.env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def terminal(self) -> list[object]:
        """Return the terminal's settings, as tcgetattr(3) has them."""
        return termios.tcgetattr(self._master)

    def _pump(self, seconds: float) -> bool:
        """Read what the console says within `seconds`; false at its end."""
        ready, _, _ = select.select([self._master], [], [], max(seconds, 0))
        if not ready:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.output += data.decode(errors="replace")
        return bool(data)

    def expect(self, pattern: str, timeout: float = 60) -> re.Match[str]:
        """Wait until the console's unread text matches; consume it."""
        end = time.monotonic() + timeout
        open_ = True
        while True:
            found = re.compile(pattern).search(self.output, self._seen)
            if found:
                self._seen = found.end()
                return found
            if not open_ or time.monotonic() > end:
                why = "ended" if not open_ else f"silent for {timeout} s"
                raise SilentConsoleError(
                    f"{pattern!r}: console {why}\n{self.output[-3000:]}"
                )
            open_ = self._pump(min(1.0, end - time.monotonic()))

    def send(self, text: str) -> None:
        """Type text on the console."""
        os.write(self._master, text.encode())

    def shell(self, command: str, timeout: float = 120) -> str:
        """Run a shell command in the guest; return what it prints."""
        mark = f"END-{self._seen}"
        self.send(f"{command}; echo {mark[:4]}''{mark[4:]}-$?\n")
        start = self._seen
        found = self.expect(rf"{mark}-(\d+)", timeout)
        self.expect("guest# ")
        text = self.output[start : found.start()].replace("\r", "")
        return text.split("\n", 1)[1] if "\n" in text else text

    def expect_output(self, command: str, pattern: str, timeout: float = 60) -> str:
        """Run a shell command until what it prints matches; return that."""
        end = time.monotonic() + timeout
        while True:
            said = self.shell(command, timeout)
            if re.search(pattern, said, re.M):
                return said
            if time.monotonic() > end:
                raise SilentConsoleError(f"{command}: no {pattern!r} in\n{said}")
            time.sleep(0.5)

    def wait(self, timeout: float = 60) -> int:
        """Wait for bhyve's end, reading the console; return its status."""
        assert self.process is not None
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise SilentConsoleError(f"bhyve still runs\n{self.output[-3000:]}")
            if not self._pump(0.1):
                time.sleep(0.02)
        while select.select([self._master], [], [], 0)[0] and self._pump(0):
            pass
        return self.process.returncode

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to bhyve."""
        assert self.process is not None
        self.process.send_signal(number)
