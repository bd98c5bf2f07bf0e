"""The fuzz targets on what they have learnt, without libFuzzer (see make fuzz)."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from support import cbuild

HERE = Path(__file__).parent
TARGETS = sorted(
    name
    for path in HERE.glob("targets_*.c")
    for name in re.findall(r'^\t\.name = "([\w-]+)",$', path.read_text("utf-8"), re.M)
)


# What has threads of its own beside the guest's.
THREADED = (
    *("ahci", "ctl", "e1000", "gdb", "net-unix", "nvme", "uart", "virtio-blk"),
    *("virtio-console", "virtio-net", "virtio-net-tap", "virtio-packed"),
)


@cache
def replay(sanitizer: str = cbuild.CHECKS) -> Path:
    """Build the program that plays inputs."""
    target = cbuild.folder(sanitizer) / "replay"
    cbuild.make([target], sanitizer)
    return target


def play(target: str, sanitizer: str) -> None:
    """Play what a target has learnt, and some inputs of chance."""
    done = subprocess.run(
        [replay(sanitizer), HERE / "corpus" / f"{target}.pack", "-r", "20"],
        capture_output=True,
        text=True,
        timeout=120,
        errors="replace",
        env=cbuild.environment(FUZZ_TARGET=target),
    )
    assert done.returncode == 0, done.stderr[-6000:]
    played = re.search(r"^played (\d+)$", done.stdout, re.M)
    assert played is not None
    assert int(played.group(1)) > 20


@cbuild.needs_gcc
@pytest.mark.parametrize("target", TARGETS)
def test_replay(target: str) -> None:
    play(target, cbuild.CHECKS)


@cbuild.needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("target", THREADED)
def test_replay_without_races(target: str) -> None:
    play(target, "thread")


def test_every_target_has_its_corpus() -> None:
    assert {path.stem for path in (HERE / "corpus").glob("*.pack")} == set(TARGETS)
