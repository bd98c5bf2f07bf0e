"""bhyvectl(8): read the options; what they ask for is session.py's."""

import sys

from libvmmapi.cli.main import run
from libvmmapi.cli.tool import Tool

from .actions import OPTIONS, usage

_USAGE = 1
#: What a failed call returns: -1, as the shell sees it.
_CALL_FAILED = 255


def bhyvectl(pairs: list[tuple[str, str]], operands: list[str]) -> int:
    """Do what the options say, in bhyvectl's order."""
    from .session import session

    return session(pairs, operands)


COMMAND = Tool(
    "bhyvectl", bhyvectl, usage, longopts=[option.spec for option in OPTIONS]
)


def main() -> int:
    """Run bhyvectl with the process's arguments and return the exit status."""
    return run(COMMAND, sys.argv, _USAGE, _CALL_FAILED)
