"""The one place that imports the C extension."""

from typing import TYPE_CHECKING

from ._vmm import ffi, lib

if TYPE_CHECKING:
    from ._vmm import CData
else:
    CData = ffi.CData

__all__ = ["CData", "ffi", "lib"]
