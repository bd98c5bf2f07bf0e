"""Devices of the host for a guest: the part of class VM that is about them.

A device is named by its place on the host: bus, slot and function.
"""

from ._ffi import CData, ffi, lib
from .errors import last_error


class PassthruCalls:
    """vm_assign_pptdev(3) and its kin.

    ENOENT: the host has no such device, or the VM has not; ENXIO: the host has
    no IOMMU; EBUSY: another driver than vfio-pci has the device; EOPNOTSUPP:
    nothing else stands in the way, but this version passes no device through.
    """

    _name: str

    @property
    def ctx(self) -> CData:
        """The C handle, which class VM has."""
        raise NotImplementedError

    def _ppt(self, rc: int, operation: str) -> None:
        if rc != 0:
            why = ffi.string(lib.vm_open_error()).decode("utf-8", "replace")
            raise last_error(operation, self._name, why)

    def assign_pptdev(self, bus: int, slot: int, func: int) -> None:
        """Take a device of the host for this VM."""
        rc = lib.vm_assign_pptdev(self.ctx, bus, slot, func)
        self._ppt(rc, "vm_assign_pptdev")

    def unassign_pptdev(self, bus: int, slot: int, func: int) -> None:
        """Give a device back to the host."""
        rc = lib.vm_unassign_pptdev(self.ctx, bus, slot, func)
        self._ppt(rc, "vm_unassign_pptdev")

    def map_pptdev_mmio(
        self, bus: int, slot: int, func: int, *, gpa: int, size: int, hpa: int
    ) -> None:
        """Let a device's memory at the host's `hpa` stand at `gpa`."""
        rc = lib.vm_map_pptdev_mmio(self.ctx, bus, slot, func, gpa, size, hpa)
        self._ppt(rc, "vm_map_pptdev_mmio")

    def unmap_pptdev_mmio(
        self, bus: int, slot: int, func: int, gpa: int, size: int
    ) -> None:
        """Undo map_pptdev_mmio()."""
        rc = lib.vm_unmap_pptdev_mmio(self.ctx, bus, slot, func, gpa, size)
        self._ppt(rc, "vm_unmap_pptdev_mmio")

    def setup_pptdev_msi(
        self, bus: int, slot: int, func: int, *, addr: int, msg: int, count: int
    ) -> None:
        """Let a device's message-signalled interrupts reach the guest."""
        rc = lib.vm_setup_pptdev_msi(self.ctx, bus, slot, func, addr, msg, count)
        self._ppt(rc, "vm_setup_pptdev_msi")

    def setup_pptdev_msix(
        self,
        bus: int,
        slot: int,
        func: int,
        *,
        index: int,
        addr: int,
        msg: int,
        vector_control: int,
    ) -> None:
        """Let entry `index` of a device's MSI-X table reach the guest."""
        rc = lib.vm_setup_pptdev_msix(
            self.ctx, bus, slot, func, index, addr, msg, vector_control
        )
        self._ppt(rc, "vm_setup_pptdev_msix")

    def disable_pptdev_msix(self, bus: int, slot: int, func: int) -> None:
        """Undo setup_pptdev_msix() for all entries."""
        rc = lib.vm_disable_pptdev_msix(self.ctx, bus, slot, func)
        self._ppt(rc, "vm_disable_pptdev_msix")
