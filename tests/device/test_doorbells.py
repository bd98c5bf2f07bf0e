"""Notifications of virtio queues that do not leave the guest."""

import os
import re
import socket
import struct
from pathlib import Path

import pytest

from support.machine import SLOTS, Machine
from support.ownguests import own_guest

EXITS = re.compile(r"^number of vm exits handled in userspace\s+(\d+)$", re.M)
REQUESTS = 7 * 200 + 2  # of guests/virtio_bell.c


FRAMES = 300


def seen_by_user(machine: Machine) -> int:
    """Return how many exits user space has seen."""
    stats = machine.ctl("--get-stats").stdout
    found = EXITS.search(stats)
    assert found, stats
    return int(found[1])


def exits(root: Path, disk: Path, backend: str, *args: str) -> int:
    """Run the driver; return how many exits user space saw."""
    with Machine(root, backend=backend) as machine:
        machine.load("-m", "64M", "--kernel", str(own_guest("virtio_bell")))
        slots = (*SLOTS, "-s", f"3,virtio-blk,{disk}")
        machine.start("-m", "64M", *args, slots=slots)
        machine.expect(r"PASS|FAIL.*", 60)
        assert "PASS" in machine.output, machine.output
        seen = seen_by_user(machine)
        assert machine.process
        threads = Path(f"/proc/{machine.process.pid}/task").glob("*/comm")
        # Devices do not wait for each other: each has a thread.
        rings = "bell-3:0\n" in [path.read_text() for path in threads]
        assert rings == (backend == "kvm" and not args)
        assert machine.ctl("--force-poweroff").returncode == 0
        assert machine.wait() == 1
        return seen


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


def test_frames_come_back(vm_dir: Path, backend: str, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as cable,
        Machine(vm_dir, backend=backend) as machine,
    ):
        cable.bind(str(mine))
        cable.settimeout(30)
        machine.load("-m", "64M", "--kernel", str(own_guest("virtio_echo")))
        net = f"3,virtio-net,unix,path={other},peer={mine},mac=02:00:00:00:00:01"
        machine.start("-m", "64M", slots=(*SLOTS, "-s", net))
        machine.expect("READY", 60)
        there, here = b"\x02" + bytes(4) + b"\x01", b"\x02" + bytes(4) + b"\x02"
        before = seen_by_user(machine)
        for n in range(FRAMES):
            rest = struct.pack(">HI", 0x88B5, n) + bytes([n & 0xFF]) * (50 + n)
            cable.sendto(there + here + rest, str(other))
            assert cable.recv(2048) == here + there + rest
        seen = seen_by_user(machine) - before
        # Two notifications a frame: a buffer to receive, a frame to send.
        assert seen < FRAMES // 5 if backend == "kvm" else seen >= FRAMES
        assert machine.ctl("--force-poweroff").returncode == 0
        assert machine.wait() == 1
