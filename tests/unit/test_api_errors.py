"""What each call answers to what it cannot do: one errno, whoever is asked.

A row is a call and its errno (0: it works).  All run on both processors, by
the VM's owner and through the owner's control socket.
"""

import errno
from collections.abc import Callable

import pytest

from libvmmapi import (
    VCPU,
    VM,
    Cap,
    MemDomain,
    MmapStyle,
    OpenFlags,
    Prot,
    Reg,
    SuspendHow,
    VMError,
)
from libvmmapi.vm import StateClass
from support.tinyguest import flat32

Factory = Callable[..., VM]
Row = tuple[str, Callable[[VM, VCPU], object], int]

MB = 1 << 20
NO_REG = 999
LAPIC, IOAPIC, HPET = 0xFEE00000, 0xFEC00000, 0xFED00000

#: Of a VM with 16 MB of memory and vCPU 0 active, at an OUT.
ROWS: list[Row] = [
    # ---- lifetime ----
    ("suspend-none", lambda vm, _: vm.suspend(SuspendHow.NONE), errno.EINVAL),
    ("suspend-6", lambda vm, _: vm.suspend(6), errno.EINVAL),  # type: ignore[arg-type]
    ("limit-rights", lambda vm, _: vm.limit_rights(), 0),
    # ---- vCPUs ----
    ("vcpu-64", lambda vm, _: vm.vcpu(64), errno.EINVAL),
    ("vcpu--1", lambda vm, _: vm.vcpu(-1), errno.EINVAL),
    ("activate-twice", lambda _, c: c.activate(), errno.EBUSY),
    ("suspend-inactive", lambda vm, _: vm.vcpu(3).suspend(), errno.EINVAL),
    ("resume-running", lambda _, c: c.resume(), errno.EINVAL),
    ("topology-0", lambda vm, _: vm.set_topology(0), errno.EINVAL),
    ("topology-65", lambda vm, _: vm.set_topology(65), errno.EINVAL),
    ("topology-maxcpus", lambda vm, _: vm.set_topology(1, 1, 1, 3), errno.EINVAL),
    ("topology", lambda vm, _: vm.set_topology(2, 4, 2), 0),
    ("run-state-bits", lambda _, c: c.set_run_state(0x100), errno.EINVAL),
    # ---- memory ----
    ("memory-other", lambda vm, _: vm.setup_memory(32 * MB), errno.EINVAL),
    ("memory-again", lambda vm, _: vm.setup_memory(16 * MB), 0),
    ("memory-part", lambda vm, _: vm.setup_memory(5000), errno.EINVAL),
    (
        "memory-sparse",
        lambda vm, _: vm.setup_memory(16 * MB, MmapStyle.SPARSE),
        errno.ENOTSUP,
    ),
    (
        "domain-empty",
        lambda vm, _: vm.setup_memory_domains([MemDomain(0)]),
        errno.EINVAL,
    ),
    ("memseg-past", lambda vm, _: vm.get_memseg(999), errno.EINVAL),
    ("memseg--1", lambda vm, _: vm.get_memseg(-1), errno.EINVAL),
    ("memseg-none", lambda vm, _: vm.get_memseg(2), 0),
    ("map-outside", lambda vm, _: vm.map_gpa(16 * MB, 1), errno.EFAULT),
    ("devmem-sysmem", lambda vm, _: vm.create_devmem(0, "x", 4096), errno.EINVAL),
    ("devmem-noname", lambda vm, _: vm.create_devmem(1, "", 4096), errno.EINVAL),
    ("devmem-slash", lambda vm, _: vm.create_devmem(1, "a/b", 4096), errno.EINVAL),
    ("devmem-part", lambda vm, _: vm.create_devmem(1, "x", 100), errno.EINVAL),
    (
        "devmem-long",
        lambda vm, _: vm.create_devmem(1, "x" * 40, 4096),
        errno.ENAMETOOLONG,
    ),
    ("mmap-noseg", lambda vm, _: vm.mmap_memseg(1 << 30, 1, 0, 4096), errno.EINVAL),
    ("mmap-unaligned", lambda vm, _: vm.mmap_memseg(1, 0, 0, 4096), errno.EINVAL),
    (
        "mmap-noprot",
        lambda vm, _: vm.mmap_memseg(1 << 30, 0, 0, 4096, Prot(0)),
        errno.EINVAL,
    ),
    (
        "mmap-past-segment",
        lambda vm, _: vm.mmap_memseg(1 << 30, 0, 0, 32 * MB),
        errno.EINVAL,
    ),
    ("mmap-over", lambda vm, _: vm.mmap_memseg(4096, 0, 0, 4096), errno.EEXIST),
    ("mmap-same", lambda vm, _: vm.mmap_memseg(0, 0, 0, 16 * MB), 0),
    ("munmap-part", lambda vm, _: vm.munmap_memseg(0, 4096), errno.EINVAL),
    ("munmap-none", lambda vm, _: vm.munmap_memseg(1 << 30, 4096), errno.EINVAL),
    ("rev-map", lambda vm, _: vm.rev_map_gpa(memoryview(bytearray(8))), errno.EINVAL),
    # ---- registers ----
    ("reg-get", lambda _, c: c.get_register(NO_REG), errno.EINVAL),  # type: ignore[arg-type]
    ("reg-set", lambda _, c: c.set_register(NO_REG, 0), errno.EINVAL),  # type: ignore[arg-type]
    ("reg--1", lambda _, c: c.get_register(-1), errno.EINVAL),  # type: ignore[arg-type]
    ("regs-get", lambda _, c: c.get_register_set([Reg.RAX, NO_REG]), errno.EINVAL),  # type: ignore[list-item]
    ("regs-many", lambda _, c: c.get_register_set([Reg.RAX] * 65), errno.EINVAL),
    ("desc-rax", lambda _, c: c.get_desc(Reg.RAX), errno.EINVAL),
    ("desc-set-cr0", lambda _, c: c.set_desc(Reg.CR0, 0, 0, 0), errno.EINVAL),
    ("msr-none", lambda _, c: c.get_msr(0x12345), errno.ENOENT),
    ("msr-read-only", lambda _, c: c.set_msr(0xFE, 0), errno.EINVAL),
    ("msr-set-none", lambda _, c: c.set_msr(0x12345, 1), errno.ENOENT),
    # ---- interrupts and events ----
    ("exception-32", lambda _, c: c.inject_exception(32), errno.EINVAL),
    ("exception--1", lambda _, c: c.inject_exception(-1), errno.EINVAL),
    ("exception-df", lambda _, c: c.inject_exception(8, 0), errno.EINVAL),
    ("exception-nmi", lambda _, c: c.inject_exception(2), errno.EINVAL),
    (
        "exception-twice",
        lambda _, c: [c.inject_exception(13, 0), c.inject_exception(13, 0)],
        errno.EBUSY,
    ),
    ("lapic-15", lambda _, c: c.lapic_irq(15), errno.EINVAL),
    ("lapic-256", lambda _, c: c.lapic_irq(256), errno.EINVAL),
    ("lapic-16", lambda _, c: c.lapic_irq(16), 0),
    ("lapic-untouched", lambda vm, _: vm.vcpu(5).lapic_irq(64), 0),
    ("nmi-untouched", lambda vm, _: vm.vcpu(6).inject_nmi(), 0),
    ("inject-untouched-64", lambda vm, _: vm.lapic_msi(0xFEE3F000, 0x40), 0),
    ("lvt-99", lambda _, c: c.lapic_local_irq(99), errno.EINVAL),
    ("lvt--1", lambda _, c: c.lapic_local_irq(-1), errno.EINVAL),
    ("lvt-untouched", lambda vm, _: vm.vcpu(7).lapic_local_irq(4), 0),
    ("msi-elsewhere", lambda vm, _: vm.lapic_msi(0xFED00000, 0x40), errno.EINVAL),
    ("msi", lambda vm, _: vm.lapic_msi(0xFEE00000, 0x40), 0),
    ("msi-raise", lambda vm, _: vm.raise_msi(0xFEE00000, 0x40, 0, 3, 0), 0),
    ("ioapic--1", lambda vm, _: vm.ioapic_assert_irq(-1), errno.EINVAL),
    ("ioapic-32", lambda vm, _: vm.ioapic_deassert_irq(32), errno.EINVAL),
    ("ioapic-pulse-32", lambda vm, _: vm.ioapic_pulse_irq(32), errno.EINVAL),
    ("ioapic-31", lambda vm, _: vm.ioapic_pulse_irq(31), 0),
    ("isa--1", lambda vm, _: vm.isa_assert_irq(-1), errno.EINVAL),
    ("isa-16", lambda vm, _: vm.isa_deassert_irq(16), errno.EINVAL),
    ("isa-pulse-16", lambda vm, _: vm.isa_pulse_irq(16), errno.EINVAL),
    ("isa-ioapic-99", lambda vm, _: vm.isa_pulse_irq(5, 99), errno.EINVAL),
    ("isa-both", lambda vm, _: vm.isa_pulse_irq(5, 5), 0),
    ("isa-level-0", lambda vm, _: vm.isa_set_irq_trigger(0, level=True), errno.EINVAL),
    (
        "isa-level-13",
        lambda vm, _: vm.isa_set_irq_trigger(13, level=True),
        errno.EINVAL,
    ),
    ("isa-edge-0", lambda vm, _: vm.isa_set_irq_trigger(0, level=False), 0),
    ("isa-level-9", lambda vm, _: vm.isa_set_irq_trigger(9, level=True), 0),
    (
        "isa-level-16",
        lambda vm, _: vm.isa_set_irq_trigger(16, level=True),
        errno.EINVAL,
    ),
    ("intinfo-nmi-3", lambda _, c: c.set_intinfo(0x80000203), errno.EINVAL),
    ("intinfo-exc-32", lambda _, c: c.set_intinfo(0x80000320), errno.EINVAL),
    ("intinfo-reserved", lambda _, c: c.set_intinfo(0x80001000), errno.EINVAL),
    ("intinfo-invalid", lambda _, c: c.set_intinfo(0x7FFFFFFF), 0),
    ("kernemu-ram", lambda _, c: c.readwrite_kernemu_device(0, 4), errno.EINVAL),
    (
        "kernemu-size",
        lambda _, c: c.readwrite_kernemu_device(LAPIC, 3),
        errno.EINVAL,
    ),
    (
        "kernemu-size-0",
        lambda _, c: c.readwrite_kernemu_device(HPET, 0),
        errno.EINVAL,
    ),
    ("kernemu", lambda _, c: c.readwrite_kernemu_device(IOAPIC, 4, 0), 0),
    # ---- capabilities, statistics, clock ----
    ("cap-get", lambda _, c: c.get_capability(99), errno.EINVAL),  # type: ignore[arg-type]
    ("cap-set", lambda _, c: c.set_capability(-1, 1), errno.EINVAL),  # type: ignore[arg-type]
    ("cap-none", lambda _, c: c.get_capability(Cap.IPI_EXIT), errno.ENOENT),
    ("cap-none-set", lambda _, c: c.set_capability(Cap.IPI_EXIT, 1), errno.ENOENT),
    (
        "cap-fixed",
        lambda _, c: c.set_capability(Cap.UNRESTRICTED_GUEST, 0),
        errno.EOPNOTSUPP,
    ),
    ("cap-fixed-on", lambda _, c: c.set_capability(Cap.UNRESTRICTED_GUEST, 1), 0),
    ("stats-untouched", lambda vm, _: vm.vcpu(9).get_stats(), 0),
    ("rtc-read-128", lambda vm, _: vm.rtc_read(128), errno.EINVAL),
    ("rtc-read--1", lambda vm, _: vm.rtc_read(-1), errno.EINVAL),
    ("rtc-read-127", lambda vm, _: vm.rtc_read(127), 0),
    ("rtc-write-13", lambda vm, _: vm.rtc_write(13, 1), errno.EINVAL),
    ("rtc-write-century", lambda vm, _: vm.rtc_write(0x32, 0x20), errno.EINVAL),
    ("rtc-write-128", lambda vm, _: vm.rtc_write(128, 1), errno.EINVAL),
    ("rtc-write-14", lambda vm, _: vm.rtc_write(14, 1), 0),
    ("rtc-time-far", lambda vm, _: vm.rtc_settime(1 << 50), errno.EINVAL),
    ("pmtmr", lambda vm, _: vm.pmtmr_set_location(0x408), 0),
    ("rtc-time-negative", lambda vm, _: vm.rtc_settime(-1), 0),
    # ---- snapshots, state ----
    ("snapshot", lambda vm, _: vm.snapshot_req(), errno.ENOTSUP),
    ("restore-time", lambda vm, _: vm.restore_time(), errno.ENOTSUP),
    ("data-class", lambda vm, _: vm.data_read(99), errno.EINVAL),  # type: ignore[arg-type]
    (
        "data-version",
        lambda vm, _: vm.data_read(StateClass.RTC, version=9),
        errno.EINVAL,
    ),
    (
        "data-room",
        lambda vm, _: vm.data_read(StateClass.IOAPIC, room=8),
        errno.ENOSPC,
    ),
    (
        "data-no-vcpu",
        lambda vm, _: vm.data_read(StateClass.REGISTER),
        errno.EINVAL,
    ),
    (
        "data-short",
        lambda vm, _: vm.data_write(StateClass.HPET, b"123"),
        errno.EINVAL,
    ),
    (
        "data-write-version",
        lambda vm, _: vm.data_write(StateClass.VERSION, b""),
        errno.EINVAL,
    ),
]


@pytest.fixture
def owned(vm_factory: Factory, backend: str) -> VM:
    """Return a VM whose vCPU 0 has run on the processor of the test."""
    vm = vm_factory()
    flat32(vm, bytes.fromhex("e680")).run()
    assert vm.backend == backend
    return vm


@pytest.mark.parametrize("who", ["owner", "other"])
def test_a_call_answers_with_its_errno(owned: VM, who: str) -> None:
    vm = owned
    if who == "other":
        owned.serve()
        vm = VM.open("t")
        assert not vm.is_owner
    wrong: dict[str, tuple[object, object]] = {}
    for name, call, error in ROWS:
        found = 0
        try:
            call(vm, vm.vcpu(0))
        except VMError as caught:
            found = caught.errno or -1
            if not caught.operation.startswith("v") or caught.filename != "t":
                wrong[name] = caught.operation, caught.filename
        if found != error:
            wrong[name] = errno.errorcode.get(found), errno.errorcode.get(error)
    if vm is not owned:
        vm.close()
    assert wrong == {}


def test_what_only_the_owner_can_do(owned: VM) -> None:
    owned.serve()
    with VM.open("t") as other:
        for call in (other.vcpu(0).run, other.serve, other.save):
            with pytest.raises(VMError) as caught:
                call()
            assert caught.value.errno == errno.EBUSY
        with pytest.raises(VMError) as caught:
            VM.open("t", OpenFlags.OWNER)
        assert caught.value.errno == errno.EBUSY
