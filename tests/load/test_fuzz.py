"""The loader's parsers on what support.loadfuzz has learnt, and on a bit more."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import loadfuzz

TESTS = Path(__file__).resolve().parents[1]
TOOLS = {
    "ufs": ("makefs",),
    "iso9660": ("xorriso",),
    "fat": ("mkfs.vfat", "mcopy"),
    "kernel": ("gcc", "ld"),
    "module": ("gcc", "ld"),
    "gzip": ("gcc", "ld"),
    "userboot": ("gcc",),
}


@pytest.mark.parametrize("target", loadfuzz.TARGETS)
def test_known_and_near_inputs(target: str) -> None:
    for name in TOOLS.get(target, ()):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "support.loadfuzz", "-r", "40", target],
        cwd=TESTS,
        env=dict(os.environ, PYTHONPATH=f"{TESTS.parent}:{TESTS}"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert " 0 faults" in done.stdout
