"""The project's own guests: tests/guests/*.S, built once into build/obj."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "obj" / "guests"


@cache
def build() -> Path:
    """Build all guests; return their folder."""
    subprocess.run(
        ["make", "-s", "guests"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return OUT


def own_guest(name: str) -> Path:
    """Return the ELF file of tests/guests/NAME.S."""
    return build() / f"{name}.elf"
