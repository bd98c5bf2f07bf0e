"""Entry point of bhyveload(8)."""

import sys


def main() -> int:
    """Run bhyveload with this process's arguments; return its exit status."""
    from libvmmapi.cli.main import run

    from .cli import COMMAND, EX_FAIL, EX_USAGE_TEXT

    return run(COMMAND, sys.argv, EX_USAGE_TEXT, EX_FAIL)


if __name__ == "__main__":
    sys.exit(main())
