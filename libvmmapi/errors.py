"""The exception of the package, and the one place that reads C's errno."""

import os

from ._ffi import ffi


class VMError(OSError):
    """A call of libvmmapi failed.

    ``errno`` is the reason, ``operation`` the C function, ``filename`` the
    VM's name where there is one, ``detail`` the library's own sentence or "".

    >>> error = VMError(2, "vm_open", "demo")
    >>> str(error)
    'vm_open: demo: No such file or directory'
    >>> error.errno, error.operation, error.filename
    (2, 'vm_open', 'demo')
    """

    def __init__(
        self, errno: int, operation: str, name: str = "", detail: str = ""
    ) -> None:
        super().__init__(errno, detail or os.strerror(errno), name or None)
        self.operation = operation
        self.detail = detail

    def __str__(self) -> str:
        name = f"{self.filename}: " if self.filename else ""
        return f"{self.operation}: {name}{self.strerror}"


def last_error(operation: str, name: str = "", detail: str = "") -> VMError:
    """Return the exception for the call that failed last on this thread."""
    return VMError(ffi.errno, operation, name, detail)


def check(rc: int, operation: str, name: str = "") -> int:
    """Return `rc`, or raise VMError with C's errno if it is negative."""
    if rc < 0:
        raise last_error(operation, name)
    return rc
