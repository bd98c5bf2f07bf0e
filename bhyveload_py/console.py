"""The loader's console: stdio or a terminal device, in raw mode while it runs."""

import array
import fcntl
import os
import select
import termios
import tty
from types import TracebackType

_MAX_LINE = 1024


class ConsoleClosedError(Exception):
    """The console has reached its end: nobody can type any more."""


class Console:
    """A terminal; `path` is "stdio" or a character device."""

    def __init__(self, path: str = "stdio") -> None:
        self._own = path != "stdio"
        if self._own:
            self._in = self._out = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        else:
            self._in, self._out = 0, 1
        self.interactive = os.isatty(self._in)
        self._saved: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> "Console":
        if self.interactive:
            self._saved = termios.tcgetattr(self._in)
            tty.setraw(self._in, termios.TCSANOW)
            mode = termios.tcgetattr(self._in)
            mode[2] |= termios.CLOCAL
            termios.tcsetattr(self._in, termios.TCSANOW, mode)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._saved is not None:
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._saved)
            self._saved = None
        if self._own:
            os.close(self._in)

    def write(self, text: str) -> None:
        """Print text; control characters of images do not reach a terminal."""
        safe = "".join(c if c.isprintable() or c in "\n\r\b\t" else "?" for c in text)
        if self._saved is not None:
            safe = safe.replace("\n", "\r\n")
        data = safe.encode()
        while data:
            data = data[os.write(self._out, data) :]

    def raw_write(self, data: bytes) -> None:
        """Print bytes as they are, for a loader that draws its own menus."""
        while data:
            data = data[os.write(self._out, data) :]

    def pending(self) -> bool:
        """Tell if a key can be read at once; at the end there is none."""
        count = array.array("i", [0])
        try:
            fcntl.ioctl(self._in, termios.FIONREAD, count)
        except OSError:
            return False
        return count[0] > 0

    def byte(self) -> int | None:
        """Wait for a byte; None is the end."""
        select.select([self._in], [], [])
        try:
            data = os.read(self._in, 1)
        except OSError:
            return None
        return data[0] if data else None

    def key(self, seconds: float) -> str | None:
        """Return a key pressed within `seconds`, or None; "" is the end."""
        ready, _, _ = select.select([self._in], [], [], max(seconds, 0))
        if not ready:
            return None
        try:
            return os.read(self._in, 1).decode("latin-1")
        except OSError:
            return ""

    def line(self, prompt: str) -> str:
        """Return a line typed after `prompt`.  Raises ConsoleClosedError."""
        self.write(prompt)
        text = ""
        while True:
            key = self.key(3600)
            if key is None:
                continue
            if key == "" or (key == "\x04" and not text):
                raise ConsoleClosedError
            if key in "\r\n":
                self._echo("\n")
                return text
            if key in "\b\x7f":
                if text:
                    text = text[:-1]
                    self._echo("\b \b")
            elif key in "\x15\x03":
                self._echo("\b \b" * len(text))
                text = ""
            elif key.isprintable() and len(text) < _MAX_LINE:
                text += key
                self._echo(key)

    def _echo(self, text: str) -> None:
        if self.interactive:
            self.write(text)
