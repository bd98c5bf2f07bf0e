"""The configuration tree of bhyve_config(5): dotted paths, string leaves.

The tree is C's (csrc/bhyve/config.c), one a process, and describes the machine
that bhyve builds.  C prints one line on stderr where it refuses a value.
"""

from collections.abc import Iterator

from ._ffi import ffi, lib
from .errors import VMError


class ConfigTree:
    """The process's tree.  Making one empties the tree.

    >>> tree = ConfigTree()
    >>> tree.set("name", "demo")
    >>> tree.set("lpc.com1.path", "/run/%(name).sock")
    >>> tree.get("lpc.com1.path"), tree.get_raw("lpc.com1.path")
    ('/run/demo.sock', '/run/%(name).sock')
    """

    def __init__(self, *, defaults: bool = False) -> None:
        lib.init_config()
        if defaults:
            lib.set_defaults()

    def get(self, path: str, default: str | None = None) -> str | None:
        """Return a value with its ``%(name)`` parts replaced."""
        text = lib.get_config_value(_encode(path))
        return _decode(ffi.string(text)) if text else default

    def get_raw(self, path: str) -> str | None:
        """Return a value as it was set."""
        text = lib.get_raw_config_value(_encode(path))
        return _decode(ffi.string(text)) if text else None

    def get_bool(self, path: str, default: bool) -> bool:
        """Return a true/on/yes/1 or false/off/no/0 value.

        Anything else makes `failed` true.
        """
        return lib.get_config_bool_default(_encode(path), default)

    def set(self, path: str, value: str) -> None:
        """Set a value.  VMError: a node stands there, or above it a value."""
        rc = lib.set_config_value(_encode(path), _encode(value))
        _check(rc, "set_config_value", path)

    def set_bool(self, path: str, value: bool) -> None:
        """Set a value to "true" or "false"."""
        _check(lib.set_config_bool(_encode(path), value), "set_config_bool", path)

    def parse_option(self, text: str) -> None:
        """Set a value from "path=value"."""
        rc = lib.parse_config_option(_encode(text))
        _check(rc, "parse_config_option", text)

    def parse_file(self, path: str) -> None:
        """Set values from a file of "path=value" lines."""
        rc = lib.parse_simple_config_file(_encode(path))
        _check(rc, "parse_simple_config_file", path)

    @property
    def failed(self) -> bool:
        """True once a value was read that could not be used."""
        return lib.config_failed()

    def dump(self) -> str:
        """Return every leaf as a line "path=value", raw."""
        text = lib.config_dump_text()
        if not text:
            raise MemoryError
        try:
            return _decode(ffi.string(text))
        finally:
            lib.config_free_text(text)

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield (path, raw value) of every leaf."""
        for line in self.dump().splitlines():
            path, _, value = line.partition("=")
            yield path, value

    def has_node(self, path: str) -> bool:
        """Say whether any leaf stands below `path`."""
        return any(name.startswith(path + ".") for name, _ in self.items())


def _check(rc: int, operation: str, what: str) -> None:
    """Raise VMError for a setter's errno; C has printed why."""
    if rc != 0:
        raise VMError(rc, operation, what)


def _encode(text: str) -> bytes:
    """Return bytes for C.  Raises VMError for a NUL, which C cannot hold."""
    if "\0" in text:
        raise VMError(22, "config", text.replace("\0", "\\0"))
    return text.encode("utf-8", "surrogateescape")


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
