"""How a tool ends without a result.

These are plain exceptions, not click's: a script may call bhyvectl a thousand
times, and importing click would be most of a call.
"""


class Failure(Exception):  # noqa: N818 - it is an end, and often no error of ours
    """End the tool with one line on stderr, if any, and an exit status."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.message = text
        self.status = status


class UsageError(Exception):
    """End the tool with a line, the usage text, and the tool's usage status."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.message = text


class UsageWanted(UsageError):  # noqa: N818
    """The user asked for the usage text: no error."""
