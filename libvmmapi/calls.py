"""The calls of libvmmapi(3) by their C names, for programs that are ported.

A call takes the VM or the vCPU as its first argument, as in C, and raises
VMError where C returns -1; what C hands out through pointers is returned.
`libvmmapi` offers the same names.

>>> from libvmmapi import vm_parse_memsize, vm_capability_type2name, Cap
>>> vm_parse_memsize("512"), vm_capability_type2name(Cap.HALT_EXIT)
(536870912, 'hlt_exit')
"""

from ._ffi import ffi, lib
from .caps import Cap, cap_by_name
from .memory import MemFlags, Prot
from .memsize import parse_memsize
from .vcpu import VCPU, Paging
from .vm import VM, create, get_ioctls, set_backend, set_translate

# ---- lifetime ----
vm_create = create
vm_open = VM.open
vm_openf = VM.open
vm_close = VM.close
vm_destroy = VM.destroy
vm_reinit = VM.reinit
vm_suspend = VM.suspend
vm_limit_rights = VM.limit_rights
vm_get_device_fd = VM.fileno
vm_get_ioctls = get_ioctls
vm_set_backend = set_backend
vm_set_translate = set_translate
vm_serve = VM.serve
vm_save = VM.save


# ---- vCPUs ----
vm_vcpu_open = VM.vcpu
vm_vcpu_close = VCPU.close
vcpu_reset = VCPU.reset
vm_activate_cpu = VCPU.activate
vm_suspend_cpu = VCPU.suspend
vm_resume_cpu = VCPU.resume
vm_suspend_all_cpus = VM.suspend_all_cpus
vm_resume_all_cpus = VM.resume_all_cpus
vm_pause = VM.pause
vm_resume = VM.resume
vm_is_paused = VM.is_paused
vm_wrlock_cycle = VM.wrlock_cycle
vm_active_cpus = VM.active_cpus
vm_suspended_cpus = VM.suspended_cpus
vm_debug_cpus = VM.debug_cpus
vm_apicid2vcpu = VM.apicid2vcpu
vm_set_topology = VM.set_topology
vm_get_topology = VM.get_topology
vm_run = VCPU.run
vm_restart_instruction = VCPU.restart_instruction
vm_get_run_state = VCPU.get_run_state
vm_set_run_state = VCPU.set_run_state

# ---- memory ----
vm_parse_memsize = parse_memsize
vm_setup_memory = VM.setup_memory
vm_setup_memory_domains = VM.setup_memory_domains
vm_map_gpa = VM.map_gpa
vm_rev_map_gpa = VM.rev_map_gpa
vm_dirty_gpa = VM.dirty_gpa
vm_get_memseg = VM.get_memseg
vm_mmap_getnext = VM.mmap_getnext
vm_create_devmem = VM.create_devmem
vm_mmap_memseg = VM.mmap_memseg
vm_munmap_memseg = VM.munmap_memseg
vm_get_gpa_pmap = VM.get_gpa_pmap
vm_copyin = VCPU.copyin
vm_copyout = VCPU.copyout


def vm_set_memflags(vm: VM, flags: MemFlags) -> None:
    """Say how memory is to be made; before vm_setup_memory()."""
    vm.memflags = flags


def vm_get_memflags(vm: VM) -> MemFlags:
    """Return what vm_set_memflags() said."""
    return vm.memflags


def vm_get_guestmem_from_ctx(vm: VM) -> tuple[memoryview, int, int]:
    """Return low memory, and the sizes of low and high memory."""
    low = vm.lowmem_size
    return vm.map_gpa(0, low), low, vm.highmem_size


def vm_gla2gpa(
    vcpu: VCPU, gla: int, prot: Prot, paging: Paging | None = None
) -> int | None:
    """Return the address behind `gla`, or None after giving the guest a fault."""
    return vcpu.gla2gpa(gla, prot, inject=True, paging=paging)


def vm_gla2gpa_nofault(
    vcpu: VCPU, gla: int, prot: Prot, paging: Paging | None = None
) -> int | None:
    """Return the address behind `gla`, or None; nothing in the guest changes."""
    return vcpu.gla2gpa(gla, prot, paging=paging)


vm_get_paging = VCPU.get_paging
vm_copy_setup = VCPU.copy_setup


def vm_copy_teardown(views: list[memoryview]) -> None:
    """Let go of what vm_copy_setup() returned."""
    for view in views:
        view.release()
    views.clear()


# ---- devices of the host ----
vm_assign_pptdev = VM.assign_pptdev
vm_unassign_pptdev = VM.unassign_pptdev
vm_map_pptdev_mmio = VM.map_pptdev_mmio
vm_unmap_pptdev_mmio = VM.unmap_pptdev_mmio
vm_setup_pptdev_msi = VM.setup_pptdev_msi
vm_setup_pptdev_msix = VM.setup_pptdev_msix
vm_disable_pptdev_msix = VM.disable_pptdev_msix
vm_get_pptdev_limits = VM.pptdev_limits
vm_get_pptdev_bar = VM.pptdev_bar
vm_read_pptdev = VM.read_pptdev
vm_write_pptdev = VM.write_pptdev

# ---- registers ----
vm_set_register = VCPU.set_register
vm_get_register = VCPU.get_register
vm_set_register_set = VCPU.set_register_set
vm_get_register_set = VCPU.get_register_set
vm_set_desc = VCPU.set_desc
vm_get_desc = VCPU.get_desc
vm_get_seg_desc = VCPU.get_desc
vm_get_msr = VCPU.get_msr
vm_set_msr = VCPU.set_msr
vm_setup_freebsd_registers = VCPU.setup_freebsd_registers
vm_setup_freebsd_registers_i386 = VCPU.setup_freebsd_registers_i386


def vm_setup_freebsd_gdt() -> list[int]:
    """Return the three entries of the GDT that a 64-bit kernel is handed.

    >>> [hex(entry) for entry in vm_setup_freebsd_gdt()]
    ['0x0', '0x20980000000000', '0x900000000000']
    """
    gdt = ffi.new("uint64_t[3]")
    lib.vm_setup_freebsd_gdt(gdt)
    return list(gdt)


# ---- interrupts ----
vm_inject_exception = VCPU.inject_exception
vm_inject_nmi = VCPU.inject_nmi
vm_lapic_irq = VCPU.lapic_irq
vm_lapic_local_irq = VCPU.lapic_local_irq
vm_lapic_local_irq_all = VM.lapic_local_irq_all
vm_lapic_msi = VM.lapic_msi
vm_raise_msi = VM.raise_msi
vm_ioapic_assert_irq = VM.ioapic_assert_irq
vm_ioapic_deassert_irq = VM.ioapic_deassert_irq
vm_ioapic_pulse_irq = VM.ioapic_pulse_irq
vm_ioapic_pincount = VM.ioapic_pincount
vm_isa_assert_irq = VM.isa_assert_irq
vm_isa_deassert_irq = VM.isa_deassert_irq
vm_isa_pulse_irq = VM.isa_pulse_irq
vm_isa_set_irq_trigger = VM.isa_set_irq_trigger
vm_get_intinfo = VCPU.get_intinfo
vm_set_intinfo = VCPU.set_intinfo
vm_readwrite_kernemu_device = VCPU.readwrite_kernemu_device
vm_get_x2apic_state = VCPU.get_x2apic_state
vm_set_x2apic_state = VCPU.set_x2apic_state
vm_get_hpet_capabilities = VM.get_hpet_capabilities

# ---- capabilities, statistics, clock, state ----
vm_capability_name2type = cap_by_name
vm_get_capability = VCPU.get_capability
vm_set_capability = VCPU.set_capability
vm_get_stats = VCPU.get_stats
vm_get_stat_desc = VM.get_stat_desc
vm_rtc_write = VM.rtc_write
vm_rtc_read = VM.rtc_read
vm_rtc_settime = VM.rtc_settime
vm_rtc_gettime = VM.rtc_gettime
vm_set_debugregs = VCPU.set_debugregs
vm_get_tsc_offset = VCPU.get_tsc_offset
vm_pmtmr_set_location = VM.pmtmr_set_location
vm_data_read = VM.data_read
vm_data_write = VM.data_write
vm_snapshot_req = VM.snapshot_req
vm_restore_time = VM.restore_time


def vm_capability_type2name(cap: int) -> str | None:
    """Return the name of a capability, or None for a number that is none."""
    try:
        return Cap(cap).title
    except ValueError:
        return None


def vm_is_owner(vm: VM) -> bool:
    """Say whether this process owns the VM."""
    return vm.is_owner


def vm_get_backend(vm: VM) -> str:
    """Return the processor behind the VM: "kvm" or "soft"."""
    return vm.backend


def vm_trouble(vm: VM) -> str:
    """Return why the VM can only be destroyed or reinitialised, or ""."""
    return vm.trouble


def vm_get_name(vm: VM) -> str:
    """Return the VM's name."""
    return vm.name


def vcpu_id(vcpu: VCPU) -> int:
    """Return the number of the vCPU."""
    return vcpu.id


def vm_get_lowmem_size(vm: VM) -> int:
    """Return the bytes of memory below vm_get_lowmem_limit()."""
    return vm.lowmem_size


def vm_get_highmem_size(vm: VM) -> int:
    """Return the bytes of memory from vm_get_highmem_base()."""
    return vm.highmem_size


def vm_get_lowmem_limit(vm: VM) -> int:
    """Return the address below which low memory ends."""
    return vm.lowmem_limit


def vm_get_highmem_base(vm: VM) -> int:
    """Return the address at which high memory begins."""
    return vm.highmem_base
