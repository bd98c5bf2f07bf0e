"""A hostile driver against virtio-net's code, under the sanitizers."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BHYVE = HERE.parents[1] / "csrc" / "bhyve"
INCLUDES = ("include", "bhyve/virtio", "bhyve/net", "bhyve/pci")
SOURCES = (
    *("config.c", "debug.c", "mevent.c", "pci/pci_msi.c", "pci/pci_irqfd.c"),
    "virtio/iov.c",
    *("net/net_backends.c", "net/net_offload.c", "net/net_utils.c"),
    *(path.relative_to(BHYVE) for path in (BHYVE / "virtio").glob("virtio*.c")),
    "virtio/pci_virtio_net.c",
)

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")


def run(tmp_path: Path, seconds: int) -> None:
    """Build the driver with sanitizers and let it play."""
    program = tmp_path / "hostile"
    sources = [BHYVE / name for name in SOURCES]
    names = ("fake_machine", "virtio_driver", "vtnet_hostile")
    sources += [HERE / f"{name}.c" for name in names]
    build = [
        "gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
        "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
        *(f"-I{BHYVE.parent / folder}" for folder in INCLUDES), f"-I{HERE}",
        "-o", str(program), *map(str, sources),
    ]  # fmt: skip
    subprocess.run(build, check=True)
    done = subprocess.run(
        [program, str(seconds)],
        capture_output=True,
        text=True,
        timeout=300 + 4 * seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.startswith("done, ")


def test_buffers_commands_and_pairs(tmp_path: Path) -> None:
    run(tmp_path, 1)


@pytest.mark.slow
def test_long_random_attacks(tmp_path: Path) -> None:
    run(tmp_path, 15)
