"""Translation of addresses in every paging mode, with faults and without."""

import errno
from collections.abc import Callable
from typing import NamedTuple

import pytest

from libvmmapi import VCPU, VM, Prot, Reg, VMError

PRESENT, WRITE, USER, LARGE = 1, 2, 4, 0x80
NX = 1 << 63
PG_PE = 0x80000001
WP = 0x10000
PSE, PAE = 0x10, 0x20
LME_LMA, NXE = 0x500, 0x800
PAGE_FAULT = 14
TABLES, PAGES = 0x10000, 0x40000


class Mode(NamedTuple):
    """A way of paging: bits of an index, bytes of an entry, control registers."""

    bits: tuple[int, ...]
    entry: int
    cr4: int
    efer: int
    gla: int
    large: int  # bits that a large page leaves to the offset


MODES = {
    "32-bit": Mode((10, 10), 4, PSE, 0, 0xC0345678, 22),
    "PAE": Mode((2, 9, 9), 8, PAE, NXE, 0xC0345678, 21),
    "4-level": Mode((9, 9, 9, 9), 8, PAE, LME_LMA | NXE, 0xFFFF80C012345678, 21),
}


def build(vm: VM, mode: Mode, page: int, *, large: bool = False) -> None:
    """Write tables that map the mode's address to `page`, flags in it."""
    memory = vm.map_gpa(0, 1 << 20)
    shift = 12 + sum(mode.bits)
    at = TABLES
    bits = mode.bits[:-1] if large else mode.bits
    for level, width in enumerate(bits):
        shift -= width
        index = mode.gla >> shift & (1 << width) - 1
        last = level == len(bits) - 1
        if last:
            value = page | (LARGE if large else 0)
        else:
            # PAE's first level has no rights of its own.
            pdpte = len(mode.bits) == 3 and level == 0
            value = at + 0x1000 | PRESENT | (0 if pdpte else WRITE | USER)
        place = at + index * mode.entry
        memory[place : place + mode.entry] = value.to_bytes(mode.entry, "little")
        at += 0x1000


def setup(cpu: VCPU, mode: Mode) -> None:
    """Turn paging on, at level 0."""
    cpu.reset()
    cpu.set_register(Reg.CR4, mode.cr4)
    cpu.set_register(Reg.CR3, TABLES)
    cpu.set_register(Reg.EFER, mode.efer)
    cpu.set_register(Reg.CR0, PG_PE | WP)
    access = 0xA09B if mode.efer & LME_LMA else 0xC09B
    cpu.set_desc(Reg.CS, 0, 0xFFFFFFFF, access)
    cpu.set_desc(Reg.SS, 0, 0xFFFFFFFF, 0xC093)


@pytest.fixture
def cpu(vm_factory: Callable[..., VM], backend: str) -> VCPU:
    return vm_factory("t", mb=16).vcpu(0)


def test_without_paging_addresses_are_themselves(cpu: VCPU) -> None:
    cpu.reset()
    assert cpu.gla2gpa(0x12345) == 0x12345
    assert cpu.get_paging().paging_mode == 0


@pytest.mark.parametrize("name", MODES)
def test_small_and_large_pages(cpu: VCPU, name: str) -> None:
    mode = MODES[name]
    setup(cpu, mode)
    assert cpu.gla2gpa(mode.gla) is None
    build(cpu.vm, mode, PAGES | PRESENT | WRITE)
    assert cpu.gla2gpa(mode.gla) == PAGES | mode.gla & 0xFFF
    assert cpu.gla2gpa(mode.gla, Prot.WRITE) == PAGES | mode.gla & 0xFFF
    assert cpu.gla2gpa(mode.gla ^ 0x1000) is None
    mask = (1 << mode.large) - 1
    build(cpu.vm, mode, 1 << mode.large | PRESENT, large=True)
    assert cpu.gla2gpa(mode.gla) == 1 << mode.large | mode.gla & mask
    assert list(MODES).index(name) + 1 == cpu.get_paging().paging_mode


@pytest.mark.parametrize("name", MODES)
def test_rights(cpu: VCPU, name: str) -> None:
    mode = MODES[name]
    setup(cpu, mode)
    gpa = PAGES | mode.gla & 0xFFF
    build(cpu.vm, mode, PAGES | PRESENT)
    assert cpu.gla2gpa(mode.gla, Prot.READ) == gpa
    assert cpu.gla2gpa(mode.gla, Prot.WRITE) is None  # CR0.WP
    cpu.set_register(Reg.CR0, PG_PE)
    assert cpu.gla2gpa(mode.gla, Prot.WRITE) == gpa
    if mode.entry == 8:
        build(cpu.vm, mode, NX | PAGES | PRESENT)
        assert cpu.gla2gpa(mode.gla, Prot.READ) == gpa
        assert cpu.gla2gpa(mode.gla, Prot.EXEC) is None
    # At level 3 the page must be the user's.
    cpu.set_desc(Reg.SS, 0, 0xFFFFFFFF, 0xC0F3)
    cpu.set_desc(Reg.CS, 0, 0xFFFFFFFF, 0xA0FB if mode.efer & LME_LMA else 0xC0FB)
    build(cpu.vm, mode, PAGES | PRESENT | WRITE)
    assert cpu.get_paging().cpl == 3
    assert cpu.gla2gpa(mode.gla) is None
    build(cpu.vm, mode, PAGES | PRESENT | WRITE | USER)
    assert cpu.gla2gpa(mode.gla, Prot.WRITE) == gpa


@pytest.mark.parametrize("name", MODES)
def test_a_fault_is_the_guests_when_it_is_wanted(cpu: VCPU, name: str) -> None:
    mode = MODES[name]
    setup(cpu, mode)
    build(cpu.vm, mode, PAGES | PRESENT)
    assert cpu.gla2gpa(mode.gla, Prot.WRITE) is None
    assert cpu.get_intinfo() == (0, 0)
    assert cpu.gla2gpa(mode.gla, Prot.WRITE, inject=True) is None
    (info,) = [word for word in cpu.get_intinfo() if word]
    # The error code: a write to a page that is there.
    assert (info & 0xFF, info >> 32) == (PAGE_FAULT, 3)
    assert cpu.get_register(Reg.CR2) == mode.gla


def test_addresses_that_are_not_canonical(cpu: VCPU) -> None:
    setup(cpu, MODES["4-level"])
    assert cpu.gla2gpa(1 << 47) is None


def test_tables_outside_memory(cpu: VCPU) -> None:
    mode = MODES["4-level"]
    setup(cpu, mode)
    cpu.set_register(Reg.CR3, 1 << 30)
    with pytest.raises(VMError) as caught:
        cpu.gla2gpa(mode.gla)
    assert caught.value.errno == errno.EFAULT
