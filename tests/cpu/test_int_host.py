"""Integer instructions of the software processor against the host CPU.

The harness is C (int_*.c), linked with the
engine's decoder and integer handlers alone.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OBJDIR = ROOT / "build" / "obj"
HANDLERS = [
    "op_mov",
    "op_alu",
    "op_pair",
    "op_shift",
    "op_muldiv",
    "op_bit",
    "op_bcd",
    "op_string",
    "op_stack",
    "op_branch",
    "op_atomic",
]
OTHERS = ["flags", "optab_int", "decode", "decode_modrm"]
OTHERS += [f"jit/jit_{name}" for name in ("cache", "block", "int", "flow", "sse")]
NO_HOST_MODES = 77


@pytest.fixture(scope="module")
def objects() -> list[Path]:
    """Build the engine's objects with the Makefile's own flags."""
    names = [f"csrc/vmm/soft/{n}.o" for n in HANDLERS + OTHERS]
    subprocess.run(
        ["make", "-s", f"O={OBJDIR}", *(str(OBJDIR / n) for n in names)],
        cwd=ROOT,
        check=True,
    )
    return [OBJDIR / n for n in names]


@pytest.fixture(scope="module")
def harness(objects: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    exe = tmp_path_factory.mktemp("int") / "int_host"
    sources = [
        ROOT / "tests" / "cpu" / f"int_{n}.c"
        for n in ("host", "gen", "jit", "native", "rules")
    ]
    sources.append(ROOT / "tests" / "cpu" / "jit_make.c")
    subprocess.run(
        [
            "gcc",
            "-std=gnu11",
            "-D_GNU_SOURCE",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            f"-I{ROOT}/csrc/include",
            f"-I{ROOT}/csrc/vmm/soft",
            f"-I{ROOT}/csrc/vmm",
            "-o",
            str(exe),
            *map(str, sources),
            *map(str, objects),
            "-lpthread",
        ],
        check=True,
    )
    return exe


@pytest.mark.parametrize("seed", [1, 2])
def test_every_row_does_what_the_host_does(harness: Path, seed: int) -> None:
    done = subprocess.run(
        [str(harness), "150", str(seed)], capture_output=True, text=True, timeout=300
    )
    if done.returncode == NO_HOST_MODES:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout[-4000:]


def test_rules_that_user_mode_cannot_show(harness: Path) -> None:
    done = subprocess.run([str(harness), "rules"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("seed", [1, 2])
def test_translated_blocks_do_what_their_handlers_do(harness: Path, seed: int) -> None:
    done = subprocess.run(
        [str(harness), "blocks", "30000", str(seed)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode == NO_HOST_MODES:
        pytest.skip("no executable memory")
    assert done.returncode == 0, done.stdout[-4000:]


def test_handlers_leave_by_tail_calls_only(objects: list[Path]) -> None:
    """A handler that calls the next one would grow the stack without end."""
    for obj in objects[: len(HANDLERS)]:
        listing = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", str(obj)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert not re.search(r"\bcall\s+\*", listing), obj.name
