"""Fixtures: a VM root of one's own, VMs by name, and the three tools.

The package under test is the installed one; the source tree counts only where
an editable install has put the extension into it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support import preload
from support.tools import Result, Tool, tool_argv

ROOT = Path(__file__).resolve().parent.parent

if not list((ROOT / "libvmmapi").glob("_vmm*.so")):
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]

if preload.sanitized():
    preload.keep_from_others()

# A shell's background job ignores these, and so would the tools that it starts.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)

BACKENDS = ("soft", "kvm")


def _destroy_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Destroy the VMs of a root: their memory stands in /dev/shm, not there."""
    from libvmmapi import VM, VMError, list_vms

    monkeypatch.setenv("VMM_DIR", str(root))
    for name in list_vms():
        with suppress(VMError):
            VM.open(name).destroy()


@pytest.fixture(autouse=True)
def vm_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test a VM root that nobody else uses; end what it leaves there."""
    root = tmp_path / "vmm"
    root.mkdir(mode=0o700)
    monkeypatch.setenv("VMM_DIR", str(root))
    monkeypatch.setenv("BHYVE_BACKEND", os.environ.get("BHYVE_BACKEND", "soft"))
    yield root
    if any(root.iterdir()):
        _destroy_all(root, monkeypatch)


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """Run a tool by name with its arguments; return its status and output."""

    def run(name: str, *args: str, stdin: str = "", timeout: float = 30) -> Result:
        done = subprocess.run(
            tool_argv(name, *args),
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test on each processor; KVM only where it can be opened."""
    name: str = request.param
    if name == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no /dev/kvm here")
    monkeypatch.setenv("BHYVE_BACKEND", name)
    return name


@pytest.fixture
def vm_factory(vm_dir: Path) -> Iterator[Callable[..., object]]:
    """Make VMs by name, with some MB of memory, that end with the test."""
    from libvmmapi import VM

    made: list[VM] = []

    def make(name: str = "t", mb: int = 16) -> VM:
        vm = VM.create(name)
        made.append(vm)
        if mb:
            vm.setup_memory(mb << 20)
        return vm

    yield make
    for vm in made:
        try:
            vm.destroy()
        except ValueError:
            continue  # the test has closed or destroyed it


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave the slow tests out unless they are asked for."""
    if config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="slow: run with -m slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
