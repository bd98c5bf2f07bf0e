"""The options of bhyve(8) as tables: letter to variable, letter to grammar."""

import sys

from libvmmapi.cli import console
from libvmmapi.cli.failure import Failure, UsageError, UsageWanted
from libvmmapi.cli.main import run
from libvmmapi.cli.tool import Tool
from libvmmapi.config import ConfigTree
from libvmmapi.errors import VMError

from . import options
from .options import Request
from .status import USAGE, ExitStatus
from .usage import usage

OPTSTRING = "aehuwxACDHIMNPSWYk:f:o:p:B:G:c:s:m:n:l:K:U:r:"

#: Letters that set a variable: nothing follows.
SWITCHES: dict[str, tuple[str, str]] = {
    "-C": ("memory.guest_in_core", "true"),
    "-D": ("destroy_on_poweroff", "true"),
    "-H": ("x86.vmexit_on_hlt", "true"),
    "-M": ("monitor.enabled", "true"),
    "-N": ("monitor.no_reboot", "true"),
    "-P": ("x86.vmexit_on_pause", "true"),
    "-S": ("memory.wired", "true"),
    "-W": ("virtio.msix", "false"),
    "-Y": ("x86.mptable", "false"),
    "-a": ("x86.x2apic", "false"),
    "-e": ("x86.strictio", "true"),
    "-u": ("rtc.use_localtime", "false"),
    "-w": ("x86.strictmsr", "false"),
    "-x": ("x86.x2apic", "true"),
}

#: Letters that old command lines carry and that say what is so anyway.
IGNORED = frozenset({"-A", "-I"})

#: Letters whose argument is the value of a variable.
VALUES: dict[str, str] = {"-K": "keyboard.layout", "-U": "uuid"}

#: Letters whose argument has a grammar.
GRAMMARS: dict[str, options.Handler] = {
    "-B": options.smbios,
    "-G": options.gdb,
    "-c": options.topology,
    "-f": options.fwcfg,
    "-k": options.config_file,
    "-l": options.lpc,
    "-m": options.memory,
    "-n": options.numa,
    "-o": options.variable,
    "-p": options.pin,
    "-r": options.restore,
    "-s": options.slot,
}


def _help(option: str, value: str) -> bool:
    """Answer -s help and -l help, which may be cut short; say whether it was one."""
    if option not in {"-s", "-l"} or not "help".startswith(value):
        return False
    from libvmmapi.devices import device_names, lpc_names

    for name in device_names() if option == "-s" else lpc_names():
        console.out(name)
    return True


def _apply(option: str, value: str, request: Request) -> None:
    """Put one option into the tree."""
    if option in IGNORED:
        return
    if option in GRAMMARS:
        GRAMMARS[option](value, request)
        return
    path, text = SWITCHES[option] if option in SWITCHES else (VALUES[option], value)
    try:
        request.tree.set(path, text)
    except VMError as error:
        raise Failure(ExitStatus.ERROR) from error


def bhyve(pairs: list[tuple[str, str]], operands: list[str]) -> int:
    """Build the tree that the command line describes, and run the machine."""
    request = Request(ConfigTree(defaults=True))
    for option, value in pairs:
        if option == "-h":
            raise UsageWanted
        if _help(option, value):
            return 0
        _apply(option, value, request)
    tree = request.tree
    if len(operands) == 1:
        try:
            tree.set("name", operands[0])
        except VMError as error:
            raise Failure(ExitStatus.ERROR) from error
    named = tree.get_raw("name") is not None or request.restore is not None
    if len(operands) > 1 or not named:
        raise UsageError("")  # the usage text says it all
    if tree.get_bool("config.dump", default=False):
        console.out(tree.dump(), end="")
        return USAGE
    from .run import machine

    return machine(request)


COMMAND = Tool("bhyve", bhyve, usage, OPTSTRING)


def main() -> int:
    """Run bhyve with the process's arguments and return the exit status."""
    return run(COMMAND, sys.argv, USAGE, ExitStatus.ERROR)
