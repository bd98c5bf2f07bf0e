"""Packed virtqueues: a driver of ours that keeps the rules, then breaks them."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BHYVE = HERE.parents[1] / "csrc" / "bhyve"
INCLUDES = ("include", "bhyve/virtio", "bhyve/block", "bhyve/pci")
SOURCES = (
    *("config.c", "debug.c", "mevent.c", "pci/pci_msi.c", "net/net_utils.c"),
    "pci/pci_irqfd.c",
)


def run_packed(folder: Path, sanitizer: str, milliseconds: int) -> None:
    """Build the driver with a sanitizer and let it play."""
    program = folder / "packed"
    sources = [BHYVE / name for name in SOURCES]
    sources += sorted((BHYVE / "block").glob("*.c"))
    # The transport: virtio.c, virtio_*.c without those of one device.
    sources += [
        path
        for path in sorted((BHYVE / "virtio").glob("virtio*.c"))
        if not path.stem.startswith("virtio_net")
    ]
    sources += [BHYVE / "virtio" / f"{name}.c" for name in ("iov", "pci_virtio_block")]
    names = ("fake_machine", "virtio_driver", "packed_hostile")
    sources += [HERE / f"{name}.c" for name in names]
    build = [
        "gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
        f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all",
        *(f"-I{BHYVE.parent / folder}" for folder in INCLUDES), f"-I{HERE}",
        "-o", str(program), *map(str, sources),
    ]  # fmt: skip
    subprocess.run(build, check=True)
    done = subprocess.run(
        [program, folder, str(milliseconds)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_rules_kept_and_broken(tmp_path: Path) -> None:
    run_packed(tmp_path, "address,undefined", 1000)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_long_random_attacks(tmp_path: Path) -> None:
    run_packed(tmp_path, "address,undefined", 20000)
