"""Packed virtqueues: a driver of ours that keeps the rules, then breaks them."""

import subprocess
from pathlib import Path

import pytest

from support import cbuild

HERE = Path(__file__).parent
OWN = [HERE / f"{n}.c" for n in ("fake_machine", "virtio_driver", "packed_hostile")]


def run_packed(folder: Path, milliseconds: int, sanitizer: str = cbuild.CHECKS) -> None:
    """Build the driver and let it play."""
    core = cbuild.virtio("virtio/pci_virtio_block") + cbuild.sources("bhyve/block")
    program = cbuild.program(folder / "packed", OWN, core, sanitizer)
    done = subprocess.run(
        [program, folder, str(milliseconds)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=cbuild.environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


@cbuild.needs_gcc
@pytest.mark.parametrize("sanitizer", cbuild.BOTH)
def test_rules_kept_and_broken(tmp_path: Path, sanitizer: str) -> None:
    run_packed(tmp_path, 1000, sanitizer)


@pytest.mark.slow
@cbuild.needs_gcc
def test_long_random_attacks(tmp_path: Path) -> None:
    run_packed(tmp_path, 20000)
