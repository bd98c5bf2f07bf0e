"""Disks and cards under each way in which Linux can be told to take interrupts.

The tables for each are other ones: the MADT and _PRT with the I/O APIC, _PRT and
the link devices (PIRQ router) with the 8259s, the MP table or the router's
registers without ACPI.
"""

import ctypes.util
import hashlib
import os
import re
from pathlib import Path

import pytest

from support import guestfiles, kmods
from support.disklinux import MD5, ordinary_kernel
from support.machine import SLOTS, Machine
from support.netguest import DHCP, dhcp

CACHE = Path(__file__).parents[2] / "build" / "guest"
MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_net", "e1000", "ahci", "sd_mod"),
    *("nvme", "crc32c_generic", "af_packet"),
)
#: Where the disks and the cards are: on one bus, and on several root buses,
#: which an MP table cannot tell of.
ONE_BUS = ("3", "4", "5", "6", "7")
BUSES = ("3", "1:4:0", "7:0:0", "1:4:3", "255:31:0")
#: The names that Linux gives the disks.
DISKS = {"virtio-blk": "vda", "ahci-hd": "sda", "nvme": "nvme0n1"}
SIZE = 8 << 20
MSI, APIC, PIC = "PCI-MSI", "IO-APIC", "XT-PIC"
#: The kernel's words -> what /proc/interrupts names for messages, and for pins.
MODES = {
    "": (MSI, APIC),
    "nox2apic": (MSI, APIC),
    "pci=nomsi": (APIC, APIC),
    "noapic": (MSI, PIC),
    "noapic pci=nomsi": (PIC, PIC),
    "acpi=off": (MSI, APIC),
    "acpi=off pci=nomsi": (APIC, APIC),
    "acpi=off noapic pci=nomsi": (PIC, PIC),
    # Without a local APIC Linux warns of its own missing MSI domain.
    "nolapic pci=nomsi": (PIC, PIC),
    "nolapic acpi=off pci=nomsi": (PIC, PIC),
}
#: Drivers' names in /proc/interrupts: those that use messages, and pins only.
MESSAGES = ("virtio", "ahci", "nvme")
PINS = ("eth",)
BAD = re.compile(
    r"BUG|WARNING|Oops|Call Trace|nobody cared|I/O error|exception Emask|"
    r"[Ff]irmware [Bb]ug|ACPI (?:Error|Warning|BIOS)|can't find IRQ|"
    r"PCI: No IRQ|(?:ata\d|nvme|virtio|e1000|pci).*(?:[Ee]rror|[Ff]ail|timeout)|"
    r"MP-BIOS bug|Using IRQ|pci_hp|Unknown interrupt"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def linux(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return the kernel that reads MP tables, and an initrd with drivers."""
    if ctypes.util.find_library("slirp") is None:
        pytest.skip("no libslirp here")
    try:
        kernel, modules = ordinary_kernel(CACHE)
        out = tmp_path_factory.mktemp("modes") / "initrd.cpio"
        kmods.initrd(modules, out, MODULES, {"dhcp.sh": DHCP})
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    return str(kernel), str(out)


def source(table: str, driver: str) -> set[str]:
    """Return the interrupt controllers that a driver has had interrupts from."""
    rows = re.findall(rf"^ *\d+:((?: +\d+)+) +(\S+) .*\b{driver}", table, re.MULTILINE)
    return {name for counts, name in rows if any(int(n) for n in counts.split())}


def check(
    linux: tuple[str, str],
    tmp_path: Path,
    words: str,
    places: tuple[str, ...],
    *args: str,
) -> None:
    """Boot, read all disks, get addresses, look at the interrupts' sources."""
    messages, pins = MODES[words]
    devices, sums = [], []
    for place, kind in zip(places, DISKS, strict=False):
        image = tmp_path / kind
        image.write_bytes(os.urandom(SIZE))
        sums.append(hashlib.md5(image.read_bytes()).hexdigest())
        devices += ["-s", f"{place},{kind},{image}"]
    for place, kind in zip(places[3:], ("virtio-net", "e1000"), strict=True):
        devices += ["-s", f"{place},{kind},slirp"]
    with Machine(tmp_path / "vmm") as machine:
        machine.load(
            *("-m", "512M", "--kernel", linux[0], "--initrd", linux[1]),
            *("--cmdline", f"console=ttyS0 quiet {words}"),
        )
        cpus = "1" if "nolapic" in words else "2"
        machine.start("-c", cpus, "-m", "512M", *args, slots=(*SLOTS, *devices))
        machine.expect("GUEST-READY", 240)
        machine.expect("guest# ", 30)
        for name, digest in zip(DISKS.values(), sums, strict=True):
            found = MD5.search(machine.shell(f"md5sum </dev/{name}"))
            assert found, machine.output[-1000:]
            assert found[0] == digest
        for card in ("eth0", "eth1"):
            dhcp(machine, card)
            machine.shell(f"ip link set {card} down; ip addr flush dev {card}")
            machine.shell(f"ip link set {card} up")
        table = machine.shell("cat /proc/interrupts")
        for driver in MESSAGES:
            assert source(table, driver) == {messages}, table
        # A card's interrupt has a name while it is up.
        for driver in PINS:
            assert source(table, driver) == {pins}, table
        log = machine.shell("dmesg")
        bad = [line for line in log.splitlines() if BAD.search(line)]
        assert not bad, "\n".join(bad)
        if "acpi=off" in words:
            # Without ACPI nobody powers the machine off.
            assert machine.ctl("--force-poweroff").returncode == 0
        else:
            machine.send("poweroff\n")
        assert machine.wait() == 1


@pytest.mark.parametrize("words", MODES)
def test_everything_works(linux: tuple[str, str], tmp_path: Path, words: str) -> None:
    # The x2APIC is used, refused, or not there.
    x2apic = ("-x",) if words in ("", "nox2apic") else ()
    check(linux, tmp_path, words, ONE_BUS, *x2apic)


@pytest.mark.parametrize("words", ["", "pci=nomsi", "noapic pci=nomsi"])
def test_several_buses(linux: tuple[str, str], tmp_path: Path, words: str) -> None:
    check(linux, tmp_path, words, BUSES, "-Y")
