"""A hostile guest against the network devices' code, under the sanitizers."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
SOURCES = (
    ROOT / "tests/device/net_hostile.c",
    *sorted((CSRC / "bhyve/pci").glob("*e82545*.c")),
    *(CSRC / f"bhyve/net/{name}.c" for name in ("net_backends", "net_offload")),
    CSRC / "bhyve/net/net_utils.c",
    CSRC / "bhyve/mevent.c",
)
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread", "-Wno-unused-parameter")


def build(out: Path, sanitizers: str) -> Path:
    program = out / "net_hostile"
    folders = ("include", "bhyve/net", "bhyve/pci")
    includes = [f"-I{CSRC / name}" for name in folders]
    done = subprocess.run(
        [
            *("gcc", *FLAGS, f"-fsanitize={sanitizers}", "-fno-sanitize-recover"),
            *(*includes, "-o", str(program), *map(str, SOURCES)),
        ],
        capture_output=True,
        text=True,
    )
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("gcc has no sanitizers here")
    assert done.returncode == 0, done.stderr
    return program


def attack(program: Path, seed: int, seconds: int) -> None:
    done = subprocess.run(
        [str(program), str(seed), str(seconds)],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.startswith("ok: ")


def test_hostile_b05_b09_e01_e02_v20(tmp_path: Path) -> None:
    attack(build(tmp_path, "address,undefined"), 1, 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
def test_hostile_random_guests(tmp_path: Path, seed: int) -> None:
    attack(build(tmp_path, "address,undefined"), seed, 20)
