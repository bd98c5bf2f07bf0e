"""Output of the tools: plain lines, and rich consoles where a table helps.

rich is imported when a table is drawn, not before: start-up time counts.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def out(text: str, end: str = "\n") -> None:
    """Write text to stdout as it is."""
    sys.stdout.write(text + end)


def err(text: str, end: str = "\n") -> None:
    """Write text to stderr as it is, after what stdout has."""
    flush()
    sys.stderr.write(text + end)
    sys.stderr.flush()


def message(prog: str, text: str) -> None:
    """Write one line "prog: text" to stderr."""
    err(f"{prog}: {' '.join(text.split())}")


def flush() -> None:
    """Push stdout's lines out, before C or another stream writes."""
    sys.stdout.flush()


def console() -> "Console":
    """Return a rich console on stdout; colours only on a terminal."""
    from rich.console import Console

    return Console(markup=False, highlight=False, soft_wrap=True)
