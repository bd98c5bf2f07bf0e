"""Starting a tool is quick, and imports only what it needs."""

import statistics
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import pytest

from libvmmapi import VM
from support import preload
from support.tools import tool_argv


def processor_seconds(argv: list[str]) -> float:
    """Run a program to its good end; return its user and system time.

    Other work on the machine makes it wait, which does not count here.
    """
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(argv, capture_output=True, check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@preload.needs_speed
@pytest.mark.parametrize("name", ["bhyve", "bhyvectl", "bhyveload"])
def test_help_takes_a_tenth_of_a_second(name: str) -> None:
    argv = tool_argv(name, "--help")
    median = statistics.median(processor_seconds(argv) for _ in range(7))
    assert median < 0.1


#: What only some calls need, and costs more than a call of bhyvectl itself.
HEAVY = {"click", "rich", "elftools", "dataclasses", "inspect", "json", "asyncio"}


def imported(code: str) -> set[str]:
    """Return the heavy modules that a program has loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys\n{PATH}\n{code}\n{REPORT}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split()) & HEAVY


PATH = f"sys.path[:] = {[*filter(None, sys.path)]!r}"
REPORT = "print(); print(*sys.modules)"


@pytest.mark.parametrize("package", ["bhyve_py", "bhyvectl_py"])
def test_starting_imports_nothing_heavy(package: str) -> None:
    assert imported(f"import {package}.cli") == set()


@pytest.mark.parametrize("option", ["--get-all", "--get-stats", "--list"])
def test_bhyvectl_imports_nothing_heavy(vm_dir: Path, option: str) -> None:
    VM.create("t").close()
    words = ["bhyvectl", option, *(["--vm=t"] if option != "--list" else [])]
    code = f"from bhyvectl_py.__main__ import main; sys.argv = {words!r}; main()"
    assert imported(code) == set()
