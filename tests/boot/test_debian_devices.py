"""A Debian server with every device at once: what its tools say of each."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import debroot, server
from support.guestfiles import GuestUnavailableError
from support.machine import Machine

CACHE = Path(__file__).parents[2] / "build" / "guest"
MAC = "58:9c:fc:0a:0b:0c"
SERIAL = r"BHYVE-(?:[0-9A-F]{4}-){2}[0-9A-F]{4}"
VIRTIO_CAPS = r"VirtIO: CommonCfg[\s\S]*VirtIO: ISR[\s\S]*VirtIO: Notify"

#: Lines at level "warn" or above that are no device's fault: -> why.
NAMED = {
    r"regulatory\.db|wiki\.debian\.org/Firmware": "a file that Debian ships apart",
    r"CONFIG_IMA_DISABLE_HTABLE": "Debian's configuration",
    r"calibrate|calibration|hrtimer: interrupt took|Long readout|clocksource:|"
    r"lpj=|sched: RT throttling|soft lockup|rcu.*stall": "a host with other work",
}

#: What lspci -nn calls each, and what lspci -vvv says of its functions.
PCI = {
    "00:00.0": (
        r"\[0600\]:.*\[1275:1275\]",
        r"Express \(v2\) Root Port[\s\S]*Speed 2\.5GT/s, Width x1",
    ),
    "00:02.0": (
        r"\[0700\]:.*\[131f:2000\]",
        r"Region 0: I/O ports at \w+ \[size=8\][\s\S]*in use: serial",
    ),
    "00:03.0": (
        r"\[0200\]:.*\[8086:100f\]",
        r"Region 0: Memory.*32-bit.*128K\][\s\S]*Region 1: Memory.*64K\]"
        r"[\s\S]*Region 2: I/O.*size=8\][\s\S]*in use: e1000",
    ),
    "00:04.0": (
        r"\[0108\]:.*\[fb5d:0a0a\]",
        r"prog-if 02[\s\S]*Region 0: Memory.*64-bit.*16K\][\s\S]*Region 4: Memory"
        r"[\s\S]*MSI-X: Enable\+ Count=17[\s\S]*Vector table: BAR=4"
        r"[\s\S]*Root Complex Integrated Endpoint[\s\S]*in use: nvme",
    ),
    "00:05.0": (
        r"\[0100\]:.*\[1af4:1001\]",
        r"MSI-X: Enable\+ Count=2[\s\S]*MSI: Enable- Count=1/1[\s\S]*" + VIRTIO_CAPS,
    ),
    "00:06.0": (
        r"\[0200\]:.*\[1af4:1000\]",
        r"MSI-X: Enable\+ Count=4[\s\S]*Vector table: BAR=1[\s\S]*" + VIRTIO_CAPS,
    ),
    "00:07.0": (r"\[1000\]:.*\[1af4:1005\]", r"MSI-X: Enable\+ Count=2"),
    "00:08.0": (r"\[0780\]:.*\[1af4:1003\]", r"MSI-X: Enable\+ Count=35"),
    "00:09.0": (
        r"\[0106\]:.*\[8086:2821\]",
        r"prog-if 01[\s\S]*Region 5: Memory.*32-bit.*1K\][\s\S]*"
        r"MSI: Enable\+ Count=1/8.*64bit\+[\s\S]*in use: ahci",
    ),
    "00:1f.0": (r"\[0601\]:.*\[8086:7000\]", r"Cap-"),
}

#: A command in the guest -> patterns of what it prints.
SAID = {
    "nvme list": (r"NVME-4-0 +bhyve-NVMe .*512 +B \+ +0 B +1\.0",),
    "nvme id-ctrl /dev/nvme0": (
        *(r"vid +: 0xfb5d", r"ssvid +: 0\b", r"sn +: NVME-4-0 ", r"rab +: 4\b"),
        *(r"ieee +: 589cfc", r"mdts +: 9\b", r"ver +: 0x10400", r"oacs +: 0x2\b"),
        *(r"acl +: 2\b", r"aerl +: 4\b", r"frmw +: 0x3\b", r"lpa +: 0\b"),
        *(r"npss +: 0\b", r"wctemp +: 343", r"cctemp +: 343", r"sqes +: 0x66"),
        *(r"cqes +: 0x44", r"nn +: 1\b", r"oncs +: 0x4\b", r"fna +: 0x3\b"),
        *(r"mp:0\.10W",),
    ),
    "nvme id-ns -n1 /dev/nvme0n1": (
        *(r"nlbaf +: 0\b", r"eui64 +: 589cfc[0-9a-f]{10}", r"lbads:9 .*in use"),
    ),
    "nvme smart-log /dev/nvme0": (
        r"temperature\s+: (?!0 )",
        r"Data Units Read\s+: [1-9]",
    ),
    "hdparm -I /dev/sda": (
        *(r"Model Number: +BHYVE SATA DISK", rf"Serial Number: +{SERIAL}"),
        *(r"Firmware Revision: +001", r"Supported: 9 8 7 6 5", r"\(.*0x0028\)"),
        *(r"Queue depth: 32", r"Max = 128", r"\*udma6", r"\*\s+48-bit Address"),
        *(r"\*\s+Native Command Queueing", r"\*\s+Data Set Management TRIM"),
        *(r"Gen3 signaling speed", r"Checksum: correct"),
    ),
    # -I asks an ATAPI drive first for what only disks have, and takes the sense
    # data that Linux fetches after the abort for an answer.
    "hdparm -i /dev/sr0": (
        rf"Model=BHYVE SATA DVD ROM, FwRev=001, SerialNo={SERIAL}\b",
        *(r"\*udma6", r"Config=\{.*Removable"),
    ),
    "udevadm info -q property -n /dev/vda": (rf"ID_SERIAL={SERIAL}\b",),
    "udevadm info -q property -n /dev/sda": (
        *(rf"ID_SERIAL_SHORT={SERIAL}\b", r"ID_MODEL=BHYVE_SATA_DISK"),
        *(r"ID_ATA_WRITE_CACHE_ENABLED=1", r"ID_PATH=pci-0000:00:09\.0-ata-1"),
    ),
    "udevadm info -q property -n /dev/sr0": (
        *(r"ID_CDROM_DVD=1", r"ID_MODEL=BHYVE_SATA_DVD_ROM", r"ID_CDROM_MEDIA=1"),
    ),
    "udevadm info -q property -n /dev/nvme0n1": (
        *(r"ID_SERIAL=bhyve-NVMe_NVME-4-0", r"ID_WWN=eui\.589cfc"),
    ),
    "ethtool -i enp0s3": (r"driver: e1000\b", r"bus-info: 0000:00:03\.0"),
    "ethtool enp0s3": (r"Speed: 1000Mb/s", r"Duplex: Full", r"Link detected: yes"),
    "ip link show enp0s3": (MAC,),
    "ethtool -i enp0s6": (r"driver: virtio_net\b", r"bus-info: 0000:00:06\.0"),
    "ethtool enp0s6": (r"Link detected: yes",),
    "ip link show enp0s6": (r"mtu 1400\b", r"58:9c:fc:(?!0a:0b:0c)"),
    "cat /sys/class/misc/hw_random/rng_current": (r"virtio_rng\.0",),
    "dd if=/dev/hwrng bs=4096 count=4 status=none | wc -c": (r"^[1-9]\d*$",),
    "cat /sys/class/virtio-ports/*/name": (r"^org\.one$",),
    "cat /proc/tty/driver/serial": (
        *(r"0: uart:16550A port:000003F8 irq:4\b", r"1: uart:16550A port:000002F8"),
        *(r"2: uart:16550A port:000003E8", r"3: uart:16550A port:000002E8"),
        *(r"4: uart:16550A port:00002\w+ irq:\d",),
    ),
    "dmesg": (
        *(r"found SMP MP-table at .*0x000f0000", r"SMBIOS 2\.6 present"),
        *(r"DMI: FreeBSD BHYVE/BHYVE, BIOS 14\.0 10/17/2021",),
        *(r"RSDP 0x00000000000F2400 \w+ \(v02 BHYVE \)", r"v05 BHYVE  BVFACP"),
        *(r"IOAPIC\[0\]: apic_id 0, version 17, .*0xfec00000, GSI 0-31",),
        *(r"bus_irq 0 global_irq 2 high edge", r"bus_irq 9 global_irq 9 low level"),
        *(r"HPET id: 0x80860701 base: 0xfed00000", r"8 comparators, 32-bit 16\.777"),
        *(r"PM-Timer IO Port: 0x408", r"SPCR: console: uart,io,0x3f8,115200"),
        *(r"MMCONFIG for domain 0000 \[bus 00-ff\] at \[mem 0xe0000000-0xefffffff",),
        *(r"supports S0 S5", r"LNKA configured", r"LNKH configured"),
        *(r"AHCI 0001\.0300 32 slots 6 ports 6 Gbps 0x3 impl",),
        *(r"flags: 64bit ncq sntf.*stag pm led clo.*slum part sxs apst",),
    ),
}

pytestmark = pytest.mark.slow


def slots(folder: Path) -> tuple[str, ...]:
    """Return every kind of device beside the root disk."""
    for name in ("blk", "hd", "cd"):
        (folder / name).touch()
        os.truncate(folder / name, 64 * debroot.MIB)
    words = (
        *("2,uart", f"3,e1000,slirp,mac={MAC}", f"5,virtio-blk,{folder}/blk"),
        *("6,virtio-net,slirp,mtu=1400", "7,virtio-rnd"),
        f"8,virtio-console,org.one={folder}/one",
        f"9,ahci,hd:{folder}/hd,cd:{folder}/cd",
    )
    return tuple(word for slot in words for word in ("-s", slot))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if not Path("/usr/lib/x86_64-linux-gnu/libslirp.so.0").exists():
        pytest.skip("no libslirp on this host")
    folder = tmp_path_factory.mktemp("devices")
    try:
        guest = debroot.debian(CACHE)
        disk = debroot.copy(debroot.raw_disk(guest), folder / "disk.img")
    except GuestUnavailableError as error:
        pytest.skip(f"no Debian root: {error}")
    with Machine(folder / "vmm") as made:
        # Linux makes room for four serial ports unless it is told.
        words = "8250.nr_uarts=8"
        server.boot(made, guest, "nvme", disk, *slots(folder), cmdline=words)
        wait = "networkctl --no-pager --no-legend list | grep -c routable"
        made.expect_output(wait, r"^2\b", 300)
        yield made
        server.power_off(made)
    server.check_clean(disk)


def test_nothing_is_complained_of(machine: Machine) -> None:
    log = machine.shell("dmesg -l warn,err,crit,alert,emerg")
    calm = re.compile("|".join(NAMED))
    bad = [line for line in log.splitlines() if line.strip() and not calm.search(line)]
    assert not bad, "\n".join(bad)
    server.check_log(machine)


@pytest.mark.parametrize("where", PCI)
def test_lspci(machine: Machine, where: str) -> None:
    identity, functions = PCI[where]
    said = machine.shell(f"lspci -nn -s {where}")
    assert re.search(identity, said), said
    said = machine.shell(f"lspci -vvv -s {where}")
    assert re.search(functions, said), said


@pytest.mark.parametrize("command", SAID)
def test_tools(machine: Machine, command: str) -> None:
    said = machine.shell(command)
    missing = [one for one in SAID[command] if not re.search(one, said, re.MULTILINE)]
    assert not missing, f"{missing} not in\n{said}"
