"""Linux's own drivers on virtio-blk, virtio-rnd and virtio-console."""

import hashlib
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from support.disklinux import (
    MD5,
    boot,
    host_copy,
    make_disk,
    needs_ext4,
    poweroff,
)
from support.machine import SLOTS, Machine

TRANSPORTS = {
    "modern": (),
    "legacy": ("-o", "virtio.modern=false"),
    "modern-intx": ("-W",),
    "legacy-intx": ("-W", "-o", "virtio.modern=false"),
}

pytestmark = needs_ext4


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_files_reach_the_disk(
    machine: Machine, virtio_linux: tuple[str, str], tmp_path: Path, transport: str
) -> None:
    disk = make_disk(tmp_path / "disk.img")
    boot(
        machine,
        virtio_linux,
        f"virtio-blk,{disk}",
        "virtio-rnd",
        args=TRANSPORTS[transport],
    )
    lines = machine.shell("grep virtio0 /proc/interrupts")
    assert ("fasteoi" in lines) == transport.endswith("intx"), lines
    mine = "cat /sys/bus/virtio/devices/virtio0/features"
    assert machine.shell(f"echo; {mine}").split()[-1][32] == str(
        int(transport.startswith("modern"))
    )
    machine.shell("mkdir /mnt; mount -t ext4 /dev/vda /mnt")
    machine.shell("dd if=/dev/hwrng of=/mnt/a bs=4k count=64")
    machine.shell("dd if=/dev/urandom of=/mnt/b bs=1M count=16 conv=fsync")
    text = machine.shell("echo; md5sum /mnt/a /mnt/b", 120)
    sums = MD5.findall(text)
    machine.shell("umount /mnt")
    # What is read back comes from the disk.
    again = machine.shell("echo; mount -t ext4 /dev/vda /mnt; md5sum /mnt/b", 120)
    assert sums[1] in again
    machine.shell("umount /mnt")
    poweroff(machine)
    for name, digest in zip("ab", sums, strict=True):
        assert hashlib.md5(host_copy(disk, name)).hexdigest() == digest
    assert len(set(host_copy(disk, "a"))) == 256


def test_a_killed_bhyve_loses_nothing_synced(
    machine: Machine, virtio_linux: tuple[str, str], tmp_path: Path
) -> None:
    disk = make_disk(tmp_path / "disk.img")
    boot(machine, virtio_linux, f"virtio-blk,{disk}")
    machine.shell("mkdir /mnt; mount -t ext4 /dev/vda /mnt")
    machine.shell("dd if=/dev/urandom of=/mnt/a bs=1M count=4 conv=fsync")
    digest = MD5.findall(machine.shell("echo; md5sum /mnt/a"))
    machine.send("while :; do dd if=/dev/zero of=/mnt/b bs=1M count=8; done\n")
    machine.expect("records out")
    machine.signal(signal.SIGKILL)
    machine.wait()
    # The journal is played back, as the next mount would.
    replay = subprocess.run(["e2fsck", "-p", disk], capture_output=True, check=False)
    assert replay.returncode in (0, 1)
    assert hashlib.md5(host_copy(disk, "a")).hexdigest() == digest[0]


def test_discards_free_space_on_the_host(
    machine: Machine, virtio_linux: tuple[str, str], tmp_path: Path
) -> None:
    disk = make_disk(tmp_path / "disk.img")
    boot(machine, virtio_linux, f"virtio-blk,{disk}")
    machine.shell("mkdir /mnt; mount -t ext4 /dev/vda /mnt")
    machine.shell("dd if=/dev/urandom of=/mnt/a bs=1M count=32 conv=fsync")
    full = disk.stat().st_blocks
    machine.shell("rm /mnt/a; sync; fstrim /mnt; umount /mnt", 120)
    assert disk.stat().st_blocks < full - (30 << 11)
    poweroff(machine)
    assert disk.stat().st_size == 64 << 20


def test_options_of_a_disk(
    machine: Machine, virtio_linux: tuple[str, str], tmp_path: Path
) -> None:
    disks = [make_disk(tmp_path / f"{i}.img") for i in range(4)]
    os.chmod(disks[0], 0o444)
    before = disks[0].read_bytes()
    boot(
        machine,
        virtio_linux,
        f"virtio-blk,{disks[0]},ro,ser=MY-SERIAL",
        f"virtio-blk,{disks[1]},sectorsize=4096",
        f"virtio-blk,{disks[2]},nocache,nodelete",
        f"virtio-blk,{disks[3]},sync,sectorsize=512/4096",
    )
    show = "cd /sys/block; echo; cat vd%s/%s"
    assert machine.shell(show % ("a", "ro")).split()[-1] == "1"
    assert machine.shell(show % ("a", "serial")).split()[-1] == "MY-SERIAL"
    assert machine.shell(show % ("b", "queue/logical_block_size")).split()[-1] == "4096"
    assert (
        machine.shell(show % ("d", "queue/physical_block_size")).split()[-1] == "4096"
    )
    assert machine.shell(show % ("c", "queue/discard_max_bytes")).split()[-1] == "0"
    size = machine.shell(show % ("d", "queue/discard_max_bytes")).split()[-1]
    assert size == str(16 << 20)
    failed = machine.shell("echo; dd if=/dev/zero of=/dev/vda bs=4k count=1; echo $?")
    assert failed.split()[-1] == "1"
    for disk in "cd":
        machine.shell(f"mkdir /{disk}; mount -t ext4 /dev/vd{disk} /{disk}")
        machine.shell(f"dd if=/dev/urandom of=/{disk}/a bs=4321 count=999 conv=fsync")
    text = machine.shell("echo; md5sum /c/a /d/a; umount /c /d")
    sums = MD5.findall(text)
    # A disk grows under a running guest.
    os.truncate(disks[2], 80 << 20)
    grown = "until [ $(cat /sys/block/vdc/size) = 163840 ]; do sleep 0.1; done"
    machine.shell(grown, 20)
    poweroff(machine)
    assert disks[0].read_bytes() == before
    for disk, digest in zip(disks[2:], sums, strict=True):
        assert hashlib.md5(host_copy(disk, "a")).hexdigest() == digest


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("", 'Missing "path" for block device.'),
        (
            ",/nowhere/disk",
            "bhyve: Could not open backing file: /nowhere/disk: "
            "No such file or directory",
        ),
        (",{disk},sectorsize=x", 'Invalid sector size "x"'),
        (",{disk},sectorsize=512/", 'Invalid sector size "512/"'),
        (",{disk},sectorsize=513", "Invalid sector size 513/513"),
        (",{disk},sectorsize=4096/512", "Invalid sector size 4096/512"),
        (",{disk},sectorsize=256", "Invalid sector size 256/256"),
    ],
)
def test_refused_options(
    machine: Machine, tmp_path: Path, options: str, line: str
) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    assert machine.ctl("--create").returncode == 0
    slot = f"3,virtio-blk{options.format(disk=disk)}"
    done = machine.run("bhyve", *SLOTS, "-s", slot, machine.name)
    assert done.returncode == 4
    assert line in done.stderr.splitlines()


def receive(client: socket.socket, size: int) -> bytes:
    """Read exactly `size` bytes."""
    data = b""
    while len(data) < size:
        more = client.recv(65536)
        assert more
        data += more
    return data


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_console_ports(
    machine: Machine, virtio_linux: tuple[str, str], tmp_path: Path, transport: str
) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    ports = ",".join(f"org.{path.name}={path}" for path in paths)
    boot(machine, virtio_linux, f"virtio-console,{ports}", args=TRANSPORTS[transport])
    names = machine.shell("echo; cat /sys/class/virtio-ports/*/name").split()
    assert names == ["org.one", "org.two"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(paths[1]))
        client.settimeout(60)
        with socket.socket(socket.AF_UNIX) as second:
            second.connect(str(paths[1]))
            second.settimeout(20)
            assert second.recv(1) == b""
        machine.shell("head -c 1000000 /dev/urandom > /tmp/r")
        text = machine.shell("echo; md5sum /tmp/r")
        digest = MD5.findall(text)[0]
        machine.send("cat /tmp/r > /dev/vport0p1\n")
        assert hashlib.md5(receive(client, 1000000)).hexdigest() == digest
        # Linux drops what has come when a port is closed; we hold the rest.
        machine.expect("guest# ")
        data = os.urandom(1000000)
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        text = machine.shell("echo; head -c 1000000 /dev/vport0p1 | md5sum")
        sender.join()
        assert hashlib.md5(data).hexdigest() in text
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(paths[1]))
        client.settimeout(60)
        machine.shell("echo again > /dev/vport0p1")
        assert receive(client, 6) == b"again\n"
    poweroff(machine)
    assert not any(path.exists() for path in paths)
