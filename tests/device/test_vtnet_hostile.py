"""A hostile driver against virtio-net's code, under the sanitizers."""

import subprocess
from pathlib import Path

import pytest

from support import cbuild

HERE = Path(__file__).parent
OWN = [HERE / f"{n}.c" for n in ("fake_machine", "virtio_driver", "vtnet_hostile")]

pytestmark = cbuild.needs_gcc


def run(tmp_path: Path, seconds: int, sanitizer: str = cbuild.CHECKS) -> None:
    """Build the driver and let it play."""
    core = cbuild.virtio(
        *("net/net_backends", "net/net_offload", "virtio/pci_virtio_net")
    )
    core += sorted((cbuild.CSRC / "bhyve/virtio").glob("virtio_net*.c"))
    program = cbuild.program(tmp_path / "hostile", OWN, core, sanitizer)
    done = subprocess.run(
        [program, str(seconds)],
        capture_output=True,
        text=True,
        timeout=300 + 4 * seconds,
        check=False,
        env=cbuild.environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.startswith("done, ")


@pytest.mark.parametrize("sanitizer", cbuild.BOTH)
def test_buffers_commands_and_pairs(tmp_path: Path, sanitizer: str) -> None:
    run(tmp_path, 1, sanitizer)


@pytest.mark.slow
def test_long_random_attacks(tmp_path: Path) -> None:
    run(tmp_path, 15)
