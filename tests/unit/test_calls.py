"""The C names: all of libvmmapi(3) that has a meaning here."""

import errno
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import libvmmapi
from libvmmapi import VM, MemDomain, MemFlags, MemPolicy, Prot, Reg, VMError, calls

#: The functions of libvmmapi for amd64, as its documentation groups them.
_TEXT = """
vm_create vm_open vm_openf vm_close vm_destroy vm_reinit vm_suspend
vm_limit_rights vm_get_name vm_get_device_fd vm_get_ioctls vm_vcpu_open
vm_vcpu_close vcpu_id vcpu_reset vm_activate_cpu vm_suspend_cpu vm_resume_cpu
vm_suspend_all_cpus vm_resume_all_cpus vm_active_cpus vm_suspended_cpus
vm_debug_cpus vm_apicid2vcpu vm_set_topology vm_get_topology vm_run
vm_restart_instruction vm_parse_memsize vm_setup_memory vm_map_gpa
vm_rev_map_gpa vm_get_lowmem_limit vm_get_lowmem_size vm_get_highmem_size
vm_get_highmem_base vm_set_memflags vm_get_memflags vm_get_guestmem_from_ctx
vm_get_memseg vm_mmap_getnext vm_create_devmem vm_mmap_memseg vm_munmap_memseg
vm_get_gpa_pmap vm_gla2gpa vm_gla2gpa_nofault vm_copyin vm_copyout
vm_set_register vm_get_register vm_set_register_set vm_get_register_set
vm_set_desc vm_get_desc vm_get_seg_desc vm_setup_freebsd_registers
vm_setup_freebsd_registers_i386 vm_setup_freebsd_gdt vm_inject_exception
vm_inject_nmi vm_lapic_irq vm_lapic_local_irq vm_lapic_msi vm_raise_msi
vm_ioapic_assert_irq vm_ioapic_deassert_irq vm_ioapic_pulse_irq
vm_ioapic_pincount vm_isa_assert_irq vm_isa_deassert_irq vm_isa_pulse_irq
vm_isa_set_irq_trigger vm_get_intinfo vm_set_intinfo
vm_readwrite_kernemu_device vm_get_x2apic_state vm_set_x2apic_state
vm_get_hpet_capabilities vm_capability_name2type vm_capability_type2name
vm_get_capability vm_set_capability vm_get_stats vm_get_stat_desc vm_rtc_write
vm_rtc_read vm_rtc_settime vm_rtc_gettime vm_setup_memory_domains vm_copy_setup
vm_copy_teardown vm_assign_pptdev vm_unassign_pptdev vm_map_pptdev_mmio
vm_unmap_pptdev_mmio vm_setup_pptdev_msi vm_setup_pptdev_msix
vm_disable_pptdev_msix vm_get_pptdev_limits vm_get_pptdev_bar vm_read_pptdev
vm_write_pptdev
"""
# Not here: vm_set_lowmem_limit, which FreeBSD has removed; vm_attach_vgic,
# vm_attach_aplic, vm_assert_irq and vm_deassert_irq, of other processors;
# vm_snapshot_req and vm_restore_time, until there are snapshots.
NAMES = _TEXT.split()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_there_and_documented(name: str) -> None:
    call = getattr(libvmmapi, name)
    assert callable(call)
    assert call.__doc__


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError):
        _ = libvmmapi.vm_nothing  # type: ignore[attr-defined]


def test_a_program_in_c_names(vm_factory: Callable[..., VM]) -> None:
    vm_factory("t", mb=0).close()
    vm = calls.vm_open("t")
    calls.vm_set_memflags(vm, MemFlags.INCORE)
    assert calls.vm_get_memflags(vm) == MemFlags.INCORE
    calls.vm_setup_memory(vm, 16 << 20)
    memory, low, high = calls.vm_get_guestmem_from_ctx(vm)
    assert (len(memory), low, high) == (16 << 20, 16 << 20, 0)
    assert calls.vm_rev_map_gpa(vm, calls.vm_map_gpa(vm, 0x1234, 4)) == 0x1234
    with pytest.raises(VMError):
        calls.vm_rev_map_gpa(vm, memoryview(bytearray(8)))
    cpu = calls.vm_vcpu_open(vm, 0)
    assert calls.vcpu_id(cpu) == 0
    calls.vcpu_reset(cpu)
    calls.vm_set_register(cpu, Reg.RAX, 7)
    assert calls.vm_get_register(cpu, Reg.RAX) == 7
    calls.vm_copyout(cpu, 0x5000, b"hello")
    assert calls.vm_copyin(cpu, 0x5000, 5) == b"hello"
    assert calls.vm_gla2gpa_nofault(cpu, 0x5001, Prot.READ) == 0x5001
    calls.vm_pause(vm)
    assert calls.vm_is_paused(vm)
    calls.vm_resume(vm)
    assert not calls.vm_is_paused(vm)
    calls.vm_wrlock_cycle(vm)
    assert len(calls.vm_get_ioctls()) > 50
    calls.vm_close(vm)


def test_a_fault_is_injected_on_request(vm_factory: Callable[..., VM]) -> None:
    vm = vm_factory("t", mb=16)
    cpu = vm.vcpu(0)
    # A page directory of zeros: nothing is mapped.
    cpu.setup_freebsd_registers(rip=0x10000, cr3=0x2000, gdtbase=0x5000, rsp=0x9000)
    with pytest.raises(VMError):
        cpu.copyin(0x7000, 4)
    assert cpu.get_intinfo() == (0, 0)
    with pytest.raises(VMError):
        cpu.copyin(0x7000, 4, inject=True)
    assert [word & 0xFF for word in cpu.get_intinfo()].count(14) == 1


def test_copies_by_views(vm_factory: Callable[..., VM]) -> None:
    vm = vm_factory("t", mb=16)
    cpu = vm.vcpu(0)
    cpu.reset()
    views = calls.vm_copy_setup(cpu, 0x5FF0, 0x1020, Prot.WRITE)
    assert views is not None
    assert [len(view) for view in views] == [0x10, 0x1000, 0x10]
    views[1][:4] = b"here"
    assert cpu.copyin(0x6000, 4) == b"here"
    calls.vm_copy_teardown(views)
    assert views == []
    with pytest.raises(VMError) as caught:
        calls.vm_copy_setup(cpu, 0x1000000, 4, Prot.READ)
    assert caught.value.errno == errno.EFAULT
    cpu.setup_freebsd_registers(rip=0x10000, cr3=0x2000, gdtbase=0x5000, rsp=0x9000)
    assert calls.vm_copy_setup(cpu, 0x7000, 4, Prot.READ) is None
    assert [word & 0xFF for word in cpu.get_intinfo()].count(14) == 1


def test_memory_in_domains(vm_factory: Callable[..., VM]) -> None:
    vm = vm_factory("t", mb=0)
    parts = [MemDomain(4 << 20), MemDomain(12 << 20, MemPolicy.ROUND_ROBIN, 1)]
    calls.vm_setup_memory_domains(vm, parts)
    assert vm.lowmem_size == 16 << 20
    with pytest.raises(VMError) as caught:
        calls.vm_setup_memory_domains(vm, [MemDomain(0)])
    assert caught.value.errno == errno.EINVAL


def test_devices_of_the_host_are_refused_in_words(
    vm_factory: Callable[..., VM],
) -> None:
    vm = vm_factory("t", mb=0)
    for bus, slot, func in ((255, 31, 7), (256, 0, 0), (0, -1, 0)):
        with pytest.raises(VMError, match=f"host device {bus}/{slot}/{func}: "):
            calls.vm_assign_pptdev(vm, bus, slot, func)
    devices = list(Path("/sys/bus/pci/devices").glob("0000:*"))
    for device in devices[:1]:
        bus, slot, func = (int(n, 16) for n in re.split("[:.]", device.name)[1:])
        with pytest.raises(VMError, match=r"IOMMU|vfio-pci"):
            vm.assign_pptdev(bus, slot, func)
    for call in (
        lambda: vm.unassign_pptdev(1, 2, 3),
        lambda: vm.map_pptdev_mmio(1, 2, 3, gpa=0, size=4096, hpa=0),
        lambda: vm.unmap_pptdev_mmio(1, 2, 3, gpa=0, size=4096),
        lambda: vm.setup_pptdev_msi(1, 2, 3, addr=0, msg=0, count=1),
        lambda: vm.setup_pptdev_msix(1, 2, 3, index=0, addr=0, msg=0, vector_control=0),
        lambda: vm.disable_pptdev_msix(1, 2, 3),
        lambda: vm.pptdev_limits(1, 2, 3),
        lambda: vm.pptdev_bar(1, 2, 3, bar=0),
        lambda: vm.read_pptdev(1, 2, 3, region=0, offset=0, size=4),
        lambda: vm.write_pptdev(1, 2, 3, region=0, offset=0, size=4, value=0),
    ):
        with pytest.raises(VMError, match="not assigned to this VM") as caught:
            call()
        assert caught.value.errno == errno.ENOENT


def test_registers_of_a_32_bit_kernel(vm_factory: Callable[..., VM]) -> None:
    vm = vm_factory("t", mb=16)
    cpu = vm.vcpu(0)
    cpu.setup_freebsd_registers_i386(eip=0x100000, gdtbase=0x3000, esp=0x9000)
    for reg in (Reg.DS, Reg.ES, Reg.FS, Reg.GS, Reg.SS):
        assert cpu.get_desc(reg) == (0, 0xFFFFFFFF, 0xC093)
    assert cpu.get_desc(Reg.CS) == (0, 0xFFFFFFFF, 0xC09B)
    assert cpu.get_desc(Reg.GDTR)[0] == 0x3000
    assert cpu.get_desc(Reg.TR)[0] == 0x4000
    assert cpu.get_register(Reg.CR0) & ~0x10 == 0x21  # ET is always on
    assert cpu.get_register(Reg.RSP) == 0x9000
    assert cpu.get_register(Reg.RIP) == 0x100000
