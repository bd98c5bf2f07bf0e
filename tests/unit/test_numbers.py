"""Numbers that are part of the interface: FreeBSD's, in FreeBSD's order."""

from enum import IntEnum

import pytest

from libvmmapi import (
    Cap,
    CpuMode,
    ExitCode,
    MemFlags,
    MmapStyle,
    OpenFlags,
    PagingMode,
    Prot,
    Reg,
    SegId,
    StateClass,
    SuspendHow,
    vm_capability_name2type,
    vm_capability_type2name,
)
from libvmmapi._ffi import lib

_REGISTERS = """
RAX RBX RCX RDX RSI RDI RBP R8 R9 R10 R11 R12 R13 R14 R15 CR0 CR3 CR4 DR7 RSP
RIP RFLAGS ES CS SS DS FS GS LDTR TR IDTR GDTR EFER CR2 PDPTE0 PDPTE1 PDPTE2
PDPTE3 INTR_SHADOW DR0 DR1 DR2 DR3 DR6 ENTRY_INST_LENGTH FS_BASE GS_BASE
KGS_BASE TPR
"""
_EXITS = """
INOUT VMX BOGUS RDMSR WRMSR HLT MTRAP PAUSE PAGING INST_EMUL SPINUP_AP
DEPRECATED1 RENDEZVOUS IOAPIC_EOI SUSPENDED INOUT_STR TASK_SWITCH MONITOR MWAIT
SVM REQIDLE DEBUG VMINSN BPT IPI DB
"""
_CAPABILITIES = """
HALT_EXIT MTRAP_EXIT PAUSE_EXIT UNRESTRICTED_GUEST ENABLE_INVPCID BPT_EXIT
RDPID RDTSCP IPI_EXIT MASK_HWINTR RFLAGS_TF
"""
_CLASSES = """
VERSION REGISTER MSR FPU LAPIC VMM_ARCH IOAPIC ATPIT ATPIC HPET PM_TIMER RTC
VMM_TIME
"""


@pytest.mark.parametrize(
    ("enum", "names", "first"),
    [
        (Reg, _REGISTERS, 0),
        (ExitCode, _EXITS, 0),
        (Cap, _CAPABILITIES, 0),
        (SuspendHow, "NONE RESET POWEROFF HALT TRIPLEFAULT DESTROY", 0),
        (StateClass, _CLASSES, 1),
        (SegId, "SYSMEM BOOTROM FRAMEBUFFER", 0),
        (MmapStyle, "NONE ALL SPARSE", 0),
        (CpuMode, "REAL PROTECTED COMPATIBILITY LONG", 0),
        (PagingMode, "FLAT TWO_LEVEL PAE LONG LONG5", 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_order_is_freebsds(enum: type[IntEnum], names: str, first: int) -> None:
    order = names.split()
    assert [enum(first + i).name for i in range(len(order))] == order


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (MemFlags.INCORE, 1),
        (MemFlags.WIRED, 2),
        (Prot.READ, 1),
        (Prot.WRITE, 2),
        (Prot.EXEC, 4),
        (OpenFlags.CREATE, 1),
        (OpenFlags.REINIT, 2),
        (OpenFlags.CREATE_DESTROY_ON_CLOSE, 4),
        (lib.X2APIC_DISABLED, 0),
        (lib.X2APIC_ENABLED, 1),
        (lib.EDGE_TRIGGER, 0),
        (lib.LEVEL_TRIGGER, 1),
        (lib.VM_MEMMAP_F_WIRED, 1),
        (lib.VM_MEMMAP_F_IOMMU, 2),
        (lib.VMMAPI_VERSION, 0o300),
        (lib.VM_LOWMEM_LIMIT, 3 << 30),
        (lib.VM_HIGHMEM_BASE, 4 << 30),
    ],
    ids=str,
)
def test_flags_are_freebsds(value: int, number: int) -> None:
    assert value == number


def test_capabilities_have_names_both_ways() -> None:
    names = {
        "hlt_exit": Cap.HALT_EXIT,
        "mtrap_exit": Cap.MTRAP_EXIT,
        "pause_exit": Cap.PAUSE_EXIT,
        "unrestricted_guest": Cap.UNRESTRICTED_GUEST,
        "enable_invpcid": Cap.ENABLE_INVPCID,
        "bpt_exit": Cap.BPT_EXIT,
        "rdpid": Cap.RDPID,
        "rdtscp": Cap.RDTSCP,
        "ipi_exit": Cap.IPI_EXIT,
        "mask_hwintr": Cap.MASK_HWINTR,
        "rflags_tf": Cap.RFLAGS_TF,
    }
    assert set(names.values()) == set(Cap)
    for name, cap in names.items():
        assert vm_capability_name2type(name) == cap
        assert vm_capability_type2name(cap) == name
    for wrong in ("", "HLT_EXIT", "hlt_exit\0x", "x"):
        assert vm_capability_name2type(wrong) is None
    for number in (-1, 11, 1 << 40):
        assert vm_capability_type2name(number) is None
