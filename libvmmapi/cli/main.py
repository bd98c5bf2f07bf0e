"""Run a tool: the one place where errors become a line and an exit status."""

import os
import signal
import sys

import click

from . import console
from .command import Failure, GetoptCommand, UsageWanted


def run(
    command: GetoptCommand, argv: list[str], usage_status: int, error_status: int
) -> int:
    """Run `command` with C's argv and return the exit status.

    A usage error is shown with the usage text and gives `usage_status`;
    any other failure gives one line and `error_status`, or its own status.
    """
    prog = os.path.basename(argv[0]) if argv else command.name or ""
    try:
        status = int(command.main(argv[1:], prog, standalone_mode=False) or 0)
        console.flush()
    except UsageWanted:
        console.err(command.usage(prog), end="")
        status = 0
    except click.UsageError as error:
        _report(prog, error.message)
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
        _report(prog, str(error) or type(error).__name__)
        status = error_status
    except (KeyboardInterrupt, click.Abort):
        status = 128 + signal.SIGINT
    return status


def _report(prog: str, text: str) -> None:
    """Write one line on stderr, if there is something to say."""
    if text:
        console.message(prog, text)
