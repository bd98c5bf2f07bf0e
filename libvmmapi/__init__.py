r"""Virtual machines in Python: libvmmapi(3)'s verbs as objects.

A named VM outlives the process that made it, as on FreeBSD: it is a directory
below the VM root.  ``VM`` is a handle on it, ``VCPU`` one of its processors,
guest memory a writable buffer.  A first session: make a VM, and load a 64-bit
program that counts in memory, writes to a port, and waits for interrupts.

>>> from struct import pack
>>> from libvmmapi import VM, Reg, SuspendHow, vm_setup_freebsd_gdt
>>> vm = VM.create("demo")
>>> vm.setup_memory(16 << 20)
>>> memory = vm.map_gpa(0, 1 << 20)
>>> memory[0x2000:0x2008] = pack("<Q", 0x3003)          # PML4 -> PDPT
>>> memory[0x3000:0x3008] = pack("<Q", 0x4003)          # PDPT -> PD
>>> memory[0x4000:0x4008] = pack("<Q", 0x83)            # the first 2 MB, as is
>>> memory[0x5000:0x5018] = pack("<3Q", *vm_setup_freebsd_gdt())
>>> memory[0x10000:0x1000f] = bytes.fromhex(
...     "48ff042500050000"                              # incq 0x500
...     "b02ae680"                                      # out 42, port 0x80
...     "f4ebfd")                                       # hlt; again
>>> cpu = vm.vcpu(0)
>>> cpu.setup_freebsd_registers(rip=0x10000, cr3=0x2000, gdtbase=0x5000, rsp=0x9000)
>>> cpu.activate()

Its registers are ours to read and write.  It runs until it does something
that the caller must see:

>>> cpu.set_register(Reg.RCX, 7)
>>> cpu.get_register_set([Reg.RIP, Reg.RCX]) == {Reg.RIP: 0x10000, Reg.RCX: 7}
True
>>> vme = cpu.run()
>>> vme.code.name, hex(vme.detail.port), vme.detail.eax & 0xff
('INOUT', '0x80', 42)
>>> cpu.get_register(Reg.RAX) & 0xff, int.from_bytes(memory[0x500:0x508], "little")
(42, 1)

An interrupt, here the one that nothing masks, needs a handler and a gate that
leads there.  It ends the HLT; the write to the port is finished on the way:

>>> memory[0x11000:0x11006] = bytes.fromhex("b030e68048cf")  # out 48; iretq
>>> memory[0x6020:0x602c] = pack("<HHHHI", 0x1000, 8, 0x8e00, 1, 0)  # vector 2
>>> cpu.set_desc(Reg.IDTR, base=0x6000, limit=0xfff, access=0)
>>> entry = vme.fulfill()
>>> cpu.inject_nmi()
>>> vme = cpu.run(entry)
>>> vme.code.name, vme.detail.eax & 0xff
('INOUT', 48)

The end of a VM is an exit like the others:

>>> vm.suspend(SuspendHow.POWEROFF)
>>> vme = cpu.run(vme.fulfill())
>>> vme.code.name, vme.detail.how.name
('SUSPENDED', 'POWEROFF')
>>> vm.destroy()

The C names of the calls are there as well: ``libvmmapi.vm_get_register(cpu,
Reg.RIP)`` is ``cpu.get_register(Reg.RIP)``; see `libvmmapi.calls`.

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
    from .inventory import VMInfo, vm_info, vm_infos
    from .memory import (
        MemDomain,
        MemFlags,
        MemMap,
        MemPolicy,
        MemSeg,
        MmapStyle,
        Prot,
        SegId,
    )
    from .memsize import parse_memsize
    from .regs import DESCRIPTORS, GENERAL, SELECTORS, Descriptor, Reg
    from .vcpu import VCPU, CpuMode, Paging, PagingMode
    from .vm import VM, OpenFlags, StateClass, Topology, set_backend, set_translate
    from .vmdir import list_vms, vm_path, vm_root

__all__ = [
    "DESCRIPTORS",
    "GENERAL",
    "SELECTORS",
    "VCPU",
    "VM",
    "Cap",
    "ConfigTree",
    "CpuMode",
    "Descriptor",
    "Entry",
    "EntryCmd",
    "ExitCode",
    "MemDomain",
    "MemFlags",
    "MemMap",
    "MemPolicy",
    "MemSeg",
    "MmapStyle",
    "OpenFlags",
    "Paging",
    "PagingMode",
    "Prot",
    "Reg",
    "SegId",
    "StateClass",
    "SuspendHow",
    "Topology",
    "VMError",
    "VMExit",
    "VMInfo",
    "device_names",
    "list_vms",
    "lpc_names",
    "parse_memsize",
    "set_backend",
    "set_translate",
    "vm_info",
    "vm_infos",
    "vm_path",
    "vm_root",
]

_MODULES = {
    "caps": ("Cap",),
    "config": ("ConfigTree",),
    "devices": ("device_names", "lpc_names"),
    "errors": ("VMError",),
    "exits": ("Entry", "EntryCmd", "ExitCode", "SuspendHow", "VMExit"),
    "inventory": ("VMInfo", "vm_info", "vm_infos"),
    "memory": (
        *("MemDomain", "MemFlags", "MemMap", "MemPolicy", "MemSeg", "MmapStyle"),
        *("Prot", "SegId"),
    ),
    "memsize": ("parse_memsize",),
    "regs": ("DESCRIPTORS", "GENERAL", "SELECTORS", "Descriptor", "Reg"),
    "vcpu": ("VCPU", "CpuMode", "Paging", "PagingMode"),
    "vm": ("VM", "OpenFlags", "StateClass", "Topology", "set_backend", "set_translate"),
    "vmdir": ("list_vms", "vm_path", "vm_root"),
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use (PEP 562)."""
    from importlib import import_module

    value: object
    if name.startswith(("vm_", "vcpu_")) and name not in __all__:
        value = getattr(import_module(f"{__name__}.calls"), name, None)
        if value is not None:
            globals()[name] = value
            return value
    for module, names in _MODULES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
