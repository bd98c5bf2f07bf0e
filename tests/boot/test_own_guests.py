"""The project's own guests through the three tools, on both processors."""

import re
from pathlib import Path

import pytest

from support.machine import Machine
from support.ownguests import own_guest

#: Guests of system behaviour; each ends with a PASS line and a triple fault.
NAMES = (
    "seg32", "strict32", "exc32", "priv32", "debug32", "task32",
    "v86", "real16", "long64", "strict64", "smc64", "mmio_event",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_system_behaviour(tmp_path: Path, name: str) -> None:
    with Machine(tmp_path) as machine:
        machine.load("-m", "64M", "--kernel", str(own_guest(name)))
        machine.start("-m", "64M")
        assert machine.wait(30) == 3
        assert re.search(rf"^PASS {name}\r?$", machine.output, re.M), machine.output


def test_the_monitor_answers(tmp_path: Path, backend: str) -> None:
    with Machine(tmp_path, backend=backend) as machine:
        machine.load("-m", "64M", "--kernel", str(own_guest("monitor")))
        machine.start("-m", "64M")
        machine.expect("monitor> ")
        machine.send("h")
        machine.expect("p power-off")
        machine.expect("monitor> ")
        machine.send("p")
        assert machine.wait(30) == 1
