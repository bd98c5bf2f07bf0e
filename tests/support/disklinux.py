"""Linux as a guest with disks: their images, the boot, the last look."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from . import guestfiles
from .machine import SLOTS, Machine

#: What no driver may print.
BAD = re.compile(
    r"BUG|WARNING|Oops|Call Trace|I/O error|exception Emask|failed command|"
    r"invalid SUBNQN|virtio.*(fail|error)|(ata\d|nvme).*(timeout|fail)"
)
MD5 = re.compile(r"\b[0-9a-f]{32}\b")
Linux = tuple[str, str]  # kernel and initrd

needs_ext4 = pytest.mark.skipif(
    shutil.which("mke2fs") is None, reason="no e2fsprogs on this host"
)


def ordinary_kernel(cache: Path) -> tuple[Path, Path]:
    """Return Debian's kernel for all hardware and the folder it came into.

    The cloud kernel has no AHCI driver.

    Raises:
        guestfiles.GuestUnavailableError: It cannot be fetched.
    """
    cloud = guestfiles.debian_kernel(cache).parents[1].name
    folder = cache / "generic"
    guestfiles.fetch(cloud.replace("-cloud", ""), folder)
    return guestfiles.debian_kernel(folder), folder


def make_disk(path: Path, size: int = 64 << 20) -> Path:
    """Write an empty ext4 file system."""
    path.write_bytes(b"")
    os.truncate(path, size)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", path], check=True)
    return path


def host_copy(disk: Path, name: str) -> bytes:
    """Return a file of a disk that no guest uses, after checking the disk."""
    fsck = subprocess.run(
        ["e2fsck", "-fn", disk], capture_output=True, text=True, check=False
    )
    assert fsck.returncode == 0, fsck.stdout
    out = disk.with_suffix(".out")
    subprocess.run(
        ["debugfs", "-R", f"dump /{name} {out}", disk], check=True, capture_output=True
    )
    return out.read_bytes()


def boot(
    m: Machine,
    linux: Linux,
    *devices: str,
    cmdline: str = "quiet",
    args: tuple[str, ...] = (),
) -> None:
    """Boot with each device in a slot of its own; return at the prompt."""
    kernel, initrd = linux
    m.load(
        *("-m", "512M", "--kernel", kernel, "--initrd", initrd),
        *("--cmdline", f"console=ttyS0 {cmdline}"),
    )
    slots = list(SLOTS)
    for number, device in enumerate(devices, 3):
        slots += ["-s", f"{number},{device}"]
    m.start("-c", "2", "-m", "512M", *args, slots=tuple(slots))
    m.expect("GUEST-READY", 180)
    m.expect("guest# ", 30)


def poweroff(m: Machine) -> None:
    """Look at the kernel's log, then power off."""
    log = m.shell("dmesg")
    assert not BAD.search(log), BAD.search(log)
    m.send("poweroff\n")
    assert m.wait() == 1
