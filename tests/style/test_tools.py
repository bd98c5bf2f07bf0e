"""ruff, mypy and clang-format find nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed (pip install .[dev])")
    return found


C_FILES = [
    str(path)
    for folder in ("csrc", "tests")
    for path in sorted((ROOT / folder).rglob("*.[ch]"))
]


@pytest.mark.parametrize(
    "argv",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["clang-format", "--dry-run", "-Werror", *C_FILES],
    ],
    ids=["lint", "format", "types", "c-format"],
)
def test_the_tool_finds_nothing(argv: list[str]) -> None:
    done = subprocess.run(
        [_tool(argv[0]), *argv[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
