"""Starting a tool is quick, and imports only what it needs."""

import subprocess
import sys
import time

import pytest

from support.tools import tool_argv


@pytest.mark.parametrize("name", ["bhyve", "bhyvectl"])
def test_help_comes_within_a_tenth_of_a_second(name: str) -> None:
    times = []
    for _ in range(7):
        start = time.monotonic()
        done = subprocess.run(
            tool_argv(name, "--help"), capture_output=True, check=False
        )
        times.append(time.monotonic() - start)
        assert done.returncode == 0
    assert min(times) < 0.1  # the best of them: other work disturbs the rest


@pytest.mark.parametrize("package", ["bhyve_py", "bhyvectl_py"])
def test_rich_is_not_imported_before_a_table_is_drawn(package: str) -> None:
    code = (
        f"import sys, {package}.cli\n"
        "assert 'rich' not in sys.modules and 'elftools' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
