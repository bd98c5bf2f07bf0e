"""Test programs in C over csrc, under sanitizers.

Objects of csrc are compiled once, by make, into build/san-KIND, and kept for
the next run; only a test's own files are compiled with the test.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
CHECKS = "address,undefined"
# Sanitizers make gcc see paths that are none.
WARN = ("-Wall", "-Werror", "-Wno-maybe-uninitialized", "-Wno-format-truncation")
LINK = ("-pthread", "-Wl,-z,start-stop-visibility=hidden", "-lm", "-lz")

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("make") is None,
    reason="no C compiler",
)


# For tests that are run under each; races take a build of their own.
BOTH = (CHECKS, pytest.param("thread", marks=pytest.mark.slow))


def flags(sanitizer: str) -> list[str]:
    """Return what every file is compiled and linked with."""
    stop = ["-fno-sanitize-recover=all"] if sanitizer else []
    return ["-O1", "-g", f"-fsanitize={sanitizer}", *stop, "-fno-omit-frame-pointer"]


def folder(sanitizer: str) -> Path:
    """Return where the objects of a kind stand."""
    return ROOT / "build" / f"san-{sanitizer.replace(',', '-')}"


@cache
def _has(sanitizer: str) -> bool:
    probe = ["gcc", f"-fsanitize={sanitizer}", "-x", "c", "-", "-o", os.devnull]
    done = subprocess.run(
        probe, input="int main(void) { return 0; }", capture_output=True, text=True
    )
    return done.returncode == 0


def make(targets: Iterable[Path], sanitizer: str = CHECKS) -> None:
    """Bring files of the objects' folder up to date."""
    if not _has(sanitizer):
        pytest.skip(f"gcc has no -fsanitize={sanitizer} here")
    out = folder(sanitizer).relative_to(ROOT)
    names = [str(path.relative_to(ROOT)) for path in targets]
    jobs = len(os.sched_getaffinity(0))
    command = [
        *(
            "make",
            "-s",
            f"-j{jobs}",
            f"O={out}",
            f"WARN={' '.join(WARN)}",
        ),
        *(f"CFLAGS={' '.join(flags(sanitizer))}", *names),
    ]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env=environment()
        )
    assert done.returncode == 0, done.stdout + done.stderr


def environment(**values: str) -> dict[str, str]:
    """Return the environment of such a program: it brings its own sanitizer."""
    env = {
        **os.environ,
        "ASAN_OPTIONS": "detect_leaks=0",
        "TSAN_OPTIONS": "die_after_fork=0:exitcode=66",
        **values,
    }
    env.pop("LD_PRELOAD", None)
    return env


def sources(*folders: str) -> list[Path]:
    """Return the C files of folders below csrc."""
    return [path for name in folders for path in sorted((CSRC / name).glob("*.c"))]


def virtio(*devices: str) -> list[Path]:
    """Return the virtio transport and what it stands on, with devices' files."""
    bhyve = CSRC / "bhyve"
    names = (
        *("config", "debug", "mevent", "pci/pci_msi", "pci/pci_irqfd"),
        *("net/net_utils", "virtio/iov", *devices),
    )
    # virtio.c and virtio_*.c, without those of one device.
    transport = [
        path
        for path in sorted((bhyve / "virtio").glob("virtio*.c"))
        if not path.stem.startswith("virtio_net")
    ]
    return [*(bhyve / f"{name}.c" for name in names), *transport]


def program(
    out: Path,
    own: Sequence[Path],
    core: Sequence[Path],
    sanitizer: str = CHECKS,
    extra: Sequence[str] = (),
) -> Path:
    """Link a test's own files with files of csrc; return the program."""
    objects = [
        folder(sanitizer) / path.relative_to(ROOT).with_suffix(".o") for path in core
    ]
    make(objects, sanitizer)
    includes = sorted({path.parent for path in (*own, *core)})
    done = subprocess.run(
        [
            *("gcc", "-std=c11", "-D_GNU_SOURCE", *WARN, *flags(sanitizer)),
            *(f"-I{CSRC / 'include'}", *(f"-I{path}" for path in includes)),
            *("-o", str(out), *map(str, own), *map(str, objects)),
            *(*LINK, *extra),
        ],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return out
