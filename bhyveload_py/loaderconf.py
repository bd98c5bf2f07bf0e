"""loader.conf(5): variables, included files, and the modules to load.

Nothing in a file is executed: exec= lines are left out.  What a file cannot
say well is reported through `warn` and skipped, as FreeBSD's loader does;
files that include each other are read once.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import LoadError

#: What a system without /boot/defaults/loader.conf gets.
DEFAULTS = {
    "kernel": "kernel",
    "bootfile": "kernel",
    "module_path": "/boot/modules",
    "loader_conf_files": "/boot/device.hints /boot/loader.conf",
    "loader_conf_dirs": "/boot/loader.conf.d",
    "local_loader_conf_files": "/boot/loader.conf.local",
}

_DEFAULTS_FILE = "/boot/defaults/loader.conf"
_MAX_FILE = 1 << 20
_MAX_FILES = 128
_MAX_DEPTH = 16
_MAX_VARIABLES = 8192
_MAX_VALUE = 8192
_MAX_TOTAL = 4 << 20
_LINE = re.compile(
    r"""\s*(?P<name>[\w.%+:@/-]+)\s*=\s*
        (?:"(?P<text>(?:[^"\\]|\\.)*)"|(?P<word>[^\s"'#]*))\s*(?:\#.*)?$""",
    re.VERBOSE | re.ASCII,
)
_VARIABLE = re.compile(r"\$(?:\{([^}$]*)\}|([\w.-]+))", re.ASCII)
_SUFFIX = re.compile(r"(.+)_(load|name|type|flags|before|after|error)$")
_LISTS = ("loader_conf_files", "local_loader_conf_files")

#: Returns a file's bytes, or None where there is none; and a folder's names.
ReadFile = Callable[[str], bytes | None]
ListDir = Callable[[str], list[str]]


@dataclass(slots=True)
class ModuleWish:
    """What loader.conf says of one module."""

    name: str
    load: bool = False
    file: str = ""
    type: str = ""
    flags: str = ""

    @property
    def path(self) -> str:
        """The file to look for."""
        return self.file or self.name


@dataclass(slots=True)
class LoaderConf:
    """The outcome: the environment and the modules in their order."""

    env: dict[str, str] = field(default_factory=dict)
    modules: dict[str, ModuleWish] = field(default_factory=dict)
    total: int = 0

    def wanted(self) -> list[ModuleWish]:
        """Return the modules to load, without those on the blacklist."""
        banned = set(self.env.get("module_blacklist", "").replace(",", " ").split())
        return [m for m in self.modules.values() if m.load and m.name not in banned]

    def set(self, name: str, value: str) -> None:
        """Set a variable, or what a module's variables say."""
        self.total += len(name) + len(value)
        if (
            len(value) > _MAX_VALUE
            or self.total > _MAX_TOTAL
            or len(self.env) > _MAX_VARIABLES
        ):
            raise LoadError("loader.conf: the environment is too large")
        found = _SUFFIX.match(name)
        if found is None:
            self.env[name] = value
            return
        if len(self.modules) > _MAX_VARIABLES:
            raise LoadError("loader.conf: too many modules")
        wish = self.modules.setdefault(found[1], ModuleWish(found[1]))
        if found[2] == "load":
            wish.load = value.lower() == "yes"
        elif found[2] == "name":
            wish.file = value
        elif found[2] == "type":
            wish.type = value
        elif found[2] == "flags":
            wish.flags = value


def expand(text: str, env: dict[str, str]) -> str:
    """Replace $name and ${name}.

    >>> expand("/boot/k;${path}", {"path": "/boot/modules"})
    '/boot/k;/boot/modules'
    """
    parts = []
    at = room = 0
    for found in _VARIABLE.finditer(text):
        parts += [text[at : found.start()], env.get(found[1] or found[2] or "", "")]
        at = found.end()
        room += len(parts[-1])
        if room > _MAX_VALUE:
            raise LoadError("loader.conf: a value is too large once expanded")
    return "".join(parts) + text[at:]


def parse(
    data: bytes, name: str, conf: LoaderConf, warn: Callable[[str], None]
) -> None:
    """Apply the lines of one file to `conf`."""
    if len(data) > _MAX_FILE:
        raise LoadError(f"{name}: {len(data)} bytes; at most {_MAX_FILE} are allowed")
    complaints = 0
    text = data.decode("utf-8", "replace")
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.match(line) if len(line) <= _MAX_VALUE else None
        if found is None or "\0" in line:
            complaints += 1
            if complaints <= 10:
                warn(f"Malformed line ({name}:{number})")
            continue
        value = found["word"]
        if value is None:
            value = re.sub(r"\\(.)", r"\1", found["text"])
        if found["name"] != "exec":
            conf.set(found["name"], expand(value, conf.env))


class _Reader:
    """Reads a system's files, each once."""

    def __init__(
        self,
        conf: LoaderConf,
        read: ReadFile,
        listdir: ListDir,
        warn: Callable[[str], None],
    ) -> None:
        self.conf = conf
        self.read = read
        self.listdir = listdir
        self.warn = warn
        self.seen: set[str] = set()

    def file(self, path: str, depth: int = 0) -> bool:
        """Read one file and what it names; false: there is none."""
        if path in self.seen:
            return True
        self.seen.add(path)
        if depth > _MAX_DEPTH or len(self.seen) > _MAX_FILES:
            raise LoadError(f"{path}: loader.conf files include too many others")
        data = self.read(path)
        if data is None:
            return False
        parse(data, path, self.conf, self.warn)
        if depth:
            self.follow(depth)
        return True

    def follow(self, depth: int) -> None:
        """Read the files that the variables name now."""
        for variable in _LISTS:
            for path in self.conf.env.get(variable, "").split():
                self.file(path, depth + 1)
            if variable == _LISTS[0]:
                self.folders(depth)

    def folders(self, depth: int) -> None:
        """Read *.conf in the folders of loader_conf_dirs."""
        for folder in self.conf.env.get("loader_conf_dirs", "").split():
            for name in sorted(self.listdir(folder)):
                if name.endswith(".conf"):
                    self.file(f"{folder}/{name}", depth + 1)


def read_all(
    conf: LoaderConf, read: ReadFile, listdir: ListDir, warn: Callable[[str], None]
) -> None:
    """Read /boot/defaults/loader.conf and every file that it leads to."""
    reader = _Reader(conf, read, listdir, warn)
    if not reader.file(_DEFAULTS_FILE):
        for name, value in DEFAULTS.items():
            conf.env.setdefault(name, value)
    for name in ("kernel", "bootfile", "module_path"):
        conf.env.setdefault(name, DEFAULTS[name])
    reader.follow(0)


def read_one(
    path: str, conf: LoaderConf, read: ReadFile, warn: Callable[[str], None]
) -> bool:
    """Read one file alone, as the command read-conf does; false: none."""
    data = read(path)
    if data is None:
        return False
    parse(data, path, conf, warn)
    return True
