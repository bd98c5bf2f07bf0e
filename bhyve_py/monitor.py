"""-M: a parent that makes the VM, runs a child for each boot, and cleans up.

The child builds and runs the machine as bhyve without -M does.  When the guest
resets, the parent starts it again; anything else is the parent's own end.  A
parent that is killed takes the child along, which cleans up then.
"""

import os
import signal
from types import FrameType
from typing import NoReturn

from libvmmapi._ffi import lib
from libvmmapi.cli import console
from libvmmapi.cli.failure import Failure
from libvmmapi.errors import VMError
from libvmmapi.vm import VM, create

from .boot import boot, die
from .status import ExitStatus

_EEXIST = 17
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def _child(parent: int, name: str, *, created: bool) -> NoReturn:
    """Run one boot in a process of its own; return to nobody."""
    status = int(ExitStatus.ERROR)
    try:
        for number in _FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        lib.bhyve_follow_parent(parent, signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        status = boot()
        if created and os.getppid() != parent:
            _destroy(name)
        die()
        console.flush()
    except Failure as error:
        if error.message:
            console.message("bhyve", error.message)
        status = error.status
    except (OSError, ValueError, MemoryError) as error:
        console.message("bhyve", str(error) or type(error).__name__)
    finally:
        os._exit(status)


class _Signals:
    """The first signal that came, which is also handed to the child."""

    def __init__(self) -> None:
        self.child = 0
        self.caught = 0
        for number in _FORWARDED:
            signal.signal(number, self._forward)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.caught = self.caught or number
        if self.child:
            os.kill(self.child, number)


def _once(signals: _Signals, name: str, *, created: bool) -> int:
    """Run one boot and return its exit status, or minus a signal's number."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    console.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _child(parent, name, created=created)
    signals.child = child
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    # The child stays a zombie meanwhile: its number is nobody else's.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    signals.child = 0
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _create(name: str) -> bool:
    """Make the VM; false if there was one, which its maker keeps."""
    try:
        create(name)
    except VMError as error:
        if error.errno != _EEXIST:
            raise Failure(ExitStatus.ERROR, str(error)) from error
        return False
    return True


def _destroy(name: str) -> None:
    try:
        VM.open(name).destroy()
    except VMError as error:
        if error.errno != 2:  # the guest's power-off may have done it (-D)
            console.message("bhyve", str(error))


def monitor(name: str, *, reboot: bool) -> int:
    """Boot until something else than a reset ends it; return the exit status.

    After a signal the guest is not started again.
    """
    created = _create(name)
    try:
        signals = _Signals()
        status = _once(signals, name, created=created)
        while status == ExitStatus.RESET and reboot and not signals.caught:
            status = _once(signals, name, created=created)
    finally:
        if created:
            _destroy(name)
    if signals.caught and status <= 0:
        signal.signal(signals.caught, signal.SIG_DFL)
        os.kill(os.getpid(), signals.caught)
    return ExitStatus.ERROR if status < 0 else status
