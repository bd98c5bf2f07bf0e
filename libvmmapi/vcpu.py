"""Class VCPU: one processor of a VM.

Methods are libvmmapi(3)'s calls on a vCPU.  They raise VMError.  Reading and
writing registers needs a vCPU that stands still, or freezes it for a moment.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from ._ffi import CData, ffi, lib
from .caps import Cap
from .errors import VMError, check, last_error
from .memory import Prot
from .regs import Descriptor, Reg

if TYPE_CHECKING:
    from .exits import Entry, VMExit
    from .vm import VM

_EFAULT = 14
_PAGE = 4096


class CpuMode(IntEnum):
    """What kind of code a vCPU runs; COMPATIBILITY is long mode's other."""

    REAL = lib.CPU_MODE_REAL
    PROTECTED = lib.CPU_MODE_PROTECTED
    COMPATIBILITY = lib.CPU_MODE_COMPATIBILITY
    LONG = lib.CPU_MODE_64BIT


class PagingMode(IntEnum):
    """How linear addresses become physical ones; the names say the tables.

    No processor of this version has LONG5 (LA57); tables of that form can be
    walked all the same.
    """

    FLAT = lib.PAGING_MODE_FLAT
    TWO_LEVEL = lib.PAGING_MODE_32
    PAE = lib.PAGING_MODE_PAE
    LONG = lib.PAGING_MODE_64
    LONG5 = lib.PAGING_MODE_64_LA57


class Paging(NamedTuple):
    """How a vCPU translates: root, privilege level 0 to 3, and modes."""

    cr3: int
    cpl: int
    cpu_mode: CpuMode
    paging_mode: PagingMode


class Stats(NamedTuple):
    """Counters of a vCPU in their order, and when they were read, in seconds."""

    when: float
    values: dict[str, int]


class RunState(NamedTuple):
    """What INIT and SIPI left a vCPU in; ``sipi_vector`` is the start page."""

    state: int
    sipi_vector: int


class VCPU:
    """One processor; VM.vcpu() makes it, and the VM closes it."""

    def __init__(self, vm: "VM", pointer: CData) -> None:
        self._vm = vm
        self._vcpu: CData | None = pointer
        self._id = lib.vcpu_id(pointer)

    def close(self) -> None:
        """Free the handle; the vCPU stays in its VM."""
        vcpu, self._vcpu = self._vcpu, None
        if vcpu is not None:
            lib.vm_vcpu_close(vcpu)

    def __repr__(self) -> str:
        return f"<VCPU {self._id} of {self._vm.name}>"

    @property
    def pointer(self) -> CData:
        """The C handle.  Raises ValueError when its VM is closed."""
        if self._vcpu is None:
            raise ValueError(f"VM {self._vm.name} is closed")
        return self._vcpu

    @property
    def id(self) -> int:
        """The number of the vCPU."""
        return self._id

    @property
    def vm(self) -> "VM":
        """The VM of the vCPU."""
        return self._vm

    def _check(self, rc: int, operation: str) -> int:
        return check(rc, operation, self._vm.name)

    # ---- running ----

    def reset(self) -> None:
        """Set all registers as a processor has them after power-on."""
        self._check(lib.vcpu_reset(self.pointer), "vcpu_reset")

    def activate(self) -> None:
        """Let the vCPU take part in the VM.  EBUSY: it does already."""
        self._check(lib.vm_activate_cpu(self.pointer), "vm_activate_cpu")

    def suspend(self) -> None:
        """Stop the vCPU for a debugger: run() runs nothing and says DEBUG.

        EINVAL: it is not active.  See VM.debug_cpus().
        """
        self._check(lib.vm_suspend_cpu(self.pointer), "vm_suspend_cpu")

    def resume(self) -> None:
        """Undo suspend().  EINVAL: it is not suspended."""
        self._check(lib.vm_resume_cpu(self.pointer), "vm_resume_cpu")

    def run(self, entry: "Entry | None" = None) -> "VMExit":
        """Run the guest until an exit that the caller must see.

        A port or memory access is finished by the next run: pass
        ``exit.fulfill(value)``.  Blocks without the interpreter lock; another
        thread ends it with VM.suspend().  EINVAL: the vCPU is not active, or the
        processor refuses its registers; EBUSY: another process owns the VM.
        """
        from .exits import exit_from_c

        vme = ffi.new("struct vm_exit *")
        how = entry.to_c() if entry is not None else ffi.NULL
        self._check(lib.vm_run(self.pointer, how, vme), "vm_run")
        return exit_from_c(vme)

    def restart_instruction(self) -> None:
        """Run the instruction that exited once more, without its answers."""
        rc = lib.vm_restart_instruction(self.pointer)
        self._check(rc, "vm_restart_instruction")

    def get_run_state(self) -> RunState:
        """Return what INIT and SIPI left the vCPU in: 0 HALT, 1 INIT, 2 RUN.

        0x4000 and 0x8000 are an INIT and a SIPI that wait.
        """
        state = ffi.new("uint32_t *")
        sipi = ffi.new("uint8_t *")
        rc = lib.vm_get_run_state(self.pointer, state, sipi)
        self._check(rc, "vm_get_run_state")
        return RunState(state[0], sipi[0])

    def set_run_state(self, state: int, sipi_vector: int = 0) -> None:
        """Put the vCPU into a state of get_run_state().  EINVAL: no such bits."""
        rc = lib.vm_set_run_state(self.pointer, state, sipi_vector)
        self._check(rc, "vm_set_run_state")

    # ---- registers ----

    def get_register(self, reg: Reg) -> int:
        """Return a register, 64 bits.

        EINVAL: none of Reg; GDTR and IDTR have no value but get_desc().
        """
        value = ffi.new("uint64_t *")
        rc = lib.vm_get_register(self.pointer, reg, value)
        self._check(rc, "vm_get_register")
        return int(value[0])

    def set_register(self, reg: Reg, value: int) -> None:
        """Set a register; bits above 63 of `value` are dropped.

        EINVAL: as above.  Setting RIP gives up an access that waits for its
        answer.
        """
        rc = lib.vm_set_register(self.pointer, reg, value & (1 << 64) - 1)
        self._check(rc, "vm_set_register")

    def get_register_set(self, regs: Iterable[Reg]) -> dict[Reg, int]:
        """Return up to 64 registers of one moment.  EINVAL: more, or none such."""
        names = list(regs)
        numbers = ffi.new("int[]", names)
        values = ffi.new("uint64_t[]", len(names))
        rc = lib.vm_get_register_set(self.pointer, len(names), numbers, values)
        self._check(rc, "vm_get_register_set")
        return dict(zip(names, values, strict=True))

    def set_register_set(self, values: Mapping[Reg, int]) -> None:
        """Set up to 64 registers at once, in their order.

        EINVAL: more, or none such; those before it are set then.
        """
        numbers = ffi.new("int[]", list(values))
        words = ffi.new("uint64_t[]", [v & (1 << 64) - 1 for v in values.values()])
        rc = lib.vm_set_register_set(self.pointer, len(values), numbers, words)
        self._check(rc, "vm_set_register_set")

    def get_desc(self, reg: Reg) -> Descriptor:
        """Return the hidden part of a segment register, or GDTR or IDTR.

        EINVAL: none of DESCRIPTORS.
        """
        desc = ffi.new("struct seg_desc *")
        rc = lib.vm_get_seg_desc(self.pointer, reg, desc)
        self._check(rc, "vm_get_seg_desc")
        return Descriptor(desc.base, desc.limit, desc.access)

    def set_desc(self, reg: Reg, base: int, limit: int, access: int) -> None:
        """Set the hidden part of a segment register, or GDTR or IDTR.

        `limit` is the last offset in bytes; see Descriptor for `access`.
        EINVAL: none of DESCRIPTORS.
        """
        rc = lib.vm_set_desc(self.pointer, reg, base, limit, access)
        self._check(rc, "vm_set_desc")

    def get_msr(self, number: int) -> int:
        """Return a model specific register, 64 bits.  ENOENT: there is none."""
        value = ffi.new("uint64_t *")
        self._check(lib.vm_get_msr(self.pointer, number, value), "vm_get_msr")
        return int(value[0])

    def set_msr(self, number: int, value: int) -> None:
        """Set a model specific register.

        ENOENT: there is none; EINVAL: it does not take this value.
        """
        self._check(lib.vm_set_msr(self.pointer, number, value), "vm_set_msr")

    def setup_freebsd_registers(
        self, rip: int, cr3: int, gdtbase: int, rsp: int
    ) -> None:
        """Set all that a 64-bit kernel of FreeBSD expects at its entry.

        `rip` and `rsp` are linear addresses, `cr3` the physical one of the tables;
        at `gdtbase` stands what vm_setup_freebsd_gdt() returns.
        """
        rc = lib.vm_setup_freebsd_registers(self.pointer, rip, cr3, gdtbase, rsp)
        self._check(rc, "vm_setup_freebsd_registers")

    def setup_freebsd_registers_i386(self, eip: int, gdtbase: int, esp: int) -> None:
        """Set all that a 32-bit kernel of FreeBSD expects at its entry.

        Its GDT is written to `gdtbase`, its TSS a page further.  EFAULT: no
        memory there.
        """
        rc = lib.vm_setup_freebsd_registers_i386(self.pointer, eip, gdtbase, esp)
        self._check(rc, "vm_setup_freebsd_registers_i386")

    # ---- addresses ----

    def get_paging(self) -> Paging:
        """Return how the vCPU translates addresses at this moment."""
        paging = ffi.new("struct vm_guest_paging_api *")
        self._check(lib.vm_get_paging(self.pointer, paging), "vm_get_paging")
        return Paging(
            paging.cr3,
            paging.cpl,
            CpuMode(paging.cpu_mode),
            PagingMode(paging.paging_mode),
        )

    def gla2gpa(
        self,
        gla: int,
        prot: Prot = Prot.READ,
        *,
        inject: bool = False,
        paging: Paging | None = None,
    ) -> int | None:
        """Return the physical address behind linear address `gla`, or None.

        None means a page fault (or, for an address that is not canonical, a
        general protection fault).  If `inject` is true the guest gets it, with
        its error code, and CR2 set; and where there is none, accessed and dirty
        bits are set as by an access.  `paging` stands for get_paging().

        EFAULT: the tables lie outside of memory; EBUSY: there is a fault to
        inject, and an exception waits already; EINVAL: no such paging mode.
        """
        pg = ffi.new("struct vm_guest_paging_api *")
        if paging is None:
            self._check(lib.vm_get_paging(self.pointer, pg), "vm_get_paging")
        else:
            pg.cr3, pg.cpl, pg.cpu_mode, pg.paging_mode = paging
        gpa = ffi.new("uint64_t *")
        fault = ffi.new("int *")
        call = lib.vm_gla2gpa if inject else lib.vm_gla2gpa_nofault
        rc = call(self.pointer, pg, gla, prot, gpa, fault)
        self._check(rc, "vm_gla2gpa" if inject else "vm_gla2gpa_nofault")
        return None if fault[0] else int(gpa[0])

    def _pages(
        self, gla: int, size: int, prot: Prot, inject: bool
    ) -> Iterable[tuple[int, int]]:
        """Yield address and length of what is behind a linear range, by pages."""
        while size > 0:
            part = min(size, _PAGE - gla % _PAGE)
            gpa = self.gla2gpa(gla, prot, inject=inject)
            if gpa is None:
                raise VMError(
                    _EFAULT, "vm_gla2gpa", self._vm.name, f"no page at {gla:#x}"
                )
            yield gpa, part
            gla, size = gla + part, size - part

    def copyin(self, gla: int, size: int, *, inject: bool = False) -> bytes:
        """Return `size` bytes at linear address `gla`.

        EFAULT: no page, or no memory behind it; if `inject` is true the guest
        gets the page fault.
        """
        pages = list(self._pages(gla, size, Prot.READ, inject))
        return b"".join(bytes(self._vm.map_gpa(*page)) for page in pages)

    def copyout(self, gla: int, data: bytes, *, inject: bool = False) -> None:
        """Write `data` at linear address `gla`, all of it or nothing.

        EFAULT: no writable page, or no memory behind it; if `inject` is true
        the guest gets the page fault.
        """
        pages = list(self._pages(gla, len(data), Prot.WRITE, inject))
        views = [self._vm.map_gpa(*page) for page in pages]
        done = 0
        for (gpa, part), view in zip(pages, views, strict=True):
            view[:] = data[done : done + part]
            self._vm.dirty_gpa(gpa, part)
            done += part

    def copy_setup(
        self,
        gla: int,
        size: int,
        prot: Prot = Prot.READ,
        *,
        paging: Paging | None = None,
    ) -> list[memoryview] | None:
        """Return views of a linear range of `size` bytes, a page or less each.

        None means a page fault, which the guest gets.  EFAULT: what is there
        is not memory.  After writing, VM.dirty_gpa() tells the processor.
        """
        views = []
        while size > 0:
            part = min(size, _PAGE - gla % _PAGE)
            gpa = self.gla2gpa(gla, prot, inject=True, paging=paging)
            if gpa is None:
                return None
            views.append(self._vm.map_gpa(gpa, part))
            gla, size = gla + part, size - part
        return views

    # ---- debugging ----

    def set_debugregs(self, addresses: Sequence[int], dr7: int) -> None:
        """Set DR0 to DR3 and DR7 of a debugger, beside the guest's own.

        What hits them ends run() with a DB exit.  `dr7` 0 turns them off.
        EINVAL: reserved bits; EOPNOTSUPP: a KVM that watches code only.
        """
        words = ffi.new("uint64_t[4]", [*addresses, 0, 0, 0, 0][:4])
        rc = lib.vm_set_debugregs(self.pointer, words, dr7)
        self._check(rc, "vm_set_debugregs")

    def get_tsc_offset(self) -> int:
        """Return what the guest's time stamp counter is ahead of the host's."""
        offset = ffi.new("uint64_t *")
        rc = lib.vm_get_tsc_offset(self.pointer, offset)
        self._check(rc, "vm_get_tsc_offset")
        return int(offset[0])

    # ---- interrupts and events ----

    def inject_exception(
        self, vector: int, errcode: int | None = None, *, restart: bool = True
    ) -> None:
        """Let the guest take exception `vector`, 0 to 31, before it goes on.

        With `restart` it is a fault: the saved RIP is the instruction of the last
        exit, and an access of it is given up.  Without, it is a trap: run() with
        the access' answer finishes it first.  Real mode pushes no `errcode`.

        EBUSY: an exception waits already; EINVAL: no vector of an exception, or
        8, which comes of two others, or 2, which is inject_nmi().
        """
        valid = errcode is not None
        rc = lib.vm_inject_exception(self.pointer, vector, valid, errcode or 0, restart)
        self._check(rc, "vm_inject_exception")

    def inject_nmi(self) -> None:
        """Let the guest take a non-maskable interrupt."""
        self._check(lib.vm_inject_nmi(self.pointer), "vm_inject_nmi")

    def lapic_irq(self, vector: int) -> None:
        """Raise interrupt `vector`, 16 to 255, in the local APIC, as an edge.

        EINVAL: another vector.
        """
        self._check(lib.vm_lapic_irq(self.pointer, vector), "vm_lapic_irq")

    def lapic_local_irq(self, lvt: int) -> None:
        """Trigger entry `lvt` of the local vector table, if it is not masked.

        0 LINT0, 1 LINT1, 2 timer, 3 error, 4 performance counters, 5 thermal,
        6 CMCI.  EINVAL: no such entry.
        """
        rc = lib.vm_lapic_local_irq(self.pointer, lvt)
        self._check(rc, "vm_lapic_local_irq")

    def get_intinfo(self) -> tuple[int, int]:
        """Return the event words of what is being delivered and what waits.

        Vector in bits 7:0, type 10:8, 0x800 error code, 0x80000000 valid, the
        error code in the high 32 bits.
        """
        first = ffi.new("uint64_t *")
        second = ffi.new("uint64_t *")
        rc = lib.vm_get_intinfo(self.pointer, first, second)
        self._check(rc, "vm_get_intinfo")
        return int(first[0]), int(second[0])

    def set_intinfo(self, info: int) -> None:
        """Set the event that was being delivered when the vCPU left, 0 for none.

        EINVAL: an NMI with another vector than 2, an exception above 31, or
        reserved bits.
        """
        self._check(lib.vm_set_intinfo(self.pointer, info), "vm_set_intinfo")

    def readwrite_kernemu_device(
        self, gpa: int, size: int, value: int | None = None
    ) -> int:
        """Read, or write if there is a `value`, a chip's register in memory.

        The chips are the local APIC of this vCPU, the I/O APIC and the HPET;
        `size` is 1, 2, 4 or 8 bytes.  EINVAL: no such size, or no chip there.
        """
        word = ffi.new("uint64_t *", value or 0)
        rc = lib.vm_readwrite_kernemu_device(
            self.pointer, gpa, value is not None, size, word
        )
        self._check(rc, "vm_readwrite_kernemu_device")
        return int(word[0])

    def get_x2apic_state(self) -> bool:
        """Say whether CPUID offers the x2APIC mode."""
        state = ffi.new("enum x2apic_state *")
        rc = lib.vm_get_x2apic_state(self.pointer, state)
        self._check(rc, "vm_get_x2apic_state")
        return bool(state[0] == lib.X2APIC_ENABLED)

    def set_x2apic_state(self, *, enabled: bool) -> None:
        """Let CPUID offer the x2APIC mode, or not.

        A vCPU of KVM that has run shows the change when its VM is opened again.
        """
        state = lib.X2APIC_ENABLED if enabled else lib.X2APIC_DISABLED
        rc = lib.vm_set_x2apic_state(self.pointer, state)
        self._check(rc, "vm_set_x2apic_state")

    # ---- capabilities and statistics ----

    def get_capability(self, cap: Cap) -> int:
        """Return the setting of a capability.

        ENOENT: the processor has none such; EINVAL: none of Cap.
        """
        value = ffi.new("int *")
        rc = lib.vm_get_capability(self.pointer, cap, value)
        self._check(rc, "vm_get_capability")
        return int(value[0])

    def set_capability(self, cap: Cap, value: int) -> None:
        """Set a capability to 0 or 1.

        ENOENT: the processor has none such; EOPNOTSUPP: it has it always, or
        never; EINVAL: none of Cap.
        """
        rc = lib.vm_set_capability(self.pointer, cap, value)
        self._check(rc, "vm_set_capability")

    def get_stats(self) -> Stats:
        """Return all counters by what they count, in their order."""
        when = ffi.new("struct timeval *")
        count = ffi.new("int *")
        words = lib.vm_get_stats(self.pointer, when, count)
        if not words:
            raise last_error("vm_get_stats", self._vm.name)
        values = ffi.unpack(words, count[0])
        names = (self._vm.get_stat_desc(index) for index in range(count[0]))
        return Stats(
            when.tv_sec + when.tv_usec / 1e6,
            {name: v for name, v in zip(names, values, strict=True) if name},
        )
