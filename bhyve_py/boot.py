"""One run of the machine, and how the process ends after it."""

import os
import signal

from libvmmapi._ffi import lib
from libvmmapi.cli import console


def boot() -> int:
    """Run the machine once and return bhyve's exit status.

    The C library prints one line for whatever fails, and handles signals while
    it runs.
    """
    console.flush()
    return lib.bhyve_run()


def die() -> None:
    """End by the signal that ended the run, so that the caller sees it; or return."""
    number = lib.bhyve_term_signal()
    if number:
        console.flush()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
