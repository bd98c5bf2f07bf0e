"""Registers of a virtual CPU, numbered as in vmm.h, and segment descriptors."""

from enum import IntEnum
from typing import NamedTuple

from ._ffi import lib


class Reg(IntEnum):
    """A register that vm_get_register(3) and vm_set_register(3) name."""

    RAX = lib.VM_REG_GUEST_RAX
    RBX = lib.VM_REG_GUEST_RBX
    RCX = lib.VM_REG_GUEST_RCX
    RDX = lib.VM_REG_GUEST_RDX
    RSI = lib.VM_REG_GUEST_RSI
    RDI = lib.VM_REG_GUEST_RDI
    RBP = lib.VM_REG_GUEST_RBP
    R8 = lib.VM_REG_GUEST_R8
    R9 = lib.VM_REG_GUEST_R9
    R10 = lib.VM_REG_GUEST_R10
    R11 = lib.VM_REG_GUEST_R11
    R12 = lib.VM_REG_GUEST_R12
    R13 = lib.VM_REG_GUEST_R13
    R14 = lib.VM_REG_GUEST_R14
    R15 = lib.VM_REG_GUEST_R15
    CR0 = lib.VM_REG_GUEST_CR0
    CR3 = lib.VM_REG_GUEST_CR3
    CR4 = lib.VM_REG_GUEST_CR4
    DR7 = lib.VM_REG_GUEST_DR7
    RSP = lib.VM_REG_GUEST_RSP
    RIP = lib.VM_REG_GUEST_RIP
    RFLAGS = lib.VM_REG_GUEST_RFLAGS
    ES = lib.VM_REG_GUEST_ES
    CS = lib.VM_REG_GUEST_CS
    SS = lib.VM_REG_GUEST_SS
    DS = lib.VM_REG_GUEST_DS
    FS = lib.VM_REG_GUEST_FS
    GS = lib.VM_REG_GUEST_GS
    LDTR = lib.VM_REG_GUEST_LDTR
    TR = lib.VM_REG_GUEST_TR
    IDTR = lib.VM_REG_GUEST_IDTR
    GDTR = lib.VM_REG_GUEST_GDTR
    EFER = lib.VM_REG_GUEST_EFER
    CR2 = lib.VM_REG_GUEST_CR2
    PDPTE0 = lib.VM_REG_GUEST_PDPTE0
    PDPTE1 = lib.VM_REG_GUEST_PDPTE1
    PDPTE2 = lib.VM_REG_GUEST_PDPTE2
    PDPTE3 = lib.VM_REG_GUEST_PDPTE3
    INTR_SHADOW = lib.VM_REG_GUEST_INTR_SHADOW
    DR0 = lib.VM_REG_GUEST_DR0
    DR1 = lib.VM_REG_GUEST_DR1
    DR2 = lib.VM_REG_GUEST_DR2
    DR3 = lib.VM_REG_GUEST_DR3
    DR6 = lib.VM_REG_GUEST_DR6
    ENTRY_INST_LENGTH = lib.VM_REG_GUEST_ENTRY_INST_LENGTH
    FS_BASE = lib.VM_REG_GUEST_FS_BASE
    GS_BASE = lib.VM_REG_GUEST_GS_BASE
    KGS_BASE = lib.VM_REG_GUEST_KGS_BASE
    TPR = lib.VM_REG_GUEST_TPR
    XCR0 = lib.VM_REG_GUEST_XCR0


#: The registers of ordinary programs, in the order in which tools print them.
GENERAL = (
    Reg.RAX,
    Reg.RBX,
    Reg.RCX,
    Reg.RDX,
    Reg.RSI,
    Reg.RDI,
    Reg.RBP,
    Reg.RSP,
    Reg.R8,
    Reg.R9,
    Reg.R10,
    Reg.R11,
    Reg.R12,
    Reg.R13,
    Reg.R14,
    Reg.R15,
    Reg.RIP,
    Reg.RFLAGS,
)

#: Registers that hold a selector.
SELECTORS = (
    Reg.CS,
    Reg.DS,
    Reg.ES,
    Reg.FS,
    Reg.GS,
    Reg.SS,
    Reg.TR,
    Reg.LDTR,
)

#: Registers that VCPU.get_desc() and VCPU.set_desc() take.
DESCRIPTORS = (*SELECTORS, Reg.GDTR, Reg.IDTR)


class Descriptor(NamedTuple):
    """A segment as the processor caches it.

    ``base`` is a linear address, ``limit`` the last offset in bytes,
    ``access`` type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, and
    bit 16 for an unusable segment.

    >>> Descriptor(0, 0xfffff, 0xc09b).default_32bit
    True
    """

    base: int
    limit: int
    access: int

    @property
    def type(self) -> int:
        """Type and S, bits 4:0."""
        return self.access & 0x1F

    @property
    def dpl(self) -> int:
        """Descriptor privilege level, 0 to 3."""
        return self.access >> 5 & 3

    @property
    def present(self) -> bool:
        """The P bit."""
        return bool(self.access & 0x80)

    @property
    def long(self) -> bool:
        """The L bit: 64-bit code."""
        return bool(self.access & 0x2000)

    @property
    def default_32bit(self) -> bool:
        """The D/B bit."""
        return bool(self.access & 0x4000)

    @property
    def unusable(self) -> bool:
        """True for a segment register that holds nothing."""
        return bool(self.access & 0x10000)
