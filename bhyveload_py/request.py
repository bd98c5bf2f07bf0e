"""What is to be loaded, and the guest memory that it goes to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from libvmmapi import VM, VMError

from .errors import LoadError

#: Where the ISA hole begins and the first megabyte ends.
LOW_TOP = 0xA0000
MIB = 1 << 20
PAGE = 4096


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A kernel, its modules and its command line, all in memory.

    ``name`` is what messages call the kernel; ``modules`` are (path, bytes),
    the first being a Linux initrd.
    """

    name: str
    kernel: bytes
    cmdline: str = ""
    modules: Sequence[tuple[str, bytes]] = field(default_factory=tuple)


class GuestRam:
    """Bounds-checked writes to the memory of a VM.

    Raises LoadError, naming what did not fit, for anything outside.
    """

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        self.low = vm.lowmem_size
        self.high = vm.highmem_size

    def write(self, gpa: int, data: bytes | bytearray | memoryview, what: str) -> None:
        """Copy `data` to guest address `gpa`."""
        if len(data) == 0:
            return
        self._view(gpa, len(data), what)[:] = data

    def zero(self, gpa: int, size: int, what: str) -> None:
        """Clear `size` bytes at `gpa`."""
        if size == 0:
            return
        view = self._view(gpa, size, what)
        chunk = bytes(min(size, 16 * MIB))
        for at in range(0, size, len(chunk)):
            n = min(len(chunk), size - at)
            view[at : at + n] = chunk[:n]

    def check(self, gpa: int, size: int, what: str) -> None:
        """Raise LoadError unless the range is all RAM."""
        if size > 0:
            self._view(gpa, size, what)

    def _view(self, gpa: int, size: int, what: str) -> memoryview:
        try:
            return self.vm.map_gpa(gpa, size)
        except (VMError, OverflowError) as error:
            raise LoadError(
                f"{what} needs guest memory at {gpa:#x}-{gpa + size:#x}, "
                f"the VM has {(self.low + self.high) // MIB} MiB"
            ) from error

    def e820(self) -> list[tuple[int, int, int]]:
        """Return the memory map as (base, size, type) rows.

        Type 1 is RAM, 2 reserved: the VGA window, the firmware tables below
        1 MiB and PCI's configuration window, as bhyve(8) lays them out.
        """
        rows = [(0, min(self.low, LOW_TOP), 1)]
        if self.low > LOW_TOP:
            rows.append((LOW_TOP, MIB - LOW_TOP, 2))
        if self.low > MIB:
            rows.append((MIB, self.low - MIB, 1))
        rows.append((0xE0000000, 0x10000000, 2))
        if self.high:
            rows.append((self.vm.highmem_base, self.high, 1))
        return rows
