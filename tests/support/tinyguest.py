"""A few bytes of code as a guest, for tests that serve its exits themselves."""

from libvmmapi import VCPU, VM, Reg

CODE = 0x1000


def flat32(vm: VM, code: bytes) -> VCPU:
    """Return vCPU 0 in flat 32-bit mode at CODE, nops around the code."""
    memory = vm.map_gpa(CODE - 16, len(code) + 64)
    memory[:] = b"\x90" * (len(code) + 64)
    memory[16 : 16 + len(code)] = code
    vcpu = vm.vcpu(0)
    vcpu.reset()
    vcpu.set_register(Reg.CR0, 0x31)
    for reg in (Reg.ES, Reg.CS, Reg.SS, Reg.DS, Reg.FS, Reg.GS):
        vcpu.set_desc(reg, 0, 0xFFFFFFFF, 0xC09B if reg == Reg.CS else 0xC093)
        vcpu.set_register(reg, 8 if reg == Reg.CS else 16)
    vcpu.set_register(Reg.RIP, CODE)
    vcpu.activate()
    return vcpu
