"""bhyvectl(8): read the options; what they ask for is session.py's."""

import os
import sys

from libvmmapi.cli import console
from libvmmapi.cli.main import run
from libvmmapi.cli.tool import Tool

from .actions import VENDORS, options, usage

_USAGE = 1
#: What a failed call returns: -1, as the shell sees it.
_CALL_FAILED = 255
#: The first processor's lines are enough, of a file that may be long.
_CPUINFO = 4096


def host_vendor() -> str:
    """Return the vendor of the host's processor, which guests see as theirs."""
    try:
        fd = os.open("/proc/cpuinfo", os.O_RDONLY)
        text = os.read(fd, _CPUINFO).decode("ascii", "replace")
        os.close(fd)
    except OSError:
        return ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "vendor_id":
            return value.removeprefix(" ")
    return ""


def bhyvectl(pairs: list[tuple[str, str]], operands: list[str]) -> int:
    """Do what the options say, in bhyvectl's order."""
    from .session import session

    return session(pairs, operands)


def command(vendor: str) -> Tool:
    """Return bhyvectl with the options that it has on a vendor's processors."""
    return Tool(
        "bhyvectl",
        bhyvectl,
        lambda prog: usage(prog, vendor),
        longopts=[option.spec for option in options(vendor)],
    )


def main() -> int:
    """Run bhyvectl with the process's arguments and return the exit status."""
    vendor = host_vendor()
    if vendor not in VENDORS:
        console.err(f'Unknown cpu vendor "{vendor}"')
        return _USAGE
    return run(command(vendor), sys.argv, _USAGE, _CALL_FAILED)
