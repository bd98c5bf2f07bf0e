"""The PCI core as a guest sees it, by a harness in C under the sanitizers."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BHYVE = HERE.parents[1] / "csrc" / "bhyve"
SOURCES = (
    *("config.c", "debug.c", "inout.c", "mem.c"),
    *(
        f"pci/pci_{name}.c"
        for name in ("emul", "bar", "cfg", "irq", "irqfd", "msi", "rom")
    ),
)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_the_pci_core(tmp_path: Path) -> None:
    program = tmp_path / "pci_core"
    build = [
        "gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
        "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
        f"-I{BHYVE.parent / 'include'}", f"-I{BHYVE / 'pci'}", "-o", str(program),
        *(str(BHYVE / name) for name in SOURCES), str(HERE / "pci_core.c"),
    ]  # fmt: skip
    subprocess.run(build, check=True)
    done = subprocess.run(
        [program, tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout == "done\n"
