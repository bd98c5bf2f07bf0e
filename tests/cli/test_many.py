"""Fifty VMs at once: bhyvectl answers about each of them, and about all."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import pytest

from libvmmapi import VM
from support import preload
from support.fleet import fleet as idlers
from support.ownguests import own_guest
from support.tools import Tool, tool_argv

COUNT = 50
SERVED = 3

#: Opens and serves VMs of these names, as that many processes would.
HOLDER = """
import sys
from libvmmapi import VM, OpenFlags
vms = [VM.open(name, OpenFlags.OWNER) for name in sys.argv[1:]]
for vm in vms:
    vm.serve()
print("up", flush=True)
sys.stdin.read()
"""


def cost(argv: list[str]) -> float:
    """Return the processor time of a whole call, in seconds."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(argv, check=True, capture_output=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.fixture
def fleet(vm_dir: Path) -> Iterator[list[str]]:
    """Make VMs of which a process holds all but a few."""
    names = [f"vm{number:02}" for number in range(COUNT)]
    for name in names:
        with VM.create(name) as vm:
            vm.setup_memory(16 << 20)
    argv = [sys.executable, "-c", HOLDER, *names[:-SERVED]]
    holder = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "up\n"
        yield names
    finally:
        holder.communicate("")


def test_fifty_vms(tool: Tool, fleet: list[str]) -> None:
    listed = json.loads(tool("bhyvectl", "--list", "--json").out)
    assert [vm["name"] for vm in listed] == fleet
    assert all(vm["memory"] == 16 << 20 for vm in listed)
    assert [vm["state"] for vm in listed].count("stopped") == SERVED
    lines = tool("bhyvectl", "--list").out.splitlines()
    assert len(lines) == COUNT + 1
    for name in (fleet[0], fleet[-1]):
        assert "rip[0]" in tool("bhyvectl", f"--vm={name}", "--get-all").out


@preload.needs_speed
@pytest.mark.parametrize("args", [("--list",), ("--get-all",), ("--get-stats",)])
def test_each_answer_is_cheap(fleet: list[str], args: tuple[str, ...]) -> None:
    names = fleet[:9]
    calls = [
        tool_argv(
            "bhyvectl", *args, *(() if args[0] == "--list" else (f"--vm={name}",))
        )
        for name in names
    ]
    # What starting costs is mostly the interpreter's and its site's.
    bare = statistics.median(cost([calls[0][0], "--help"]) for _ in range(7))
    median = statistics.median(cost(call) for call in calls)
    assert median - bare < 0.05, (median, bare)
    assert median < 0.15


def test_owners_that_do_not_answer(tool: Tool, vm_dir: Path, fleet: list[str]) -> None:
    """A process that was stopped, as `kill -STOP` does, holds up nothing."""
    pid = int((vm_dir / fleet[0] / "lock").read_text("ascii").split()[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        listed = json.loads(tool("bhyvectl", "--list", "--json").out)
    finally:
        os.kill(pid, signal.SIGCONT)
    states = {vm["name"]: (vm["state"], vm["pid"]) for vm in listed}
    assert list(states) == fleet
    assert states[fleet[0]] == ("held", pid)
    assert states[fleet[-1]] == ("stopped", None)


@pytest.mark.slow
def test_fifty_guests_that_idle(tool: Tool, vm_dir: Path) -> None:
    """Calls beside 50 bhyves cost what they cost alone, and those sleep."""
    with idlers(vm_dir, own_guest("bench_idle"), COUNT) as running:
        listed = json.loads(tool("bhyvectl", "--list", "--json").out)
        assert {vm["name"]: (vm["state"], vm["pid"]) for vm in listed} == {
            name: ("running", process.pid) for name, process in running.items()
        }
        bare = min(cost(tool_argv("bhyvectl", "--help")) for _ in range(9))
        for args in (
            ("--list",),
            ("--vm=vm07", "--get-all"),
            ("--vm=vm07", "--get-stats"),
        ):
            least = min(cost(tool_argv("bhyvectl", *args)) for _ in range(9))
            assert least - bare < 0.03, (args, least, bare)
        before = sum(map(used, running.values()))
        time.sleep(4)
        share = (sum(map(used, running.values())) - before) / 4 / COUNT
        assert share < 0.01


def used(process: subprocess.Popen[bytes]) -> float:
    """Return the processor time that a process has taken, in seconds."""
    text = Path(f"/proc/{process.pid}/stat").read_text("utf-8")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
