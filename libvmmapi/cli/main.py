"""Run a tool: the one place where errors become a line and an exit status."""

import os
import sys
from collections.abc import Callable
from typing import Protocol

from . import console
from .failure import Failure, UsageError, UsageWanted

_SIGINT = 2


class Runnable(Protocol):
    """A `tool.Tool`, or a `command.GetoptCommand`."""

    usage: Callable[[str], str]

    def start(self, args: list[str], prog: str) -> int:
        """Run with these arguments and return the exit status."""


def _or_click(own: type[BaseException], name: str) -> tuple[type[BaseException], ...]:
    """Return our exception, and click's of that name if the tool uses click."""
    click = sys.modules.get("click")
    return (own,) if click is None else (own, getattr(click, name))


def run(
    command: Runnable, argv: list[str], usage_status: int, error_status: int
) -> int:
    """Run `command` with C's argv and return the exit status.

    A usage error is shown with the usage text and gives `usage_status`;
    any other failure gives one line and `error_status`, or its own status.
    """
    prog = os.path.basename(argv[0])
    _open_standard_streams()
    try:
        status = command.start(argv[1:], prog)
        console.flush()
    except UsageWanted:
        console.err(command.usage(prog), end="")
        status = 0
    except _or_click(UsageError, "UsageError") as error:
        _report(prog, getattr(error, "message", ""))
        console.err(command.usage(prog), end="")
        status = usage_status
    except Failure as error:
        _report(prog, error.message)
        status = error.status
    except BrokenPipeError:
        # Whoever read our output has gone: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = error_status
    except (OSError, ValueError, MemoryError) as error:
        _report(prog, _words(error))
        status = error_status
    except _or_click(KeyboardInterrupt, "Abort"):
        status = 128 + _SIGINT
    return status


def _open_standard_streams() -> None:
    """Put /dev/null where the caller has closed stdin, stdout or stderr.

    A disk that is opened later would get such a number, and what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
            os.set_inheritable(number, True)
            stream = os.fdopen(number, "w" if number else "r", closefd=False)
            setattr(sys, name, stream)


def _words(error: Exception) -> str:
    """Return what an error says, an errno in words and without its number."""
    plain = type(error).__str__ is OSError.__str__
    if isinstance(error, OSError) and plain and error.strerror:
        what = f"{error.filename}: " if error.filename else ""
        return f"{what}{error.strerror}"
    return str(error) or type(error).__name__


def _report(prog: str, text: str) -> None:
    """Write one line on stderr, if there is something to say."""
    if text:
        console.message(prog, text)
