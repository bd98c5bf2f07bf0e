"""Random ioctls from four processes: no crash, no deadlock, no leak."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from libvmmapi import VM, SuspendHow, VMError, vm_path

ROOT = Path(__file__).resolve().parents[2]
FLOOD = ROOT / "tests" / "support" / "ioctlflood.py"
PROCESSES = 4
#: More of them on request.
REQUESTS = int(os.environ.get("IOCTL_REQUESTS", "10000"))

#: These end the run or the VM itself: the test does that at its own time.
LEFT_OUT = {"VM_SUSPEND", "VM_DESTROY_SELF"}
#: These stop the run, so that no two states would be under test.
PAUSES = {"VM_PAUSE", "VM_RESUME"}


def _table(tmp_path: Path, without: set[str]) -> dict[int, int]:
    """Return command number -> argument size, from the sources."""
    text = (ROOT / "csrc/vmm/vmm_dev.c").read_text("utf-8")
    entries = re.findall(r"\bIOC\((VM_\w+),\s*(struct \w+)", text)
    lines = "".join(
        f'printf("%u %zu\\n", {command}, sizeof({kind}));\n'
        for command, kind in entries
        if command not in without
    )
    source = tmp_path / "sizes.c"
    source.write_text(
        '#include <stdio.h>\n#include "vmm_dev.h"\n'
        f"int main(void) {{\n{lines}return (0); }}\n"
    )
    program = tmp_path / "sizes"
    include = f"-I{ROOT / 'csrc/include'}"
    subprocess.run(["gcc", include, "-o", program, source], check=True)
    out = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {int(a): int(b) for a, b in (line.split() for line in out.splitlines())}


def _spawn(*args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(FLOOD), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _memory(pid: int) -> int:
    """Return the KiB of a process' memory that no guest has."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)
    assert found is not None
    return int(found.group(1))


@pytest.mark.slow
@pytest.mark.parametrize("state", ["stopped", "running", "paused", "both"])
def test_random_ioctls(
    vm_factory: Callable[..., VM], backend: str, state: str, tmp_path: Path
) -> None:
    vm_factory("t", mb=16).close()
    table = _table(tmp_path, LEFT_OUT | (set() if state == "both" else PAUSES))
    owner = _spawn("hold" if state == "stopped" else "own", "t")
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    if state == "paused":
        with VM.open("t") as vm:
            vm.pause()
    before = _fds(owner.pid)
    memory = _memory(owner.pid)
    floods = [
        _spawn(
            *("flood", str(vm_path("t") / "ctl"), str(seed)),
            *(str(REQUESTS // PROCESSES), json.dumps(table)),
        )
        for seed in range(PROCESSES)
    ]
    try:
        for process in floods:
            _, err = process.communicate(timeout=120 + REQUESTS / 50)
            assert process.returncode == 0, (err, owner.poll())
        with VM.open("t") as vm:
            assert vm.get_topology().maxcpus > 0
            # Segments that the flood made are descriptors, vCPUs are memory
            # (64 of them, once); all else is a leak.
            assert _fds(owner.pid) < before + 40
            if "libasan" not in os.environ.get("LD_PRELOAD", ""):
                # (It keeps what was freed.)
                assert _memory(owner.pid) < memory + (96 << 10)
            try:
                vm.suspend(SuspendHow.POWEROFF)
            except VMError:
                vm.reinit()
                vm.suspend(SuspendHow.POWEROFF)
        _, err = owner.communicate(timeout=30)
        assert owner.returncode == 0, err
    finally:
        for process in (*floods, owner):
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_four_processes_take_turns_with_a_stopped_vm(
    vm_factory: Callable[..., VM],
) -> None:
    vm_factory("t", mb=16).close()
    code = """
import errno, random, sys
from libvmmapi import VM, VMError, Reg
rng = random.Random(int(sys.argv[1]))

def turn():
    # Three others grasp for it, too: who was unlucky for long tries again.
    while True:
        try:
            return VM.open("t")
        except VMError as error:
            assert error.errno == errno.EBUSY, error

for _ in range(50):
    with turn() as vm:
        cpu = vm.vcpu(rng.randrange(4))
        for _ in range(50):
            reg = rng.choice(list(Reg))
            try:
                rng.choice([
                    lambda: cpu.set_register(reg, rng.getrandbits(64)),
                    lambda: cpu.get_register(reg),
                    lambda: cpu.set_desc(reg, rng.getrandbits(64), 0xffff, 0x93),
                    lambda: cpu.inject_nmi(),
                    lambda: cpu.inject_exception(rng.randrange(40)),
                    lambda: cpu.lapic_irq(rng.randrange(300)),
                    lambda: vm.rtc_write(rng.randrange(200), rng.randrange(256)),
                    lambda: vm.ioapic_pulse_irq(rng.randrange(40)),
                    lambda: vm.isa_pulse_irq(rng.randrange(20)),
                    lambda: cpu.get_stats(),
                    lambda: vm.reinit(),
                ])()
            except VMError as error:
                assert error.errno, error
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(seed)])
        for seed in range(PROCESSES)
    ]
    for process in processes:
        assert process.wait(timeout=120) == 0
    with VM.open("t") as vm:
        assert vm.trouble == ""
