"""What VMs there are and what they are doing: one record for each."""

import fcntl
import os
import time
from typing import NamedTuple

from .errors import VMError
from .vm import VM
from .vmdir import list_vms, vm_path


class VMInfo(NamedTuple):
    """A VM at a glance.

    ``state`` is "running", "paused", "debug" (a debugger holds all vCPUs),
    "ending" (it was suspended), "stopped" (no process runs it), "held" (a
    process has it and does not answer) or "dead" (its process died, or its
    state is damaged).  ``pid`` and ``uptime``, in seconds, are those of the
    process that runs it; ``memory`` is in bytes.  What is not known is None.
    """

    name: str
    state: str
    pid: int | None = None
    vcpus: int | None = None
    memory: int | None = None
    uptime: float | None = None
    backend: str | None = None


def vm_info(name: str) -> VMInfo:
    """Return what a VM is doing.  VMError(ENOENT): there is none."""
    pid, serving = _owner(name)
    if pid and not serving:
        return VMInfo(name, "held", pid, uptime=_age(pid))
    with VM.open(name) as vm:
        if vm.trouble:
            return VMInfo(name, "dead")
        top = vm.get_topology()
        memory = sum(segment.size for segment in vm.memsegs() if not segment.name)
        state = "stopped" if vm.is_owner else _state(vm)
        running = None if vm.is_owner else pid
        return VMInfo(
            name,
            state,
            running,
            top.sockets * top.cores * top.threads,
            memory,
            _age(running) if running else None,
            vm.backend,
        )


def vm_infos() -> list[VMInfo]:
    """Return what every VM is doing; those that go meanwhile are left out."""
    infos = []
    for name in list_vms():
        try:
            infos.append(vm_info(name))
        except VMError as error:
            if error.errno != 2:
                infos.append(VMInfo(name, "held"))
    return infos


def _state(vm: VM) -> str:
    """Return what a VM does that another process runs."""
    active = set(vm.active_cpus())
    if vm.is_paused():
        return "paused"
    if active and active <= set(vm.suspended_cpus()):
        return "ending"
    if active and active <= set(vm.debug_cpus()):
        return "debug"
    return "running"


def _owner(name: str) -> tuple[int, bool]:
    """Return the pid that owns a VM, 0 for none, and whether it answers."""
    try:
        fd = os.open(vm_path(name) / "lock", os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return 0, False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        words = os.read(fd, 64).split()
        if len(words) >= 2 and words[0].isdigit():
            return int(words[0]), words[1] == b"serve"
        return 0, False  # it is being opened at this moment
    else:
        return 0, False
    finally:
        os.close(fd)


def _age(pid: int) -> float | None:
    """Return the seconds since a process began."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks)
