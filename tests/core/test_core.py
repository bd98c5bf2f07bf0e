"""The core and libvmmapi on the null processor, with sanitizers."""

import os
import subprocess
from pathlib import Path

import pytest

from support import cbuild

HERE = Path(__file__).parent
FOLDERS = ("vmm", "vmm/io", "vmm/vfio", "vmmapi")


@cbuild.needs_gcc
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_core(tmp_path: Path, sanitizer: str) -> None:
    own = [HERE / "core_vm.c", HERE / "vmm_null.c"]
    core = cbuild.sources(*FOLDERS)
    program = cbuild.program(tmp_path / "core_vm", own, core, sanitizer)
    env = cbuild.environment(TSAN_OPTIONS="die_after_fork=0", BHYVE_BACKEND="auto")
    result = subprocess.run(
        [program], capture_output=True, text=True, timeout=300, env=env
    )
    assert result.returncode == 0, result.stdout + result.stderr
    left = list(Path(os.environ["VMM_DIR"]).iterdir())
    assert left == []
