"""Many VMs at once that idle as servers do: real bhyves, one guest each."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .machine import SLOTS
from .tools import tool_argv

#: How long a VM may take to its first HLT, in seconds.
_LIMIT = 60.0


def _serves(lock: Path) -> bool:
    """Say whether the VM's bhyve answers others."""
    try:
        return lock.read_bytes().endswith(b"serve\n")
    except FileNotFoundError:
        return False


@contextmanager
def fleet(
    root: Path, guest: Path, count: int, backend: str = "soft", memory: str = "64M"
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run `count` VMs below `root`; yield the bhyve of each, by the VM's name."""
    env = dict(os.environ, VMM_DIR=str(root), BHYVE_BACKEND=backend)
    names = [f"vm{number:02}" for number in range(count)]
    running: dict[str, subprocess.Popen[bytes]] = {}

    def run(tool: str, *args: str) -> None:
        subprocess.run(tool_argv(tool, *args), env=env, check=True)

    try:
        for name in names:
            run("bhyveload", "-m", memory, "--kernel", str(guest), name)
            running[name] = subprocess.Popen(
                tool_argv("bhyve", "-c", "1", "-m", memory, *SLOTS, name),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        end = time.monotonic() + _LIMIT
        while not all(_serves(root / name / "lock") for name in names):
            if time.monotonic() > end:
                raise RuntimeError("a VM of the fleet does not answer")
            time.sleep(0.05)
        yield running
    finally:
        for process in running.values():
            process.kill()
        for process in running.values():
            process.wait()
        for name in names:
            subprocess.run(
                tool_argv("bhyvectl", f"--vm={name}", "--destroy"),
                env=env,
                check=False,
                capture_output=True,
            )
