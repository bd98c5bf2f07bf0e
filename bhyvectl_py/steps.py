"""What bhyvectl does, in its fixed order; the first failure ends it.

Each step looks whether its option was given (or --get-all, for a getter) and
prints in the shapes of show.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import click

from libvmmapi.caps import Cap, cap_by_name
from libvmmapi.cli.console import out
from libvmmapi.cli.params import decimal, number
from libvmmapi.errors import VMError
from libvmmapi.exits import SuspendHow
from libvmmapi.memsize import humanize
from libvmmapi.vcpu import VCPU
from libvmmapi.vm import VM

from . import show
from .actions import DESCRIPTORS, GET_REGISTERS, SELECTORS, SET_REGISTERS

_MB = 1 << 20
_ENOENT = 2
_EINVAL = 22
_MSR_PAT = 0x277
_MSR_SYSENTER = (("cs", 0x174), ("sp", 0x175), ("ip", 0x176))


@dataclass(frozen=True, slots=True)
class Request:
    """The options that were given, the last of each name."""

    given: dict[str, str]

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


@dataclass(frozen=True, slots=True)
class Target:
    """The VM, and the vCPU that --cpu chose."""

    vm: VM
    vcpu: VCPU


Step = Callable[[Request, Target], None]


def set_memory(request: Request, target: Target) -> None:
    """--set-mem, in MB, rounded up to a multiple of two."""
    if "set-mem" in request:
        size = request.decimal("set-mem") * _MB
        target.vm.setup_memory(size + -size % (2 * _MB))


def set_registers(request: Request, target: Target) -> None:
    """--set-efer and its kin."""
    for name, reg in SET_REGISTERS.items():
        if f"set-{name}" in request:
            target.vcpu.set_register(reg, request.number(f"set-{name}"))


def set_descriptors(request: Request, target: Target) -> None:
    """--set-desc-cs and its kin, from --desc-base, -limit and -access."""
    base = request.number("desc-base")
    limit = request.number("desc-limit") & 0xFFFFFFFF
    access = request.number("desc-access") & 0xFFFFFFFF
    for name, reg in DESCRIPTORS.items():
        if f"set-desc-{name}" in request:
            table = name in {"gdtr", "idtr"}
            target.vcpu.set_desc(reg, base, limit, 0 if table else access)


def set_selectors(request: Request, target: Target) -> None:
    """--set-cs and its kin."""
    for name, reg in SELECTORS.items():
        if f"set-{name}" in request:
            target.vcpu.set_register(reg, request.number(f"set-{name}"))


def set_chips(request: Request, target: Target) -> None:
    """--set-x2apic-state, --pmtmr-port, --set-rtc-nvram, --set-rtc-time."""
    if "set-x2apic-state" in request:
        enabled = bool(request.number("set-x2apic-state"))
        target.vcpu.set_x2apic_state(enabled=enabled)
    if "pmtmr-port" in request:
        target.vm.pmtmr_set_location(int(request.given["pmtmr-port"], 16))


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
        out("ID  Length      Name")
        for segment in target.vm.memsegs():
            name = segment.name or "sysmem"
            out(f"{segment.segid:<4}{humanize(segment.size):<12}{name}")


def get_memmap(request: Request, target: Target) -> None:
    """--get-memmap."""
    if request.wants("get-memmap"):
        out("Address     Length      Segment     Offset      Prot  Flags")
        for entry in target.vm.memmap():
            out(show.memmap(entry, target.vm.get_memseg(entry.segid).name))


def get_registers(request: Request, target: Target) -> None:
    """--get-efer and its kin."""
    for name, reg in GET_REGISTERS.items():
        if request.wants(f"get-{name}"):
            out(show.register(name, target.vcpu.id, target.vcpu.get_register(reg)))


def get_segments(request: Request, target: Target) -> None:
    """--get-desc-cs, --get-cs and their kin."""
    for name, reg in DESCRIPTORS.items():
        if request.wants(f"get-desc-{name}"):
            out(show.descriptor(name, target.vcpu.id, target.vcpu.get_desc(reg)))
    for name, reg in SELECTORS.items():
        if request.wants(f"get-{name}"):
            out(show.selector(name, target.vcpu.id, target.vcpu.get_register(reg)))


def get_x2apic_state(request: Request, target: Target) -> None:
    """--get-x2apic-state."""
    if request.wants("get-x2apic-state"):
        state = int(target.vcpu.get_x2apic_state())
        out(f"x2apic_state[{target.vcpu.id}]\t{state}")


def get_msrs(request: Request, target: Target) -> None:
    """--get-guest-pat and --get-guest-sysenter."""
    vcpu = target.vcpu
    if request.wants("get-guest-pat"):
        out(f"guest_pat[{vcpu.id}]\t\t0x{vcpu.get_msr(_MSR_PAT):016x}")
    if request.wants("get-guest-sysenter"):
        for name, msr in _MSR_SYSENTER:
            value = show.alternate(vcpu.get_msr(msr))
            out(f"guest_sysenter_{name}[{vcpu.id}]\t{value}")


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
            out(f'Capability "{name}" is not available')
        raise


def get_gpa_pmap(request: Request, target: Target) -> None:
    """--get-gpa-pmap=GPA."""
    if "get-gpa-pmap" in request:
        gpa = request.number("get-gpa-pmap")
        entries = target.vm.get_gpa_pmap(gpa)
        out(f"gpa {show.alternate(gpa)}:", end="")
        out("".join(f" {show.alternate(entry)}" for entry in entries))


def rtc_nvram(request: Request, target: Target) -> None:
    """--set-rtc-nvram and --get-rtc-nvram, at --rtc-nvram-offset."""
    offset = request.number("rtc-nvram-offset")
    if "set-rtc-nvram" in request:
        target.vm.rtc_write(offset, request.number("set-rtc-nvram") & 0xFF)
    if request.wants("get-rtc-nvram"):
        out(f"rtc nvram[{offset:03d}]: 0x{target.vm.rtc_read(offset):02x}")


def rtc_time(request: Request, target: Target) -> None:
    """--set-rtc-time and --get-rtc-time."""
    if "set-rtc-time" in request:
        target.vm.rtc_settime(request.number("set-rtc-time"))
    if request.wants("get-rtc-time"):
        out(show.rtc_time(target.vm.rtc_gettime()))


def get_capabilities(request: Request, target: Target) -> None:
    """--getcap, of --capname or of all."""
    if not request.wants("getcap"):
        return
    names = [cap.title for cap in Cap]
    if "capname" in request and "get-all" not in request:
        names = [request.given["capname"]]
    for name in names:
        _print_capability(name, target.vcpu)


def _print_capability(name: str, vcpu: VCPU) -> None:
    cap = cap_by_name(name)
    try:
        if cap is None:
            raise VMError(_ENOENT, "vm_get_capability", vcpu.vm.name)
        value = vcpu.get_capability(cap)
    except VMError as error:
        if error.errno != _ENOENT:
            raise
        out(f'Capability "{name}" is not available')
        return
    word = "set" if value else "not set"
    out(f'Capability "{name}" is {word} on vcpu {vcpu.id}')


def get_cpus(request: Request, target: Target) -> None:
    """--get-active-cpus, --get-debug-cpus and --get-suspended-cpus."""
    if request.wants("get-active-cpus"):
        out(show.cpus("active cpus", target.vm.active_cpus()))
    if request.wants("get-debug-cpus"):
        out(show.cpus("debug cpus", target.vm.debug_cpus()))
    if request.wants("get-suspended-cpus"):
        out(show.cpus("suspended cpus", target.vm.suspended_cpus()))


def get_intinfo(request: Request, target: Target) -> None:
    """--get-intinfo."""
    if request.wants("get-intinfo"):
        pending, current = target.vcpu.get_intinfo()
        out(show.intinfo("pending", pending))
        out(show.intinfo("current", current))


def get_stats(request: Request, target: Target) -> None:
    """--get-stats."""
    if request.wants("get-stats"):
        stats = target.vcpu.get_stats()
        out(f"vcpu{target.vcpu.id} stats:")
        for name, value in stats.values.items():
            out(f"{name:<40}\t{value}")


def get_topology(request: Request, target: Target) -> None:
    """--get-cpu-topology."""
    if request.wants("get-cpu-topology"):
        top = target.vm.get_topology()
        out(
            f"cpu_topology:\tsockets={top.sockets}, cores={top.cores}, "
            f"threads={top.threads}, maxcpus={top.maxcpus}"
        )


def run_once(request: Request, target: Target) -> None:
    """--run: one run of the vCPU, and why it came back."""
    if "run" not in request:
        return
    try:
        vme = target.vcpu.run()
    except VMError:
        out("vm_run error -1")
        raise
    for line in show.vm_exit(target.vcpu.id, vme):
        out(line)


def force(request: Request, target: Target) -> None:
    """--force-reset and --force-poweroff."""
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
        elif text and name not in _WORDS:
            request.number(name)


_DECIMAL = frozenset({"cpu", "set-mem", "assert-lapic-lvt"})
_WORDS = frozenset({"vm", "capname", "checkpoint", "suspend", "unassign-pptdev"})


def _hex(text: str) -> None:
    try:
        int(text, 16)
    except ValueError:
        raise click.UsageError(
            f"--pmtmr-port: '{text}' is no hexadecimal number"
        ) from None
