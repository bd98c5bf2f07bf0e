"""A command that reads its options as getopt(3) does, and is quick to start."""

import getopt
from collections.abc import Callable, Sequence

from .failure import UsageError, UsageWanted

#: Called with the (option, value) pairs in order, and the operands.
Callback = Callable[[list[tuple[str, str]], list[str]], int]


def scan(
    args: list[str], optstring: str, longopts: list[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return options in their order, and operands.  Raises UsageError.

    `longopts` are getopt_long(3)'s, spelled as the getopt module wants them,
    and may be abbreviated; with them, operands may stand anywhere.
    """
    if "--help" in args[:1]:
        raise UsageWanted
    read = getopt.gnu_getopt if longopts else getopt.getopt
    try:
        return read(args, optstring, longopts)
    except getopt.GetoptError as error:
        raise UsageError(_words(error)) from None


class Tool:
    """A command by name: its options, its usage text, what it does."""

    def __init__(
        self,
        name: str,
        callback: Callback,
        usage: Callable[[str], str],
        optstring: str = "",
        longopts: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.callback = callback
        self.usage = usage
        self.optstring = optstring
        self.longopts = list(longopts)

    def start(self, args: list[str], prog: str) -> int:
        """Read the options, call the callback and return its exit status."""
        return self.callback(*scan(args, self.optstring, self.longopts))


def _words(error: getopt.GetoptError) -> str:
    """Return the error in getopt(3)'s words."""
    text = error.msg
    if text.startswith("option -") and not text.startswith("option --"):
        kind = "option requires an argument" if "requires" in text else "illegal option"
        return f"{kind} -- {error.opt}"
    return text
