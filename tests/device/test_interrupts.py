"""Devices by each way in which they can interrupt, driven by our own guests."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libvmmapi import VM
from support.machine import SLOTS, Machine
from support.ownguests import own_guest

FRAMES = 50  # of guests/virtio_intr.c
TPR = 0xFEE00080
WAYS = {"-W": ("8259", "IOAPIC", "MSI"), "": ("8259", "IOAPIC", "MSI", "MSI-X")}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Make a disk of sectors that begin with their number."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(struct.pack("<I508x", n) for n in range(2048)))
    return path


def finish(machine: Machine) -> None:
    """End a guest that has passed."""
    assert machine.ctl("--force-poweroff").returncode == 0
    assert machine.wait() == 1


@contextlib.contextmanager
def writes_from_outside(name: str) -> Iterator[None]:
    """Write to the local APIC again and again, changing nothing."""
    cpu, done = VM.open(name).vcpu(0), threading.Event()

    def write() -> None:
        while not done.wait(0.002):
            cpu.readwrite_kernemu_device(TPR, 4, 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()


@pytest.mark.parametrize("option", WAYS, ids=["msi", "msix"])
def test_virtio(
    vm_dir: Path, backend: str, disk: Path, tmp_path: Path, option: str
) -> None:
    """Sectors and frames, one interrupt each, by whatever way is offered."""
    drive_virtio(vm_dir, backend, disk, tmp_path, option)


def test_virtio_beside_writes_to_the_apic(
    vm_dir: Path, backend: str, disk: Path, tmp_path: Path
) -> None:
    drive_virtio(vm_dir, backend, disk, tmp_path, "", meanwhile=writes_from_outside)


def drive_virtio(
    vm_dir: Path,
    backend: str,
    disk: Path,
    tmp_path: Path,
    option: str,
    *,
    meanwhile: Callable[[str], contextlib.AbstractContextManager[None]] = (
        contextlib.nullcontext
    ),
) -> None:
    """Run virtio_intr by the ways that the option leaves."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    there, here = b"\x02" + bytes(4) + b"\x01", b"\x02" + bytes(4) + b"\x02"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as cable,
        Machine(vm_dir, backend=backend) as machine,
    ):
        cable.bind(str(mine))
        cable.settimeout(30)
        machine.load("-m", "64M", "--kernel", str(own_guest("virtio_intr")))
        net = f"3,virtio-net,unix,path={other},peer={mine},mac=02:00:00:00:00:01"
        slots = (*SLOTS, "-s", net, "-s", f"4,virtio-blk,{disk}")
        machine.start("-m", "64M", *option.split(), slots=slots)
        found = machine.expect(r"WAY (\S+)\s|FAIL.*", 60)
        with meanwhile(machine.name):
            for way in WAYS[option]:
                assert found[1] == way, machine.output
                for n in range(FRAMES):
                    rest = struct.pack(">HI", 0x88B5, n) + bytes([n]) * (50 + n)
                    cable.sendto(there + here + rest, str(other))
                    assert cable.recv(2048) == here + there + rest
                found = machine.expect(r"WAY (\S+)\s|FAIL.*|PASS", 60)
        assert found[0] == "PASS", machine.output
        finish(machine)


def test_ahci(vm_dir: Path, backend: str, disk: Path, tmp_path: Path) -> None:
    """Two ports at once, by the pin and by one, some and all messages."""
    other = tmp_path / "other.img"
    other.write_bytes(bytes(byte ^ 0xFF for byte in disk.read_bytes()))
    with Machine(vm_dir, backend=backend) as machine:
        machine.load("-m", "64M", "--kernel", str(own_guest("ahci_intr")))
        slots = (*SLOTS, "-s", f"3,ahci,hd:{disk},hd:{other}")
        machine.start("-m", "64M", slots=slots)
        machine.expect(r"PASS|FAIL.*", 60)
        assert "PASS" in machine.output, machine.output
        assert machine.output.count("WAY ") == 5
        finish(machine)
