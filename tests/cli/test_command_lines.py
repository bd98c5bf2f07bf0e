"""Command lines of real managers and manuals, as they are typed.

Every one is parsed in full, and then started: what stops it is a host
resource that this machine lacks, or a device that this version lacks.
"""

import json
from pathlib import Path
from typing import TypedDict

import pytest

from bhyvectl_py.cli import command, host_vendor
from libvmmapi import VM, VMError
from libvmmapi.cli.main import run
from support.bhyvecmd import bhyve, start

DATA = Path(__file__).parent / "data" / "command-lines.jsonl"

#: What may stop a start: the words are bhyve's, or name what is not built.
STOPS = (
    "Could not open backing file",
    "Error opening bootrom",
    "of guest memory do not fit",
    "no such interface",
    "No such file or directory",
    "Permission denied",
    "Operation not permitted",
    "is not built in this version",
    "in this version",
    "net backend",
    "backend",
)


class Line(TypedDict):
    """A command line of the corpus."""

    test: str
    tool: str
    argv: list[str]
    expect: str


LINES: list[Line] = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]


def _lines(tool: str, *expect: str) -> list[Line]:
    return [line for line in LINES if line["tool"] == tool and line["expect"] in expect]


def _id(line: Line) -> str:
    return line["test"]


@pytest.mark.parametrize("line", _lines("bhyve", "ok"), ids=_id)
def test_it_parses(capfd: pytest.CaptureFixture[str], line: Line) -> None:
    argv = line["argv"]
    assert bhyve("-o", "config.dump=1", *argv) == 1, capfd.readouterr().err
    out, err = capfd.readouterr()
    assert err == ""
    assert "config.dump=1\n" in out
    if "-r" not in argv:
        assert f"name={argv[-1]}\n" in out
    slots = [word for word in argv if word.endswith(",lpc") or ",hostbridge" in word]
    assert out.count(".device=") >= len(slots)


@pytest.mark.parametrize("line", _lines("bhyve", "ok"), ids=_id)
def test_its_start_ends_for_want_of_something(line: Line, tmp_path: Path) -> None:
    argv = line["argv"]
    if "config.dump=1" in argv or line["test"] == "man-pin":
        pytest.skip("it dumps the tree, or lacks nothing")
    try:
        VM.create(argv[-1]).close()
    except VMError:
        assert "-r" in argv, "a name that is none"
    done = start(tmp_path, *argv)
    assert done.status == 4, done.err
    assert any(words in done.err for words in STOPS), done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("line", _lines("bhyve", "usage"), ids=_id)
def test_what_bhyve_answers_with_its_usage(
    capfd: pytest.CaptureFixture[str], line: Line
) -> None:
    assert bhyve(*line["argv"]) == 1
    assert "Usage: bhyve" in capfd.readouterr().err


@pytest.mark.parametrize("line", _lines("bhyve", "error"), ids=_id)
def test_what_bhyve_refuses(capfd: pytest.CaptureFixture[str], line: Line) -> None:
    assert bhyve(*line["argv"]) == 4
    words = {
        "man-8disks-noname": "pci slot 0:1:0 already occupied!",
        "man-k-config": "configfile: No such file or directory",
        "vm-bhyve-284": "bhyve: invalid passthru options",
    }
    err = capfd.readouterr().err
    assert words[line["test"]] in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("line", _lines("bhyve", "probe"), ids=_id)
def test_a_probe_ends_at_once(capfd: pytest.CaptureFixture[str], line: Line) -> None:
    assert bhyve(*line["argv"]) in {0, 1, 4}
    out, err = capfd.readouterr()
    assert "unknown device" not in err
    assert "Invalid fbuf emulation" not in err
    assert "invalid lpc device configuration" not in err
    assert out == "" or all(
        name and name == name.strip() for name in out.split("\n")[:-1]
    )


@pytest.mark.parametrize(
    "line", [line for line in LINES if line["tool"] == "bhyvectl"], ids=_id
)
def test_what_is_asked_of_bhyvectl(
    capfd: pytest.CaptureFixture[str], line: Line
) -> None:
    """Names are those of no VM, so that each ends for that reason."""
    status = run(command(host_vendor()), ["bhyvectl", *line["argv"]], 1, 255)
    out, err = capfd.readouterr()
    if line["test"] == "ctl-create":
        assert (status, out, err) == (0, "", "")
        return
    assert status == 1
    assert out == ""
    if line["test"] in {"ctl-usage", "ctl-noargs", "ctl-migrate"}:
        assert "[--suspend=<" in err
    elif "checkpoint" in line["test"] or "suspend" in line["test"]:
        assert "no checkpoints" in err or "could not be opened" in err
    else:
        assert "could not be opened: No such file or directory" in err
