"""What the calls that change a VM leave behind: lifetime, memory, registers."""

import errno
import fcntl
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from libvmmapi import (
    VCPU,
    VM,
    Descriptor,
    ExitCode,
    MemFlags,
    MemSeg,
    OpenFlags,
    PagingMode,
    Prot,
    Reg,
    SegId,
    StateClass,
    SuspendHow,
    VMError,
    list_vms,
    vm_destroy,
    vm_get_device_fd,
    vm_get_ioctls,
    vm_get_name,
    vm_openf,
    vm_setup_freebsd_gdt,
)
from libvmmapi._ffi import ffi, lib
from libvmmapi.exits import Inout, Mmio, Suspended
from support import preload
from support.tinyguest import CODE, flat32

Factory = Callable[..., VM]
MB = 1 << 20
ROM = 0xFFFF0000
OUT = bytes.fromhex("e680")  # out 0x80, al
GUARD = 4 << 20


def errno_of(call: Callable[[], object]) -> int:
    with pytest.raises(VMError) as caught:
        call()
    return caught.value.errno or 0


# ---- lifetime ----


def test_flags_of_open(vm_dir: Path) -> None:
    assert errno_of(lambda: vm_openf("a", OpenFlags(0))) == errno.ENOENT
    assert errno_of(lambda: vm_openf("a", OpenFlags.REINIT)) == errno.ENOENT
    with vm_openf("a", OpenFlags.CREATE) as vm:
        assert vm_get_name(vm) == "a"
        vm.setup_memory(4 * MB)
        vm.vcpu(0).set_register(Reg.RSP, 0x1234)
    # What is there is opened as it is, and reset where that is asked for.
    with vm_openf("a", OpenFlags.CREATE) as vm:
        assert vm.vcpu(0).get_register(Reg.RSP) == 0x1234
    with vm_openf("a", OpenFlags.CREATE | OpenFlags.REINIT) as vm:
        assert vm.vcpu(0).get_register(Reg.RSP) == 0
        assert vm.lowmem_size == 4 * MB
    # Only the call that made it destroys it.
    vm_openf("a", OpenFlags.CREATE_DESTROY_ON_CLOSE).close()
    assert list_vms() == ["a"]
    with vm_openf("b", OpenFlags.CREATE_DESTROY_ON_CLOSE) as vm:
        assert list_vms() == ["a", "b"]
        vm.setup_memory(4 * MB)
    assert list_vms() == ["a"]
    vm_destroy(vm_openf("a", OpenFlags(0)))
    assert list_vms() == []


MAKER = """
import os, signal
from libvmmapi import VM, OpenFlags
vm = VM.open("a", OpenFlags.CREATE_DESTROY_ON_CLOSE)
vm.setup_memory(4 << 20)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("again", [False, True])
def test_what_ends_with_its_maker_ends_with_a_killed_one(again: bool) -> None:
    done = subprocess.run([sys.executable, "-c", MAKER], check=False)
    assert done.returncode == -signal.SIGKILL
    if again:
        VM.create("a").destroy()
    else:
        assert errno_of(lambda: VM.open("a")) == errno.ENOENT
    assert list_vms() == []


def test_what_is_said_of_one_vm_is_from_memory_that_is_still_there(
    vm_factory: Factory,
) -> None:
    vm_factory("t", mb=4).close()
    #: glibc: what is freed reads as 0x5a from then on.
    env = {"MALLOC_PERTURB_": "165", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    text = subprocess.check_output(
        [sys.executable, "-c", "import libvmmapi; print(libvmmapi.vm_info('t'))"],
        env=os.environ | env,
        text=True,
    )
    assert "state='stopped'" in text
    assert "memory=4194304" in text


@pytest.mark.parametrize("once", [False, True])
def test_a_look_at_a_dead_vm_is_in_nobodys_way(vm_dir: Path, once: bool) -> None:
    VM.create("a").close()
    with subprocess.Popen(["true"]) as gone:
        pass
    lock = vm_dir / "a" / "lock"
    lock.write_text(f"{gone.pid} serve{' once' * once}\n", "ascii")
    with open(lock, "rb") as look:  # as vm_glances() does, but for longer
        fcntl.flock(look, fcntl.LOCK_SH)
        timer = threading.Timer(0.3, fcntl.flock, (look, fcntl.LOCK_UN))
        timer.start()
        if once:
            VM.create("a").close()
        else:
            owner = errno_of(lambda: VM.open("a", OpenFlags.OWNER))
            assert owner == errno.EOWNERDEAD
        timer.join()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", errno.EINVAL),
        (".", errno.EINVAL),
        ("..", errno.EINVAL),
        ("a/b", errno.EINVAL),
        ("a\0b", errno.EINVAL),
        ("a\nb", errno.EINVAL),
        ("x" * 230, errno.ENAMETOOLONG),
    ],
)
def test_names_that_are_none(vm_dir: Path, name: str, error: int) -> None:
    for call in (VM.create, VM.open, lambda n: VM.open(n, OpenFlags.CREATE)):
        assert errno_of(lambda call=call: call(name)) == error  # type: ignore[misc]
    assert list(vm_dir.iterdir()) == []


def test_a_long_name_is_fine(vm_factory: Factory) -> None:
    vm = vm_factory("x" * 229, mb=0)
    vm.serve()
    with VM.open("x" * 229) as other:
        assert not other.is_owner
        assert other.get_topology() == (1, 1, 1, 64)


def test_destroy_frees_the_name_though_a_view_is_in_use(vm_factory: Factory) -> None:
    vm = vm_factory("t", mb=4)
    view = vm.map_gpa(0, 4)
    view[:] = b"kept"
    vm.destroy()
    assert list_vms() == []
    vm_factory("t", mb=4)
    assert bytes(view) == b"kept"


def test_another_processes_vm_is_destroyed_at_once(vm_factory: Factory) -> None:
    vm = vm_factory("t", mb=4)
    cpu = flat32(vm, OUT)
    vm.serve()
    other = VM.open("t")
    view = other.map_gpa(0, 4)
    other.destroy()
    assert list_vms() == []
    vme = cpu.run()
    assert isinstance(vme.detail, Suspended)
    assert vme.detail.how == SuspendHow.DESTROY
    del view


def test_a_view_that_goes_late_leaves_the_next_vm_of_the_name(
    vm_factory: Factory,
) -> None:
    vm = vm_factory("t", mb=4)
    vm.serve()
    other = VM.open("t")
    view = other.map_gpa(0, 4)
    other.destroy()
    vm.close()  # nobody answers the other one any more
    vm_factory("t", mb=4).close()
    del view
    assert list_vms() == ["t"]


def test_reinit_keeps_the_object_and_its_memory(
    vm_factory: Factory, backend: str
) -> None:
    vm = vm_factory()
    vm.set_topology(1, 2)
    cpu = flat32(vm, OUT)
    rom = vm.create_devmem(SegId.BOOTROM, "bootrom", 0x10000)
    rom[:4] = b"rom!"
    vm.mmap_memseg(ROM, SegId.BOOTROM, 0, 0x10000, Prot.READ | Prot.EXEC)
    memory = vm.map_gpa(0, 16 * MB)
    memory[0x5000:0x5004] = b"kept"
    vm.rtc_write(0x40, 0x5A)
    vm.rtc_settime(1_000_000_000)
    vm.isa_set_irq_trigger(9, level=True)
    vm.ioapic_assert_irq(20)
    cpu.run()
    assert vm.backend == backend
    cpu.suspend()
    vm.suspend(SuspendHow.RESET)
    vm.reinit()
    assert (vm.active_cpus(), vm.debug_cpus(), vm.suspended_cpus()) == ([], [], [])
    assert cpu.get_register(Reg.RIP) == 0xFFF0
    assert cpu.get_intinfo() == (0, 0)
    assert cpu.get_stats().values["total number of vm exits"] == 0
    assert vm.get_topology()[:2] == (1, 2)
    # The clock's battery keeps time and NVRAM; pins and triggers are fresh.
    assert vm.rtc_read(0x40) == 0x5A
    assert abs(vm.rtc_gettime() - 1_000_000_000) <= 60
    fresh = vm_factory("fresh", mb=0)
    for kind in (StateClass.IOAPIC, StateClass.ATPIC):
        assert vm.data_read(kind) == fresh.data_read(kind)
    # Memory stays, and where a device's was is the guest's to say again.
    assert bytes(memory[0x5000:0x5004]) == b"kept"
    assert [entry.gpa for entry in vm.memmap()] == [0]
    assert vm.get_memseg(SegId.BOOTROM).size == 0x10000
    assert bytes(rom[:4]) == b"rom!"
    again = vm.create_devmem(SegId.BOOTROM, "bootrom", 0x10000)
    assert bytes(again[:4]) == b"rom!"
    # It runs again.
    vme = flat32(vm, OUT).run()
    assert (vme.code, vme.rip) == (ExitCode.INOUT, CODE)


@pytest.mark.parametrize("how", [how for how in SuspendHow if how])
def test_the_first_reason_to_end_stands(
    vm_factory: Factory, backend: str, how: SuspendHow
) -> None:
    vm = vm_factory()
    assert backend in ("soft", "kvm")
    cpu = flat32(vm, OUT)
    vm.suspend(how)
    assert errno_of(lambda: vm.suspend(SuspendHow.HALT)) == errno.EALREADY
    assert vm.suspended_cpus() == []
    for _ in range(2):
        vme = cpu.run()
        assert isinstance(vme.detail, Suspended)
        assert (vme.detail.how, vme.detail.source, vme.rip) == (how, -1, CODE)
    assert vm.suspended_cpus() == [0]


def test_ends_that_the_guest_makes(vm_factory: Factory, backend: str) -> None:
    assert backend in ("soft", "kvm")
    vm = vm_factory()
    cpu = flat32(vm, bytes.fromhex("fa f4"))  # cli; hlt
    vme = cpu.run()
    assert isinstance(vme.detail, Suspended)
    assert vme.detail.how == SuspendHow.HALT
    vm.reinit()
    cpu = flat32(vm, bytes.fromhex("0f0b"))  # ud2, without an IDT
    cpu.set_desc(Reg.IDTR, 0, 0, 0)
    vme = cpu.run()
    assert isinstance(vme.detail, Suspended)
    assert (vme.detail.how, vme.detail.source) == (SuspendHow.TRIPLEFAULT, 0)


def test_what_stands_for_the_vm(vm_factory: Factory) -> None:
    vm = vm_factory(mb=0)
    fd = vm_get_device_fd(vm)
    assert stat.S_ISDIR(os.fstat(fd).st_mode)
    vm.limit_rights()
    vm.vcpu(0).set_register(Reg.RAX, 1)
    count = ffi.new("size_t *")
    assert lib.vm_get_ioctls(count) == ffi.NULL
    assert len(vm_get_ioctls()) == count[0] == len(set(vm_get_ioctls()))
    assert vm.apicid2vcpu(7) == 7


# ---- memory ----


def maps() -> list[tuple[int, int, str, str]]:
    """Return start, end, rights and file of what this process has mapped."""
    found = []
    for line in Path("/proc/self/maps").read_text("utf-8").splitlines():
        head = re.match(r"(\w+)-(\w+) (....) \S+ \S+ \S+\s*(.*)", line)
        assert head is not None
        found.append((int(head[1], 16), int(head[2], 16), head[3], head[4]))
    return found


def test_guards_stand_on_both_sides_of_memory(vm_factory: Factory) -> None:
    vm = vm_factory()
    vm.create_devmem(SegId.BOOTROM, "bootrom", 0x10000)
    known = maps()
    for name in ("sysmem", "bootrom"):
        (at,) = [i for i, entry in enumerate(known) if entry[3].endswith(name)]
        before, entry, after = known[at - 1 : at + 2]
        assert before[1] == entry[0]
        assert entry[1] == after[0]
        for guard in (before, after):
            assert guard[2] == "---p"
            assert guard[1] - guard[0] >= GUARD


def smaps(vm: VM) -> tuple[int, str]:
    """Return the locked kB and the flags of a VM's system memory."""
    at = int(ffi.cast("uintptr_t", ffi.from_buffer(vm.map_gpa(0, 1))))
    mapped = Path("/proc/self/smaps").read_text("utf-8")
    match = re.search(
        rf"^{at:08x}-.*?Locked: +(\d+).*?VmFlags: (.*?)$", mapped, re.M | re.S
    )
    assert match is not None
    return int(match[1]), match[2]


@pytest.mark.parametrize("late", [False, True])
def test_wishes_about_memory(vm_factory: Factory, late: bool) -> None:
    vm = vm_factory("t", mb=4 if late else 0)
    if late:
        locked, flags = smaps(vm)
        assert (locked, "dd" in flags) == (0, True)
        assert next(vm.memmap()).flags == 0
        assert vm.vcpu(0).get_stats().values["Wired memory"] == 0
    vm.memflags = MemFlags.INCORE | MemFlags.WIRED
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 4 * MB:
        with pytest.raises(VMError, match="cannot be wired"):
            vm.setup_memory(4 * MB)
        return
    vm.setup_memory(4 * MB)
    locked, flags = smaps(vm)
    assert "dd" not in flags.split()
    if preload.locks_memory():
        assert locked == 4096
    (entry,) = vm.memmap()
    assert entry.flags == lib.VM_MEMMAP_F_WIRED
    assert vm.vcpu(0).get_stats().values["Wired memory"] == 4 * MB
    vm.munmap_memseg(0, 4 * MB)
    vm.memflags = MemFlags(0)
    vm.setup_memory(4 * MB)
    assert next(vm.memmap()).flags == 0


def test_memory_of_a_device(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    assert backend in ("soft", "kvm")
    # mov [0xffff0000], eax; in eax, 0x90; mov ebx, [0xffff0004]; out 0x80, al
    code = bytes.fromhex("a30000ffff e590 8b1d0400ffff e680")
    cpu = flat32(vm, code)
    rom = vm.create_devmem(SegId.BOOTROM, "bootrom", 0x10000)
    rom[:8] = b"romROM12"
    vm.mmap_memseg(ROM, SegId.BOOTROM, 0, 0x10000, Prot.READ | Prot.EXEC)
    assert list(vm.memsegs())[1] == MemSeg(1, "bootrom", 0x10000)
    assert vm.get_memseg(2) == MemSeg(2, "", 0)
    entry = vm.mmap_getnext(16 * MB)
    assert entry is not None
    assert entry == (ROM, 1, 0, 0x10000, Prot.READ | Prot.EXEC, 0)
    assert vm.mmap_getnext(ROM + 1) is None
    # Devices do not reach it, so that no guest writes a ROM by their hands.
    assert errno_of(lambda: vm.map_gpa(ROM, 4)) == errno.EFAULT
    assert errno_of(lambda: cpu.copyout(ROM, b"x")) == errno.EFAULT
    vme = cpu.run()
    # A KVM that interprets its guests drops such a write by itself.
    if backend == "soft" or isinstance(vme.detail, Mmio):
        assert isinstance(vme.detail, Mmio)
        assert (vme.detail.gpa, vme.detail.is_read) == (ROM, False)
        vme = cpu.run(vme.fulfill())
    assert isinstance(vme.detail, Inout)
    assert bytes(rom[:8]) == b"romROM12"
    vm.munmap_memseg(ROM, 0x10000)
    vme = cpu.run(vme.fulfill(1))
    assert isinstance(vme.detail, Mmio)
    assert (vme.detail.gpa, vme.detail.is_read) == (ROM + 4, True)
    # It may stand elsewhere, or in part.
    vm.mmap_memseg(ROM, SegId.BOOTROM, 0x1000, 0x1000, Prot.READ)
    rom[0x1004:0x1008] = b"\x01\x02\x03\x04"
    cpu.restart_instruction()
    vme = cpu.run()
    assert vme.code == ExitCode.INOUT
    assert cpu.get_register(Reg.RBX) & 0xFFFFFFFF == 0x04030201


def test_where_a_page_lies(vm_factory: Factory) -> None:
    vm = vm_factory()
    assert vm.get_gpa_pmap(0x5123) == [0x5000 | Prot.ALL]
    assert vm.get_gpa_pmap(1 << 40) == []


def test_views_lead_back_to_addresses(vm_factory: Factory) -> None:
    vm = vm_factory()
    whole = vm.map_gpa(0, 16 * MB)
    for gpa in (0, 1, 0x1234, 16 * MB - 1):
        assert vm.rev_map_gpa(whole[gpa:]) == gpa
    assert (vm.lowmem_limit, vm.highmem_base) == (3 << 30, 4 << 30)


# ---- registers ----

GENERAL = [*range(Reg.RAX, Reg.R15 + 1), Reg.RSP]

#: What vcpu_reset(3) makes of each register.
RESET = {
    **{Reg(number): 0 for number in GENERAL},
    Reg.RDX: 0xF00,
    Reg.RIP: 0xFFF0,
    Reg.RFLAGS: 2,
    Reg.CS: 0xF000,
    **dict.fromkeys((Reg.DS, Reg.ES, Reg.FS, Reg.GS, Reg.SS, Reg.LDTR, Reg.TR), 0),
    **dict.fromkeys((Reg.CR2, Reg.CR3, Reg.CR4, Reg.EFER, Reg.INTR_SHADOW), 0),
    **dict.fromkeys((Reg.DR0, Reg.DR1, Reg.DR2, Reg.DR3), 0),
    Reg.DR6: 0xFFFF0FF0,
    Reg.DR7: 0x400,
}
_DATA = Descriptor(0, 0xFFFF, 0x93)
RESET_DESCRIPTORS = {
    Reg.CS: Descriptor(0xFFFF0000, 0xFFFF, 0x93),
    **dict.fromkeys((Reg.DS, Reg.ES, Reg.FS, Reg.GS, Reg.SS), _DATA),
    Reg.GDTR: Descriptor(0, 0xFFFF, 0),
    Reg.IDTR: Descriptor(0, 0xFFFF, 0),
    Reg.LDTR: Descriptor(0, 0xFFFF, 0x82),
    Reg.TR: Descriptor(0, 0xFFFF, 0x8B),
}


@pytest.fixture
def cpu(vm_factory: Factory, backend: str) -> VCPU:
    """Return a vCPU that its processor has run, at an OUT."""
    vm = vm_factory()
    cpu = flat32(vm, OUT)
    cpu.run()
    assert vm.backend == backend
    return cpu


def test_reset_makes_every_register_what_power_on_does(cpu: VCPU) -> None:
    for reg in RESET_DESCRIPTORS:
        cpu.set_desc(reg, 0x1000, 0x7F, 0x93 if reg < Reg.LDTR else 0x82)
    for reg in RESET:
        if reg not in (Reg.CR4, Reg.EFER, Reg.INTR_SHADOW, Reg.RFLAGS):
            cpu.set_register(reg, 0x48)
    cpu.reset()
    assert cpu.get_register_set(RESET) == RESET
    assert {reg: cpu.get_desc(reg) for reg in RESET_DESCRIPTORS} == RESET_DESCRIPTORS
    # NE alone, and ET, which is wired to 1.
    assert cpu.get_register(Reg.CR0) & ~0x10 == 0x20


def test_sets_of_registers(cpu: VCPU) -> None:
    values = {Reg(number): 0x1111 * number + 1 for number in GENERAL}
    values |= {Reg.CR2: 0xFFFF800000001000, Reg.DR0: 0x1000, Reg.FS_BASE: 0x12345000}
    values |= {Reg.GS_BASE: 0x7000, Reg.KGS_BASE: 0xFFFF800000000000, Reg.TPR: 5}
    cpu.set_register_set(values)
    assert cpu.get_register_set(values) == values
    assert cpu.get_register_set([]) == {}
    assert cpu.get_desc(Reg.FS).base == 0x12345000
    for reg in Reg:
        # These two have a base and a limit, and no value.
        if reg in (Reg.GDTR, Reg.IDTR):
            assert errno_of(lambda reg=reg: cpu.get_register(reg)) == errno.EINVAL  # type: ignore[misc]
        else:
            cpu.get_register(reg)
    cpu.set_desc(Reg.ES, 0x8000, 0xFFFFFFFF, 0x1C093)
    desc = cpu.get_desc(Reg.ES)
    assert desc == (0x8000, 0xFFFFFFFF, 0x1C093)
    assert (desc.type, desc.dpl, desc.present) == (0x13, 0, True)
    assert (desc.default_32bit, desc.long, desc.unusable) == (True, False, True)


def test_registers_of_a_64_bit_kernel(cpu: VCPU) -> None:
    assert vm_setup_freebsd_gdt() == [0, 0x0020980000000000, 0x0000900000000000]
    cpu.setup_freebsd_registers(
        rip=0xFFFFFFFF80380000, cr3=0x2000, gdtbase=0x5000, rsp=0x1000
    )
    want = {Reg.EFER: 0x500, Reg.CR3: 0x2000, Reg.CR4: 0x20, Reg.RFLAGS: 2}
    want |= {Reg.RIP: 0xFFFFFFFF80380000, Reg.RSP: 0x1000, Reg.CS: 8}
    data = (Reg.DS, Reg.ES, Reg.FS, Reg.GS, Reg.SS)
    want |= dict.fromkeys(data, 0x10) | {Reg.TR: 0, Reg.LDTR: 0}
    assert cpu.get_register_set(want) == want
    assert cpu.get_register(Reg.CR0) & ~0x10 == 0x80000021  # PG, NE, PE
    assert cpu.get_desc(Reg.CS).access == 0x209B
    assert {cpu.get_desc(reg).access for reg in data} == {0x93}
    assert cpu.get_desc(Reg.TR).access == 0x8B
    assert cpu.get_desc(Reg.LDTR).unusable
    assert cpu.get_desc(Reg.GDTR)[:2] == (0x5000, 23)
    paging = cpu.get_paging()
    assert (paging.cr3, paging.cpl, paging.paging_mode) == (0x2000, 0, PagingMode.LONG)


def test_a_32_bit_kernel_runs(cpu: VCPU) -> None:
    vm = cpu.vm
    # mov ax, ds; mov ss, ax; push eax; pop eax; out 0x80, eax
    code = bytes.fromhex("668cd8 8ed0 50 58 e780")
    vm.map_gpa(0x100000, len(code))[:] = code
    cpu.setup_freebsd_registers_i386(eip=0x100000, gdtbase=0x3000, esp=0x9000)
    vme = cpu.run()
    assert isinstance(vme.detail, Inout)
    assert vme.detail.eax & 0xFFFF == 0x10


@pytest.mark.parametrize("kind", [kind for kind in StateClass if kind > 1])
def test_a_class_of_state_is_written_as_it_was_read(
    cpu: VCPU, kind: StateClass
) -> None:
    who = 0 if kind <= StateClass.VMM_ARCH else -1
    before = cpu.vm.data_read(kind, who)
    assert before
    cpu.vm.data_write(kind, before, who)
    after = cpu.vm.data_read(kind, who)
    if kind in (StateClass.VMM_TIME, StateClass.ATPIT):
        assert len(after) == len(before)
    else:
        assert after == before


def test_the_table_of_classes(vm_factory: Factory) -> None:
    table = vm_factory(mb=0).data_read(StateClass.VERSION)
    rows = [table[at : at + 8] for at in range(0, len(table), 8)]
    assert [int.from_bytes(row[:2], "little") for row in rows] == list(StateClass)
    assert {int.from_bytes(row[2:4], "little") for row in rows} == {1}
