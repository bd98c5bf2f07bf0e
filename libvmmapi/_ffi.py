"""The one place that imports the C extension."""

from ._vmm import ffi, lib

__all__ = ["ffi", "lib"]
