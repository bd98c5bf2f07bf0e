"""Exits for accesses, one by one: one story on both processors."""

import subprocess
import sys
import time
from collections.abc import Callable
from threading import Event, Thread, Timer

import pytest

from libvmmapi import VCPU, VM, ExitCode, Reg, SuspendHow
from libvmmapi.exits import Entry, Inout, Mmio, VMExit
from support.tinyguest import CODE, flat32

Factory = Callable[..., VM]

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


#: Each turn of the guest's loop: OUT n, IN (which says n), a store of n.
LOOP = bytes.fromhex("40 e780 e584 8903 ebf7")
PAUSES = 2000

#: Another process pauses, looks, saves and restores, and lets go.
PAUSER = """
import sys
from libvmmapi import VM, Reg
from libvmmapi.vm import StateClass
with VM.open("t") as vm:
    cpu = vm.vcpu(0)
    for turn in range(int(sys.argv[1])):
        cpu.get_register(Reg.RIP)
        vm.pause()
        rip, rax = (cpu.get_register(r) for r in (Reg.RIP, Reg.RAX))
        for kind in (StateClass.REGISTER, StateClass.VMM_ARCH):
            vm.data_write(kind, vm.data_read(kind, 0), 0)
        assert (rip, rax) == tuple(cpu.get_register(r) for r in (Reg.RIP, Reg.RAX))
        vm.resume()
"""


class Counted:
    """User space of LOOP: notes the first access that is not the next one."""

    def __init__(self, vcpu: VCPU) -> None:
        self.vcpu = vcpu
        self.turns = 0
        self.expect = (0x80, 1)
        self.wrong = ""
        self.end: VMExit | None = None

    def run(self) -> None:
        """Serve the guest until the VM is suspended."""
        vme = self.vcpu.run()
        while vme.code != ExitCode.SUSPENDED and not self.wrong:
            vme = self.vcpu.run(self.serve(vme))
        self.end = vme

    def serve(self, vme: VMExit) -> Entry:
        """Check one access and answer it."""
        detail = vme.detail
        assert isinstance(detail, Inout | Mmio)
        place, n = self.expect
        if isinstance(detail, Inout):
            seen = (detail.port, n if detail.is_in else detail.eax)
        else:
            seen = (detail.gpa, detail.data)
        if seen != self.expect:
            self.wrong = f"{seen} for {self.expect} in turn {self.turns}"
        if place == 0x80:
            self.expect = (0x84, n)
        elif place == 0x84:
            self.expect = (HOLE, n)
        else:
            self.expect = (0x80, n + 1)
            self.turns += 1
        return vme.fulfill(n)


def test_accesses_happen_once_whoever_pauses(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    vcpu = flat32(vm, LOOP)
    vcpu.set_register(Reg.RAX, 0)
    vcpu.set_register(Reg.RBX, HOLE)
    vm.serve()
    counted = Counted(vcpu)
    thread = Thread(target=counted.run)
    thread.start()
    argv = [sys.executable, "-c", PAUSER, str(PAUSES)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert vm.backend == backend
    vm.suspend(SuspendHow.POWEROFF)
    thread.join()
    assert (done.returncode, done.stderr) == (0, "")
    assert counted.wrong == ""
    assert counted.turns > PAUSES // 10
    # The last access is done: the guest stands at the next one of its loop.
    place, n = counted.expect
    starts = {0x84: (CODE + 3,), HOLE: (CODE + 5,), 0x80: (CODE + 7, CODE, CODE + 1)}
    assert vcpu.get_register(Reg.RIP) in starts[place]
    assert n - vcpu.get_register(Reg.RAX) in ((0, 1) if place == 0x80 else (0,))


def test_a_pause_waits_for_an_access_in_hand(vm_factory: Factory, backend: str) -> None:
    vm = vm_factory()
    vcpu = flat32(vm, LOOP)
    vcpu.set_register(Reg.RAX, 0)
    served = Event()

    def serve() -> None:
        vme = vcpu.run()
        served.wait(10)
        vcpu.run(vme.fulfill())  # IN
        vcpu.run()

    thread = Thread(target=serve)
    thread.start()
    while vcpu.get_register(Reg.RIP) == CODE:
        time.sleep(0.001)
    Timer(0.3, served.set).start()
    began = time.monotonic()
    vm.pause()
    assert time.monotonic() - began > 0.1
    assert vm.backend == backend
    assert vcpu.get_register(Reg.RIP) == CODE + 3
    vm.resume()
    time.sleep(0.1)
    vm.suspend(SuspendHow.POWEROFF)
    thread.join()
