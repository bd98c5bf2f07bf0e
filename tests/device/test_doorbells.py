"""Notifications of virtio queues that do not leave the guest."""

import os
import re
import struct
from pathlib import Path

import pytest

from support.machine import SLOTS, Machine
from support.ownguests import own_guest

EXITS = re.compile(r"^number of vm exits handled in userspace\s+(\d+)$", re.M)
REQUESTS = 7 * 200 + 2  # of guests/virtio_bell.c


def exits(root: Path, disk: Path, backend: str, *args: str) -> int:
    """Run the driver; return how many exits user space saw."""
    with Machine(root, backend=backend) as machine:
        machine.load("-m", "64M", "--kernel", str(own_guest("virtio_bell")))
        slots = (*SLOTS, "-s", f"3,virtio-blk,{disk}")
        machine.start("-m", "64M", *args, slots=slots)
        machine.expect(r"PASS|FAIL.*", 60)
        assert "PASS" in machine.output, machine.output
        stats = machine.ctl("--get-stats").stdout
        found = EXITS.search(stats)
        assert found, stats
        assert machine.ctl("--force-poweroff").returncode == 0
        assert machine.wait() == 1
        return int(found[1])


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Make a disk of sectors that begin with their number."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(struct.pack("<I508x", n) for n in range(2048)))
    return path


def test_a_driver_that_moves_and_masks(vm_dir: Path, backend: str, disk: Path) -> None:
    seen = exits(vm_dir, disk, backend)
    # On KVM, what is left is the set-up: configuration, BARs, the console.
    assert seen < REQUESTS // 5 if backend == "kvm" else seen > REQUESTS


def test_the_same_without_event_descriptors(vm_dir: Path, disk: Path) -> None:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no /dev/kvm here")
    assert exits(vm_dir, disk, "kvm", "-o", "virtio.ioeventfd=false") > REQUESTS
