"""bhyve: bad input ends in one clear line and bhyve's status, nothing left."""

import os
import subprocess
from pathlib import Path

import pytest

from support.ownguests import own_guest
from support.tools import Tool


@pytest.fixture
def loaded(tool: Tool) -> str:
    """Return the name of a VM that is ready to run."""
    done = tool("bhyveload", "-m", "64M", "--kernel", str(own_guest("monitor")), "t")
    assert done.status == 0, done.err
    return "t"


@pytest.mark.parametrize(
    ("args", "status", "named"),
    [
        (("-m", "0"), 64, "0"),
        (("-c", "2,sockets=3"), 4, "2"),
        (("-s", "0,nonsense"), 4, "nonsense"),
        (("-l", "com9,stdio"), 64, "com9"),
        (("-k", "/nonexistent"), 4, "/nonexistent"),
        (("-U", "no-uuid"), 4, "no-uuid"),
        (("-l", "com1,/nonexistent/tty"), 4, "/nonexistent/tty"),
    ],
)
def test_one_line_and_the_status_for_a_loaded_vm(
    tool: Tool, loaded: str, args: tuple[str, str], status: int, named: str
) -> None:
    memory = () if args[0] == "-m" else ("-m", "64M")
    slots = ("-s", "0,hostbridge", "-s", "31,lpc") if args[0] != "-s" else ()
    done = tool("bhyve", *memory, *slots, *args, loaded)
    assert done.status == status, done.err
    lines = done.err.strip().splitlines()
    # getopt-style failures may be followed by usage; the first line counts.
    assert named in lines[0], done.err
    assert len(lines) == 1, done.err


def test_more_memory_than_the_machine_has(tool: Tool, vm_dir: Path) -> None:
    kernel = str(own_guest("monitor"))
    done = tool("bhyveload", "-m", "64T", "--kernel", kernel, "t")
    assert done.status == 1
    assert len(done.err.strip().splitlines()) == 1
    assert not (vm_dir / "t").exists()


def test_a_vm_that_does_not_exist(tool: Tool, vm_dir: Path) -> None:
    done = tool("bhyve", "-m", "64M", "-s", "0,hostbridge", "nobody")
    assert done.status == 4
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert not (vm_dir / "nobody").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("options", ["ro", "size=64k"])
def test_a_root_without_room(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    where = tmp_path / "full"
    where.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", options, "full", str(where)]
    if subprocess.run(argv, capture_output=True, check=False).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setenv("VMM_DIR", str(where))
        done = tool("bhyveload", "--kernel", str(own_guest("monitor")), "t")
        assert done.status == 1
        assert len(done.err.strip().splitlines()) == 1, done.err
        assert not list(where.iterdir())
    finally:
        subprocess.run(["umount", str(where)], check=True)
