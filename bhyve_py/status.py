"""Exit statuses of bhyve(8): clients read them."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """Why bhyve came back; USAGE is 1 as POWEROFF is: sysexits' 64 is EX_USAGE."""

    RESET = 0
    POWEROFF = 1
    HALT = 2
    TRIPLEFAULT = 3
    ERROR = 4
    EX_USAGE = 64


#: What a missing name or an unknown option gives, and config.dump.
USAGE = 1
