"""Owners of VMs killed at any moment: what is left is whole, and can go."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from libvmmapi import VM, OpenFlags, VMError, list_vms, vm_infos
from support.tools import Tool

ROOT = Path(__file__).resolve().parents[2]
KILLER = ROOT / "tests" / "support" / "killer.py"
SHM = Path("/dev/shm")
PROCESSES = 4
KILLS = int(os.environ.get("VM_KILLS", "25"))
ONE, MANY = "same", "a,b,c,d"


def spawn(names: str, seed: int) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, str(KILLER), names, str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def of_root(root: Path) -> list[str]:
    """Return what stands in /dev/shm of the VMs of a root, dead or alive."""
    inside = str(root) + "/"
    found = []
    for path in SHM.iterdir():
        if path.is_symlink() and os.readlink(path).startswith(inside):
            prefix = path.name.rpartition(".")[0]
            found += [other.name for other in SHM.glob(prefix + ".*")]
    return sorted(found)


def end(process: "subprocess.Popen[str]", killed: bool) -> None:
    """Wait for a process that was killed, and for nothing else."""
    _, err = process.communicate(timeout=60)
    assert (process.returncode == -signal.SIGKILL) is killed, err


@pytest.mark.slow
@pytest.mark.parametrize("names", [ONE, MANY])
def test_killed_at_random_moments(
    vm_dir: Path, tool: Tool, backend: str, names: str
) -> None:
    assert backend in ("soft", "kvm")
    rng = random.Random(names)
    before = set(os.listdir(SHM))
    processes = [spawn(names, seed) for seed in range(PROCESSES)]
    try:
        for turn in range(KILLS):
            time.sleep(rng.uniform(0, 0.2))
            index = rng.randrange(PROCESSES)
            processes[index].kill()
            end(processes[index], killed=True)
            processes[index] = spawn(names, 100 + turn)
        # The others never met anything but what they may meet.
        for process in processes:
            assert process.poll() is None, process.communicate()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    for info in vm_infos():
        assert info.state in ("stopped", "dead"), info
    for name in names.split(","):
        # Whatever is left can be opened, begins anew, and can be removed.
        with VM.open(name, OpenFlags.CREATE | OpenFlags.REINIT) as vm:
            assert vm.trouble == ""
            size = vm.lowmem_size or 1 << 20
            vm.setup_memory(size)
            vm.map_gpa(0, size)[:4] = b"good"
        with VM.open(name) as vm:
            assert bytes(vm.map_gpa(0, 4)) == b"good"
        done = tool("bhyvectl", f"--vm={name}", "--destroy")
        assert (done.status, done.err) == (0, "")
    assert list_vms() == []
    assert list(vm_dir.iterdir()) == []
    assert of_root(vm_dir) == []
    left = {n for n in os.listdir(SHM) if n.startswith("vmm-gone.")} - before
    assert left == set()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["open", "bhyvectl"])
def test_a_killed_owners_vm_goes_at_once(
    vm_factory: Callable[..., VM], tool: Tool, how: str
) -> None:
    for seed in range(5):
        vm_factory("t", mb=1).close()
        process = spawn("t", seed)
        time.sleep(0.1)
        process.kill()
        end(process, killed=True)
        if how == "bhyvectl":
            done = tool("bhyvectl", "--vm=t", "--destroy")
            assert done.status == 0 or "could not be opened" in done.err
        else:
            try:
                VM.open("t").destroy()
            except VMError as error:
                assert "No such file" in str(error)  # noqa: PT017
        assert list_vms() == []
