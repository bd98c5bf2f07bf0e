"""A click command that reads its options as getopt(3) does.

bhyve(8) promises that options apply in command line order, and click groups
them by name: GetoptCommand keeps the order and hands it to the callback.
"""

import getopt
from collections.abc import Callable, Sequence

import click

#: Called with the (option, value) pairs in order, and the operands.
Callback = Callable[[list[tuple[str, str]], list[str]], int]


class Failure(click.ClickException):
    """End the tool with one line on stderr, if any, and an exit status."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status


class GetoptCommand(click.Command):
    """A command with getopt(3)'s clusters, order, and stop at an operand.

    `longopts` are getopt_long(3)'s, spelled as the getopt module wants them,
    and may be abbreviated; with them, operands may stand anywhere.
    """

    def __init__(
        self,
        name: str,
        callback: Callback,
        usage: Callable[[str], str],
        optstring: str = "",
        longopts: Sequence[str] = (),
    ) -> None:
        super().__init__(name, callback=callback, add_help_option=False)
        self.optstring = optstring
        self.longopts = list(longopts)
        self.usage = usage

    def get_usage(self, ctx: click.Context) -> str:
        """Return the usage text with the name the tool was called by."""
        return self.usage(ctx.info_name or self.name or "")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options into the context, in their order."""
        if "--help" in args[:1]:
            ctx.meta["help"] = True
            return []
        scan = getopt.gnu_getopt if self.longopts else getopt.getopt
        try:
            pairs, operands = scan(args, self.optstring, self.longopts)
        except getopt.GetoptError as error:
            raise click.UsageError(_words(error), ctx) from None
        ctx.meta["pairs"] = pairs
        ctx.meta["operands"] = operands
        return []

    def invoke(self, ctx: click.Context) -> int:
        """Run the callback and return its exit status."""
        if ctx.meta.get("help"):
            raise UsageWanted(ctx)
        callback: Callback = self.callback  # type: ignore[assignment]
        return callback(ctx.meta["pairs"], ctx.meta["operands"])


class UsageWanted(click.UsageError):
    """The user asked for the usage text: no error."""

    def __init__(self, ctx: click.Context | None = None) -> None:
        super().__init__("", ctx)


def _words(error: getopt.GetoptError) -> str:
    """Return the error in getopt(3)'s words."""
    text = error.msg
    if text.startswith("option -") and not text.startswith("option --"):
        kind = "option requires an argument" if "requires" in text else "illegal option"
        return f"{kind} -- {error.opt}"
    return text
