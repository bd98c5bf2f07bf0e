"""Devices of the host for a guest: the part of class VM that is about them.

A device is named by its place on the host: bus, slot and function.
"""

from ._ffi import CData, ffi, lib
from .errors import last_error


class PassthruCalls:
    """vm_assign_pptdev(3) and its kin.

    ENOENT: the host has no such device, or the VM has not; ENXIO: the host has
    no IOMMU; EBUSY: another driver than vfio-pci has the device or one of its
    IOMMU group, or another process has it; EINVAL: guest memory is not wired;
    EOPNOTSUPP: the host's VFIO has no type 1 IOMMU.  A device is the VM's for
    as long as a process owns the VM: then it is reset and the host's again.
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
        """Take a device of the host for this VM, reset, and let it reach its RAM."""
        rc = lib.vm_assign_pptdev(self.ctx, bus, slot, func)
        self._ppt(rc, "vm_assign_pptdev")

    def unassign_pptdev(self, bus: int, slot: int, func: int) -> None:
        """Give a device back to the host."""
        rc = lib.vm_unassign_pptdev(self.ctx, bus, slot, func)
        self._ppt(rc, "vm_unassign_pptdev")

    def map_pptdev_mmio(
        self, bus: int, slot: int, func: int, *, gpa: int, size: int, hpa: int
    ) -> None:
        """Let a device's memory at the host's `hpa` stand at `gpa`, in whole pages.

        EINVAL: it lies in none of the device's BARs; EEXIST: something else
        stands there.
        """
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

    def pptdev_limits(self, bus: int, slot: int, func: int) -> tuple[int, int]:
        """Return how many messages the device can send by MSI and by MSI-X."""
        msi, msix = ffi.new("int *"), ffi.new("int *")
        rc = lib.vm_get_pptdev_limits(self.ctx, bus, slot, func, msi, msix)
        self._ppt(rc, "vm_get_pptdev_limits")
        return msi[0], msix[0]

    def pptdev_bar(
        self, bus: int, slot: int, func: int, *, bar: int
    ) -> tuple[int, int, bool]:
        """Return a BAR's place on the host, its size (0: none), and if it is ports."""
        hpa, size = ffi.new("vm_paddr_t *"), ffi.new("size_t *")
        ports = ffi.new("bool *")
        rc = lib.vm_get_pptdev_bar(self.ctx, bus, slot, func, bar, hpa, size, ports)
        self._ppt(rc, "vm_get_pptdev_bar")
        return hpa[0], size[0], ports[0]

    def read_pptdev(
        self, bus: int, slot: int, func: int, *, region: int, offset: int, size: int
    ) -> int:
        """Read 1, 2, 4 or 8 bytes of BAR 0 to 5, or of region 7: configuration."""
        value = ffi.new("uint64_t *")
        rc = lib.vm_read_pptdev(self.ctx, bus, slot, func, region, offset, size, value)
        self._ppt(rc, "vm_read_pptdev")
        return int(value[0])

    def write_pptdev(
        self,
        bus: int,
        slot: int,
        func: int,
        *,
        region: int,
        offset: int,
        size: int,
        value: int,
    ) -> None:
        """Write 1, 2, 4 or 8 bytes where read_pptdev() reads them."""
        rc = lib.vm_write_pptdev(self.ctx, bus, slot, func, region, offset, size, value)
        self._ppt(rc, "vm_write_pptdev")
