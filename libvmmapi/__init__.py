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
        print(cpu.run())
        vm.destroy()
"""

from .caps import Cap
from .config import ConfigTree
from .devices import device_names, lpc_names
from .errors import VMError
from .exits import Entry, EntryCmd, ExitCode, SuspendHow, VMExit
from .memory import MemFlags, MemMap, MemSeg, MmapStyle, Prot, SegId
from .memsize import parse_memsize
from .regs import DESCRIPTORS, GENERAL, SELECTORS, Descriptor, Reg
from .vcpu import VCPU
from .vm import VM, OpenFlags, StateClass, Topology
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
    "vm_path",
    "vm_root",
]
