"""The chips of csrc/vmm/io against a fake core (chips_fake.h), with sanitizers."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
@pytest.mark.parametrize("driver", ["chips_intr.c", "chips_time.c"])
def test_chips(tmp_path: Path, driver: str) -> None:
    sources = sorted((CSRC / "vmm" / "io").glob("*.c"))
    program = tmp_path / "chips"
    build = [
        "gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
        "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
        f"-I{CSRC / 'include'}", f"-I{CSRC / 'vmm' / 'io'}",
        "-o", str(program), str(HERE / driver), *map(str, sources),
    ]  # fmt: skip
    subprocess.run(build, check=True)
    result = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
