"""Exits for accesses, one by one: one story on both processors."""

from collections.abc import Callable

import pytest

from libvmmapi import VCPU, VM, ExitCode, Reg
from libvmmapi.exits import Inout, Mmio

Factory = Callable[..., VM]

CODE = 0x1000
DATA = 0x3000
HOLE = 0xB000_0000  # neither memory nor a chip
PORT = 0x580  # nobody's

#: An instruction in flat 32-bit code, whether it reads or writes, the operand's
#: size; EBX is HOLE, DX is PORT, ESI and EDI are DATA, ECX is 2.
ACCESSES = [
    pytest.param("e680", False, 1, id="outb-imm"),
    pytest.param("e780", False, 4, id="outl-imm"),
    pytest.param("ee", False, 1, id="outb-dx"),
    pytest.param("66ef", False, 2, id="outw-dx"),
    pytest.param("ef", False, 4, id="outl-dx"),
    pytest.param("e480", True, 1, id="inb-imm"),
    pytest.param("66ed", True, 2, id="inw-dx"),
    pytest.param("ed", True, 4, id="inl-dx"),
    pytest.param("6e", False, 1, id="outsb"),
    pytest.param("f36e", False, 1, id="rep-outsb"),
    pytest.param("6d", True, 4, id="insl"),
    pytest.param("f36c", True, 1, id="rep-insb"),
    pytest.param("8b03", True, 4, id="load"),
    pytest.param("0fb64301", True, 1, id="movzx"),
    pytest.param("8903", False, 4, id="store"),
    pytest.param("66894308", False, 2, id="store-word"),
    pytest.param("c783a000000078563412", False, 4, id="store-imm"),
    pytest.param("a2100000b0", False, 1, id="store-moffs"),
]


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


@pytest.mark.parametrize(("code", "reads", "size"), ACCESSES)
def test_an_access_stands_at_its_instruction(
    vm_factory: Factory, backend: str, code: str, reads: bool, size: int
) -> None:
    insn = bytes.fromhex(code)
    vm = vm_factory()
    assert backend in ("soft", "kvm")
    vcpu = flat32(vm, insn)
    vcpu.set_register(Reg.RAX, 0x44332211)
    vcpu.set_register(Reg.RBX, HOLE)
    vcpu.set_register(Reg.RCX, 2)
    vcpu.set_register(Reg.RDX, PORT)
    vcpu.set_register(Reg.RSI, DATA)
    vcpu.set_register(Reg.RDI, DATA)
    rep = insn[0] == 0xF3
    vme = vcpu.run()
    for again in (False, True) if rep else (False,):
        if again:
            vme = vcpu.run(vme.fulfill(0x55555555))
        assert isinstance(vme.detail, Inout | Mmio)
        if isinstance(vme.detail, Inout):
            string = insn[-1] in (0x6C, 0x6D, 0x6E)
            assert vme.code == (ExitCode.INOUT_STR if string else ExitCode.INOUT)
            assert (vme.detail.is_in, vme.detail.size) == (reads, size)
            assert (vme.detail.string, vme.detail.rep) == (string, rep)
        else:
            assert (vme.detail.is_read, vme.detail.size) == (reads, size)
        assert (vme.rip, vme.inst_length) == (CODE, len(insn))
        assert vcpu.get_register(Reg.RIP) == CODE
        # It is told again as long as nobody answers.
        assert vcpu.run() == vme
    # Suspended, the vCPU comes back when this instruction is done, not later.
    vm.suspend_all_cpus()
    assert vcpu.run(vme.fulfill(0x55555555)).code == ExitCode.DEBUG
    if rep and vcpu.get_register(Reg.RIP) == CODE:
        assert vcpu.get_register(Reg.RCX) == 0
    else:
        assert vcpu.get_register(Reg.RIP) == CODE + len(insn)


def test_unanswered_an_instruction_restarts(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    assert backend in ("soft", "kvm")
    vcpu = flat32(vm, bytes.fromhex("e680e681"))
    vme = vcpu.run()
    assert isinstance(vme.detail, Inout)
    vcpu.restart_instruction()
    vme = vcpu.run()
    assert isinstance(vme.detail, Inout)
    assert (vme.detail.port, vme.rip) == (0x80, CODE)
    # Whoever moves RIP has given up the access.
    vcpu.set_register(Reg.RIP, CODE + 2)
    vme = vcpu.run()
    assert isinstance(vme.detail, Inout)
    assert (vme.detail.port, vme.rip) == (0x81, CODE + 2)
