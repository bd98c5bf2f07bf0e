"""Entry states: the registers that boot protocols ask for."""

from libvmmapi import VCPU, Reg

from .request import GuestRam

#: Guest-physical places of what the loader leaves behind, below 0xA0000.
ZERO_PAGE = 0x7000
GDT = 0x8000
PML4 = 0x9000
START_INFO = 0x10000
CMDLINE = 0x20000
CMDLINE_ROOM = 0x10000

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


def _identity_tables(ram: GuestRam) -> None:
    """Map the first 4 GiB one to one with 2 MiB pages at PML4."""
    pdpt, pd = PML4 + 0x1000, PML4 + 0x2000
    ram.write(PML4, (pdpt | 3).to_bytes(8, "little").ljust(4096, b"\0"), "page tables")
    rows = b"".join((pd + i * 4096 | 3).to_bytes(8, "little") for i in range(4))
    ram.write(pdpt, rows.ljust(4096, b"\0"), "page tables")
    pages = b"".join((i << 21 | 0x83).to_bytes(8, "little") for i in range(2048))
    ram.write(pd, pages, "page tables")


def _segments(vcpu: VCPU, ram: GuestRam, *, long_mode: bool) -> None:
    """Load flat segments: CS 0x10, the others 0x18 (Linux' boot selectors)."""
    code = _CODE64 if long_mode else _CODE32
    gdt = b"".join(d.to_bytes(8, "little") for d in (0, 0, code, _DATA))
    ram.write(GDT, gdt, "the GDT")
    vcpu.set_desc(Reg.GDTR, GDT, len(gdt) - 1, 0)
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


def enter_protected(vcpu: VCPU, ram: GuestRam, entry: int, **regs: int) -> None:
    """Set up 32-bit protected mode without paging at `entry`.

    `regs` are general registers by lower-case name: ``ebx=...`` is rbx.
    """
    vcpu.reset()
    _segments(vcpu, ram, long_mode=False)
    vcpu.set_register(Reg.CR0, _CR0_PE | _CR0_ET | _CR0_NE)
    _start(vcpu, entry, regs)


def enter_long(vcpu: VCPU, ram: GuestRam, entry: int, **regs: int) -> None:
    """Set up 64-bit mode on identity-mapped tables at `entry`."""
    vcpu.reset()
    _identity_tables(ram)
    _segments(vcpu, ram, long_mode=True)
    vcpu.set_register(Reg.CR4, _CR4_PAE)
    vcpu.set_register(Reg.CR3, PML4)
    vcpu.set_register(Reg.EFER, _EFER_LME | _EFER_LMA)
    vcpu.set_register(Reg.CR0, _CR0_PE | _CR0_ET | _CR0_NE | _CR0_PG)
    _start(vcpu, entry, regs)


def _start(vcpu: VCPU, entry: int, regs: dict[str, int]) -> None:
    vcpu.set_register(Reg.RDX, 0)
    vcpu.set_register(Reg.RSP, ZERO_PAGE)
    vcpu.set_register(Reg.RFLAGS, 2)
    vcpu.set_register(Reg.RIP, entry)
    for name, value in regs.items():
        vcpu.set_register(Reg["R" + name[1:].upper()], value)
