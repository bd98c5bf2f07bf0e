"""THE table of bhyvectl's options, in the order of its usage text.

An option here has a name and, if it takes one, a word for its argument.  Some
are there on processors of one vendor only, as in FreeBSD's bhyvectl.  What
options do, and in which order, stands in steps.py.  Nothing here loads the C
library: --help is to be quick.
"""

from typing import NamedTuple


class Option(NamedTuple):
    """A long option; ``argument`` describes its value, "" for a flag."""

    name: str
    argument: str = ""

    @property
    def spec(self) -> str:
        """The option as the getopt module wants it."""
        return self.name + ("=" if self.argument else "")


#: Registers with a getter, in the order in which --get-all prints them.
GET_REGISTERS = (
    *("efer", "cr0", "cr2", "cr3", "cr4", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7"),
    *("rsp", "rip", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rflags"),
)

#: Registers with a setter, in the order in which they are set.
SET_REGISTERS = (
    *("efer", "cr0", "cr2", "cr3", "cr4", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7"),
    *("rsp", "rip", "rax", "rflags"),
)

#: Descriptors in the order in which they are printed and set.
DESCRIPTORS = ("ds", "es", "fs", "gs", "ss", "cs", "tr", "ldtr", "gdtr", "idtr")

#: Selectors in the order in which they are printed and set.
SELECTORS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr")

#: Getters of hardware structures that are KVM's secret and that the software
#: processor has not: they are known by name, and refused.
HARDWARE_COMMON = (
    "get-eptp",
    "get-io-bitmap-address",
    "get-msr-bitmap-address",
    "get-msr-bitmap",
    "get-exit-reason",
)
HARDWARE_INTEL = (
    "get-vmcs-pinbased-ctls",
    "get-vmcs-procbased-ctls",
    "get-vmcs-procbased-ctls2",
    "get-vmcs-guest-linear-address",
    "get-vmcs-guest-physical-address",
    "get-vmcs-entry-interruption-info",
    "get-vmcs-cr0-mask",
    "get-vmcs-cr0-shadow",
    "get-vmcs-cr4-mask",
    "get-vmcs-cr4-shadow",
    "get-vmcs-cr3-targets",
    "get-vmcs-tpr-threshold",
    "get-vmcs-vpid",
    "get-vmcs-exit-ctls",
    "get-vmcs-entry-ctls",
    "get-vmcs-instruction-error",
    "get-vmcs-host-pat",
    "get-vmcs-host-cr0",
    "get-vmcs-host-cr3",
    "get-vmcs-host-cr4",
    "get-vmcs-host-rip",
    "get-vmcs-host-rsp",
    "get-vmcs-link",
    "get-vmcs-exit-interruption-info",
    "get-vmcs-exit-interruption-error",
    "get-vmcs-interruptibility",
    "get-vmcs-exit-inst-length",
    "get-vmcs-exit-qualification",
)
HARDWARE_AMD = (
    "get-vmcb-intercepts",
    "get-vmcb-asid",
    "get-vmcb-tlb-ctrl",
    "get-vmcb-exit-details",
    "get-vmcb-virq",
    "get-avic-apic-bar",
    "get-avic-backing-page",
    "get-avic-table",
)
HARDWARE = frozenset({*HARDWARE_COMMON, *HARDWARE_INTEL, *HARDWARE_AMD})

#: Getters that print nothing, here as in bhyvectl on Intel's processors.
SILENT = ("get-apic-access-address", "get-virtual-apic-address")

#: Setters of the same kind, with their arguments; Intel's.
HARDWARE_SETTERS = {
    "set-vmcs-entry-interruption-info": "info",
}


def missing(name: str) -> str:
    """Return what an option of hardware state asks for in vain.

    >>> missing("get-vmcs-host-rip"), missing("get-eptp")
    ('a VMCS', 'nested page tables to point at')
    """
    words = {
        "get-eptp": "nested page tables to point at",
        "get-exit-reason": "an exit reason of a VMCS or VMCB",
        "get-io-bitmap-address": "an I/O bitmap",
        "get-msr-bitmap": "an MSR bitmap",
        "get-msr-bitmap-address": "an MSR bitmap",
    }
    for part, what in (
        ("-vmcs-", "a VMCS"),
        ("-vmcb-", "a VMCB"),
        ("-avic-", "an AVIC"),
    ):
        if part in name:
            return what
    return words.get(name, "such state")


_COMMON = (
    Option("vm", "name"),
    Option("cpu", "vcpu_number"),
    Option("create"),
    Option("destroy"),
    Option("get-memmap"),
    Option("set-mem", "memory in units of MB"),
    Option("get-memseg"),
    Option("capname", "capname"),
    Option("setcap", "0|1"),
    Option("getcap"),
    Option("get-stats"),
    Option("get-all"),
    Option("get-active-cpus"),
    Option("get-debug-cpus"),
    Option("get-suspended-cpus"),
    Option("get-cpu-topology"),
    Option("run"),
    Option("force-reset"),
    Option("force-poweroff"),
    Option("list"),
    Option("json"),
    Option("checkpoint", "filename"),
    Option("suspend", "filename"),
)

_MACHINE = (
    Option("desc-base", "BASE"),
    Option("desc-limit", "LIMIT"),
    Option("desc-access", "ACCESS"),
    Option("assert-lapic-lvt", "pin"),
    Option("inject-nmi"),
    Option("unassign-pptdev", "bus/slot/func"),
    Option("set-x2apic-state", "0|1"),
    Option("get-x2apic-state"),
    Option("set-exception-bitmap", "mask"),
    Option("get-exception-bitmap"),
    Option("get-tsc-offset"),
    Option("get-guest-pat"),
    Option("get-guest-sysenter"),
    Option("get-gpa-pmap", "gpa"),
    Option("get-intinfo"),
    Option("rtc-nvram-offset", "offset"),
    Option("set-rtc-nvram", "byte"),
    Option("get-rtc-nvram"),
    Option("set-rtc-time", "secs"),
    Option("get-rtc-time"),
    Option("pmtmr-port", "port"),
    Option("wrlock-cycle"),
)

_X86 = (
    *_MACHINE,
    *(Option(f"set-{name}", name) for name in SET_REGISTERS),
    *(Option(f"get-{name}") for name in GET_REGISTERS),
    *(Option(f"set-desc-{name}") for name in DESCRIPTORS),
    *(Option(f"get-desc-{name}") for name in DESCRIPTORS),
    *(Option(f"set-{name}", name) for name in SELECTORS),
    *(Option(f"get-{name}") for name in SELECTORS),
    *(Option(name) for name in HARDWARE_COMMON),
)
_INTEL = (
    *(Option(name, word) for name, word in HARDWARE_SETTERS.items()),
    *(Option(name) for name in (*HARDWARE_INTEL, *SILENT)),
)
_AMD = tuple(Option(name) for name in HARDWARE_AMD)

#: What each kind of processor adds, by the vendor that CPUID names.
VENDORS = {"GenuineIntel": _INTEL, "AuthenticAMD": _AMD, "HygonGenuine": _AMD}


#: Options that take a value.
VALUED = tuple(
    option.name for option in (*_COMMON, *_X86, *_INTEL, *_AMD) if option.argument
)


def options(vendor: str) -> tuple[Option, ...]:
    """Return the options on a host of a vendor.  KeyError: an unknown one.

    >>> options("AuthenticAMD") == options("HygonGenuine")
    True
    """
    return (*_COMMON, *_X86, *VENDORS[vendor])


#: At most one of these at a time.
EXCLUSIVE = ("create", "destroy", "force-reset", "force-poweroff", "checkpoint")


def usage(prog: str, vendor: str) -> str:
    """Return the usage text on a host of a vendor: one line an option."""
    pad = " " * 7
    lines = [f"Usage: {prog} --vm=<vmname>"]
    for option in options(vendor):
        value = f"=<{option.argument}>" if option.argument else ""
        if option.name != "vm":
            lines.append(f"{pad}[--{option.name}{value}]")
    return "\n".join(lines) + "\n"
