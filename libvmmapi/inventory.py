"""What VMs there are and what they are doing: one record for each."""

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from ._ffi import CData, ffi, lib
from .errors import VMError, check
from .vm import VM
from .vmdir import list_vms

#: How long owners may take to answer, in milliseconds.
_PATIENCE = 2000
#: Asked at once: each takes a descriptor.
_AT_ONCE = 256
_ENOENT = 2
_EAGAIN = 11
#: The owner went while it was asked.
_GONE = frozenset({32, 104})  # EPIPE, ECONNRESET


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
    ((_, glance),) = _look([name])
    return _info(name, glance)


def vm_infos() -> list[VMInfo]:
    """Return what every VM is doing; those that go meanwhile are left out."""
    infos = []
    for name, glance in _look(list_vms()):
        try:
            infos.append(_info(name, glance))
        except VMError as error:
            if error.errno != _ENOENT:
                infos.append(VMInfo(name, "held"))
    return infos


def _look(names: list[str]) -> Iterator[tuple[str, CData]]:
    """Yield names, and what the processes that run VMs of these names say."""
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        words = [ffi.new("char[]", os.fsencode(name)) for name in some]
        raw = ffi.new("char *[]", words)
        glances = ffi.new("struct vm_glance[]", len(some))
        rc = lib.vm_glances(raw, len(some), _PATIENCE, glances)
        check(rc, "vm_glances")
        for index, name in enumerate(some):
            # An element of an array does not keep it: the caller gets a copy.
            yield name, ffi.new("struct vm_glance *", glances[index])


def _info(name: str, glance: CData) -> VMInfo:
    """Return the record of a VM that was looked at."""
    pid = glance.pid or None
    age = _age(pid) if pid else None
    if glance.error == _EAGAIN or glance.error in _GONE:
        return _resting(name)
    if glance.error == _ENOENT:
        raise VMError(_ENOENT, "vm_open", name)
    if glance.error:
        return VMInfo(name, "held", pid, uptime=age)
    backend = ffi.string(glance.backend).decode()
    state = _state(glance)
    return VMInfo(name, state, pid, glance.vcpus, glance.memory, age, backend)


def _resting(name: str) -> VMInfo:
    """Return the record of a VM that no process runs."""
    with VM.open(name) as vm:
        if vm.trouble:
            return VMInfo(name, "dead")
        if not vm.is_owner:  # somebody has begun meanwhile
            ((_, glance),) = _look([name])
            return _info(name, glance)
        top = vm.get_topology()
        memory = sum(segment.size for segment in vm.memsegs() if not segment.name)
        vcpus = top.sockets * top.cores * top.threads
        return VMInfo(name, "stopped", vcpus=vcpus, memory=memory, backend=vm.backend)


def _state(glance: CData) -> str:
    """Return what a VM does that another process runs."""
    active = glance.active_cpus
    if glance.paused:
        return "paused"
    if active and not active & ~glance.suspended_cpus:
        return "ending"
    if active and not active & ~glance.debug_cpus:
        return "debug"
    return "running"


def _age(pid: int) -> float | None:
    """Return the seconds since a process began."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks)
