"""The chips of csrc/vmm/io against a fake core (chips_fake.h), with sanitizers."""

import subprocess
from pathlib import Path

import pytest

from support import cbuild

HERE = Path(__file__).parent


@cbuild.needs_gcc
@pytest.mark.parametrize("sanitizer", cbuild.BOTH)
@pytest.mark.parametrize("driver", ["chips_intr.c", "chips_time.c"])
def test_chips(tmp_path: Path, driver: str, sanitizer: str) -> None:
    program = cbuild.program(
        tmp_path / "chips", [HERE / driver], cbuild.sources("vmm/io"), sanitizer
    )
    result = subprocess.run(
        [program],
        capture_output=True,
        text=True,
        timeout=120,
        env=cbuild.environment(),
    )
    assert result.returncode == 0, result.stdout + result.stderr
