"""Every kind of disk under a verifying load in Linux, then read on the host."""

import os
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from support import blkguest, guestfiles, kmods
from support.disklinux import boot, ordinary_kernel, poweroff
from support.machine import Machine

CACHE = Path(__file__).parents[2] / "build" / "guest"
SIZE = 64 << 20
MODULES = (*kmods.VIRTIO, "ahci", "sd_mod", "nvme", "crc32c_generic", "ext4")
#: A machine: rows of (device and options, image, name in the guest).
Disks = tuple[tuple[str, str, str], ...]
MACHINES: dict[str, tuple[Disks, tuple[str, ...]]] = {
    "all": (
        (
            ("virtio-blk,{},queues=2", "raw0", "vda"),
            ("virtio-blk,{},format=qcow2", "qcow0", "vdb"),
            ("virtio-blk,{},format=qcow2,backing,queues=2", "child", "vdc"),
            ("ahci-hd,{}", "raw1", "sda"),
            ("nvme,{}", "raw2", "nvme0n1"),
        ),
        (),
    ),
    "packed": (
        (
            ("virtio-blk,{}", "raw0", "vda"),
            ("virtio-blk,{},nocache,queues=2", "raw1", "vdb"),
            ("ahci-hd,{},format=qcow2", "qcow0", "sda"),
            ("nvme,{},format=qcow2", "qcow1", "nvme0n1"),
        ),
        ("-o", "virtio.packed=true"),
    ),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler"),
    pytest.mark.skipif(shutil.which("qemu-img") is None, reason="no qemu-img"),
]


@pytest.fixture(scope="session")
def linux(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return Debian's ordinary kernel and an initrd with all disks' drivers."""
    try:
        kernel, modules = ordinary_kernel(CACHE)
        out = tmp_path_factory.mktemp("disks") / "initrd.cpio"
        blkguest.initrd(modules, out, MODULES, {})
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    return str(kernel), str(out)


def qemu(*args: str | Path) -> None:
    subprocess.run(["qemu-img", *args], check=True, capture_output=True)


def make_images(folder: Path) -> dict[str, Path]:
    """Make empty disks of SIZE; the qcow2 ones start as what they cover."""
    for name in ("raw0", "raw1", "raw2"):
        (folder / name).touch()
        os.truncate(folder / name, SIZE)
    for name in ("qcow0", "qcow1", "base"):
        qemu("create", "-f", "qcow2", folder / name, str(SIZE))
    child = folder / "child"
    qemu("create", "-f", "qcow2", "-F", "qcow2", "-b", "base", child)
    return {path.name: path for path in folder.iterdir() if path.is_file()}


def contents(image: Path) -> bytes:
    """Return the disk of an image, read by qemu-img."""
    if image.name.startswith("raw"):
        return image.read_bytes()
    qemu("check", image)
    out = image.with_suffix(".out")
    qemu("convert", "-f", "qcow2", "-O", "raw", image, out)
    return out.read_bytes()


@pytest.mark.parametrize("name", MACHINES)
def test_what_was_written_is_there(
    machine: Machine, linux: tuple[str, str], tmp_path: Path, name: str
) -> None:
    images = make_images(tmp_path)
    disks, args = MACHINES[name]
    devices = [device.format(images[image]) for device, image, _ in disks]
    boot(machine, linux, *devices, args=args)
    sums = {}
    for _, image, disk in disks:
        text = machine.shell(f"blkload verify /dev/{disk} 4000 4", 200)
        assert "VERIFIED yes" in text, (disk, text)
        sums[image] = dict(re.findall(r"JOB (\d) ([0-9a-f]{8})", text))
    poweroff(machine)
    for image, jobs in sums.items():
        data = contents(images[image])
        part = len(data) // 4
        for job in range(4):
            crc = zlib.crc32(data[job * part : (job + 1) * part])
            assert f"{crc:08x}" == jobs[str(job)], (image, job)


def test_trim_frees_space(
    machine: Machine, linux: tuple[str, str], tmp_path: Path
) -> None:
    images = make_images(tmp_path)
    disks, _ = MACHINES["all"]
    devices = [device.format(images[image]) for device, image, _ in disks]
    boot(machine, linux, *devices)
    for _, image, disk in disks:
        device = f"of=/dev/{disk}"
        machine.shell(f"dd if=/dev/urandom {device} bs=1M count=24 conv=fsync", 120)
        full = images[image].stat().st_blocks
        assert full >= 24 << 11
        trim = f"blkdiscard /dev/{disk}; dd if=/dev/null {device} conv=fsync"
        machine.shell(trim)
        assert images[image].stat().st_blocks < full - (22 << 11), image
    poweroff(machine)
    for _, image, _ in disks:
        assert contents(images[image]) == bytes(SIZE)


def test_queues_limits_and_an_overlay(
    machine: Machine, linux: tuple[str, str], tmp_path: Path
) -> None:
    images = make_images(tmp_path)
    devices = [
        f"virtio-blk,{images['raw0']},queues=2,overlay",
        f"virtio-blk,{images['qcow0']},format=qcow2",
    ]
    boot(machine, linux, *devices)

    def says(path: str) -> str:
        return machine.shell(f"echo; cat /sys/block/{path}").split()[-1]

    assert machine.shell("echo; ls /sys/block/vda/mq").split() == ["0", "1"]
    assert says("vdb/queue/discard_granularity") == "65536"
    for disk in ("vda", "vdb"):
        assert says(f"{disk}/queue/discard_max_bytes") == str(16 << 20)
        assert says(f"{disk}/queue/write_zeroes_max_bytes") == str(16 << 20)
        fill = f"dd if=/dev/urandom of=/dev/{disk} bs=1M count=8 conv=fsync"
        machine.shell(fill)
        machine.shell(f"blkload zero /dev/{disk} 1048576 2097152")
        read = f"dd if=/dev/{disk} iflag=direct bs=1M skip=1 count=2"
        zeroes = f"echo; {read} 2>/dev/null | tr -d '\\0' | wc -c"
        assert machine.shell(zeroes).split()[-1] == "0"
    poweroff(machine)
    assert images["raw0"].stat().st_blocks == 0
    disk = contents(images["qcow0"])
    assert disk[1 << 20 : 3 << 20] == bytes(2 << 20)
    assert disk[3 << 20 : 4 << 20] != bytes(1 << 20)
