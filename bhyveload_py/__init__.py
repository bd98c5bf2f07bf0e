"""bhyveload(8): put a guest's kernel into a VM, ready for bhyve(8) to run.

The boot protocols stand in ``protocols``; each loader module knows one kind
of kernel and nothing of command lines.

What FreeBSD's loader is made of stands alone: ``media`` and ``partitions``
for disks, ``filesystems`` and ``volume`` for what is on them, ``loaderconf``,
``kernelelf`` and ``modmeta`` for files, ``preload`` for what a kernel is told.
"""

__all__ = ["LoadError", "LoadRequest", "load"]

from typing import TYPE_CHECKING

from .errors import LoadError
from .request import LoadRequest

if TYPE_CHECKING:
    from .protocols import load


def __getattr__(name: str) -> object:
    """Import the loaders on their first use: they take their time."""
    if name == "load":
        from .protocols import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
