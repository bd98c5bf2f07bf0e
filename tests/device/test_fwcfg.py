"""fw_cfg and fwctl against a guest in C (fwcfg_host.c), with sanitizers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
SOURCES = (
    *("lpc/qemu_fwcfg.c", "lpc/qemu_fwcfg_files.c", "lpc/fwctl.c", "fw/aml.c"),
    *("inout.c", "config.c", "debug.c"),
)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_guests_of_both_kinds(tmp_path: Path) -> None:
    program = tmp_path / "fwcfg"
    build = [
        "gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
        "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
        f"-I{CSRC / 'include'}", f"-I{CSRC / 'bhyve' / 'lpc'}",
        "-o", str(program), str(HERE / "fwcfg_host.c"),
        *(str(CSRC / "bhyve" / name) for name in SOURCES),
    ]  # fmt: skip
    subprocess.run(build, check=True)
    result = subprocess.run(
        [program],
        capture_output=True,
        text=True,
        timeout=120,
        env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
