"""The countdown and the OK prompt, with the loader's everyday commands."""

import shlex
import time
from collections.abc import Callable

from .console import Console, ConsoleClosedError
from .errors import LoadError
from .loader import Loader
from .loaderconf import ModuleWish, expand, read_one
from .volume import Kind, read_file

_MAX_MORE = 1 << 20
_MAX_INCLUDE = 8
_PAGE_LINES = 23


class BootRequested(Exception):  # noqa: N818
    """A command asked to start the kernel that is loaded."""


class QuitRequested(Exception):  # noqa: N818
    """A command asked to end the loader without a kernel."""


class RebootRequested(Exception):  # noqa: N818
    """A command asked to begin again."""


class Prompt:
    """Reads commands from a console and applies them to a loader."""

    def __init__(self, loader: Loader, console: Console) -> None:
        self.loader = loader
        self.console = console
        self.depth = 0

    # ---- the countdown ----

    def countdown(self, given: str = "") -> bool:
        """Wait for a key before booting; true: boot, false: the prompt."""
        text = given or self.loader.env.get("autoboot_delay", "10")
        if text.lower() == "no":
            return False
        try:
            delay = int(text)
        except ValueError:
            delay = 10
        if delay < 0:
            return True
        name = self.loader.kernel_paths()[0]
        self.console.write(
            "Hit [Enter] to boot immediately, or any other key for command prompt.\n"
        )
        end = time.monotonic() + min(delay, 86400)
        left = -1
        while True:
            now = max(0, round(end - time.monotonic()))
            if now != left and delay:
                left = now
                self.console.write(f"\rBooting [{name}] in {left} seconds... ")
            key = self.console.key(min(1.0, max(0.0, end - time.monotonic())))
            if key:
                self.console.write("\n")
                return key in "\r\n"
            if key == "":  # nobody is there: wait without looking
                time.sleep(max(0.0, min(1.0, end - time.monotonic())))
            if time.monotonic() >= end:
                self.console.write(f"\rBooting [{name}]...               \n")
                return True

    # ---- the prompt ----

    def interact(self) -> None:
        """Run commands until one of them raises a request."""
        self.console.write('\nType "?" for a list of commands.\n')
        while True:
            text = self.loader.env.get("prompt", "OK")
            try:
                self.run(self.console.line(f"{text} "))
            except ConsoleClosedError:
                raise QuitRequested from None
            except LoadError as error:
                self.console.write(f"{error}\n")

    def run(self, line: str) -> None:
        """Run one command line.  Raises LoadError if it fails."""
        try:
            words = shlex.split(expand(line, self.loader.env), comments=True)
        except ValueError as error:
            raise LoadError(f"{line}: {error}") from None
        if not words:
            return
        command = _COMMANDS.get(words[0])
        if command is not None:
            command[0](self, words[1:])
        elif "=" in words[0]:
            self.set(words)
        else:
            raise LoadError(f"unknown command: {words[0]}")

    def boot(self, args: list[str]) -> None:
        """Boot a kernel, or the one loaded."""
        names = [word for word in args if not word.startswith("-")]
        if names:
            self.loader.unload()
            self.loader.load_kernel(names[0])
        self.loader.load_configured()
        options = self.loader.env.get("kernel_options", "").split()
        flags = [word for word in args if word.startswith("-")]
        self.loader.args = " ".join(flags or options)
        raise BootRequested

    def autoboot(self, args: list[str]) -> None:
        """Boot after a countdown of so many seconds."""
        if self.countdown(args[0] if args else ""):
            self.boot([])

    def load(self, args: list[str]) -> None:
        """Load a kernel, a module, or with -t TYPE a file."""
        kind = ""
        if args[:1] == ["-t"] and len(args) >= 3:
            kind, args = args[1], args[2:]
        if not args:
            raise LoadError("usage: load [-t type] file [argument ...]")
        if not self.loader.files:
            self.loader.load_kernel(args[0])
        else:
            self.loader.load_file(args[0], kind, " ".join(args[1:]))

    def unload(self, _: list[str]) -> None:
        """Forget the kernel and the modules."""
        self.loader.unload()

    def ls(self, args: list[str]) -> None:
        """List a folder; -l with sizes."""
        long = "-l" in args
        paths = [word for word in args if word != "-l"] or ["/"]
        node = self.loader.devices.node(paths[0])
        if node is None:
            raise LoadError(f"{paths[0]}: no such file or directory")
        rows = [(paths[0], node)]
        if node.kind is Kind.DIR:
            rows = sorted(node.entries())
        text = []
        for name, row in rows:
            size = f"{row.size:>10} " if long else ""
            text.append(f" {row.kind.value} {size}{name}")
        self._page(text)

    def lsdev(self, _: list[str]) -> None:
        """List the devices."""
        rows = []
        for row in self.loader.devices.rows:
            try:
                row.open()
                what = row.fstype
            except LoadError:
                what = row.problem.partition(": ")[2]
            mark = "*" if row.name == self.loader.devices.current else " "
            size = f"{row.size >> 20} MiB " if row.size else ""
            rows.append(f"{mark} {row.name}: {size}{row.kind} ({what})")
        self._page(rows)

    def lsmod(self, args: list[str]) -> None:
        """List what is loaded; -v with metadata."""
        rows = []
        for file in self.loader.files:
            rows.append(f" {file.addr:#x}: {file.name} ({file.type}, {file.size:#x})")
            if file.args:
                rows.append(f"  args: {file.args}")
            if "-v" in args:
                for kind, data in file.metadata.items():
                    rows.append(f"   {kind:#06x}, {len(data):#x}")
        self._page(rows)

    def _choose(self, args: list[str], usage: str) -> list[ModuleWish]:
        """Return what is wanted of the modules that are named."""
        if not args:
            raise LoadError(f"usage: {usage}")
        modules = self.loader.conf.modules
        return [modules.setdefault(name, ModuleWish(name)) for name in args]

    def enable_module(self, args: list[str]) -> None:
        """Have modules loaded at boot, as NAME_load=YES does."""
        for wish in self._choose(args, "enable-module name ..."):
            wish.load = True

    def disable_module(self, args: list[str]) -> None:
        """Have modules not loaded at boot."""
        for wish in self._choose(args, "disable-module name ..."):
            wish.load = False

    def toggle_module(self, args: list[str]) -> None:
        """Turn the wish for modules around."""
        for wish in self._choose(args, "toggle-module name ..."):
            wish.load = not wish.load

    def show_module(self, args: list[str]) -> None:
        """Show what is wanted of modules; without names, of all."""
        modules = self.loader.conf.modules
        wishes = self._choose(args, "") if args else list(modules.values())
        rows = []
        for wish in wishes:
            rows.append(f"{wish.name}: load {'YES' if wish.load else 'NO'}")
            for label, value in (
                ("file", wish.file), ("type", wish.type), ("flags", wish.flags),
            ):  # fmt: skip
                if value:
                    rows.append(f"  {label}: {value}")
        self._page(rows)

    def more(self, args: list[str]) -> None:
        """Show text files."""
        for path in args:
            node = self.loader.devices.file(path)
            if node is None:
                raise LoadError(f"{path}: no such file")
            data = read_file(node, path, _MAX_MORE)
            self._page(data.decode("utf-8", "replace").split("\n"))

    def set(self, args: list[str]) -> None:
        """Set variables: name=value."""
        for word in args:
            name, _, value = word.partition("=")
            if name == "currdev":
                self.loader.devices.find(value).open()
                self.loader.devices.current = value.removesuffix(":")
                value = value.removesuffix(":") + ":"
            self.loader.conf.set(name, value)

    def unset(self, args: list[str]) -> None:
        """Remove variables."""
        for name in args:
            if self.loader.env.pop(name, None) is None:
                raise LoadError(f"{name}: no such variable")

    def show(self, args: list[str]) -> None:
        """Show variables."""
        env = self.loader.env
        if args:
            if args[0] not in env:
                raise LoadError(f"variable '{args[0]}' not found")
            self.console.write(f"{env[args[0]]}\n")
        else:
            self._page([f"{name}={value}" for name, value in sorted(env.items())])

    def echo(self, args: list[str]) -> None:
        """Print words; -n without a new line."""
        end = "" if args[:1] == ["-n"] else "\n"
        self.console.write(" ".join(args[1:] if not end else args) + end)

    def read(self, args: list[str]) -> None:
        """Read a line into a variable: -p PROMPT, -t SECONDS."""
        prompt, seconds = "", -1.0
        while len(args) >= 2 and args[0] in ("-p", "-t"):
            if args[0] == "-p":
                prompt = args[1]
            else:
                seconds = float(args[1]) if args[1].isdigit() else 0.0
            args = args[2:]
        self.console.write(prompt)
        if seconds >= 0 and self.console.key(seconds) is None:
            return
        line = self.console.line("")
        if args:
            self.loader.conf.set(args[0], line)

    def include(self, args: list[str]) -> None:
        """Run the commands in files."""
        for path in args:
            data = self.loader.read_text(path)
            if data is None:
                raise LoadError(f"{path}: no such file")
            if self.depth >= _MAX_INCLUDE:
                raise LoadError(f"{path}: files include each other")
            self.depth += 1
            try:
                for line in data.decode("utf-8", "replace").split("\n"):
                    if len(line) <= _MAX_MORE and line.strip():
                        self.run(line.strip().removeprefix("@"))
            finally:
                self.depth -= 1

    def read_conf(self, args: list[str]) -> None:
        """Read files written as loader.conf is."""
        loader = self.loader
        for path in args:
            if not read_one(path, loader.conf, loader.read_text, loader.warn):
                raise LoadError(f"{path}: no such file")

    def try_include(self, args: list[str]) -> None:
        """Run the commands in those files that there are."""
        for path in args:
            if self.loader.devices.file(path) is not None:
                self.include([path])

    def help(self, args: list[str]) -> None:
        """List the commands, or those that are named."""
        for name in args:
            if name not in _COMMANDS:
                raise LoadError(f"no help on {name}")
        names = args or list(_COMMANDS)
        self._page([f" {name:<15} {_COMMANDS[name][1]}" for name in names])

    def quit(self, _: list[str]) -> None:
        """Leave without booting."""
        raise QuitRequested

    def reboot(self, _: list[str]) -> None:
        """Begin again."""
        raise RebootRequested

    def _page(self, lines: list[str]) -> None:
        """Print lines, a screen at a time on a terminal."""
        for number, line in enumerate(lines, 1):
            self.console.write(line + "\n")
            if number % _PAGE_LINES == 0 and self.console.interactive:
                self.console.write("--more-- <space> page down, q to quit ")
                key = self.console.key(3600)
                self.console.write("\r" + " " * 40 + "\r")
                if key in ("q", "Q", ""):
                    return


_Command = Callable[[Prompt, list[str]], None]
_COMMANDS: dict[str, tuple[_Command, str]] = {
    "boot": (Prompt.boot, "boot [kernel] [-flags]"),
    "boot-conf": (Prompt.boot, "boot as loader.conf says"),
    "autoboot": (Prompt.autoboot, "boot after a countdown: autoboot [seconds]"),
    "load": (Prompt.load, "load [-t type] file"),
    "unload": (Prompt.unload, "forget the kernel and modules"),
    "ls": (Prompt.ls, "list a folder: ls [-l] [path]"),
    "lsdev": (Prompt.lsdev, "list devices"),
    "lsmod": (Prompt.lsmod, "list what is loaded: lsmod [-v]"),
    "enable-module": (Prompt.enable_module, "have modules loaded at boot"),
    "disable-module": (Prompt.disable_module, "have modules not loaded at boot"),
    "toggle-module": (Prompt.toggle_module, "turn the wish for modules around"),
    "show-module": (Prompt.show_module, "show what is wanted of modules"),
    "more": (Prompt.more, "show a text file"),
    "set": (Prompt.set, "set name=value"),
    "show": (Prompt.show, "show [name]"),
    "unset": (Prompt.unset, "unset name"),
    "echo": (Prompt.echo, "print words"),
    "read": (Prompt.read, "read [-t seconds] [-p prompt] [name]"),
    "include": (Prompt.include, "run commands from a file"),
    "try-include": (Prompt.try_include, "include those files that there are"),
    "read-conf": (Prompt.read_conf, "read a file written as loader.conf is"),
    "help": (Prompt.help, "this list: help [command ...]"),
    "?": (Prompt.help, "this list"),
    "quit": (Prompt.quit, "leave without booting"),
    "reboot": (Prompt.reboot, "begin again"),
}
