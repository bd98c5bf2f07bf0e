"""Every row of the list of known holes (support/hostile.py), by its name."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from support import cbuild, hostile

ROOT = Path(__file__).parents[2]
DEVICE = ROOT / "tests" / "device"
RESULT = re.compile(r"^([A-Z]\d\d_\w+|own_\w+) (.+)$", re.M)
MACHINE_ROWS = sorted((ROOT / "tests" / "hostile").glob("rows_*.c"))
OWN = re.findall(
    r"^ROW\((own_\w+)\)", "".join(p.read_text("utf-8") for p in MACHINE_ROWS), re.M
)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@cache
def played(program: str, scratch: Path) -> tuple[dict[str, str], str]:
    """Run a program once; return what it says of its rows, and its stderr."""
    if program == "machine":
        target = cbuild.folder(cbuild.CHECKS) / "rows"
        cbuild.make([target])
        args = [str(target), str(scratch)]
    elif program == "virtio":
        args = [str(virtio_program(scratch)), str(scratch), "3"]
    else:
        args = [str(net_program(scratch)), "1", "3"]
    done = subprocess.run(
        args,
        capture_output=True,
        text=True,
        timeout=300,
        errors="replace",
        env=cbuild.environment(),
    )
    rows = dict(RESULT.findall(done.stdout))
    if done.returncode != 0:
        rows[""] = f"ended with status {done.returncode}"
    return rows, done.stderr


def virtio_program(out: Path, sanitizer: str = cbuild.CHECKS) -> Path:
    """Build the hostile virtio driver."""
    own = (
        *("virtio_hostile", "virtio_rings", "virtio_registers"),
        *("virtio_attack", "virtio_driver", "fake_machine"),
    )
    core = cbuild.virtio(
        *(f"virtio/pci_virtio_{name}" for name in ("block", "rnd", "console"))
    )
    return cbuild.program(
        out / "virtio_hostile",
        [DEVICE / f"{name}.c" for name in own],
        core + cbuild.sources("bhyve/block"),
        sanitizer,
    )


def net_program(out: Path, sanitizer: str = cbuild.CHECKS) -> Path:
    """Build the hostile network driver."""
    core = sorted((cbuild.CSRC / "bhyve/pci").glob("*e82545*.c"))
    core += [
        cbuild.CSRC / "bhyve" / f"{name}.c"
        for name in ("net/net_backends", "net/net_offload", "net/net_utils", "mevent")
    ]
    own = [DEVICE / "net_hostile.c"]
    return cbuild.program(out / "net_hostile", own, core, sanitizer)


@cbuild.needs_gcc
@pytest.mark.slow
def test_long_random_virtio_attacks(tmp_path: Path) -> None:
    program = virtio_program(tmp_path)
    done = subprocess.run(
        [program, tmp_path, "60"],
        capture_output=True,
        text=True,
        timeout=540,
        env=cbuild.environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


@cbuild.needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
def test_long_random_network_guests(tmp_path: Path, seed: int) -> None:
    done = subprocess.run(
        [net_program(tmp_path), str(seed), "20"],
        capture_output=True,
        text=True,
        timeout=80,
        env=cbuild.environment(),
    )
    assert done.returncode == 0, done.stderr[-4000:]


def all_played() -> list[tuple[str, str]]:
    """Return program and row of all that programs play."""
    listed = [
        (name, row.program)
        for name, row in hostile.ROWS.items()
        if isinstance(row, hostile.Played)
    ]
    return [*listed, *((name, "machine") for name in OWN)]


@cbuild.needs_gcc
@pytest.mark.parametrize(
    ("row", "program"),
    all_played(),
    ids=[f"hostile_{name}" for name, _ in all_played()],
)
def test_row(row: str, program: str, scratch: Path) -> None:
    rows, err = played(program, scratch)
    assert rows.get(row) == "ok", (rows.get(row), rows.get(""), err[-6000:])


@cbuild.needs_gcc
@pytest.mark.parametrize("program", ["machine", "virtio", "net"])
def test_programs_play_what_the_list_says(program: str, scratch: Path) -> None:
    rows, err = played(program, scratch)
    assert "" not in rows, (rows[""], err[-6000:])
    assert {r for r in rows if not r.startswith("own_")} == set(
        hostile.played_by(program)
    )
    # Ten lines in five seconds for one place of the code, not one an attack.
    assert len(err.splitlines()) < 2000


def test_every_row_has_its_test() -> None:
    rows = hostile.ROWS.values()
    assert not [
        r for r in rows if isinstance(r, hostile.Test) and hostile.missing_test(r)
    ]


@pytest.mark.parametrize(
    "row",
    [n for n, r in hostile.ROWS.items() if isinstance(r, hostile.NotBuilt)],
)
def test_what_is_not_played_is_not_built(row: str) -> None:
    entry = hostile.ROWS[row]
    assert isinstance(entry, hostile.NotBuilt)
    assert not hostile.built(entry), f"{entry.device} is here: play {row}"


def test_no_pickles() -> None:
    """State and messages are structures and JSON, never code (S03)."""
    bad = re.compile(r"\b(pickle|marshal|shelve)\b|(?<![\w.])(?<!def )(eval|exec)\(")
    files = [
        path
        for folder in ("libvmmapi", "bhyve_py", "bhyvectl_py", "bhyveload_py")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert files
    assert not [str(p) for p in files if bad.search(p.read_text("utf-8"))]


@cbuild.needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("program", ["machine", "virtio", "net"])
def test_rows_without_races(program: str, tmp_path: Path) -> None:
    """The same rows under the thread sanitizer."""
    if program == "machine":
        target = cbuild.folder("thread") / "rows"
        cbuild.make([target], "thread")
        args = [target, tmp_path]
    elif program == "virtio":
        args = [virtio_program(tmp_path, "thread"), tmp_path, "6"]
    else:
        args = [net_program(tmp_path, "thread"), "1", "6"]
    done = subprocess.run(
        args,
        capture_output=True,
        text=True,
        timeout=600,
        errors="replace",
        env=cbuild.environment(),
    )
    rows = dict(RESULT.findall(done.stdout))
    assert rows
    assert not {name: end for name, end in rows.items() if end != "ok"}, done.stderr
    assert done.returncode == 0, done.stderr[-6000:]
