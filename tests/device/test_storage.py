"""Linux's own drivers on ahci and nvme; option errors; a hostile driver.

Debian's cloud kernel has no AHCI driver, so the ordinary kernel is used.
"""

import hashlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support import cbuild, guestfiles, kmods
from support.disklinux import (
    MD5,
    boot,
    host_copy,
    make_disk,
    needs_ext4,
    ordinary_kernel,
    poweroff,
)
from support.machine import SLOTS, Machine

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / "build" / "guest"
MODULES = ("ahci", "sd_mod", "sr_mod", "isofs", "crc32c_generic", "ext4", "nvme")
DISKS = {
    "ahci-msi": ("ahci-hd", "sda", "quiet"),
    "ahci-intx": ("ahci-hd", "sda", "quiet pci=nomsi"),
    "nvme-msix": ("nvme", "nvme0n1", "quiet"),
    "nvme-intx": ("nvme", "nvme0n1", "quiet pci=nomsi"),
}


@pytest.fixture(scope="session")
def storage_linux(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return kernel and initrd, or skip with the reason."""
    try:
        kernel, modules = ordinary_kernel(CACHE)
        out = tmp_path_factory.mktemp("storage") / "initrd.cpio"
        kmods.initrd(modules, out, MODULES, {})
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    return str(kernel), str(out)


@needs_ext4
@pytest.mark.slow
@pytest.mark.parametrize("kind", DISKS)
def test_files_reach_the_disk(
    machine: Machine, storage_linux: tuple[str, str], tmp_path: Path, kind: str
) -> None:
    model, name, args = DISKS[kind]
    disk = make_disk(tmp_path / "disk.img")
    boot(machine, storage_linux, f"{model},{disk}", cmdline=args)
    lines = machine.shell(f"grep -E '{model[:4]}' /proc/interrupts")
    assert ("fasteoi" in lines) == kind.endswith("intx"), lines
    machine.shell(f"mkdir /mnt; mount -t ext4 /dev/{name} /mnt")
    machine.shell("dd if=/dev/urandom of=/mnt/a bs=1M count=16 conv=fsync", 120)
    machine.shell("for i in 1 2; do cp /mnt/a /mnt/c$i & done; wait; sync", 120)
    machine.shell("echo 3 > /proc/sys/vm/drop_caches")
    sums = MD5.findall(machine.shell("echo; md5sum /mnt/a /mnt/c1 /mnt/c2", 120))
    assert len(sums) == 3
    assert len(set(sums)) == 1
    full = disk.stat().st_blocks
    machine.shell("rm /mnt/c1; sync; fstrim /mnt; umount /mnt", 120)
    assert disk.stat().st_blocks < full - (14 << 11)
    poweroff(machine)
    for copy in ("a", "c2"):
        assert hashlib.md5(host_copy(disk, copy)).hexdigest() == sums[0]


@needs_ext4
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ahci-msi", "nvme-msix"])
def test_a_killed_bhyve_loses_nothing_synced(
    machine: Machine, storage_linux: tuple[str, str], tmp_path: Path, kind: str
) -> None:
    model, name, _ = DISKS[kind]
    disk = make_disk(tmp_path / "disk.img")
    boot(machine, storage_linux, f"{model},{disk}")
    machine.shell(f"mkdir /mnt; mount -t ext4 /dev/{name} /mnt")
    machine.shell("dd if=/dev/urandom of=/mnt/a bs=1M count=4 conv=fsync")
    digest = MD5.findall(machine.shell("echo; md5sum /mnt/a"))
    machine.send("while :; do dd if=/dev/zero of=/mnt/b bs=1M count=8; done\n")
    machine.expect("records out")
    machine.signal(signal.SIGKILL)
    machine.wait()
    replay = subprocess.run(["e2fsck", "-p", disk], capture_output=True, check=False)
    assert replay.returncode in (0, 1)
    assert hashlib.md5(host_copy(disk, "a")).hexdigest() == digest[0]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("xorriso") is None, reason="no xorriso")
def test_a_disc_and_names(
    machine: Machine, storage_linux: tuple[str, str], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "big").write_bytes(os.urandom(3 << 20))
    iso = tmp_path / "disc.iso"
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", iso, tree],
        check=True,
        capture_output=True,
    )
    for i in range(3):
        os.truncate(os.open(tmp_path / f"{i}.img", os.O_CREAT | os.O_RDWR), 16 << 20)
    boot(
        machine,
        storage_linux,
        f"ahci,hd:{tmp_path}/0.img,ser=MINE,model=A DISK,nmrr=7200,cd:{iso}"
        f",hd:{tmp_path}/1.img,sectorsize=4096",
        f"nvme,{tmp_path}/2.img,ser=N1,sectsz=4096",
        "nvme,ram=32",
    )
    machine.shell("mkdir /mnt; mount -t iso9660 -o ro /dev/sr0 /mnt")
    found = MD5.findall(machine.shell("echo; md5sum /mnt/big", 120))
    assert found == [hashlib.md5((tree / "big").read_bytes()).hexdigest()]

    def says(path: str) -> str:
        return machine.shell(f"echo; cat {path}").strip().splitlines()[-1].strip()

    # Linux probes in parallel: names of disks come in any order.
    scsi, nvme = "/sys/bus/scsi/devices", "/sys/bus/pci/devices/0000:00:0%d.0/nvme/*"
    assert says(f"{scsi}/0:0:0:0/model") == "A DISK"
    assert says(f"{scsi}/0:0:0:0/block/*/queue/rotational") == "1"
    assert says(f"{scsi}/2:0:0:0/block/*/queue/logical_block_size") == "4096"
    assert says(nvme % 4 + "/serial") == "N1"
    assert says(nvme % 4 + "/model") == "bhyve-NVMe"
    assert says(nvme % 4 + "/nvme*n1/queue/logical_block_size") == "4096"
    assert says(nvme % 5 + "/serial") == "NVME-5-0"
    assert says(nvme % 5 + "/nvme*n1/size") == "65536"
    machine.shell(f"R=/dev/$(basename {nvme % 5}/nvme*n1)")
    machine.shell("dd if=/mnt/big of=$R bs=1M count=3 conv=fsync", 60)
    machine.shell("echo 3 > /proc/sys/vm/drop_caches")
    again = machine.shell("echo; dd if=$R bs=1M count=3 | md5sum", 60)
    assert MD5.findall(again) == found
    os.truncate(tmp_path / "2.img", 32 << 20)
    size = nvme % 4 + "/nvme*n1/size"
    grown = f"until [ $(cat {size}) = 65536 ]; do sleep 0.1; done"
    machine.shell(grown, 20)
    machine.shell("umount /mnt")
    poweroff(machine)


@pytest.mark.parametrize(
    ("slot", "line"),
    [
        ("ahci,{disk}", 'ahci: no hd: or cd: before "{disk}"'),
        (
            "ahci,hd:/nowhere/disk",
            "bhyve: Could not open backing file: /nowhere/disk: "
            "No such file or directory",
        ),
        ("nvme", 'Missing "path" for block device.'),
        ("nvme,{disk},sectsz=1024", "nvme: sector size 1024 is not 512, 4096 or 8192"),
        ("nvme,{disk},dsm=x", "nvme: dsm: x: not auto, enable or disable"),
        ("nvme,{disk},eui64=x", "nvme: eui64: x: no number"),
    ],
)
def test_refused_options(
    machine: Machine, tmp_path: Path, slot: str, line: str
) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    assert machine.ctl("--create").returncode == 0
    option = f"3,{slot.format(disk=disk)}"
    done = machine.run("bhyve", *SLOTS, "-s", option, machine.name)
    assert done.returncode != 0
    assert line.format(disk=disk) in done.stderr.splitlines()


@cbuild.needs_gcc
@pytest.mark.parametrize("sanitizer", cbuild.BOTH)
def test_a_hostile_driver(tmp_path: Path, sanitizer: str) -> None:
    bhyve = cbuild.CSRC / "bhyve"
    core = cbuild.sources("bhyve/block")
    core += [*(bhyve / "pci").glob("ahci_*.c"), *(bhyve / "pci").glob("nvme_*.c")]
    core += [bhyve / "pci" / f"pci_{name}.c" for name in ("ahci", "nvme")]
    core += [bhyve / name for name in ("config.c", "debug.c", "virtio/iov.c")]
    core.append(bhyve / "net" / "net_utils.c")
    own = [HERE / "storage_hostile.c"]
    program = cbuild.program(tmp_path / "hostile", own, core, sanitizer)
    for i in range(2):
        (tmp_path / f"{i}.img").write_bytes(bytes(4 << 20))
    for model, options in (
        ("ahci", f"hd:{tmp_path}/0.img,cd:{tmp_path}/1.img"),
        ("nvme", f"{tmp_path}/0.img"),
        ("nvme", "ram=4"),
    ):
        done = subprocess.run(
            [program, model, options, "20000", "1"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=cbuild.environment(),
        )
        assert done.returncode == 0, done.stderr[:4000]
        assert done.stdout == "survived 20000\n"
