"""Starting a tool is quick, and imports only what it needs."""

import statistics
import subprocess
import sys
from resource import RUSAGE_CHILDREN, getrusage

import pytest

from support.tools import tool_argv


def processor_seconds(argv: list[str]) -> float:
    """Run a program to its good end; return its user and system time.

    Other work on the machine makes it wait, which does not count here.
    """
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(argv, capture_output=True, check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.mark.parametrize("name", ["bhyve", "bhyvectl"])
def test_help_takes_a_tenth_of_a_second(name: str) -> None:
    argv = tool_argv(name, "--help")
    median = statistics.median(processor_seconds(argv) for _ in range(7))
    assert median < 0.1


@pytest.mark.parametrize("package", ["bhyve_py", "bhyvectl_py"])
def test_rich_is_not_imported_before_a_table_is_drawn(package: str) -> None:
    code = (
        f"import sys, {package}.cli\n"
        "assert 'rich' not in sys.modules and 'elftools' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
