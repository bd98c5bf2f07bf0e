"""bhyve's command in this process, or in a child of it: quicker than a new one."""

import os
import signal
import sys
from pathlib import Path

from bhyve_py.cli import COMMAND
from libvmmapi.cli.main import run

from .tools import Result

SECONDS = 120  # wiring a gigabyte takes its time


def bhyve(*args: str) -> int:
    """Run bhyve's command in this process and return its exit status.

    Only for what ends before there is a machine.
    """
    status = run(COMMAND, ["bhyve", *args], 1, 4)
    sys.stdout.flush()
    return status


def start(folder: Path, *args: str) -> Result:
    """Run bhyve's command in a child; its status is minus a signal's number.

    It has no terminal, its files are in `folder`, and an alarm ends it.
    """
    out, err = folder / "out", folder / "err"
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(SECONDS)
            os.setsid()
            for number, path in ((0, Path(os.devnull)), (1, out), (2, err)):
                flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
                os.dup2(os.open(path, flags, 0o600), number)
            sys.stdin = os.fdopen(0)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            os._exit(bhyve(*args))
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Result(status, out.read_text("utf-8"), err.read_text("utf-8"))
