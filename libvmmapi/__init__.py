r"""Virtual machines in Python: libvmmapi(3)'s verbs as objects.

A named VM outlives the process that made it, as on FreeBSD: it is a directory
below the VM root.  ``VM`` is a handle on it, ``VCPU`` one of its processors,
guest memory a writable buffer.  A first run, exit by exit::

    with VM.create("demo") as vm:
        vm.setup_memory(16 << 20)
        vm.map_gpa(0, 2)[:] = b"\xe6\x80"          # out %al, $0x80
        cpu = vm.vcpu(0)
        cpu.reset()
        cpu.set_desc(Reg.CS, base=0, limit=0xffff, access=0x93)
        cpu.set_register(Reg.RIP, 0)
        cpu.activate()
        vme = cpu.run()                            # INOUT, port 0x80
        vm.destroy()

Names are imported from their modules when they are first used: the tools
start in a few milliseconds and need few of them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .caps import Cap
    from .config import ConfigTree
    from .devices import device_names, lpc_names
    from .errors import VMError
    from .exits import Entry, EntryCmd, ExitCode, SuspendHow, VMExit
    from .memory import MemFlags, MemMap, MemSeg, MmapStyle, Prot, SegId
    from .memsize import parse_memsize
    from .regs import DESCRIPTORS, GENERAL, SELECTORS, Descriptor, Reg
    from .vcpu import VCPU
    from .vm import VM, OpenFlags, StateClass, Topology, set_backend
    from .vmdir import list_vms, vm_path, vm_root

__all__ = [
    "DESCRIPTORS",
    "GENERAL",
    "SELECTORS",
    "VCPU",
    "VM",
    "Cap",
    "ConfigTree",
    "Descriptor",
    "Entry",
    "EntryCmd",
    "ExitCode",
    "MemFlags",
    "MemMap",
    "MemSeg",
    "MmapStyle",
    "OpenFlags",
    "Prot",
    "Reg",
    "SegId",
    "StateClass",
    "SuspendHow",
    "Topology",
    "VMError",
    "VMExit",
    "device_names",
    "list_vms",
    "lpc_names",
    "parse_memsize",
    "set_backend",
    "vm_path",
    "vm_root",
]

_MODULES = {
    "caps": ("Cap",),
    "config": ("ConfigTree",),
    "devices": ("device_names", "lpc_names"),
    "errors": ("VMError",),
    "exits": ("Entry", "EntryCmd", "ExitCode", "SuspendHow", "VMExit"),
    "memory": ("MemFlags", "MemMap", "MemSeg", "MmapStyle", "Prot", "SegId"),
    "memsize": ("parse_memsize",),
    "regs": ("DESCRIPTORS", "GENERAL", "SELECTORS", "Descriptor", "Reg"),
    "vcpu": ("VCPU",),
    "vm": ("VM", "OpenFlags", "StateClass", "Topology", "set_backend"),
    "vmdir": ("list_vms", "vm_path", "vm_root"),
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use (PEP 562)."""
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            value: object = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
