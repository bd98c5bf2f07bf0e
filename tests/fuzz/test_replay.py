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


@cache
def replay() -> Path:
    """Build the program that plays inputs."""
    target = cbuild.folder(cbuild.CHECKS) / "replay"
    cbuild.make([target])
    return target


@cbuild.needs_gcc
@pytest.mark.parametrize("target", TARGETS)
def test_replay(target: str) -> None:
    done = subprocess.run(
        [replay(), HERE / "corpus" / f"{target}.pack", "-r", "20"],
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


def test_every_target_has_its_corpus() -> None:
    assert {path.stem for path in (HERE / "corpus").glob("*.pack")} == set(TARGETS)
