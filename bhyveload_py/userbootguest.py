"""A guest in the making: what FreeBSD's loader writes and sets, until exec.

Addresses are taken modulo 2 GiB, as FreeBSD's bhyveload does: a kernel is
loaded by its virtual address.
"""

import mmap
from collections.abc import Callable
from dataclasses import dataclass, field

from libvmmapi import VCPU, VM, Reg, VMError

from .errors import LoadError

LOWMEM_TOP = 3 << 30
_MASK = 0x7FFFFFFF
_PIECE = 1 << 16
_EFAULT = 14
_EINVAL = 22
_EFER = 0xC0000080
_RSP_NUMBER = 4
_NORESERVE = 0x4000
_MAX_SETTINGS = 4096
_REGS = {int(reg) for reg in Reg}
_SEGMENTS = (Reg.ES, Reg.CS, Reg.SS, Reg.DS, Reg.FS, Reg.GS)
_DESCS = {*_SEGMENTS, Reg.LDTR, Reg.TR, Reg.IDTR, Reg.GDTR}
_CRS = {0: Reg.CR0, 3: Reg.CR3, 4: Reg.CR4}


@dataclass(slots=True)
class Handoff:
    """Memory and registers of vCPU 0; `entry` is None before exec."""

    memory: int
    ram: mmap.mmap = field(init=False)
    low: int = field(init=False)
    touched: set[int] = field(default_factory=set)
    settings: list[Callable[[VCPU], None]] = field(default_factory=list)
    entry: int | None = None
    cr3: int = 0
    rsp: int = 0
    gdt: int = 0

    def __post_init__(self) -> None:
        self.low = min(self.memory, LOWMEM_TOP)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        self.ram = mmap.mmap(-1, min(self.low, _MASK + 1), flags)

    @property
    def high(self) -> int:
        """Bytes of memory above 4 GiB."""
        return self.memory - self.low

    # ---- what the loader asks for; each returns an errno or 0 ----

    def copyin(self, addr: int, data: bytes) -> int:
        """Write to the guest's memory."""
        addr &= _MASK
        if addr + len(data) > len(self.ram):
            return _EFAULT
        self.ram[addr : addr + len(data)] = data
        if data:
            last = (addr + len(data) - 1) // _PIECE
            self.touched.update(range(addr // _PIECE, last + 1))
        return 0

    def copyout(self, addr: int, size: int) -> bytes | None:
        """Return bytes of the guest's memory; None: there is none."""
        addr &= _MASK
        if addr + size > len(self.ram):
            return None
        return self.ram[addr : addr + size]

    def _later(self, setting: Callable[[VCPU], None]) -> int:
        if len(self.settings) >= _MAX_SETTINGS:
            raise LoadError("it sets registers without end")
        self.settings.append(setting)
        return 0

    def setreg(self, number: int, value: int) -> None:
        """Set a general register by its number: the stack pointer's alone."""
        if number != _RSP_NUMBER:
            raise LoadError(f"test_setreg({number}): not implemented")
        self.rsp = value
        self.set_register(0, Reg.RSP, value)

    def setmsr(self, number: int, value: int) -> None:
        """Set an MSR: EFER alone."""
        if number != _EFER:
            raise LoadError(f"test_setmsr({number}): not implemented")
        self.set_register(0, Reg.EFER, value)

    def setcr(self, number: int, value: int) -> None:
        """Set a control register."""
        if number not in _CRS:
            raise LoadError(f"test_setcr({number}): not implemented")
        if number == 3:
            self.cr3 = value
        self.set_register(0, _CRS[number], value)

    def setgdt(self, base: int, size: int) -> None:
        """Set the GDT's register."""
        self.gdt = base
        self.set_desc(0, Reg.GDTR, base, (size - 1) & 0xFFFFFFFF, 0)

    def set_register(self, vcpu: int, reg: int, value: int) -> int:
        """Set a register by libvmmapi's number."""
        if vcpu != 0 or reg not in _REGS:
            return _EINVAL
        return self._later(lambda v: v.set_register(Reg(reg), value))

    def set_desc(self, vcpu: int, reg: int, base: int, limit: int, access: int) -> int:
        """Set a segment's descriptor by libvmmapi's number."""
        if vcpu != 0 or reg not in _DESCS:
            return _EINVAL
        return self._later(lambda v: v.set_desc(Reg(reg), base, limit, access))

    # ---- the end ----

    def put(self, vm: VM) -> None:
        """Give memory and registers to a VM whose memory is set up."""
        entry = self.entry
        if entry is None:
            raise LoadError("there is no kernel")
        end = min(vm.lowmem_size, len(self.ram))
        for piece in sorted(self.touched):
            at = piece * _PIECE
            data = self.ram[at : min(at + _PIECE, end)]
            vm.map_gpa(at, len(data))[:] = data
            vm.dirty_gpa(at, len(data))
        vcpu = vm.vcpu(0)
        vcpu.reset()
        try:
            for setting in self.settings:
                setting(vcpu)
            if self.cr3:
                vcpu.setup_freebsd_registers(entry, self.cr3, self.gdt, self.rsp)
            else:
                vcpu.setup_freebsd_registers_i386(
                    entry & 0xFFFFFFFF, self.gdt & 0xFFFFFFFF, self.rsp & 0xFFFFFFFF
                )
        except VMError as error:
            raise LoadError(f"the loader's registers: {error}") from None
