"""fw_cfg and fwctl against a guest in C (fwcfg_host.c), with sanitizers."""

import subprocess
from pathlib import Path

from support import cbuild

HERE = Path(__file__).parent
SOURCES = (
    *("lpc/qemu_fwcfg.c", "lpc/qemu_fwcfg_files.c", "lpc/fwctl.c", "fw/aml.c"),
    *("inout.c", "config.c", "debug.c"),
)


@cbuild.needs_gcc
def test_guests_of_both_kinds(tmp_path: Path) -> None:
    core = [cbuild.CSRC / "bhyve" / name for name in SOURCES]
    program = cbuild.program(tmp_path / "fwcfg", [HERE / "fwcfg_host.c"], core)
    result = subprocess.run(
        [program],
        capture_output=True,
        text=True,
        timeout=120,
        env=cbuild.environment(),
    )
    assert result.returncode == 0, result.stdout + result.stderr
