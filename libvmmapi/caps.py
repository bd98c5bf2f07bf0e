"""Capabilities of a virtual CPU: things that it can be asked to do."""

from enum import IntEnum

from ._ffi import ffi, lib


class Cap(IntEnum):
    """A capability of vm_get_capability(3)."""

    HALT_EXIT = lib.VM_CAP_HALT_EXIT
    MTRAP_EXIT = lib.VM_CAP_MTRAP_EXIT
    PAUSE_EXIT = lib.VM_CAP_PAUSE_EXIT
    UNRESTRICTED_GUEST = lib.VM_CAP_UNRESTRICTED_GUEST
    ENABLE_INVPCID = lib.VM_CAP_ENABLE_INVPCID
    BPT_EXIT = lib.VM_CAP_BPT_EXIT
    RDPID = lib.VM_CAP_RDPID
    RDTSCP = lib.VM_CAP_RDTSCP
    IPI_EXIT = lib.VM_CAP_IPI_EXIT
    MASK_HWINTR = lib.VM_CAP_MASK_HWINTR
    RFLAGS_TF = lib.VM_CAP_RFLAGS_TF

    @property
    def title(self) -> str:
        """The name that bhyvectl prints, such as "hlt_exit"."""
        text = lib.vm_capability_type2name(self)
        return ffi.string(text).decode() if text else self.name.lower()


def cap_by_name(name: str) -> Cap | None:
    """Return the capability that bhyvectl calls `name`, or None."""
    if "\0" in name:
        return None
    number = lib.vm_capability_name2type(name.encode("utf-8", "surrogateescape"))
    return Cap(number) if number >= 0 else None
