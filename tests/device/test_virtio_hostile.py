"""Hostile virtio drivers against the real device code, with sanitizers."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BHYVE = HERE.parents[1] / "csrc" / "bhyve"
INCLUDES = ("include", "bhyve/virtio", "bhyve/block", "bhyve/pci")
SOURCES = (
    *("config.c", "debug.c", "mevent.c", "pci/pci_msi.c", "net/net_utils.c"),
    "virtio/iov.c",
    "pci/pci_irqfd.c",
    *("virtio/pci_virtio_block.c", "virtio/pci_virtio_rnd.c"),
    "virtio/pci_virtio_console.c",
)


def run_hostile(tmp_path: Path, sanitizer: str, seconds: int) -> None:
    """Build the hostile driver with a sanitizer and let it play."""
    program = tmp_path / "hostile"
    sources = [BHYVE / name for name in SOURCES]
    sources += sorted((BHYVE / "block").glob("*.c"))
    # The transport: virtio.c, virtio_*.c without those of one device.
    sources += [
        path
        for path in sorted((BHYVE / "virtio").glob("virtio*.c"))
        if not path.stem.startswith("virtio_net")
    ]
    sources += [HERE / f"{name}.c" for name in ("fake_machine", "virtio_driver")]
    build = [
        "gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
        f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all",
        *(f"-I{BHYVE.parent / folder}" for folder in INCLUDES), f"-I{HERE}",
        "-o", str(program), *map(str, sources), str(HERE / "virtio_hostile.c"),
    ]  # fmt: skip
    subprocess.run(build, check=True)
    result = subprocess.run(
        [program, tmp_path, str(seconds)],
        capture_output=True,
        text=True,
        timeout=300 + 4 * seconds,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr[-4000:]
    # Ten lines in five seconds for one place of the code, not one an attack.
    assert len(result.stderr.splitlines()) < 2000


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_no_attack_reaches_the_host(tmp_path: Path) -> None:
    run_hostile(tmp_path, "address,undefined", 3)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_long_random_attacks(tmp_path: Path) -> None:
    run_hostile(tmp_path, "address,undefined", 60)
