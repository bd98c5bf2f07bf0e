"""What bhyvectl does, in its fixed order; the first failure ends it.

Each step looks whether its option was given (or --get-all, for a getter) and
prints in the shapes of show.py.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from libvmmapi.caps import Cap, cap_by_name
from libvmmapi.cli.failure import Failure, UsageError
from libvmmapi.cli.params import decimal, number
from libvmmapi.errors import VMError
from libvmmapi.memsize import humanize
from libvmmapi.regs import Reg
from libvmmapi.vcpu import VCPU
from libvmmapi.vm import VM

from . import show
from .actions import (
    DESCRIPTORS,
    GET_REGISTERS,
    SELECTORS,
    SET_REGISTERS,
    VALUED,
)
from .report import Fact, Report

_CALL_FAILED = 255
_MB = 1 << 20
#: Exceptions that can leave the guest, by vector: #BP.
_BREAKPOINT = 1 << 3
_ENOENT = 2
_MSR_PAT = 0x277
_PORT_MAX = 0xFFFF
_MSR_SYSENTER = (("cs", 0x174), ("sp", 0x175), ("ip", 0x176))


class Request:
    """The options that were given, the last of each name."""

    def __init__(self, given: dict[str, str]) -> None:
        self.given = given

    def __contains__(self, name: str) -> bool:
        return name in self.given

    def wants(self, name: str) -> bool:
        """Say whether a getter is to print."""
        return name in self.given or "get-all" in self.given

    def number(self, name: str, default: int = 0) -> int:
        """Return an option's value as strtoul(3) reads it."""
        if name not in self.given:
            return default
        return number(self.given[name], f"--{name}")

    def decimal(self, name: str, default: int = 0) -> int:
        """Return an option's value as a decimal number."""
        if name not in self.given:
            return default
        return decimal(self.given[name], f"--{name}")


class Target(NamedTuple):
    """The VM, and the vCPU that --cpu chose."""

    vm: VM
    vcpu: VCPU
    report: Report


Step = Callable[[Request, Target], None]


def _regs(names: tuple[str, ...]) -> Iterator[tuple[str, Reg]]:
    """Yield registers by bhyvectl's names."""
    return ((name, Reg[name.upper()]) for name in names)


def set_memory(request: Request, target: Target) -> None:
    """--set-mem, in MB, rounded up to a multiple of two."""
    if "set-mem" in request:
        size = request.decimal("set-mem") * _MB
        target.vm.setup_memory(size + -size % (2 * _MB))


def set_registers(request: Request, target: Target) -> None:
    """--set-efer and its kin."""
    for name, reg in _regs(SET_REGISTERS):
        if f"set-{name}" in request:
            target.vcpu.set_register(reg, request.number(f"set-{name}"))


def set_descriptors(request: Request, target: Target) -> None:
    """--set-desc-cs and its kin, from --desc-base, -limit and -access."""
    base = request.number("desc-base")
    limit = request.number("desc-limit")
    access = request.number("desc-access")
    for name, reg in _regs(DESCRIPTORS):
        if f"set-desc-{name}" in request:
            table = name in {"gdtr", "idtr"}
            target.vcpu.set_desc(reg, base, limit, 0 if table else access)


def set_selectors(request: Request, target: Target) -> None:
    """--set-cs and its kin."""
    for name, reg in _regs(SELECTORS):
        if f"set-{name}" in request:
            target.vcpu.set_register(reg, request.number(f"set-{name}"))


def set_chips(request: Request, target: Target) -> None:
    """--set-x2apic-state and others of the kind, then illumos' two."""
    if "set-x2apic-state" in request:
        enabled = bool(request.number("set-x2apic-state"))
        target.vcpu.set_x2apic_state(enabled=enabled)
    if "unassign-pptdev" in request:
        target.vm.unassign_pptdev(*_place(request.given["unassign-pptdev"]))
    if "set-exception-bitmap" in request:
        _set_exception_bitmap(request.number("set-exception-bitmap"), target.vcpu)
    if "wrlock-cycle" in request:
        target.vm.wrlock_cycle()
    if "pmtmr-port" in request:
        target.vm.pmtmr_set_location(_hex(request.given["pmtmr-port"]))


def _set_exception_bitmap(mask: int, vcpu: VCPU) -> None:
    """Let #BP leave the guest, or not: no other exception can, here."""
    if mask & ~_BREAKPOINT:
        raise Failure(
            _CALL_FAILED,
            f"--set-exception-bitmap: {mask:#x}: of the exceptions only #BP, "
            f"{_BREAKPOINT:#x}, can leave the guest",
        )
    vcpu.set_capability(Cap.BPT_EXIT, int(mask != 0))


def get_exception_bitmap(request: Request, target: Target) -> None:
    """--get-exception-bitmap."""
    if request.wants("get-exception-bitmap"):
        vcpu = target.vcpu
        mask = _BREAKPOINT if vcpu.get_capability(Cap.BPT_EXIT) else 0
        line = f"exception_bitmap[{vcpu.id}]\t{show.alternate(mask)}"
        target.report.add("exception-bitmap", mask, line)


def inject_nmi(request: Request, target: Target) -> None:
    """--inject-nmi."""
    if "inject-nmi" in request:
        target.vcpu.inject_nmi()


def assert_lapic_lvt(request: Request, target: Target) -> None:
    """--assert-lapic-lvt."""
    if "assert-lapic-lvt" in request:
        target.vcpu.lapic_local_irq(request.decimal("assert-lapic-lvt"))


def get_memseg(request: Request, target: Target) -> None:
    """--get-memseg."""
    if request.wants("get-memseg"):
        segments = list(target.vm.memsegs())
        facts: list[Fact] = [
            {"id": s.segid, "length": s.size, "name": s.name or None} for s in segments
        ]
        lines = [
            f"{s.segid:<4}{humanize(s.size):<12}{s.name or 'sysmem'}" for s in segments
        ]
        target.report.add("memseg", facts, "ID  Length      Name", *lines)


def get_memmap(request: Request, target: Target) -> None:
    """--get-memmap."""
    if not request.wants("get-memmap"):
        return
    lines = ["Address     Length      Segment     Offset      Prot  Flags"]
    facts: list[Fact] = []
    for entry in target.vm.memmap():
        name = target.vm.get_memseg(entry.segid).name
        lines.append(show.memmap(entry, name))
        facts.append(
            {
                "address": entry.gpa,
                "length": entry.size,
                "segment": name or None,
                "offset": entry.offset,
                "prot": int(entry.prot),
                "flags": entry.flags,
            }
        )
    target.report.add("memmap", facts, *lines)


def _values(
    names: tuple[str, ...], request: Request, target: Target
) -> Iterator[tuple[str, int]]:
    """Yield the registers that are wanted, of one moment: the vCPU stops once."""
    wanted = [(name, reg) for name, reg in _regs(names) if request.wants(f"get-{name}")]
    if wanted:
        values = target.vcpu.get_register_set([reg for _, reg in wanted])
        yield from ((name, values[reg]) for name, reg in wanted)


def get_registers(request: Request, target: Target) -> None:
    """--get-efer and its kin."""
    for name, value in _values(GET_REGISTERS, request, target):
        target.report.add(name, value, show.register(name, target.vcpu.id, value))


def get_segments(request: Request, target: Target) -> None:
    """--get-desc-cs, --get-cs and their kin."""
    vcpu = target.vcpu
    for name, reg in _regs(DESCRIPTORS):
        if request.wants(f"get-desc-{name}"):
            desc = vcpu.get_desc(reg)
            fact: Fact = {"base": desc.base, "limit": desc.limit, "access": desc.access}
            line = show.descriptor(name, vcpu.id, desc)
            target.report.add(f"desc-{name}", fact, line)
    for name, value in _values(SELECTORS, request, target):
        target.report.add(name, value, show.selector(name, vcpu.id, value))


def get_x2apic_state(request: Request, target: Target) -> None:
    """--get-x2apic-state."""
    if request.wants("get-x2apic-state"):
        state = int(target.vcpu.get_x2apic_state())
        line = f"x2apic_state[{target.vcpu.id}]\t{state}"
        target.report.add("x2apic-state", state, line)


def get_msrs(request: Request, target: Target) -> None:
    """--get-tsc-offset, --get-guest-pat and --get-guest-sysenter."""
    vcpu = target.vcpu
    if request.wants("get-tsc-offset"):
        offset = vcpu.get_tsc_offset()
        line = f"tsc_offset[{vcpu.id}]\t0x{offset:016x}"
        target.report.add("tsc-offset", offset, line)
    if request.wants("get-guest-pat"):
        pat = vcpu.get_msr(_MSR_PAT)
        line = f"guest_pat[{vcpu.id}]\t\t0x{pat:016x}"
        target.report.add("guest-pat", pat, line)
    if request.wants("get-guest-sysenter"):
        values = {name: vcpu.get_msr(msr) for name, msr in _MSR_SYSENTER}
        lines = [
            f"guest_sysenter_{name}[{vcpu.id}]\t{show.alternate(value)}"
            for name, value in values.items()
        ]
        target.report.add("guest-sysenter", {**values}, *lines)


def set_capability(request: Request, target: Target) -> None:
    """--setcap=0|1 of --capname."""
    if "setcap" not in request:
        return
    name = request.given.get("capname", "")
    cap = cap_by_name(name)
    try:
        if cap is None:
            raise VMError(_ENOENT, "vm_set_capability", target.vm.name)
        target.vcpu.set_capability(cap, request.number("setcap"))
    except VMError as error:
        if error.errno == _ENOENT:
            target.report.add("setcap", None, f'Capability "{name}" is not available')
        raise


def get_gpa_pmap(request: Request, target: Target) -> None:
    """--get-gpa-pmap=GPA."""
    if "get-gpa-pmap" in request:
        gpa = request.number("get-gpa-pmap")
        entries = target.vm.get_gpa_pmap(gpa)
        line = "".join(f" {show.alternate(entry)}" for entry in entries)
        target.report.add("gpa-pmap", [*entries], f"gpa {show.alternate(gpa)}:{line}")


def rtc_nvram(request: Request, target: Target) -> None:
    """--set-rtc-nvram and --get-rtc-nvram, at --rtc-nvram-offset."""
    offset = request.number("rtc-nvram-offset")
    if "set-rtc-nvram" in request:
        target.vm.rtc_write(offset, request.number("set-rtc-nvram"))
    if request.wants("get-rtc-nvram"):
        byte = target.vm.rtc_read(offset)
        fact: Fact = {"offset": offset, "value": byte}
        target.report.add("rtc-nvram", fact, f"rtc nvram[{offset:03d}]: 0x{byte:02x}")


def rtc_time(request: Request, target: Target) -> None:
    """--set-rtc-time and --get-rtc-time."""
    if "set-rtc-time" in request:
        target.vm.rtc_settime(request.number("set-rtc-time"))
    if request.wants("get-rtc-time"):
        secs = target.vm.rtc_gettime()
        target.report.add("rtc-time", secs, show.rtc_time(secs))


def get_capabilities(request: Request, target: Target) -> None:
    """--getcap, of --capname or of all."""
    if not request.wants("getcap"):
        return
    names = [cap.title for cap in Cap]
    if {"capname", "getcap"} <= request.given.keys():
        names = [request.given["capname"]]
    facts: dict[str, Fact] = {}
    lines = []
    for name in names:
        value = _capability(name, target.vcpu)
        facts[name] = value
        if value is None:
            lines.append(f'Capability "{name}" is not available')
        else:
            word = "set" if value else "not set"
            lines.append(f'Capability "{name}" is {word} on vcpu {target.vcpu.id}')
    target.report.add("capabilities", facts, *lines)


def _capability(name: str, vcpu: VCPU) -> bool | None:
    """Return whether a capability is set; None: there is none such."""
    cap = cap_by_name(name)
    if cap is None:
        return None
    try:
        return vcpu.get_capability(cap) != 0
    except VMError as error:
        if error.errno != _ENOENT:
            raise
        return None


def get_cpus(request: Request, target: Target) -> None:
    """--get-active-cpus, --get-debug-cpus and --get-suspended-cpus."""
    sets = {
        "active": target.vm.active_cpus,
        "debug": target.vm.debug_cpus,
        "suspended": target.vm.suspended_cpus,
    }
    for kind, call in sets.items():
        if request.wants(f"get-{kind}-cpus"):
            ids = call()
            line = show.cpus(f"{kind} cpus", ids)
            target.report.add(f"{kind}-cpus", [*ids], line)


def get_intinfo(request: Request, target: Target) -> None:
    """--get-intinfo."""
    if request.wants("get-intinfo"):
        pending, current = target.vcpu.get_intinfo()
        target.report.add(
            "intinfo",
            {"pending": pending, "current": current},
            show.intinfo("pending", pending),
            show.intinfo("current", current),
        )


def get_stats(request: Request, target: Target) -> None:
    """--get-stats."""
    if request.wants("get-stats"):
        stats = target.vcpu.get_stats().values
        lines = [f"{name:<40}\t{value}" for name, value in stats.items()]
        head = f"vcpu{target.vcpu.id} stats:"
        target.report.add("stats", {**stats}, head, *lines)


def get_topology(request: Request, target: Target) -> None:
    """--get-cpu-topology."""
    if request.wants("get-cpu-topology"):
        top = target.vm.get_topology()
        line = (
            f"cpu_topology:\tsockets={top.sockets}, cores={top.cores}, "
            f"threads={top.threads}, maxcpus={top.maxcpus}"
        )
        target.report.add("cpu-topology", {**top._asdict()}, line)


def run_once(request: Request, target: Target) -> None:
    """--run: one run of the vCPU, and why it came back."""
    if "run" not in request:
        return
    from . import runonce

    try:
        vme = target.vcpu.run()
    except VMError:
        target.report.add("run", None, "vm_run error -1")
        raise
    target.report.add(
        "run",
        {
            "rip": vme.rip,
            "inst_length": vme.inst_length,
            "exitcode": vme.code.name,
            "detail": runonce.detail(vme),
        },
        *runonce.vm_exit(target.vcpu.id, vme),
    )


def force(request: Request, target: Target) -> None:
    """--force-reset and --force-poweroff."""
    if not request.given.keys() & {"force-reset", "force-poweroff"}:
        return
    from libvmmapi.exits import SuspendHow

    if "force-reset" in request:
        target.vm.suspend(SuspendHow.RESET)
    if "force-poweroff" in request:
        target.vm.suspend(SuspendHow.POWEROFF)


#: The order in which bhyvectl does things.
STEPS: tuple[Step, ...] = (
    set_memory,
    set_registers,
    set_descriptors,
    set_selectors,
    set_chips,
    inject_nmi,
    assert_lapic_lvt,
    get_memseg,
    get_memmap,
    get_registers,
    get_segments,
    get_x2apic_state,
    get_exception_bitmap,
    get_msrs,
    set_capability,
    get_gpa_pmap,
    rtc_nvram,
    rtc_time,
    get_capabilities,
    get_cpus,
    get_intinfo,
    get_stats,
    get_topology,
    run_once,
    force,
)


def check_values(request: Request) -> None:
    """Read every number once, so that a bad one ends in the usage text."""
    for name, text in request.given.items():
        if name in _DECIMAL:
            request.decimal(name)
        elif name == "pmtmr-port":
            _hex(text)
        elif name == "unassign-pptdev":
            _place(text)
        elif name in _LARGEST:
            if request.number(name) > _LARGEST[name]:
                raise UsageError(f"--{name}: '{text}' is above {_LARGEST[name]:#x}")
        elif name in _NUMBERS:
            request.number(name)
    if "setcap" in request and "capname" not in request:
        raise UsageError("--setcap: --capname is missing")


_LARGEST = {
    "setcap": 1,
    "set-x2apic-state": 1,
    "desc-limit": 0xFFFFFFFF,
    "desc-access": 0xFFFFFFFF,
    "rtc-nvram-offset": 0x7FFFFFFF,
    "set-rtc-nvram": 0xFF,
    "set-rtc-time": 0x7FFFFFFFFFFFFFFF,
    **dict.fromkeys((f"set-{name}" for name in SELECTORS), 0xFFFF),
}
_DECIMAL = frozenset({"cpu", "set-mem", "assert-lapic-lvt"})
_WORDS = frozenset({"vm", "capname", "checkpoint", "suspend"})
_NUMBERS = frozenset(VALUED) - _WORDS


def _place(text: str) -> tuple[int, int, int]:
    """Return bus, slot and function of "B/S/F"."""
    parts = text.split("/")
    if len(parts) != 3 or not all(p.isascii() and p.isdigit() for p in parts):
        raise UsageError(f"--unassign-pptdev: '{text}' is no bus/slot/func")
    bus, slot, func = (decimal(part, "--unassign-pptdev") for part in parts)
    return bus, slot, func


def _hex(text: str) -> int:
    """Return a port: hexadecimal digits, with or without 0x."""
    digits = text.lower().removeprefix("0x")
    if digits.isascii() and digits.isalnum():
        with suppress(ValueError):
            if (port := int(digits, 16)) <= _PORT_MAX:
                return port
    raise UsageError(f"--pmtmr-port: '{text}' is no hexadecimal number up to ffff")
