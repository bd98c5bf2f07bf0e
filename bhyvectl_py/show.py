"""How values look: bhyvectl's own shapes, since scripts read them."""

import time

from libvmmapi.memory import MemMap, Prot
from libvmmapi.memsize import humanize
from libvmmapi.regs import Descriptor

_INTINFO_VALID = 0x80000000
_INTINFO_ERRCODE = 0x800
_INTINFO_TYPES = {0: "extint", 2: "nmi", 4: "swint"}
_MEMMAP_FLAGS = ((1, "wired"), (2, "iommu"))


def alternate(value: int) -> str:
    """Return a number as printf's %#lx has it: no prefix before 0.

    >>> alternate(0), alternate(26)
    ('0', '0x1a')
    """
    return f"{value:#x}" if value else "0"


def register(label: str, vcpuid: int, value: int) -> str:
    r"""Return the line of a 64-bit register.

    >>> register("rip", 0, 0xfff0)
    'rip[0]\t\t0x000000000000fff0'
    """
    tabs = "\t" if label == "rflags" else "\t\t"
    return f"{label}[{vcpuid}]{tabs}0x{value:016x}"


def selector(label: str, vcpuid: int, value: int) -> str:
    """Return the line of a selector."""
    return f"{label}[{vcpuid}]\t\t0x{value:04x}"


def descriptor(label: str, vcpuid: int, desc: Descriptor) -> str:
    r"""Return the line of a segment descriptor.

    >>> descriptor("cs", 1, Descriptor(0, 0xffff, 0x9b))
    'cs desc[1]\t0x0000000000000000/0x0000ffff/0x0000009b'
    """
    if label in {"gdtr", "idtr"}:
        return f"{label}[{vcpuid}]\t\t0x{desc.base:016x}/0x{desc.limit:08x}"
    return (
        f"{label} desc[{vcpuid}]\t"
        f"0x{desc.base:016x}/0x{desc.limit:08x}/0x{desc.access:08x}"
    )


def cpus(label: str, ids: list[int]) -> str:
    r"""Return the line of a set of vCPUs.

    >>> cpus("active cpus", [0, 1]), cpus("active cpus", [])
    ('active cpus:\t 0, 1', 'active cpus:\t (none)')
    """
    return f"{label}:\t {', '.join(map(str, ids)) or '(none)'}"


def memmap(entry: MemMap, name: str) -> str:
    """Return the row of a mapping."""
    letters = ((Prot.READ, "R"), (Prot.WRITE, "W"), (Prot.EXEC, "X"))
    prot = "".join(letter if entry.prot & bit else "-" for bit, letter in letters)
    flags = "/".join(text for bit, text in _MEMMAP_FLAGS if entry.flags & bit)
    return (
        f"{entry.gpa:<12X}{humanize(entry.size):<12}{name or 'sysmem':<12}"
        f"{entry.offset:<12X}{prot}   {flags}"
    )


def intinfo(label: str, info: int) -> str:
    r"""Return the line of an event word.

    >>> intinfo("pending", 0x80000b0e | 2 << 32)
    'pending:\texception vector 14 errcode 0x2'
    """
    if not info & _INTINFO_VALID:
        return f"{label}:\tn/a"
    kind = _INTINFO_TYPES.get(info >> 8 & 7, "exception")
    code = f" errcode {alternate(info >> 32)}" if info & _INTINFO_ERRCODE else ""
    return f"{label}:\t{kind} vector {info & 0xFF}{code}"


def rtc_time(secs: int) -> str:
    """Return the line of the guest's clock, in UTC.

    >>> rtc_time(0)
    'rtc time 0: Thu Jan 01 00:00:00 1970'
    """
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    months = (
        *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
        *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    )
    t = time.gmtime(secs)
    return (
        f"rtc time {alternate(secs)}: {days[t.tm_wday]} {months[t.tm_mon - 1]} "
        f"{t.tm_mday:02d} {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} {t.tm_year}"
    )
