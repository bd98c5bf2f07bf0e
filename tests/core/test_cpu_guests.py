"""Small guests for system behaviour of the software processor, one topic each."""

import subprocess
from pathlib import Path

import pytest

from support import cbuild

HERE = Path(__file__).parent
GUESTS = HERE.parent / "guests"
FOLDERS = ("vmm", "vmm/io", "vmm/vfio", "vmm/kvm", "vmm/soft", "vmm/soft/jit")
NAMES = (
    "seg32", "strict32", "exc32", "priv32", "debug32", "task32",
    "v86", "real16", "long64", "strict64", "smc64", "mmio_event",
    "hostile64", "trap64",
)  # fmt: skip

pytestmark = cbuild.needs_gcc


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the vmm with the guest runner, under sanitizers."""
    out = tmp_path_factory.mktemp("runner") / "run_guest"
    return cbuild.program(out, [HERE / "run_guest.c"], cbuild.sources(*FOLDERS))


@pytest.mark.parametrize("translate", ["0", "all"])
@pytest.mark.parametrize("name", NAMES)
def test_guest(runner: Path, tmp_path: Path, name: str, translate: str) -> None:
    """Once by the interpreter, once with every block translated at once."""
    obj, elf = tmp_path / "g.o", tmp_path / "g.elf"
    assemble = ["gcc", "-m32", "-c", f"-I{GUESTS}", "-o", str(obj)]
    subprocess.run([*assemble, str(GUESTS / f"{name}.S")], check=True)
    link = ["ld", "-m", "elf_i386", "-nostdlib", "--no-warn-rwx-segments"]
    script = str(GUESTS / "guest.ld")
    subprocess.run([*link, "-T", script, "-o", str(elf), str(obj)], check=True)
    result = subprocess.run(
        [runner, "soft", elf],
        env={"BHYVE_TRANSLATE": translate},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout == f"PASS {name}\n", result.stdout + result.stderr
    assert result.returncode == 0, result.stderr
