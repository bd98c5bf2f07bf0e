"""A Debian server on each kind of disk: it boots, names it, uses and trims it."""

import hashlib
import os
import re
from pathlib import Path

import pytest

from support import debroot, firmware, server, serverdisk
from support.guestfiles import GuestUnavailableError
from support.machine import Machine
from support.serverdisk import Form

CACHE = Path(__file__).parents[2] / "build" / "guest"
#: Sizes from a sector up, four jobs that own a quarter of the disk each; what
#: was written is read back and its checksum compared.
FIO = (
    "fio --name=job --filename={device} --numjobs=4 --size=16m "
    "--offset_increment=16m --rw=randwrite "
    "--bssplit=512/10:4k/40:16k/25:64k/15:256k/10 --ioengine=libaio --iodepth=8 "
    "--direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=128 "
    "--group_reporting"
)
EXTRA = 64 << 20


@pytest.fixture(scope="session")
def guest() -> debroot.Debian:
    try:
        return debroot.debian(CACHE)
    except GuestUnavailableError as error:
        pytest.skip(f"no Debian root: {error}")


def ident(path: Path, form: str = "BHYVE-%02X%02X-%02X%02X-%02X%02X") -> str:
    """Return the serial number that a disk has from its path."""
    return form % tuple(hashlib.md5(str(path).encode()).digest()[:6])


def extra_disk(path: Path) -> Path:
    path.write_bytes(b"")
    os.truncate(path, EXTRA)
    return path


def run_fio(machine: Machine, device: str, seconds: int) -> None:
    """Run the four jobs for a time; fio must end without an error."""
    command = FIO.format(device=device)
    more = f" --time_based --runtime={seconds}" if seconds else ""
    said = machine.shell(command + more, 6 * seconds + 600)
    assert re.search(r"err= 0", said), said
    assert not re.search(r"verify:|err= *[1-9]|fio: .*error", said), said


def sum_in_guest(machine: Machine, device: str) -> str:
    """Return the MD5 of a device, read in the guest."""
    read = f"dd if={device} bs=1M iflag=direct status=none"
    said = machine.shell(f"sync; {read} | md5sum", 300)
    found = re.search(r"\b[0-9a-f]{32}\b", said)
    assert found, said
    return found[0]


def same_on_host(guests: str, image: Path) -> None:
    """Compare a device's MD5 with its image, read here."""
    data = image.read_bytes()
    assert guests == hashlib.md5(data).hexdigest()
    assert any(data)


@pytest.mark.slow
@pytest.mark.hours
@pytest.mark.parametrize("form", serverdisk.FORMS, ids=str)
def test_ten_minutes_of_fio(guest: debroot.Debian, tmp_path: Path, form: Form) -> None:
    root = debroot.raw_disk(guest)
    disk = serverdisk.from_raw(form, root, tmp_path / "disk.img")
    extra = serverdisk.empty(form, tmp_path / "extra.img", EXTRA)
    with Machine(tmp_path / "vmm") as machine:
        more = ("-s", f"5,{form.slot(extra)}")
        server.boot(machine, guest, form.kind, disk, *more, options=form.options)
        device = server.node(machine, 5)
        run_fio(machine, device, 600)
        print(machine.output[-3000:])
        written = sum_in_guest(machine, device)
        check_trim(machine, disk)
        server.check_log(machine)
        server.power_off(machine)
    for image in (disk, extra):
        serverdisk.check(form, image)
    server.check_clean(serverdisk.as_raw(form, disk))
    same_on_host(written, serverdisk.as_raw(form, extra))


#: What lspci, nvme and hdparm say of each kind, as patterns.
LSPCI = {
    "virtio-blk": (
        r"\[0100\]: .*\[1af4:1001\]",
        r"Subsystem: .*\[1af4:0002\]",
        r"Interrupt: pin A",
        r"Region 0: I/O ports at \w+ \[size=\d+\]",
        r"MSI-X: Enable\+ Count=\d+ Masked-\n\s*Vector table: BAR=1 offset=00000000",
        r"Kernel driver in use: virtio-pci",
    ),
    "ahci-hd": (
        r"\[0106\]: .*\[8086:2821\] \(prog-if 01 \[AHCI 1.0\]\)",
        r"Interrupt: pin A",
        r"Region 5: Memory at \w+ \(32-bit, non-prefetchable\) \[size=1K\]",
        r"MSI: Enable\+ Count=1/8 Maskable- 64bit\+",
        r"Kernel driver in use: ahci",
    ),
    "nvme": (
        r"\[0108\]: .*\[fb5d:0a0a\] \(prog-if 02 \[NVM Express\]\)",
        r"Region 0: Memory at \w+ \(64-bit, non-prefetchable\) \[size=16K\]",
        r"MSI-X: Enable\+ Count=17 Masked-\n\s*Vector table: BAR=4 offset=00000000",
        r"Express \(v2\) Root Complex Integrated Endpoint",
        r"Kernel driver in use: nvme",
    ),
}
HDPARM = (
    r"Model Number: +BHYVE SATA DISK",
    r"Firmware Revision: +001",
    r"Supported: 9 8 7 6 5",
    rf"LBA48 +user addressable sectors: +{debroot.SIZE // 512}\b",
    r"Logical  Sector size: +512 bytes",
    r"Queue depth: 32",
    r"R/W multiple sector transfer: Max = 128",
    r"\*udma6",
    r"\*\s+Native Command Queueing",
    r"\*\s+Gen3 signaling speed",
    r"\*\s+Data Set Management TRIM supported",
    r"Checksum: correct",
)
NVME = (
    *(r"vid +: 0xfb5d", r"sn +: NVME-4-0", r"mn +: bhyve-NVMe", r"fr +: 1\.0"),
    *(r"rab +: 4", r"ieee +: 589cfc", r"mdts +: 9", r"ver +: 0x10400"),
    *(r"acl +: 2", r"aerl +: 4", r"frmw +: 0x3", r"lpa +: 0", r"elpe +: 0"),
    *(r"wctemp +: 343", r"cctemp +: 343", r"sqes +: 0x66", r"cqes +: 0x44"),
    *(r"nn +: 1", r"fna +: 0x3", r"npss +: [01]", r"mp:0\.10W"),
)


def says(text: str, patterns: tuple[str, ...]) -> None:
    missing = [one for one in patterns if not re.search(one, text)]
    assert not missing, f"{missing} not in\n{text}"


def check_identity(machine: Machine, kind: str, disk: Path) -> None:
    """Compare what the guest's tools say with what bhyve's devices are."""
    says(machine.shell("lspci -vvnn -s 4"), LSPCI[kind])
    node = server.node(machine, 4)
    udev = machine.shell(f"udevadm info --query=property {node}")
    if kind == "virtio-blk":
        says(udev, (f"ID_SERIAL={ident(disk)}", "ID_PATH=pci-0000:00:04.0"))
    elif kind == "ahci-hd":
        serial = f"ID_SERIAL_SHORT={ident(disk)}"
        says(udev, (serial, "ID_MODEL=BHYVE_SATA_DISK", "ID_ATA_WRITE_CACHE_ENABLED=1"))
        said = machine.shell(f"hdparm -I {node}")
        says(said, (*HDPARM, rf"Serial Number: +{ident(disk)}"))
    else:
        wanted = ("ID_SERIAL_SHORT=NVME-4-0", "ID_MODEL=bhyve-NVMe", "ID_NSID=1")
        says(udev, (*wanted, r"ID_WWN=eui\.589cfc"))
        says(machine.shell("nvme list"), (rf"{node} .*NVME-4-0 +bhyve-NVMe .* 1\.0",))
        said = machine.shell(f"nvme id-ctrl {node.removesuffix('n1')}")
        says(said, NVME)
        oncs = re.search(r"oncs +: 0x([0-9a-f]+)", said)
        assert oncs
        assert int(oncs[1], 16) & 4, "dataset management"
        says(machine.shell(f"nvme id-ns {node}"), (r"eui64 +: 589cfc", r"lbads:9"))


def check_trim(machine: Machine, disk: Path) -> None:
    """Check that a removed file gives its room on the host back."""
    size = 96 << 20
    before = disk.stat().st_blocks * 512
    machine.shell(f"dd if=/dev/urandom of=/big bs=1M count={size >> 20}; sync", 300)
    full = disk.stat().st_blocks * 512
    assert full > before + size * 9 // 10
    said = machine.shell("rm /big; sync; fstrim -v /", 300)
    assert "trimmed" in said, said
    assert disk.stat().st_blocks * 512 < full - size * 9 // 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", server.DISKS)
def test_a_server_on_its_disk(guest: debroot.Debian, tmp_path: Path, kind: str) -> None:
    disk = debroot.copy(debroot.raw_disk(guest), tmp_path / "disk.img")
    extra = extra_disk(tmp_path / "extra.img")
    with Machine(tmp_path / "vmm") as machine:
        server.boot(machine, guest, kind, disk, "-s", f"5,{kind},{extra}")
        assert "0 loaded units" in machine.shell("systemctl --failed")
        check_identity(machine, kind, disk)
        check_trim(machine, disk)
        device = server.node(machine, 5)
        run_fio(machine, device, 20)
        same_on_host(sum_in_guest(machine, device), extra)
        server.check_log(machine)
        server.power_off(machine)
    server.check_clean(disk)


@pytest.fixture(scope="session")
def bios() -> Path:
    try:
        return firmware.seabios(CACHE)
    except GuestUnavailableError as error:
        pytest.skip(f"no SeaBIOS: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ahci-hd", "nvme"])
def test_from_the_mbr(
    guest: debroot.Debian, bios: Path, tmp_path: Path, kind: str
) -> None:
    """test_debian_net.py does the same on virtio-blk."""
    try:
        image = debroot.grub_disk(guest, CACHE)
    except GuestUnavailableError as error:
        pytest.skip(f"no GRUB: {error}")
    disk = debroot.copy(image, tmp_path / "disk.img")
    with Machine(tmp_path / "vmm") as machine:
        server.boot_bios(machine, bios, "-s", f"4,{kind},{disk}")
        said = machine.shell("findmnt -no SOURCE /")
        assert re.search(rf"/dev/{server.DISKS[kind]}p?1\b", said), said
        server.check_log(machine)
        server.power_off(machine)
    server.check_clean(disk, debroot.MIB)


@pytest.mark.slow
def test_a_live_disc(guest: debroot.Debian, bios: Path, tmp_path: Path) -> None:
    try:
        disc = debroot.live_disc(guest, CACHE)
    except GuestUnavailableError as error:
        pytest.skip(f"no grub-mkrescue: {error}")
    with Machine(tmp_path / "vmm") as machine:
        server.boot_bios(machine, bios, "-s", f"4,ahci-cd,{disc}")
        assert "overlay" in machine.shell("findmnt -no FSTYPE /")
        said = machine.shell("lspci -vvnn -s 4; udevadm info /dev/sr0")
        says(said, (*LSPCI["ahci-hd"], "ID_MODEL=BHYVE_SATA_DVD_ROM"))
        assert "DEBLIVE" in machine.shell("blkid /dev/sr0")
        machine.shell("echo kept >/root/new; sync")
        server.check_log(machine)
        server.power_off(machine)
