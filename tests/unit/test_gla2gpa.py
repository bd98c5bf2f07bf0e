"""Translation of addresses in every paging mode, with faults and without."""

import errno
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from libvmmapi import VCPU, VM, OpenFlags, PagingMode, Prot, Reg, VMError
from libvmmapi.exits import Inout
from support.tinyguest import flat32

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
def cpu(vm_factory: Callable[..., VM], backend: str) -> Iterator[VCPU]:
    """Yield a vCPU of the processor; who owns a VM has chosen it."""
    vm_factory("t", mb=16).close()
    vm = VM.open("t", OpenFlags.OWNER)
    assert vm.backend == backend
    yield vm.vcpu(0)
    vm.destroy()


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


# ---- what the guest is told ----

PRESENT_CODE, WRITE_CODE, USER_CODE, RSVD_CODE, FETCH_CODE = 1, 2, 4, 8, 16
SMEP, SMAP, LA57 = 1 << 20, 1 << 21, 1 << 12
AC = 1 << 18
ACCESSED, DIRTY = 0x20, 0x40
LONG = MODES["4-level"]

#: The page's entry, CR4's bits, RFLAGS' bits, level, access, error code or None.
FAULTS = {
    "not present": (0, 0, 0, 0, Prot.READ, 0),
    "not present, written": (0, 0, 0, 0, Prot.WRITE, WRITE_CODE),
    "not present, user": (0, 0, 0, 3, Prot.READ, USER_CODE),
    "not present, fetched": (0, 0, 0, 0, Prot.EXEC, FETCH_CODE),
    "read-only": (PRESENT, 0, 0, 0, Prot.WRITE, PRESENT_CODE | WRITE_CODE),
    "read-only, user": (
        *(PRESENT | USER, 0, 0, 3, Prot.WRITE),
        PRESENT_CODE | WRITE_CODE | USER_CODE,
    ),
    "supervisor's": (PRESENT, 0, 0, 3, Prot.READ, PRESENT_CODE | USER_CODE),
    "no execution": (PRESENT | NX, 0, 0, 0, Prot.EXEC, PRESENT_CODE | FETCH_CODE),
    "SMEP": (PRESENT | USER, SMEP, 0, 0, Prot.EXEC, PRESENT_CODE | FETCH_CODE),
    "SMEP, of a supervisor's": (PRESENT, SMEP, 0, 0, Prot.EXEC, None),
    "SMEP, by the user": (PRESENT | USER, SMEP, 0, 3, Prot.EXEC, None),
    "SMAP": (PRESENT | USER, SMAP, 0, 0, Prot.READ, PRESENT_CODE),
    "SMAP, written": (
        *(PRESENT | WRITE | USER, SMAP, 0, 0, Prot.WRITE),
        PRESENT_CODE | WRITE_CODE,
    ),
    "SMAP with AC": (PRESENT | USER, SMAP, AC, 0, Prot.READ, None),
    "SMAP, fetched": (PRESENT | USER, SMAP, 0, 0, Prot.EXEC, None),
    "SMAP, by the user": (PRESENT | USER, SMAP, 0, 3, Prot.READ, None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_error_code_and_cr2(cpu: VCPU, name: str) -> None:
    flags, cr4, rflags, level, prot, code = FAULTS[name]
    setup(cpu, LONG)
    cpu.set_register(Reg.CR4, LONG.cr4 | cr4)
    cpu.set_register(Reg.RFLAGS, 2 | rflags)
    build(cpu.vm, LONG, PAGES | flags)
    paging = cpu.get_paging()._replace(cpl=level)
    gpa = cpu.gla2gpa(LONG.gla, prot, paging=paging)
    assert cpu.get_intinfo() == (0, 0)
    assert gpa == (None if code is not None else PAGES | LONG.gla & 0xFFF)
    assert cpu.gla2gpa(LONG.gla, prot, inject=True, paging=paging) == gpa
    if code is None:
        assert cpu.get_intinfo() == (0, 0)
        return
    _, info = cpu.get_intinfo()
    assert (info & 0xFF, info >> 32) == (PAGE_FAULT, code)
    assert cpu.get_register(Reg.CR2) == LONG.gla
    # A second one has no place, and changes nothing.
    other = LONG.gla ^ 0x1000
    with pytest.raises(VMError) as caught:
        cpu.gla2gpa(other, inject=True)
    assert caught.value.errno == errno.EBUSY
    assert cpu.get_register(Reg.CR2) == LONG.gla


def test_reserved_bits(cpu: VCPU) -> None:
    setup(cpu, LONG)
    cpu.set_register(Reg.EFER, LME_LMA)  # without NXE bit 63 is reserved
    build(cpu.vm, LONG, PAGES | PRESENT | NX)
    assert cpu.gla2gpa(LONG.gla, inject=True) is None
    _, info = cpu.get_intinfo()
    assert info >> 32 == PRESENT_CODE | RSVD_CODE


def test_an_address_that_is_not_canonical_is_a_protection_fault(cpu: VCPU) -> None:
    setup(cpu, LONG)
    assert cpu.gla2gpa(1 << 47, inject=True) is None
    _, info = cpu.get_intinfo()
    assert (info & 0xFF, info >> 32) == (13, 0)
    assert cpu.get_register(Reg.CR2) == 0


@pytest.mark.parametrize("name", MODES)
def test_only_an_access_sets_accessed_and_dirty(cpu: VCPU, name: str) -> None:
    mode = MODES[name]
    setup(cpu, mode)
    build(cpu.vm, mode, PAGES | PRESENT | WRITE)
    memory = cpu.vm.map_gpa(TABLES, 0x4000)
    before = bytes(memory)
    gpa = cpu.gla2gpa(mode.gla, Prot.WRITE)
    assert bytes(memory) == before
    assert cpu.gla2gpa(mode.gla, inject=True) == gpa
    levels = len(mode.bits) - (name == "PAE")  # its first level has no such bits
    marked = [i for i in range(0, 0x4000, 4) if memory[i] & ACCESSED]
    assert len(marked) == levels
    assert not [i for i in range(0, 0x4000, 4) if memory[i] & DIRTY]
    assert cpu.gla2gpa(mode.gla, Prot.WRITE, inject=True) == gpa
    assert [i for i in range(0, 0x4000, 4) if memory[i] & DIRTY] == marked[-1:]


def test_tables_of_five_levels_can_be_walked_but_not_used(cpu: VCPU) -> None:
    setup(cpu, LONG)
    gla = 0x00AB80C012345678
    five = Mode((9, 9, 9, 9, 9), 8, 0, 0, gla, 21)
    build(cpu.vm, five, PAGES | PRESENT)
    assert cpu.gla2gpa(gla) is None
    paging = cpu.get_paging()._replace(paging_mode=PagingMode.LONG5)
    assert cpu.gla2gpa(gla, paging=paging) == PAGES | 0x678
    assert cpu.gla2gpa(1 << 57, paging=paging) is None
    # CPUID offers no LA57.
    # mov eax, 7; xor ecx, ecx; cpuid; mov eax, ecx; out 0x80, eax
    other = flat32(cpu.vm, bytes.fromhex("b807000000 31c9 0fa2 89c8 e780"))
    vme = other.run()
    assert isinstance(vme.detail, Inout)
    assert vme.detail.eax >> 16 & 1 == 0


def test_copies_across_pages(cpu: VCPU) -> None:
    setup(cpu, LONG)
    build(cpu.vm, LONG, PAGES | PRESENT | WRITE)
    table = cpu.vm.map_gpa(TABLES + 0x3000, 0x1000)
    index = LONG.gla >> 12 & 0x1FF
    second = PAGES + 0x9000  # the next page stands elsewhere
    entry = (second | PRESENT | WRITE).to_bytes(8, "little")
    table[index * 8 + 8 : index * 8 + 16] = entry
    start = (LONG.gla & ~0xFFF) + 0xFFE
    cpu.copyout(start, b"abcd")
    assert bytes(cpu.vm.map_gpa(PAGES + 0xFFE, 2)) == b"ab"
    assert bytes(cpu.vm.map_gpa(second, 2)) == b"cd"
    assert cpu.copyin(start, 4) == b"abcd"
    # All of it or nothing, and the fault names the page that is not there.
    table[index * 8 + 8 : index * 8 + 16] = bytes(8)
    with pytest.raises(VMError) as caught:
        cpu.copyout(start, b"wxyz", inject=True)
    assert caught.value.errno == errno.EFAULT
    assert bytes(cpu.vm.map_gpa(PAGES + 0xFFE, 2)) == b"ab"
    assert cpu.get_register(Reg.CR2) == start + 2
    _, info = cpu.get_intinfo()
    assert info >> 32 == WRITE_CODE
