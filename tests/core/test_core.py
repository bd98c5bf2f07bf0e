"""The core and libvmmapi on the null processor, with sanitizers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
FOLDERS = ("vmm", "vmm/io", "vmmapi")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_core(tmp_path: Path, sanitizer: str) -> None:
    sources = [HERE / "core_vm.c", HERE / "vmm_null.c"]
    for folder in FOLDERS:
        sources += sorted((CSRC / folder).glob("*.c"))
    program = tmp_path / "core_vm"
    build = [
        "gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
        f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all",
        *(f"-I{CSRC / folder}" for folder in ("include", *FOLDERS)),
        "-o", str(program), *map(str, sources),
    ]  # fmt: skip
    subprocess.run(build, check=True)
    env = os.environ | {"TSAN_OPTIONS": "die_after_fork=0", "BHYVE_BACKEND": "auto"}
    result = subprocess.run(
        [program], capture_output=True, text=True, timeout=300, env=env
    )
    assert result.returncode == 0, result.stdout + result.stderr
    left = list(Path(os.environ["VMM_DIR"]).iterdir())
    assert left == []
