"""x87, MMX and SSE instructions of the software processor against the host CPU."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
SOFT = CSRC / "vmm" / "soft"

#: What the harness links; it stands in for the rest of the engine.
ENGINE = (
    "decode.c",
    "decode_modrm.c",
    "op_mmx.c",
    "op_x87_arith.c",
    "op_x87_env.c",
    "optab_fp.c",
    "sse_fp.c",
    "sse_imm.c",
    "sse_int.c",
    "sse_mov.c",
    "sse_run.c",
    "sse_str.c",
    "x87_env.c",
    "xsave.c",
    "jit/jit_block.c",
    "jit/jit_cache.c",
    "jit/jit_flow.c",
    "jit/jit_int.c",
    "jit/jit_sse.c",
)

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="not an x86 host"),
]


@pytest.fixture(scope="module")
def fp_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the comparison program from the engine's sources."""
    program = tmp_path_factory.mktemp("fp") / "fp_host"
    sources = [HERE / f"{n}.c" for n in ("fp_host", "fp_gen", "jit_make")]
    sources += [SOFT / n for n in ENGINE]
    build = [
        "gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-no-pie", "-pthread",
        "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
        # The translator names the integer binders, which are not here.
        "-Wl,--unresolved-symbols=ignore-all",
        f"-I{CSRC / 'include'}", f"-I{CSRC / 'vmm'}", f"-I{SOFT}", f"-I{HERE}",
        "-o", str(program), *map(str, sources),
    ]  # fmt: skip
    subprocess.run(build, check=True)
    return program


def compare(program: Path, *args: str) -> None:
    done = subprocess.run([program, *args], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_every_form_of_every_row_does_what_the_host_does(fp_host: Path) -> None:
    compare(fp_host, "-n", "512", "-q", "0")


@pytest.mark.parametrize("seed", ["1", "2"])
def test_random_sequences_leave_the_same_state(fp_host: Path, seed: str) -> None:
    compare(fp_host, "-n", "64", "-q", "100000", "-s", seed)
