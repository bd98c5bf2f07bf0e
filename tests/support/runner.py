"""A process that owns a VM and runs a guest in it, for tests that look at it.

Run as a program: NAME PROGRAM, with the program's real-mode code in hex.  It
prints "up" when others can reach the VM and ends when the VM is suspended.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Real-mode programs: spin for ever; count in AX and in memory at 0x500.
SPIN = "ebfe"
COUNT = "40a30005ebfa"
#: sti; hlt; jump back.
IDLE = "fbf4ebfd"


def main(name: str, program: str) -> None:
    """Run the guest until the VM is suspended."""
    from libvmmapi import VM, Entry, ExitCode, OpenFlags, Reg

    vm = VM.open(name, OpenFlags.OWNER)
    code = bytes.fromhex(program)
    vm.map_gpa(0x1000, len(code))[:] = code
    cpu = vm.vcpu(0)
    cpu.reset()
    cpu.set_desc(Reg.CS, base=0, limit=0xFFFF, access=0x93)
    cpu.set_register(Reg.CS, 0)
    cpu.set_register(Reg.RIP, 0x1000)
    cpu.set_run_state(2)
    cpu.activate()
    vm.serve()
    print("up", flush=True)
    entry: Entry | None = None
    while True:
        vme = cpu.run(entry)
        entry = None
        if vme.code == ExitCode.SUSPENDED:
            break
        if vme.code in {ExitCode.INOUT, ExitCode.MMIO}:
            entry = vme.fulfill(0xFFFFFFFF)
    vm.close()


@contextmanager
def standing(name: str, state: str) -> Iterator[None]:
    """Have a VM "stopped", "paused" or "running" while the block runs.

    Its guest, if it has one, spins at 0x1000 and at 0x1010.
    """
    from libvmmapi import VM

    if state == "stopped":
        yield
        return
    with running(name, SPIN), VM.open(name) as vm:
        code = bytes.fromhex(SPIN)
        vm.map_gpa(0x1010, len(code))[:] = code
        if state == "paused":
            vm.pause()
        yield


@contextmanager
def running(name: str, program: str = SPIN) -> Iterator[subprocess.Popen[str]]:
    """Run main() in a process of its own; end it afterwards."""
    process = subprocess.Popen(
        [sys.executable, __file__, name, program], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
