"""Programs of the host for a guest's initrd, with the libraries they load."""

import re
import shutil
import subprocess
from pathlib import Path

from .guestfiles import GuestUnavailableError


def files(*names: str) -> dict[str, tuple[int, bytes]]:
    """Return path -> (mode, contents) of the programs and what ldd lists.

    Raises GuestUnavailableError where one is missing.
    """
    found: dict[str, tuple[int, bytes]] = {}
    for name in names:
        path = shutil.which(name)
        if path is None:
            raise GuestUnavailableError(f"no {name} on this host")
        done = subprocess.run(["ldd", path], capture_output=True, text=True, check=True)
        needed = re.findall(r"(/\S+) \(0x", done.stdout)
        for one in (path, *needed):
            found[one.lstrip("/")] = (0o755, Path(one).read_bytes())
    return found
