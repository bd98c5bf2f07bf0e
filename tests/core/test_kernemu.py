"""Chips of the vmm, read and written from outside of the guest."""

import errno
import threading
import time
from collections.abc import Callable

import pytest

from libvmmapi import VCPU, VM, VMError
from libvmmapi.vm import StateClass
from support.tinyguest import flat32

Factory = Callable[..., VM]

LAPIC = 0xFEE00000
IOAPIC = 0xFEC00000
HPET = 0xFED00000
DEADLINE = 0x6E0


def started(vm: VM, backend: str) -> VCPU:
    """Return vCPU 0 where its processor has run it: at an OUT."""
    cpu = flat32(vm, bytes.fromhex("e680"))
    vm.vcpu(1).reset()
    cpu.run()
    assert vm.backend == backend
    return cpu


def test_the_local_apic_answers(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    cpu = started(vm, backend)

    def read(offset: int, width: int = 4) -> int:
        return cpu.readwrite_kernemu_device(LAPIC + offset, width)

    def write(offset: int, value: int) -> None:
        cpu.readwrite_kernemu_device(LAPIC + offset, 4, value)

    assert read(0x20) == 0
    other = vm.vcpu(1).readwrite_kernemu_device(LAPIC + 0x20, 4)
    assert other == 1 << 24
    assert 0x10 <= read(0x30, 1) <= 0x1F
    assert read(0x32, 1) >= 5  # the highest entry of the local vector table
    write(0xF0, 0x1FF)
    assert read(0xF0) == 0x1FF
    write(0x80, 0x1FF)
    assert read(0x80) == 0xFF
    write(0xD0, 0x12345678)
    assert read(0xD0) == 0x12000000
    write(0xE0, 0)
    assert read(0xE0) == 0x0FFFFFFF
    write(0x320, 0x20040)
    assert read(0x320) == 0x20040
    write(0x3E0, 0xB)
    write(0x380, 0x7FFFFFFF)
    assert read(0x380) == 0x7FFFFFFF
    assert 0 < read(0x390) <= 0x7FFFFFFF
    # A message to itself stands in the IRR, as it is masked by the TPR.
    write(0x300, 0x44051)
    assert read(0x220) == 1 << (0x51 - 0x40)
    write(0x310, 0)
    write(0x300, 0x52)
    assert read(0x220) == 3 << (0x51 - 0x40)
    write(0xB0, 0)  # nothing is in service
    # Without the software enable bit the vectors are masked.
    write(0xF0, 0xFF)
    assert read(0x320) & 0x10000


@pytest.mark.parametrize("offset", [0x80, 0xB0], ids=["tpr", "eoi"])
def test_no_message_is_lost_to_a_write(
    vm_factory: Factory, backend: str, offset: int
) -> None:
    vm = vm_factory()
    cpu = started(vm, backend)
    cpu.readwrite_kernemu_device(LAPIC + 0xF0, 4, 0x1FF)
    done = threading.Event()

    def writes() -> None:
        while not done.is_set():
            cpu.readwrite_kernemu_device(LAPIC + offset, 4, 0)

    writer = threading.Thread(target=writes)
    writer.start()
    for vector in range(0x20, 0x100):
        vm.lapic_msi(LAPIC, vector)
        time.sleep(0.0005)
    done.set()
    writer.join()
    # None was in service, so each waits.
    words = [
        cpu.readwrite_kernemu_device(LAPIC + 0x200 + word * 16, 4)
        for word in range(1, 8)
    ]
    assert words == [0xFFFFFFFF] * 7


def test_a_deadline_is_saved(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    cpu = started(vm, backend)
    cpu.readwrite_kernemu_device(LAPIC + 0xF0, 4, 0x1FF)
    cpu.readwrite_kernemu_device(LAPIC + 0x320, 4, 0x40032)
    far = 1 << 60
    cpu.set_msr(DEADLINE, far)
    if cpu.get_msr(DEADLINE) == 0:
        pytest.skip("this KVM hides the mode with its CPUID bit")
    state = vm.data_read(StateClass.LAPIC, 0)
    cpu.set_msr(DEADLINE, 0)
    assert cpu.get_msr(DEADLINE) == 0
    vm.data_write(StateClass.LAPIC, state, 0)
    assert cpu.get_msr(DEADLINE) == far


def test_the_other_chips_answer(vm_factory: Factory, backend: str) -> None:
    cpu = started(vm_factory(), backend)
    cpu.readwrite_kernemu_device(IOAPIC, 4, 1)
    assert cpu.readwrite_kernemu_device(IOAPIC + 0x10, 4) == 0x001F0011
    assert cpu.readwrite_kernemu_device(HPET, 4) & 0xFF != 0
    for gpa in (0, 0xB0000000, 0xFEE01000):
        with pytest.raises(VMError) as error:
            cpu.readwrite_kernemu_device(gpa, 4)
        assert error.value.errno == errno.EINVAL
