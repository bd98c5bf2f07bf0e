"""Class VM: a handle on a named virtual machine.

Every method is the libvmmapi(3) call of its name with vm_ in front.  Sizes
are bytes, addresses guest-physical.  All raise VMError unless said otherwise:
EOWNERDEAD when the process that ran the VM has died, EPIPE when it goes away
meanwhile.  Numbers that their C type cannot hold raise OverflowError.
One thread at a time may use a VM object; calls release the interpreter lock.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum, IntFlag
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from ._ffi import CData, ffi, lib
from .cpuset import mask_to_ids
from .errors import VMError, check, last_error
from .memory import MemDomain, MemFlags, MemMap, MemSeg, MmapStyle, Prot, Views
from .passthru import PassthruCalls
from .vcpu import VCPU

if TYPE_CHECKING:
    from .exits import SuspendHow

_ENOENT = 2
_EINVAL = 22
_NAME_SIZE = 256


class OpenFlags(IntFlag):
    """Flags of VM.open().

    CREATE: make the VM if there is none.  REINIT: VM.reinit() it.
    CREATE_DESTROY_ON_CLOSE: as CREATE, and what this call made ends with the VM
    object or with this process, however that ends.  OWNER: be the owner, or
    fail.
    """

    CREATE = lib.VMMAPI_OPEN_CREATE
    REINIT = lib.VMMAPI_OPEN_REINIT
    CREATE_DESTROY_ON_CLOSE = lib.VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE
    OWNER = lib.VMMAPI_OPEN_OWNER


_NO_FLAGS = OpenFlags(0)


class StateClass(IntEnum):
    """Kinds of state that VM.data_read() and VM.data_write() move."""

    VERSION = lib.VDC_VERSION
    REGISTER = lib.VDC_REGISTER
    MSR = lib.VDC_MSR
    FPU = lib.VDC_FPU
    LAPIC = lib.VDC_LAPIC
    VMM_ARCH = lib.VDC_VMM_ARCH
    IOAPIC = lib.VDC_IOAPIC
    ATPIT = lib.VDC_ATPIT
    ATPIC = lib.VDC_ATPIC
    HPET = lib.VDC_HPET
    PM_TIMER = lib.VDC_PM_TIMER
    RTC = lib.VDC_RTC
    VMM_TIME = lib.VDC_VMM_TIME


class Topology(NamedTuple):
    """How many sockets, cores in each, threads in each, vCPUs at most."""

    sockets: int
    cores: int
    threads: int
    maxcpus: int


class VM(PassthruCalls):
    """A named VM; a context manager that closes, but does not destroy it."""

    def __init__(self, ctx: CData, name: str) -> None:
        self._ctx: CData | None = ctx
        self._name = name
        self._vcpus: dict[int, VCPU] = {}
        self._views = Views()

    # ---- lifetime ----

    @classmethod
    def create(cls, name: str) -> "VM":
        """Make the VM `name` and open it.

        EEXIST: there is one; EINVAL, ENAMETOOLONG: no valid name.
        """
        create(name)
        return cls.open(name)

    @classmethod
    def open(cls, name: str, flags: OpenFlags = _NO_FLAGS) -> "VM":
        """Open the VM `name`, here or through the process that runs it.

        Waits 2 s for one that has it for a moment.  ENOENT: there is none;
        EBUSY: OpenFlags.OWNER was asked for and another process owns it, or it
        does not answer; EOWNERDEAD: OWNER, and its process died; EINVAL,
        ENAMETOOLONG: no valid name.
        """
        raw = _encode(name, "vm_open")
        ctx = lib.vm_openf(raw, flags) if flags else lib.vm_open(raw)
        if not ctx:
            raise last_error("vm_open", name, _open_detail())
        return cls(ctx, name)

    def close(self) -> None:
        """Save the VM's state and let go of it; closing twice is fine.

        Views of guest memory stay valid: the VM is let go with the last one.
        """
        ctx = self._take()
        if ctx is not None:
            self._views.when_gone(lambda: lib.vm_close(ctx))

    def destroy(self) -> None:
        """End the VM and free its name at once; its vCPUs leave run().

        Views of its memory stay valid: the memory goes with the last one.  The
        VM object is closed.
        """
        ctx = self.ctx
        if self._views.live:
            self._check(lib.vm_unlink(ctx), "vm_destroy")
        self._take()
        self._views.when_gone(lambda: lib.vm_destroy(ctx))

    def _take(self) -> CData | None:
        """Give up the pointer, and the vCPUs' with it."""
        for vcpu in self._vcpus.values():
            vcpu.close()
        self._vcpus.clear()
        ctx, self._ctx = self._ctx, None
        return ctx

    def __enter__(self) -> "VM":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._ctx is None else self.backend
        return f"<VM {self._name} {state}>"

    @property
    def ctx(self) -> CData:
        """The C handle.  Raises ValueError when the VM is closed."""
        if self._ctx is None:
            raise ValueError(f"VM {self._name} is closed")
        return self._ctx

    @property
    def name(self) -> str:
        """The VM's name."""
        return self._name

    @property
    def is_owner(self) -> bool:
        """True when this process owns the VM, false when it asks the owner."""
        return lib.vm_is_owner(self.ctx)

    @property
    def backend(self) -> str:
        """The processor behind the VM: "kvm" or "soft".

        The choice falls when a vCPU first runs; before that it is "soft".
        """
        text = lib.vm_get_backend(self.ctx)
        return ffi.string(text).decode() if text else ""

    @property
    def trouble(self) -> str:
        """Why the VM can only be destroyed or reinitialised, or "".

        Its owner may have died, or its saved state may be damaged.
        """
        text = lib.vm_trouble(self.ctx)
        return ffi.string(text).decode("utf-8", "replace") if text else ""

    def fileno(self) -> int:
        """Return the descriptor of the VM's directory; it is the VM object's."""
        return lib.vm_get_device_fd(self.ctx)

    def reinit(self) -> None:
        """Put the VM into the state after its creation.

        Memory, the topology, the clock with its NVRAM, and segments of devices
        stay; where those stood, registers, active vCPUs, the reason of an end,
        counters, chips and their lines do not.
        """
        self._check(lib.vm_reinit(self.ctx), "vm_reinit")

    def suspend(self, how: "SuspendHow") -> None:
        """Stop all vCPUs: their next exit says `how`, any but NONE.

        EALREADY: it was suspended before, and the first reason stands; EINVAL:
        no such reason.
        """
        self._check(lib.vm_suspend(self.ctx, how), "vm_suspend")

    def limit_rights(self) -> None:
        """Limit what the VM's descriptor is good for, where the host can.

        FreeBSD leaves it ioctls and mapping.  Linux has no rights of descriptors:
        nothing changes, as on a FreeBSD without Capsicum.
        """
        self._check(lib.vm_limit_rights(self.ctx), "vm_limit_rights")

    def serve(self) -> None:
        """Answer other processes on the control socket from now on.

        EBUSY: another process owns the VM.
        """
        self._check(lib.vm_serve(self.ctx), "vm_serve")

    def save(self) -> None:
        """Write the VM's state to its directory now; close() does too.

        EBUSY: another process owns the VM.
        """
        self._check(lib.vm_save(self.ctx), "vm_save")

    def _check(self, rc: int, operation: str) -> int:
        return check(rc, operation, self._name)

    # ---- vCPUs ----

    def vcpu(self, vcpuid: int) -> VCPU:
        """Return vCPU `vcpuid`, 0 to 63; 0 is the one that boots.

        EINVAL: no such number.
        """
        if vcpuid not in self._vcpus:
            pointer = lib.vm_vcpu_open(self.ctx, vcpuid)
            if not pointer:
                raise last_error("vm_vcpu_open", self._name)
            self._vcpus[vcpuid] = VCPU(self, pointer)
        return self._vcpus[vcpuid]

    def active_cpus(self) -> list[int]:
        """Return the vCPUs that were activated."""
        return self._cpus(lib.vm_active_cpus, "vm_active_cpus")

    def suspended_cpus(self) -> list[int]:
        """Return the vCPUs whose exit has told of the VM's end."""
        return self._cpus(lib.vm_suspended_cpus, "vm_suspended_cpus")

    def debug_cpus(self) -> list[int]:
        """Return the vCPUs that VCPU.suspend() has stopped."""
        return self._cpus(lib.vm_debug_cpus, "vm_debug_cpus")

    def _cpus(self, call: Callable[[CData, CData], int], operation: str) -> list[int]:
        mask = ffi.new("uint64_t *")
        self._check(call(self.ctx, mask), operation)
        return mask_to_ids(mask[0])

    def suspend_all_cpus(self) -> None:
        """Stop every active vCPU, for a debugger: see VCPU.suspend()."""
        self._check(lib.vm_suspend_all_cpus(self.ctx), "vm_suspend_all_cpus")

    def resume_all_cpus(self) -> None:
        """Let every vCPU run again that a debugger stopped."""
        self._check(lib.vm_resume_all_cpus(self.ctx), "vm_resume_all_cpus")

    def pause(self) -> None:
        """Stop the whole VM between instructions, its clocks as well.

        Waits for accesses that other threads are serving; EBUSY after 5 s.
        EALREADY: it is paused.
        """
        self._check(lib.vm_pause(self.ctx), "vm_pause")

    def resume(self) -> None:
        """Undo pause().  EALREADY: it is not paused."""
        self._check(lib.vm_resume(self.ctx), "vm_resume")

    def is_paused(self) -> bool:
        """Say whether pause() stands."""
        return self._check(lib.vm_is_paused(self.ctx), "vm_is_paused") == 1

    def wrlock_cycle(self) -> None:
        """Stop every vCPU for a moment, as illumos' lock does."""
        self._check(lib.vm_wrlock_cycle(self.ctx), "vm_wrlock_cycle")

    def apicid2vcpu(self, apicid: int) -> int:
        """Return the vCPU that has the local APIC id `apicid`: the same number."""
        return self._check(lib.vm_apicid2vcpu(self.ctx, apicid), "vm_apicid2vcpu")

    def set_topology(
        self, sockets: int, cores: int = 1, threads: int = 1, maxcpus: int = 0
    ) -> None:
        """Say how the vCPUs are arranged; before any of them runs.

        EINVAL: one of the numbers is 0, their product is above 64, or `maxcpus`
        is neither 0 nor 64.
        """
        rc = lib.vm_set_topology(self.ctx, sockets, cores, threads, maxcpus)
        self._check(rc, "vm_set_topology")

    def get_topology(self) -> Topology:
        """Return how the vCPUs are arranged."""
        words = [ffi.new("uint16_t *") for _ in range(4)]
        self._check(lib.vm_get_topology(self.ctx, *words), "vm_get_topology")
        return Topology(*(word[0] for word in words))

    # ---- memory ----

    def setup_memory(self, size: int, style: MmapStyle = MmapStyle.ALL) -> None:
        """Give the VM `size` bytes of memory; above 3 GiB it goes to 4 GiB.

        A VM that has memory of that size keeps it with its contents.  Memory is
        mapped here with each style.  EINVAL: it has memory of another size, or
        these are no whole pages; ENOMEM: there is no room, or it cannot be wired;
        ENOTSUP: the style is SPARSE.
        """
        if lib.vm_setup_memory(self.ctx, size, style) != 0:
            raise last_error("vm_setup_memory", self._name, _open_detail())

    def setup_memory_domains(
        self, domains: Iterable[MemDomain], style: MmapStyle = MmapStyle.ALL
    ) -> None:
        """Give the VM memory in parts, each from the host's nodes it names.

        EINVAL also means: the host has none of the nodes.
        """
        parts = [domain._asdict() for domain in domains]
        array = ffi.new("struct vm_mem_domain[]", parts)
        if lib.vm_setup_memory_domains(self.ctx, style, array, len(parts)) != 0:
            raise last_error("vm_setup_memory_domains", self._name, _open_detail())

    def map_gpa(self, gpa: int, size: int) -> memoryview:
        """Return a writable view of `size` bytes of guest memory at `gpa`.

        EFAULT: the range is not all system memory (memory of devices is not),
        or crosses the hole.
        """
        pointer = lib.vm_map_gpa(self.ctx, gpa, size) if size > 0 else ffi.NULL
        if not pointer:
            raise VMError(14, "vm_map_gpa", self._name, f"no memory at {gpa:#x}")
        return self._views.add(pointer, size)

    def rev_map_gpa(self, view: memoryview) -> int:
        """Return the guest address at which a view of map_gpa() begins.

        EINVAL: the view is of something else.
        """
        gpa = lib.vm_rev_map_gpa(self.ctx, ffi.from_buffer("char[]", view))
        if gpa == (1 << 64) - 1:
            raise VMError(_EINVAL, "vm_rev_map_gpa", self._name)
        return gpa

    def dirty_gpa(self, gpa: int, size: int) -> None:
        """Tell the processor that code may have changed there.

        A view's writer calls it after changing what a vCPU may have run.
        """
        lib.vm_dirty_gpa(self.ctx, gpa, size)

    @property
    def lowmem_size(self) -> int:
        """Bytes of memory below lowmem_limit."""
        return lib.vm_get_lowmem_size(self.ctx)

    @property
    def highmem_size(self) -> int:
        """Bytes of memory from highmem_base."""
        return lib.vm_get_highmem_size(self.ctx)

    @property
    def lowmem_limit(self) -> int:
        """The address below which low memory ends."""
        return lib.vm_get_lowmem_limit(self.ctx)

    @property
    def highmem_base(self) -> int:
        """The address at which high memory begins."""
        return lib.vm_get_highmem_base(self.ctx)

    @property
    def memflags(self) -> MemFlags:
        """Wishes about memory; set them before setup_memory().

        INCORE counts at once, WIRED for what is mapped into the guest from then
        on, or once more.
        """
        return MemFlags(lib.vm_get_memflags(self.ctx))

    @memflags.setter
    def memflags(self, flags: MemFlags) -> None:
        lib.vm_set_memflags(self.ctx, flags)

    def get_memseg(self, segid: int) -> MemSeg:
        """Return segment `segid`; its size is 0 where there is none.

        EINVAL: past the last number, 15.
        """
        size = ffi.new("size_t *")
        name = ffi.new("char[]", _NAME_SIZE)
        rc = lib.vm_get_memseg(self.ctx, segid, size, name, _NAME_SIZE)
        self._check(rc, "vm_get_memseg")
        return MemSeg(segid, ffi.string(name).decode(), int(size[0]))

    def memsegs(self) -> Iterator[MemSeg]:
        """Yield the segments that exist."""
        segid = 0
        while True:
            try:
                segment = self.get_memseg(segid)
            except VMError as error:
                if error.errno == _EINVAL:
                    return
                raise
            if segment.size:
                yield segment
            segid += 1

    def memmap(self) -> Iterator[MemMap]:
        """Yield what the guest's address space holds, ascending."""
        gpa = 0
        while (entry := self.mmap_getnext(gpa)) is not None:
            yield entry
            gpa = entry.gpa + entry.size

    def mmap_getnext(self, gpa: int) -> MemMap | None:
        """Return the first mapping at or above `gpa`, or None."""
        start = ffi.new("vm_paddr_t *", gpa)
        segid = ffi.new("int *")
        offset = ffi.new("int64_t *")
        size = ffi.new("size_t *")
        prot = ffi.new("int *")
        flags = ffi.new("int *")
        rc = lib.vm_mmap_getnext(self.ctx, start, segid, offset, size, prot, flags)
        if rc != 0 and ffi.errno == _ENOENT:
            return None
        self._check(rc, "vm_mmap_getnext")
        return MemMap(
            start[0], segid[0], offset[0], size[0], Prot(prot[0] & 7), flags[0]
        )

    def create_devmem(self, segid: int, name: str, size: int) -> memoryview:
        """Make a segment for a device, and return a view of it.

        One of that name and size is found as it is.  `size` is in whole pages,
        `name` up to 31 letters, digits, - and _.  EINVAL: neither, or segment
        0, or it has another name or size; EEXIST: another has the name;
        ENAMETOOLONG, ENOMEM.
        """
        raw = _encode(name, "vm_create_devmem")
        pointer = lib.vm_create_devmem(self.ctx, segid, raw, size)
        if pointer == ffi.cast("void *", -1):
            raise last_error("vm_create_devmem", self._name)
        return self._views.add(pointer, size)

    def mmap_memseg(
        self, gpa: int, segid: int, offset: int, size: int, prot: Prot = Prot.ALL
    ) -> None:
        """Let `size` bytes of a segment stand at `gpa`; page aligned.

        EEXIST: something else is there; EINVAL: no such segment or part of it,
        not aligned, or no right; ENOSPC: there are 16 mappings.
        """
        rc = lib.vm_mmap_memseg(self.ctx, gpa, segid, offset, size, prot)
        self._check(rc, "vm_mmap_memseg")

    def munmap_memseg(self, gpa: int, size: int) -> None:
        """Undo mmap_memseg() of just that range.  EINVAL: there is none."""
        self._check(lib.vm_munmap_memseg(self.ctx, gpa, size), "vm_munmap_memseg")

    def get_gpa_pmap(self, gpa: int) -> list[int]:
        """Return the nested page table entries that map `gpa`, root first.

        There is one: where in its segment the page lies, with Prot in the low
        bits; none where nothing is mapped.
        """
        entries = ffi.new("uint64_t[4]")
        count = ffi.new("int *")
        self._check(
            lib.vm_get_gpa_pmap(self.ctx, gpa, entries, count), "vm_get_gpa_pmap"
        )
        return list(entries)[: count[0]]

    # ---- interrupts ----

    def lapic_local_irq_all(self, lvt: int) -> None:
        """Trigger entry `lvt` of the local vector table of all active vCPUs.

        Entry 1, LINT1, is the NMI that SERR# would raise.  EINVAL: no such.
        """
        rc = lib.vm_lapic_local_irq_all(self.ctx, lvt)
        self._check(rc, "vm_lapic_local_irq_all")

    def lapic_msi(self, addr: int, msg: int) -> None:
        """Deliver the message-signalled interrupt `msg` written to `addr`.

        EINVAL: the address is not 0xfeexxxxx.
        """
        self._check(lib.vm_lapic_msi(self.ctx, addr, msg), "vm_lapic_msi")

    def raise_msi(self, addr: int, msg: int, bus: int, slot: int, func: int) -> None:
        """Deliver a message in the name of a PCI function; see lapic_msi()."""
        rc = lib.vm_raise_msi(self.ctx, addr, msg, bus, slot, func)
        self._check(rc, "vm_raise_msi")

    def ioapic_assert_irq(self, irq: int) -> None:
        """Raise pin `irq` of the I/O APIC, 0 to 31; sources are counted.

        EINVAL: no such pin.
        """
        self._check(lib.vm_ioapic_assert_irq(self.ctx, irq), "vm_ioapic_assert_irq")

    def ioapic_deassert_irq(self, irq: int) -> None:
        """Undo one ioapic_assert_irq() of pin `irq`.  EINVAL: no such pin."""
        rc = lib.vm_ioapic_deassert_irq(self.ctx, irq)
        self._check(rc, "vm_ioapic_deassert_irq")

    def ioapic_pulse_irq(self, irq: int) -> None:
        """Raise and lower pin `irq` of the I/O APIC.  EINVAL: no such pin."""
        self._check(lib.vm_ioapic_pulse_irq(self.ctx, irq), "vm_ioapic_pulse_irq")

    def ioapic_pincount(self) -> int:
        """Return how many pins the I/O APIC has."""
        count = ffi.new("int *")
        self._check(lib.vm_ioapic_pincount(self.ctx, count), "vm_ioapic_pincount")
        return int(count[0])

    def isa_assert_irq(self, atpic_irq: int, ioapic_irq: int = -1) -> None:
        """Raise line 0 to 15 of the 8259 pair, and an I/O APIC's pin unless -1.

        EINVAL: no such line or pin.
        """
        rc = lib.vm_isa_assert_irq(self.ctx, atpic_irq, ioapic_irq)
        self._check(rc, "vm_isa_assert_irq")

    def isa_deassert_irq(self, atpic_irq: int, ioapic_irq: int = -1) -> None:
        """Lower what isa_assert_irq() raised.  EINVAL: no such line or pin."""
        rc = lib.vm_isa_deassert_irq(self.ctx, atpic_irq, ioapic_irq)
        self._check(rc, "vm_isa_deassert_irq")

    def isa_pulse_irq(self, atpic_irq: int, ioapic_irq: int = -1) -> None:
        """Raise and lower a line, and a pin.  EINVAL: no such line or pin."""
        rc = lib.vm_isa_pulse_irq(self.ctx, atpic_irq, ioapic_irq)
        self._check(rc, "vm_isa_pulse_irq")

    def isa_set_irq_trigger(self, atpic_irq: int, *, level: bool) -> None:
        """Make a line of the 8259 pair level triggered, or edge triggered.

        EINVAL: no such line, or one of 0, 1, 2, 8 and 13, which are always edge.
        """
        trigger = lib.LEVEL_TRIGGER if level else lib.EDGE_TRIGGER
        rc = lib.vm_isa_set_irq_trigger(self.ctx, atpic_irq, trigger)
        self._check(rc, "vm_isa_set_irq_trigger")

    # ---- clock and chips ----

    def rtc_write(self, offset: int, value: int) -> None:
        """Write the byte of the clock's NVRAM at `offset`, 14 to 127.

        EINVAL: elsewhere, or at 50, the century.
        """
        self._check(lib.vm_rtc_write(self.ctx, offset, value), "vm_rtc_write")

    def rtc_read(self, offset: int) -> int:
        """Return the byte of the clock's memory at `offset`, 0 to 127.

        EINVAL: elsewhere.
        """
        value = ffi.new("uint8_t *")
        self._check(lib.vm_rtc_read(self.ctx, offset, value), "vm_rtc_read")
        return int(value[0])

    def rtc_settime(self, secs: int) -> None:
        """Set the guest's clock to `secs` after 1970-01-01.

        EINVAL: not in the years 0 to 9999.
        """
        self._check(lib.vm_rtc_settime(self.ctx, secs), "vm_rtc_settime")

    def rtc_gettime(self) -> int:
        """Return the time of the guest's clock in seconds after 1970-01-01."""
        secs = ffi.new("int64_t *")
        self._check(lib.vm_rtc_gettime(self.ctx, secs), "vm_rtc_gettime")
        return int(secs[0])

    def pmtmr_set_location(self, port: int) -> None:
        """Move the ACPI PM timer to I/O port `port`.  EINVAL: a chip is there."""
        rc = lib.vm_pmtmr_set_location(self.ctx, port)
        self._check(rc, "vm_pmtmr_set_location")

    def get_hpet_capabilities(self) -> int:
        """Return the low word of the HPET's capability register.

        Revision 7:0, timers less one 12:8, vendor 31:16.
        """
        value = ffi.new("uint32_t *")
        rc = lib.vm_get_hpet_capabilities(self.ctx, value)
        self._check(rc, "vm_get_hpet_capabilities")
        return int(value[0])

    def get_stat_desc(self, index: int) -> str | None:
        """Return what counter `index` counts, None where there is none.

        They are numbered from 0 without gaps, in the order of VCPU.get_stats().
        """
        text = lib.vm_get_stat_desc(self.ctx, index)
        if not text and ffi.errno != _EINVAL:
            raise last_error("vm_get_stat_desc", self._name)
        return ffi.string(text).decode() if text else None

    # ---- state ----

    def snapshot_req(self) -> None:
        """Take a snapshot.  ENOTSUP, in words: this version has none."""
        rc = lib.vm_snapshot_req(self.ctx, ffi.NULL)
        if rc != 0:
            raise last_error("vm_snapshot_req", self._name, _open_detail())

    def restore_time(self) -> None:
        """Set the clocks of a restored VM.  ENOTSUP, in words: as above."""
        if lib.vm_restore_time(self.ctx) != 0:
            raise last_error("vm_restore_time", self._name, _open_detail())

    def data_read(
        self, kind: StateClass, vcpuid: int = -1, version: int = 1, room: int = 8192
    ) -> bytes:
        """Return a section of the VM's state; `vcpuid` -1: not a vCPU's.

        ENOSPC: it is longer than `room` bytes; EINVAL: no such version.
        """
        buffer = ffi.new("unsigned char[]", room)
        rc = lib.vm_data_read(self.ctx, vcpuid, kind, version, buffer, room)
        return bytes(ffi.buffer(buffer, self._check(rc, "vm_data_read")))

    def data_write(
        self, kind: StateClass, data: bytes, vcpuid: int = -1, version: int = 1
    ) -> None:
        """Replace a section of the VM's state by what data_read() returned.

        EINVAL: no such class or version, or not its form.
        """
        buffer = ffi.from_buffer("unsigned char[]", data)
        rc = lib.vm_data_write(self.ctx, vcpuid, kind, version, buffer, len(data))
        self._check(rc, "vm_data_write")


def create(name: str) -> None:
    """Make the VM `name` without opening it; errors as VM.create()."""
    if lib.vm_create(_encode(name, "vm_create")) != 0:
        raise last_error("vm_create", name, _open_detail())


def set_backend(name: str) -> None:
    """Choose the processor of VMs opened from now on: auto, kvm or soft.

    The environment variable BHYVE_BACKEND does the same.  EINVAL: no such name.
    """
    check(lib.vm_set_backend(_encode(name, "vm_set_backend")), "vm_set_backend", name)


def set_translate(on: bool) -> None:
    """Say whether software processors started from now on may make host code.

    They may unless told otherwise here or by the environment's BHYVE_TRANSLATE=0.
    """
    lib.vm_set_translate(on)


def get_ioctls() -> list[int]:
    """Return the numbers of all calls that a VM's owner answers."""
    count = ffi.new("size_t *")
    lib.vm_get_ioctls(count)
    numbers = lib.vm_get_ioctls(ffi.NULL)
    try:
        return list(ffi.unpack(numbers, count[0]))
    finally:
        lib.free(numbers)


def _encode(name: str, operation: str) -> bytes:
    """Return a name for C.  Raises VMError(EINVAL) if it holds a NUL."""
    if "\0" in name:
        raise VMError(_EINVAL, operation, name.replace("\0", "\\0"))
    return name.encode("utf-8", "surrogateescape")


def _open_detail() -> str:
    """Return the C library's sentence on why it could not open a VM."""
    saved = ffi.errno
    text = lib.vm_open_error()
    detail = ffi.string(text).decode("utf-8", "replace") if text else ""
    ffi.errno = saved
    return detail
