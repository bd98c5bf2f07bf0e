"""Small guests for system behaviour of the software processor, one topic each."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
GUESTS = HERE.parent / "guests"
FOLDERS = ("vmm", "vmm/io", "vmm/kvm", "vmm/soft", "vmm/soft/jit")
NAMES = (
    "seg32", "strict32", "exc32", "priv32", "debug32", "task32",
    "v86", "real16", "long64", "strict64", "smc64", "mmio_event",
)  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the vmm with the guest runner, under sanitizers."""
    program = tmp_path_factory.mktemp("runner") / "run_guest"
    sources = [HERE / "run_guest.c"]
    for folder in FOLDERS:
        sources += sorted((CSRC / folder).glob("*.c"))
    build = [
        "gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
        "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
        *(f"-I{CSRC / folder}" for folder in ("include", *FOLDERS)),
        "-o", str(program), *map(str, sources),
    ]  # fmt: skip
    subprocess.run(build, check=True)
    return program


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
