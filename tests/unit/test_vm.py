"""VM and VCPU against a VM that does not run."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from libvmmapi import (
    VM,
    Cap,
    Descriptor,
    ExitCode,
    MemSeg,
    Prot,
    Reg,
    Topology,
    VMError,
    list_vms,
    vm_path,
)
from libvmmapi.exits import Inout

Factory = Callable[..., VM]


def test_a_vm_is_a_directory_until_it_is_destroyed(vm_dir: Path) -> None:
    vm = VM.create("demo")
    assert list_vms() == ["demo"]
    assert vm_path("demo") == vm_dir / "demo"
    vm.close()
    assert list_vms() == ["demo"]
    VM.open("demo").destroy()
    assert list_vms() == []


def test_creating_twice_is_eexist(vm_factory: Factory) -> None:
    vm_factory("demo", mb=0)
    with pytest.raises(VMError) as caught:
        VM.create("demo")
    assert caught.value.errno == errno.EEXIST


def test_a_closed_vm_says_so(vm_factory: Factory) -> None:
    vm = vm_factory(mb=0)
    cpu = vm.vcpu(0)
    vm.close()
    vm.close()
    with pytest.raises(ValueError, match="VM t is closed"):
        vm.reinit()
    with pytest.raises(ValueError, match="VM t is closed"):
        cpu.get_register(Reg.RIP)
    VM.open("t").destroy()


def test_memory_is_a_writable_buffer(vm_factory: Factory) -> None:
    vm = vm_factory(mb=16)
    view = vm.map_gpa(0x1000, 4)
    view[:] = b"abcd"
    assert bytes(vm.map_gpa(0x1002, 2)) == b"cd"
    assert vm.lowmem_size == 16 << 20
    assert vm.highmem_size == 0


@pytest.mark.parametrize(
    ("gpa", "size"),
    [(16 << 20, 1), ((16 << 20) - 1, 2), (0, 0), (0, 1 << 40), ((1 << 64) - 1, 2)],
)
def test_memory_outside_is_efault(vm_factory: Factory, gpa: int, size: int) -> None:
    vm = vm_factory(mb=16)
    with pytest.raises(VMError) as caught:
        vm.map_gpa(gpa, size)
    assert caught.value.errno == errno.EFAULT


def test_a_view_outlives_its_vm_object(vm_factory: Factory) -> None:
    vm = vm_factory(mb=16)
    view = vm.map_gpa(0, 4)
    view[:] = b"kept"
    vm.close()
    assert bytes(view) == b"kept"
    del view
    with VM.open("t") as again:
        assert bytes(again.map_gpa(0, 4)) == b"kept"
        again.destroy()


def test_segments_and_map_describe_memory(vm_factory: Factory) -> None:
    vm = vm_factory(mb=16)
    assert list(vm.memsegs()) == [MemSeg(0, "", 16 << 20)]
    (entry,) = vm.memmap()
    assert (entry.gpa, entry.size, entry.segid) == (0, 16 << 20, 0)
    assert entry.prot == Prot.ALL


def test_registers_keep_64_bits(vm_factory: Factory) -> None:
    cpu = vm_factory().vcpu(0)
    cpu.set_register(Reg.RBX, (1 << 64) - 2)
    assert cpu.get_register(Reg.RBX) == (1 << 64) - 2
    cpu.set_register_set({Reg.RAX: 1, Reg.R15: 2})
    assert cpu.get_register_set([Reg.R15, Reg.RAX]) == {Reg.R15: 2, Reg.RAX: 1}


def test_a_reset_vcpu_stands_at_the_reset_vector(vm_factory: Factory) -> None:
    cpu = vm_factory().vcpu(0)
    cpu.reset()
    assert cpu.get_register(Reg.RIP) == 0xFFF0
    assert cpu.get_register(Reg.CS) == 0xF000
    assert cpu.get_desc(Reg.CS) == Descriptor(0xFFFF0000, 0xFFFF, 0x93)


def test_topology_and_cpu_sets(vm_factory: Factory) -> None:
    vm = vm_factory(mb=0)
    vm.set_topology(1, 2, 1)
    top = vm.get_topology()
    assert top[:3] == Topology(1, 2, 1, 0)[:3]
    assert vm.active_cpus() == []
    vm.vcpu(1).activate()
    assert vm.active_cpus() == [1]


def test_state_outlives_the_process_that_made_it(vm_factory: Factory) -> None:
    vm = vm_factory()
    vm.vcpu(0).set_register(Reg.RSP, 0x1234)
    vm.close()
    with VM.open("t") as again:
        assert again.vcpu(0).get_register(Reg.RSP) == 0x1234
        again.destroy()


def test_capabilities_have_names() -> None:
    assert Cap.HALT_EXIT.title == "hlt_exit"


def test_statistics_are_named_and_ordered(vm_factory: Factory) -> None:
    names = list(vm_factory().vcpu(0).get_stats().values)
    assert names[:2] == [
        "vcpu migration across host cpus",
        "total number of vm exits",
    ]
    assert "Resident memory" in names


def test_the_clock_and_its_memory(vm_factory: Factory) -> None:
    vm = vm_factory(mb=0)
    vm.rtc_settime(1_000_000_000)
    assert abs(vm.rtc_gettime() - 1_000_000_000) <= 2
    vm.rtc_write(0x40, 0x5A)
    assert vm.rtc_read(0x40) == 0x5A


def test_a_guest_runs_exit_by_exit(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    code = b"\xe4\x90\x04\x01\xe6\x80\xf4"  # in al, 0x90; add al, 1; out 0x80, al; hlt
    vm.map_gpa(0x1000, len(code))[:] = code
    cpu = vm.vcpu(0)
    cpu.reset()
    cpu.set_desc(Reg.CS, 0, 0xFFFF, 0x93)
    cpu.set_register(Reg.CS, 0)
    cpu.set_register(Reg.RIP, 0x1000)
    cpu.activate()
    vme = cpu.run()
    assert vm.backend == backend
    assert vme.code == ExitCode.INOUT
    assert isinstance(vme.detail, Inout)
    assert (vme.detail.port, vme.detail.size, vme.detail.is_in) == (0x90, 1, True)
    vme = cpu.run(vme.fulfill(0x41))
    assert isinstance(vme.detail, Inout)
    assert (vme.detail.port, vme.detail.is_in) == (0x80, False)
    assert vme.detail.eax & 0xFF == 0x42
    assert cpu.copyin(0x1000, 2) == code[:2]
