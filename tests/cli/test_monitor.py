"""-M: the guest is started again when it resets, and the VM goes at the end.

Without it, a VM that bhyve has made stays.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from support.machine import Machine

#: Real mode: writes R to COM1, then resets by port 0xcf9, or spins.
RESET = "baf803b052eebaf90cb006eeebfe"
SPIN = "baf803b052eeebfe"


@pytest.fixture
def machine(vm_dir: Path, backend: str) -> Machine:
    return Machine(vm_dir, backend=backend)


def _rom(tmp_path: Path, program: str) -> str:
    """Write a boot ROM that runs a program; return -l's argument."""
    code = bytes.fromhex(program)
    image = bytearray(b"\xf4" * 65536)
    image[-256 : -256 + len(code)] = code
    image[-16:-13] = b"\xe9\x0d\xff"  # jmp to 256 bytes before the end
    path = tmp_path / "rom.fd"
    path.write_bytes(image)
    return f"bootrom,{path}"


def test_a_reset_starts_the_guest_again(
    machine: Machine, vm_dir: Path, tmp_path: Path
) -> None:
    with machine:
        machine.start("-M", "-l", _rom(tmp_path, RESET))
        machine.expect("RRR")
        assert (vm_dir / machine.name).is_dir()
        machine.signal(signal.SIGTERM)
        assert machine.wait() == -signal.SIGTERM
        assert not (vm_dir / machine.name).exists()


def test_without_reboot_a_reset_is_the_end(
    machine: Machine, vm_dir: Path, tmp_path: Path
) -> None:
    with machine:
        machine.start("-MN", "-l", _rom(tmp_path, RESET))
        assert machine.wait() == 0
        assert machine.output.count("R") == 1
        assert not (vm_dir / machine.name).exists()


def test_a_killed_guest_is_an_error(
    machine: Machine, vm_dir: Path, tmp_path: Path
) -> None:
    with machine:
        machine.start("-M", "-l", _rom(tmp_path, SPIN))
        machine.expect("R")
        assert machine.process is not None
        tasks = Path(f"/proc/{machine.process.pid}/task").iterdir()
        (child,) = [
            int(pid)
            for task in tasks
            for pid in (task / "children").read_text("ascii").split()
        ]
        os.kill(child, signal.SIGKILL)
        assert machine.wait() == 4
        assert not (vm_dir / machine.name).exists()


def test_a_killed_monitor_takes_all_along(
    machine: Machine, vm_dir: Path, tmp_path: Path
) -> None:
    with machine:
        machine.start("-M", "-l", _rom(tmp_path, SPIN))
        machine.expect("R")
        assert machine.process is not None
        machine.process.kill()
        assert machine.wait() == -signal.SIGKILL
        end = time.monotonic() + 30
        while (vm_dir / machine.name).exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not (vm_dir / machine.name).exists()


def test_without_a_monitor_a_killed_guests_vm_is_dead(
    machine: Machine, vm_dir: Path, tmp_path: Path
) -> None:
    with machine:
        machine.start("-l", _rom(tmp_path, SPIN))
        machine.expect("R")
        lock = vm_dir / machine.name / "lock"
        end = time.monotonic() + 30
        while "once" in lock.read_text("ascii"):  # the start is still under way
            assert time.monotonic() < end
            time.sleep(0.01)
        machine.signal(signal.SIGKILL)
        assert machine.wait() == -signal.SIGKILL
        assert " dead " in machine.run("bhyvectl", "--list").stdout
        assert (vm_dir / machine.name).is_dir()
        assert machine.ctl("--destroy").returncode == 0
        assert not (vm_dir / machine.name).exists()


def test_a_vm_that_was_there_stays(
    machine: Machine, vm_dir: Path, tmp_path: Path
) -> None:
    with machine:
        assert machine.ctl("--create").returncode == 0
        machine.start("-MN", "-l", _rom(tmp_path, RESET))
        assert machine.wait() == 0
        assert (vm_dir / machine.name).is_dir()
