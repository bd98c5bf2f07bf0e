"""tests/device/blkload.c in an initrd: load on a guest's block devices."""

import subprocess
from pathlib import Path

from . import guestfiles, kmods

SOURCE = Path(__file__).parents[1] / "device" / "blkload.c"


def program(out: Path) -> Path:
    """Compile the load generator, static."""
    argv = ["gcc", "-O2", "-D_GNU_SOURCE", "-static", "-o", str(out), str(SOURCE)]
    subprocess.run(argv, check=True)
    return out


def initrd(
    cache: Path, out: Path, names: tuple[str, ...], scripts: dict[str, str]
) -> Path:
    """Write an initrd with modules, scripts and /bin/blkload."""
    kmods.initrd(cache, out, names, scripts)
    load = program(out.with_suffix(".blkload"))
    more = {"bin/blkload": (0o755, load.read_bytes())}
    base = out.read_bytes()
    base += b"\0" * (-len(base) % 4)
    out.write_bytes(base + guestfiles.pack_initrd(more))
    return out
