"""What -s and -l of bhyve(8) accept in this build."""

from collections.abc import Callable
from itertools import count

from ._ffi import CData, ffi, lib


def device_names() -> list[str]:
    """Return the names of the PCI device models, sorted.

    >>> "hostbridge" in device_names()
    True
    """
    return _names(lib.pci_devemu_name)


def lpc_names() -> list[str]:
    """Return what -l accepts, in the order in which bhyve lists it."""
    return _names(lib.lpc_device_name)


def _names(call: Callable[[int], CData]) -> list[str]:
    names = []
    for index in count():
        text = call(index)
        if not text:
            break
        names.append(ffi.string(text).decode())
    return names
