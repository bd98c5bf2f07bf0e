"""Where named VMs are: finds and lists their directories, changes nothing.

The C library creates, locks and removes them (csrc/vmm/vmm_dir.c); this module
applies the same rules to find the root.
"""

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: f_type of a RAM-backed /dev, where /dev/vmm may stand.
_RAM_FILESYSTEMS = {"tmpfs", "devtmpfs", "ramfs"}


def _dev_is_ram() -> bool:
    """Say whether /dev is a filesystem in RAM."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            mounts = file.read()
    except OSError:
        return False
    kind = ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and fields[1] == "/dev":
            kind = fields[2]  # the last mount covers the others
    return kind in _RAM_FILESYSTEMS


def _root() -> str:
    """Return vm_root() as text: pathlib would be a good part of a short call."""
    if chosen := os.environ.get("VMM_DIR"):
        return chosen
    if os.geteuid() == 0:
        return "/dev/vmm" if _dev_is_ram() else "/run/vmm"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(runtime, "vmm")
    raise FileNotFoundError("no VM root: set VMM_DIR or XDG_RUNTIME_DIR")


def vm_root() -> "Path":
    """Return the directory that holds the directories of named VMs.

    It is $VMM_DIR; else for root /dev/vmm where /dev is RAM, or /run/vmm;
    else $XDG_RUNTIME_DIR/vmm.  Raises FileNotFoundError where an ordinary user
    has none of these.
    """
    from pathlib import Path

    return Path(_root())


def vm_path(name: str) -> "Path":
    """Return the directory of the VM `name`, which need not exist."""
    return vm_root() / name


def list_vms() -> list[str]:
    """Return the names of all VMs, sorted; empty where there is no root."""
    try:
        entries = list(os.scandir(_root()))
    except FileNotFoundError:
        return []
    return sorted(
        entry.name
        for entry in entries
        if entry.is_dir(follow_symlinks=False)
        and not entry.name.startswith(".")
        and stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode) & 0o700
    )
