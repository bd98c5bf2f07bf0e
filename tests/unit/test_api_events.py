"""What the calls about events do to a guest that runs, on both processors."""

import errno
from collections.abc import Callable
from struct import pack, unpack_from

import pytest

from libvmmapi import (
    VCPU,
    VM,
    Cap,
    ExitCode,
    Reg,
    StateClass,
    SuspendHow,
    VMError,
)
from libvmmapi.exits import Bpt, Inout, Suspended, VMExit
from support.tinyguest import CODE, flat32

Factory = Callable[..., VM]

GDT, IDT, STUBS = 0x3000, 0x4000, 0x5000
LAPIC, IOAPIC = 0xFEE00000, 0xFEC00000
GP, PF, DF, NMI = 13, 14, 8, 2
HWEXC, VALID, ERRCODE = 0x300, 0x80000000, 0x800

#: pop eax; out dx, eax; or dh, 1; pop eax; out dx, eax; hlt; back to it
REPORT = bytes.fromhex("58 ef 80ce01 58 ef f4 ebfd")


def with_handlers(vm: VM, start: bytes) -> VCPU:
    """Return vCPU 0 at `start`, where vector n writes its stack to port n.

    The handler takes a word from the stack and writes it to port n, takes the
    next one and writes it to port 0x100 and n, and waits for interrupts.
    """
    cpu = flat32(vm, start)
    memory = vm.map_gpa(0, 1 << 20)
    memory[GDT : GDT + 24] = pack("<3Q", 0, 0xCF9B000000FFFF, 0xCF93000000FFFF)
    for vector in range(256):
        stub = STUBS + vector * 32
        memory[IDT + vector * 8 : IDT + vector * 8 + 8] = pack(
            "<HHHH", stub, 8, 0x8E00, 0
        )
        # mov edx, n, and:
        memory[stub : stub + 16] = (
            b"\xba"
            + pack("<I", vector)
            + bytes.fromhex("58 ef 80ce01 58 ef f4 ebfd 90")
        )
    cpu.set_desc(Reg.GDTR, GDT, 23, 0)
    cpu.set_desc(Reg.IDTR, IDT, 0x7FF, 0)
    cpu.set_register(Reg.RSP, 0x9000)
    return cpu


def handler(vme: VMExit) -> tuple[int, int]:
    """Return the vector whose handler ran, and the word on top of its stack."""
    assert isinstance(vme.detail, Inout)
    assert (vme.code, vme.detail.is_in) == (ExitCode.INOUT, False)
    return vme.detail.port, vme.detail.eax


NOPS = bytes.fromhex("9090 ebfc")  # nop; nop; back to the first
OUT_NOPS = bytes.fromhex("e7f0 90 ebfd")  # out 0xf0, eax; nop; back to the nop


@pytest.mark.parametrize("restart", [True, False])
def test_an_exception_restarts_the_instruction_or_not(
    vm_factory: Factory, backend: str, restart: bool
) -> None:
    vm = vm_factory()
    cpu = with_handlers(vm, OUT_NOPS)
    vme = cpu.run()
    assert vm.backend == backend
    assert vme.rip == CODE
    cpu.inject_exception(GP, 0x1234, restart=restart)
    pending, current = cpu.get_intinfo()
    assert pending == 0
    assert current == 0x1234 << 32 | VALID | ERRCODE | HWEXC | GP
    # A fault gives the access up; a trap comes after it.
    vme = cpu.run() if restart else cpu.run(vme.fulfill())
    assert handler(vme) == (GP, 0x1234)
    assert cpu.get_intinfo() == (0, 0)
    vme = cpu.run(vme.fulfill())
    assert handler(vme) == (0x100 | GP, CODE if restart else CODE + 2)


def test_an_exception_in_real_mode_has_no_error_code(
    vm_factory: Factory, backend: str
) -> None:
    vm = vm_factory()
    assert backend in ("soft", "kvm")
    cpu = vm.vcpu(0)
    cpu.reset()
    cpu.inject_exception(GP, 7)
    assert cpu.get_intinfo() == (0, VALID | HWEXC | GP)


def test_the_order_of_events(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    cpu = with_handlers(vm, bytes.fromhex("fb") + NOPS)  # sti
    cpu.readwrite_kernemu_device(LAPIC + 0xF0, 4, 0x1FF)
    cpu.set_register(Reg.RFLAGS, 0x202)
    cpu.lapic_irq(0x51)
    cpu.inject_nmi()
    cpu.inject_exception(GP, 0)
    # The exception's frame comes first, the NMI's on top of it (or, on a KVM that
    # interprets, an instruction later).
    vme = cpu.run()
    assert vm.backend == backend
    if backend == "soft" or handler(vme)[0] == NMI:
        assert handler(vme) == (NMI, STUBS + GP * 32)
    else:
        assert handler(vme) == (GP, 0)
        vme = cpu.run(vme.fulfill())
        if handler(vme)[0] == 0x100 | GP:
            vme = cpu.run(vme.fulfill())
        assert handler(vme)[0] == NMI
    # The interrupt waits until it is let in.
    assert not cpu.get_stats().values["number of ExtINTs delivered to vcpu"]
    cpu.set_register(Reg.RIP, CODE)
    cpu.set_register(Reg.RFLAGS, 0x202)
    assert handler(cpu.run())[0] == 0x51


@pytest.mark.parametrize(
    ("first", "second", "then"),
    [
        (GP, GP, DF),
        (PF, PF, DF),
        (PF, GP, DF),
        (GP, PF, PF),  # handled one after the other
        (6, GP, GP),
        (DF, GP, None),
    ],
)
def test_an_exception_meets_another(
    vm_factory: Factory, backend: str, first: int, second: int, then: int | None
) -> None:
    vm = vm_factory()
    assert backend in ("soft", "kvm")
    cpu = with_handlers(vm, NOPS)
    cpu.set_intinfo(VALID | HWEXC | ERRCODE | first)
    assert cpu.get_intinfo() == (VALID | HWEXC | ERRCODE | first, 0)
    cpu.inject_exception(second, 0x55)
    vme = cpu.run()
    if then is None:
        assert isinstance(vme.detail, Suspended)
        assert vme.detail.how == SuspendHow.TRIPLEFAULT
    else:
        assert handler(vme) == (then, 0 if then == DF else 0x55)


def test_an_event_that_was_being_delivered(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    assert backend in ("soft", "kvm")
    cpu = with_handlers(vm, NOPS)
    cpu.set_intinfo(VALID | 0x60)  # an interrupt, whatever IF says
    assert handler(cpu.run())[0] == 0x60
    cpu.set_intinfo(VALID | 0x40)
    cpu.set_intinfo(0)
    assert cpu.get_intinfo() == (0, 0)


# ---- vCPUs that stand ----


def test_a_vcpu_that_a_debugger_holds(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    cpu = flat32(vm, bytes.fromhex("e680e681"))
    assert vm.active_cpus() == [0]
    cpu.suspend()
    cpu.suspend()
    assert vm.debug_cpus() == [0]
    for _ in range(2):
        vme = cpu.run()
        assert (vme.code, vme.rip) == (ExitCode.DEBUG, CODE)
    cpu.resume()
    assert vm.debug_cpus() == []
    vme = cpu.run()
    assert vm.backend == backend
    assert (vme.code, vme.rip) == (ExitCode.INOUT, CODE)
    vm.vcpu(1).activate()
    vm.vcpu(2).reset()
    vm.suspend_all_cpus()
    assert vm.debug_cpus() == [0, 1]
    vm.resume_all_cpus()
    vm.resume_all_cpus()
    assert vm.debug_cpus() == []
    assert cpu.run(vme.fulfill()).rip == CODE + 2


def test_a_vcpu_that_is_not_active_does_not_run(
    vm_factory: Factory, backend: str
) -> None:
    vm = vm_factory()
    assert backend in ("soft", "kvm")
    with pytest.raises(VMError) as caught:
        vm.vcpu(0).run()
    assert caught.value.errno == errno.EINVAL


def test_capabilities_that_make_exits(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    cpu = flat32(vm, bytes.fromhex("9090cc90"))
    cpu.set_capability(Cap.MTRAP_EXIT, 1)
    assert cpu.get_capability(Cap.MTRAP_EXIT) == 1
    vme = cpu.run()
    assert vm.backend == backend
    assert vme.code == ExitCode.MTRAP
    assert cpu.get_register(Reg.RIP) == CODE + 1
    cpu.set_capability(Cap.MTRAP_EXIT, 0)
    cpu.set_capability(Cap.BPT_EXIT, 1)
    vme = cpu.run()
    assert (vme.code, vme.rip, vme.detail) == (ExitCode.BPT, CODE + 2, Bpt(1))
    assert cpu.get_register(Reg.RIP) == CODE + 2
    for cap in Cap:
        try:
            value = cpu.get_capability(cap)
        except VMError as error:
            found = error.errno
        else:
            found = 0
            cpu.set_capability(cap, value)
            assert cpu.get_capability(cap) == value
        assert found in (0, errno.ENOENT)


# ---- interrupt lines ----


def irr(cpu: VCPU) -> list[int]:
    """Return the vectors that wait in a local APIC."""
    words = [cpu.readwrite_kernemu_device(LAPIC + 0x200 + i * 16, 4) for i in range(8)]
    return [v for v in range(256) if words[v // 32] >> v % 32 & 1]


def on(cpu: VCPU) -> None:
    """Let a local APIC take interrupts."""
    cpu.readwrite_kernemu_device(LAPIC + 0xF0, 4, 0x1FF)


def redirect(cpu: VCPU, pin: int, low: int) -> None:
    """Set the low word of a pin's redirection entry; the high one is 0."""
    for reg, value in ((0x11 + pin * 2, 0), (0x10 + pin * 2, low)):
        cpu.readwrite_kernemu_device(IOAPIC, 4, reg)
        cpu.readwrite_kernemu_device(IOAPIC + 0x10, 4, value)


@pytest.fixture
def cpu(vm_factory: Factory, backend: str) -> VCPU:
    """Return vCPU 0, at an OUT that its processor has come to, IF clear."""
    vm = vm_factory()
    cpu = flat32(vm, bytes.fromhex("e680"))
    for number in (1, 2):
        vm.vcpu(number).reset()
        vm.vcpu(number).activate()
    cpu.run()
    assert vm.backend == backend
    for number in range(3):
        on(vm.vcpu(number))
    return cpu


def test_messages_reach_whom_they_name(cpu: VCPU) -> None:
    vm = cpu.vm
    others = vm.vcpu(1), vm.vcpu(2)
    vm.lapic_msi(0xFEE01000, 0x41)  # physical 1
    assert [irr(c) for c in (cpu, *others)] == [[], [0x41], []]
    for number, one in enumerate((cpu, *others)):
        one.readwrite_kernemu_device(LAPIC + 0xE0, 4, 0xFFFFFFFF)
        one.readwrite_kernemu_device(LAPIC + 0xD0, 4, 1 << 24 + number)
    vm.raise_msi(0xFEE05004, 0x42, 0, 3, 0)  # logical 0 and 2
    assert [irr(c) for c in (cpu, *others)] == [[0x42], [0x41], [0x42]]
    vm.lapic_msi(0xFEEFF000, 0x43)  # all
    assert all(0x43 in irr(c) for c in (cpu, *others))
    others[1].lapic_irq(0x44)
    assert 0x44 in irr(others[1])


def test_pins_of_the_io_apic(cpu: VCPU) -> None:
    vm = cpu.vm
    assert vm.ioapic_pincount() == 32
    redirect(cpu, 20, 0x51)  # edge
    vm.ioapic_pulse_irq(20)
    assert irr(cpu) == [0x51]
    redirect(cpu, 21, 0x10052)  # masked
    vm.ioapic_pulse_irq(21)
    assert irr(cpu) == [0x51]
    redirect(cpu, 22, 0x8053)  # level
    vm.ioapic_assert_irq(22)
    assert irr(cpu) == [0x51, 0x53]
    vm.ioapic_deassert_irq(22)

    # Two sources: the pin is low when both have let it go.
    def levels() -> tuple[int, ...]:
        return unpack_from("<32I", vm.data_read(StateClass.IOAPIC), 256)

    vm.ioapic_assert_irq(25)
    vm.ioapic_assert_irq(25)
    vm.ioapic_deassert_irq(25)
    assert levels()[25] == 1
    vm.ioapic_deassert_irq(25)
    assert levels()[25] == 0


def test_isa_lines_and_their_triggers(cpu: VCPU) -> None:
    vm = cpu.vm

    def requests() -> int:
        state = vm.data_read(StateClass.ATPIC)
        return state[5] | state[48 + 5] << 8

    redirect(cpu, 5, 0x61)
    vm.isa_pulse_irq(5)
    assert (requests(), irr(cpu)) == (1 << 5, [])  # the 8259 alone
    vm.isa_pulse_irq(6, 5)
    assert (requests(), irr(cpu)) == (3 << 5, [0x61])
    vm.isa_assert_irq(10)
    vm.isa_deassert_irq(10)
    assert requests() & 1 << 10  # an edge stays
    vm.isa_set_irq_trigger(11, level=True)
    vm.isa_assert_irq(11)
    assert requests() & 1 << 11
    vm.isa_deassert_irq(11)
    assert not requests() & 1 << 11


def test_local_interrupts(cpu: VCPU) -> None:
    vm = cpu.vm
    lint0, lint1, timer, error, counters, thermal = range(6)
    for lvt, offset in ((timer, 0x320), (error, 0x370), (counters, 0x340)):
        cpu.lapic_local_irq(lvt)
        assert irr(cpu) == []  # masked
        cpu.readwrite_kernemu_device(LAPIC + offset, 4, 0x70 + lvt)
    for lvt in (timer, error, counters, thermal):
        cpu.lapic_local_irq(lvt)
    assert irr(cpu) == [0x72, 0x73, 0x74]
    cpu.readwrite_kernemu_device(LAPIC + 0x350, 4, 0x71)  # LINT0, fixed
    cpu.lapic_local_irq(lint0)
    assert 0x71 in irr(cpu)

    # LINT1 of all vCPUs, as SERR# would pull it.
    def nmis() -> list[int]:
        states = [vm.data_read(StateClass.VMM_ARCH, n) for n in range(3)]
        fields = [
            dict(unpack_from("<IxxxxQ", s, at) for at in range(0, len(s), 16))
            for s in states
        ]
        return [f[10] for f in fields]

    for number in (0, 1):
        vm.vcpu(number).readwrite_kernemu_device(LAPIC + 0x360, 4, 0x400)
    assert nmis() == [0, 0, 0]
    cpu.lapic_local_irq(lint1)
    assert nmis() == [1, 0, 0]
    vm.lapic_local_irq_all(lint1)
    assert nmis() == [1, 1, 0]


#: mov eax, 1; cpuid; mov eax, ecx; out 0x80, eax
CPUID_1_ECX = bytes.fromhex("b801000000 0fa2 89c8 e780")


@pytest.mark.parametrize("enabled", [False, True])
def test_cpuid_follows_the_x2apics_state(
    vm_factory: Factory, backend: str, enabled: bool
) -> None:
    vm = vm_factory()
    cpu = flat32(vm, CPUID_1_ECX)

    def cpuid() -> bool:
        cpu.set_register(Reg.RIP, CODE)
        vme = cpu.run()
        assert isinstance(vme.detail, Inout)
        return bool(vme.detail.eax >> 21 & 1)

    cpu.set_x2apic_state(enabled=enabled)
    assert cpu.get_x2apic_state() is enabled
    assert cpuid() is enabled
    assert vm.backend == backend
    # What a vCPU of KVM began with it keeps until its VM is opened again.
    cpu.set_x2apic_state(enabled=not enabled)
    assert cpu.get_x2apic_state() is not enabled
    assert cpuid() is (enabled if backend == "kvm" else not enabled)
    vm.close()
    with VM.open("t") as again:
        cpu = again.vcpu(0)
        assert cpu.get_x2apic_state() is not enabled
        assert cpuid() is not enabled


def test_what_the_hpet_can(vm_factory: Factory) -> None:
    caps = vm_factory(mb=0).get_hpet_capabilities()
    assert (caps >> 16, caps & 0xFF) == (0x8086, 1)
    assert (caps >> 8 & 0x1F) + 1 == 8  # timers
    assert caps >> 13 & 1 == 0  # 32 bits
    assert caps >> 15 & 1 == 0  # no legacy replacement


def test_counters_and_their_names(cpu: VCPU) -> None:
    vm = cpu.vm
    stats = cpu.get_stats()
    names = []
    while (name := vm.get_stat_desc(len(names))) is not None:
        names.append(name)
    assert names == list(stats.values)
    assert stats.values["total number of vm exits"] > 0
    assert vm.get_stat_desc(-1) is None
    assert stats.when > 1.7e9
