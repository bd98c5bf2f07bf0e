"""A click command with getopt(3)'s clusters, order, and stop at an operand.

bhyveload(8) is one; the tools that scripts call often are a `tool.Tool`, which
reads options in the same way without click's import.
"""

from collections.abc import Callable, Sequence

import click

from .failure import Failure, UsageError, UsageWanted
from .tool import Callback, scan

__all__ = ["Callback", "Failure", "GetoptCommand", "UsageError", "UsageWanted"]


class GetoptCommand(click.Command):
    """Options apply in command line order, where click groups them by name."""

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

    def start(self, args: list[str], prog: str) -> int:
        """Run the command and return its exit status."""
        return int(self.main(args, prog, standalone_mode=False) or 0)

    def get_usage(self, ctx: click.Context) -> str:
        """Return the usage text with the name the tool was called by."""
        return self.usage(ctx.info_name or self.name or "")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options into the context, in their order."""
        pairs, operands = scan(args, self.optstring, self.longopts)
        ctx.meta["pairs"] = pairs
        ctx.meta["operands"] = operands
        return []

    def invoke(self, ctx: click.Context) -> int:
        """Run the callback and return its exit status."""
        callback: Callback = self.callback  # type: ignore[assignment]
        return callback(ctx.meta["pairs"], ctx.meta["operands"])
