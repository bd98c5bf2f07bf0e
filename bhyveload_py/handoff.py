"""Entry states: the registers that boot protocols ask for."""

from collections.abc import Iterable
from dataclasses import dataclass

from libvmmapi import VCPU, Reg

from .request import LOW_TOP, PAGE, GuestRam

CMDLINE_ROOM = 0x10000
_ROOM = 0x1A000 + CMDLINE_ROOM


@dataclass(frozen=True, slots=True)
class Places:
    """Where what the loader leaves behind lies in guest memory: one block.

    A page of stack grows down from the zero page; page tables are six pages.
    """

    base: int = 0x6000

    @property
    def zero_page(self) -> int:
        """Linux' zero page, and the first stack pointer."""
        return self.base + 0x1000

    @property
    def gdt(self) -> int:
        """The segments' table."""
        return self.base + 0x2000

    @property
    def pml4(self) -> int:
        """The page tables of a 64-bit entry."""
        return self.base + 0x3000

    @property
    def info(self) -> int:
        """The information block of multiboot and PVH, 64 KiB."""
        return self.base + 0xA000

    @property
    def cmdline(self) -> int:
        """The kernel's command line."""
        return self.base + 0x1A000

    @property
    def end(self) -> int:
        """What lies behind the block."""
        return self.base + _ROOM

    @classmethod
    def beside(cls, taken: Iterable[tuple[int, int]]) -> "Places":
        """Return places that none of the (address, size) ranges touches.

        They lie below 640 KiB where there is room, else behind the last range
        and 1 MiB.
        """
        base = cls().base
        for start, size in sorted(taken):
            if start < base + _ROOM and base < start + size:
                base = max(start + size + PAGE - 1 & ~(PAGE - 1), base)
                if base + _ROOM > LOW_TOP:
                    base = max(base, 1 << 20)
        return cls(base)


_CODE64 = 0x00AF9B000000FFFF
_CODE32 = 0x00CF9B000000FFFF
_DATA = 0x00CF93000000FFFF

# Access bits as VM_SET_SEGMENT_DESCRIPTOR takes them.
_ACC_CODE64 = 0xA09B
_ACC_CODE32 = 0xC09B
_ACC_DATA = 0xC093
_ACC_TSS = 0x008B
_ACC_UNUSABLE = 0x10000

_CR0_PE, _CR0_NE, _CR0_ET, _CR0_PG = 1 << 0, 1 << 5, 1 << 4, 1 << 31
_CR4_PAE = 1 << 5
_EFER_LME, _EFER_LMA = 1 << 8, 1 << 10


def _identity_tables(ram: GuestRam, pml4: int) -> None:
    """Map the first 4 GiB one to one with 2 MiB pages."""
    pdpt, pd = pml4 + 0x1000, pml4 + 0x2000
    ram.write(pml4, (pdpt | 3).to_bytes(8, "little").ljust(4096, b"\0"), "page tables")
    rows = b"".join((pd + i * 4096 | 3).to_bytes(8, "little") for i in range(4))
    ram.write(pdpt, rows.ljust(4096, b"\0"), "page tables")
    pages = b"".join((i << 21 | 0x83).to_bytes(8, "little") for i in range(2048))
    ram.write(pd, pages, "page tables")


def _segments(vcpu: VCPU, ram: GuestRam, at: int, *, long_mode: bool) -> None:
    """Load flat segments: CS 0x10, the others 0x18 (Linux' boot selectors)."""
    code = _CODE64 if long_mode else _CODE32
    gdt = b"".join(d.to_bytes(8, "little") for d in (0, 0, code, _DATA))
    ram.write(at, gdt, "the GDT")
    vcpu.set_desc(Reg.GDTR, at, len(gdt) - 1, 0)
    vcpu.set_desc(Reg.IDTR, 0, 0, 0)
    vcpu.set_desc(Reg.CS, 0, 0xFFFFFFFF, _ACC_CODE64 if long_mode else _ACC_CODE32)
    vcpu.set_register(Reg.CS, 0x10)
    for reg in (Reg.DS, Reg.ES, Reg.FS, Reg.GS, Reg.SS):
        vcpu.set_desc(reg, 0, 0xFFFFFFFF, _ACC_DATA)
        vcpu.set_register(reg, 0x18)
    vcpu.set_desc(Reg.TR, 0, 0x67, _ACC_TSS)
    vcpu.set_register(Reg.TR, 0)
    vcpu.set_desc(Reg.LDTR, 0, 0, _ACC_UNUSABLE)
    vcpu.set_register(Reg.LDTR, 0)


def enter_protected(
    vcpu: VCPU, ram: GuestRam, at: Places, entry: int, **regs: int
) -> None:
    """Set up 32-bit protected mode without paging at `entry`.

    `regs` are general registers by lower-case name: ``ebx=...`` is rbx.
    """
    vcpu.reset()
    _segments(vcpu, ram, at.gdt, long_mode=False)
    vcpu.set_register(Reg.CR0, _CR0_PE | _CR0_ET | _CR0_NE)
    _start(vcpu, at.zero_page, entry, regs)


def enter_long(vcpu: VCPU, ram: GuestRam, at: Places, entry: int, **regs: int) -> None:
    """Set up 64-bit mode on identity-mapped tables at `entry`."""
    vcpu.reset()
    _identity_tables(ram, at.pml4)
    _segments(vcpu, ram, at.gdt, long_mode=True)
    vcpu.set_register(Reg.CR4, _CR4_PAE)
    vcpu.set_register(Reg.CR3, at.pml4)
    vcpu.set_register(Reg.EFER, _EFER_LME | _EFER_LMA)
    vcpu.set_register(Reg.CR0, _CR0_PE | _CR0_ET | _CR0_NE | _CR0_PG)
    _start(vcpu, at.zero_page, entry, regs)


def _start(vcpu: VCPU, stack: int, entry: int, regs: dict[str, int]) -> None:
    vcpu.set_register(Reg.RDX, 0)
    vcpu.set_register(Reg.RSP, stack)
    vcpu.set_register(Reg.RFLAGS, 2)
    vcpu.set_register(Reg.RIP, entry)
    for name, value in regs.items():
        vcpu.set_register(Reg["R" + name[1:].upper()], value)
