"""Why a vCPU stopped (VMExit), and how it is to go on (Entry)."""

from dataclasses import dataclass, replace
from enum import IntEnum

from ._ffi import CData, ffi, lib


class ExitCode(IntEnum):
    """The reason of a VMExit."""

    INOUT = lib.VM_EXITCODE_INOUT
    VMX = lib.VM_EXITCODE_VMX
    BOGUS = lib.VM_EXITCODE_BOGUS
    RDMSR = lib.VM_EXITCODE_RDMSR
    WRMSR = lib.VM_EXITCODE_WRMSR
    HLT = lib.VM_EXITCODE_HLT
    MTRAP = lib.VM_EXITCODE_MTRAP
    PAUSE = lib.VM_EXITCODE_PAUSE
    PAGING = lib.VM_EXITCODE_PAGING
    INST_EMUL = lib.VM_EXITCODE_INST_EMUL
    SPINUP_AP = lib.VM_EXITCODE_SPINUP_AP
    DEPRECATED1 = lib.VM_EXITCODE_DEPRECATED1
    RENDEZVOUS = lib.VM_EXITCODE_RENDEZVOUS
    IOAPIC_EOI = lib.VM_EXITCODE_IOAPIC_EOI
    SUSPENDED = lib.VM_EXITCODE_SUSPENDED
    INOUT_STR = lib.VM_EXITCODE_INOUT_STR
    TASK_SWITCH = lib.VM_EXITCODE_TASK_SWITCH
    MONITOR = lib.VM_EXITCODE_MONITOR
    MWAIT = lib.VM_EXITCODE_MWAIT
    SVM = lib.VM_EXITCODE_SVM
    REQIDLE = lib.VM_EXITCODE_REQIDLE
    DEBUG = lib.VM_EXITCODE_DEBUG
    VMINSN = lib.VM_EXITCODE_VMINSN
    BPT = lib.VM_EXITCODE_BPT
    IPI = lib.VM_EXITCODE_IPI
    DB = lib.VM_EXITCODE_DB
    MMIO = lib.VM_EXITCODE_MMIO


class SuspendHow(IntEnum):
    """How a VM ended, or is to end."""

    NONE = lib.VM_SUSPEND_NONE
    RESET = lib.VM_SUSPEND_RESET
    POWEROFF = lib.VM_SUSPEND_POWEROFF
    HALT = lib.VM_SUSPEND_HALT
    TRIPLEFAULT = lib.VM_SUSPEND_TRIPLEFAULT
    DESTROY = lib.VM_SUSPEND_DESTROY


class EntryCmd(IntEnum):
    """What vm_run(3) does before the guest goes on."""

    DEFAULT = lib.VEC_DEFAULT
    DISCARD_INSTR = lib.VEC_DISCARD_INSTR
    FULFILL_MMIO = lib.VEC_FULFILL_MMIO
    FULFILL_INOUT = lib.VEC_FULFILL_INOUT


@dataclass(frozen=True, slots=True)
class Inout:
    """One element of a port access; ``size`` is 1, 2 or 4 bytes."""

    port: int
    size: int
    is_in: bool
    eax: int
    string: bool = False
    rep: bool = False


@dataclass(frozen=True, slots=True)
class Mmio:
    """One access of 1 to 8 bytes to memory that no chip and no RAM claims."""

    gpa: int
    size: int
    is_read: bool
    data: int


@dataclass(frozen=True, slots=True)
class Msr:
    """An access to a model specific register; ``value`` if it was written."""

    number: int
    value: int


@dataclass(frozen=True, slots=True)
class Hlt:
    """The guest halted; ``rflags`` shows whether interrupts can wake it."""

    rflags: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """The VM ended; ``source`` is a vCPU id or -1, ``when`` realtime in ns."""

    how: SuspendHow
    source: int
    when: int


@dataclass(frozen=True, slots=True)
class InstEmul:
    """An instruction that nobody can run."""

    gpa: int
    gla: int
    bytes: bytes


@dataclass(frozen=True, slots=True)
class Debug:
    """A debug exception; ``drx_access`` are DR6's bits."""

    trace_trap: bool
    pushf_intercept: bool
    drx_access: int


@dataclass(frozen=True, slots=True)
class Bpt:
    """A breakpoint instruction of ``inst_length`` bytes, which did not run."""

    inst_length: int


@dataclass(frozen=True, slots=True)
class Ioapic:
    """The guest ended the interrupt of ``vector``."""

    vector: int


@dataclass(frozen=True, slots=True)
class Vmx:
    """The processor refused to run; the fields are the backend's.

    Of an exit SVM, ``exit_reason`` is the exit code, ``qualification`` and
    ``status`` are the two words of information.
    """

    status: int
    exit_reason: int
    qualification: int
    inst_type: int
    inst_error: int


@dataclass(frozen=True, slots=True)
class Ipi:
    """An interrupt between processors; ``dmask`` has a bit per vCPU."""

    mode: int
    vector: int
    dmask: int


Detail = (
    Inout | Mmio | Msr | Hlt | Suspended | InstEmul | Bpt | Debug | Ioapic | Vmx | Ipi
)


@dataclass(frozen=True, slots=True)
class Entry:
    """How to go on after an exit; the default is to go on as if nothing was."""

    cmd: EntryCmd = EntryCmd.DEFAULT
    detail: Inout | Mmio | None = None

    def to_c(self) -> CData:
        """Return a new ``struct vm_entry *``."""
        entry = ffi.new("struct vm_entry *")
        entry.cmd = self.cmd
        if isinstance(self.detail, Inout):
            out = entry.u.inout
            out.port = self.detail.port
            out.bytes = self.detail.size
            setattr(out, "in", self.detail.is_in)
            out.string = self.detail.string
            out.rep = self.detail.rep
            out.eax = self.detail.eax
        elif self.detail is not None:
            entry.u.mmio = {
                "bytes": self.detail.size,
                "read": self.detail.is_read,
                "gpa": self.detail.gpa,
                "data": self.detail.data,
            }
        return entry


@dataclass(frozen=True, slots=True)
class VMExit:
    """Why vm_run(3) came back.

    ``rip`` is the address of the instruction that exits, ``inst_length`` its
    length in bytes or 0.  ``detail`` depends on ``code``: Inout, Mmio, Msr,
    Hlt, Suspended, InstEmul, Bpt, Debug, Ioapic, Vmx, Ipi or None.
    """

    code: ExitCode
    rip: int
    inst_length: int
    detail: Detail | None = None

    def fulfill(self, value: int = 0) -> Entry:
        """Return the Entry that completes this port or memory access.

        `value` answers a read; a write ignores it.  Raises ValueError for an
        exit that is not an access.
        """
        if isinstance(self.detail, Inout):
            eax = value if self.detail.is_in else self.detail.eax
            return Entry(EntryCmd.FULFILL_INOUT, replace(self.detail, eax=eax))
        if isinstance(self.detail, Mmio):
            data = value if self.detail.is_read else self.detail.data
            return Entry(EntryCmd.FULFILL_MMIO, replace(self.detail, data=data))
        raise ValueError(f"exit {self.code.name} is no access to fulfill")


def _inout(u: CData) -> Detail:
    io = u.inout
    return Inout(io.port, io.bytes, getattr(io, "in"), io.eax, io.string, io.rep)


def _mmio(u: CData) -> Detail:
    return Mmio(u.mmio.gpa, u.mmio.bytes, u.mmio.read, u.mmio.data)


def _msr(u: CData) -> Detail:
    return Msr(u.msr.code, u.msr.wval)


def _hlt(u: CData) -> Detail:
    return Hlt(u.hlt.rflags)


def _suspended(u: CData) -> Detail:
    end = u.suspended
    return Suspended(SuspendHow(end.how), end.source, end.when)


def _inst_emul(u: CData) -> Detail:
    emul = u.inst_emul
    count = min(emul.num_bytes, 15)
    return InstEmul(emul.gpa, emul.gla, bytes(emul.bytes)[:count])


def _debug(u: CData) -> Detail:
    return Debug(bool(u.dbg.trace_trap), bool(u.dbg.pushf_intercept), u.dbg.drx_access)


def _bpt(u: CData) -> Detail:
    return Bpt(u.bpt.inst_length)


def _ioapic(u: CData) -> Detail:
    return Ioapic(u.ioapic_eoi.vector)


def _vmx(u: CData) -> Detail:
    vmx = u.vmx
    return Vmx(
        vmx.status,
        vmx.exit_reason,
        vmx.exit_qualification,
        vmx.inst_type,
        vmx.inst_error,
    )


def _ipi(u: CData) -> Detail:
    return Ipi(u.ipi.mode, u.ipi.vector, u.ipi.dmask)


_DETAILS = {
    ExitCode.INOUT: _inout,
    ExitCode.INOUT_STR: _inout,
    ExitCode.MMIO: _mmio,
    ExitCode.RDMSR: _msr,
    ExitCode.WRMSR: _msr,
    ExitCode.HLT: _hlt,
    ExitCode.SUSPENDED: _suspended,
    ExitCode.INST_EMUL: _inst_emul,
    ExitCode.BPT: _bpt,
    ExitCode.DB: _debug,
    ExitCode.IOAPIC_EOI: _ioapic,
    ExitCode.VMX: _vmx,
    ExitCode.SVM: _vmx,
    ExitCode.IPI: _ipi,
}


def exit_from_c(vme: CData) -> VMExit:
    """Return the VMExit of a filled ``struct vm_exit *``."""
    code = ExitCode(vme.exitcode)
    make = _DETAILS.get(code)
    return VMExit(code, vme.rip, vme.inst_length, make(vme.u) if make else None)
