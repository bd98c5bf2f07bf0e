"""The sanitizer's library, which make asan preloads, is for our programs only.

Others hang or change their ways with it: qemu-img waits for ever.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: These may run our programs in their turn.
SHELLS = {"bash", "dash", "env", "sh", "timeout", "unshare"}


def sanitized() -> bool:
    """Tell whether a sanitizer's library is preloaded into this process."""
    return "libasan" in os.environ.get("LD_PRELOAD", "")


def locks_memory() -> bool:
    """Tell whether mlock(2) does something: under a sanitizer it is a no-op."""
    return not sanitized()


needs_speed = pytest.mark.skipif(
    sanitized(), reason="a sanitizer takes several times as long"
)


def _ours(program: str) -> bool:
    found = shutil.which(program) or program
    path = Path(found)
    return (
        path.parent == Path(sys.executable).parent
        or path.resolve().name.startswith("python")
        or path.resolve().name in SHELLS
    )


def keep_from_others() -> None:
    """Start programs that are not ours without it, from here on."""
    start = subprocess.Popen.__init__

    def init(self: Any, args: Any, *rest: Any, **named: Any) -> None:
        if not named.get("shell") and not isinstance(args, (str, bytes, os.PathLike)):
            args = list(args)
            if args and not _ours(os.fsdecode(args[0])):
                env = dict(named.get("env") or os.environ)
                env.pop("LD_PRELOAD", None)
                named["env"] = env
        start(self, args, *rest, **named)

    subprocess.Popen.__init__ = init  # type: ignore[method-assign]
