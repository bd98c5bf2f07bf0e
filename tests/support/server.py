"""Booting the Debian server of debroot.py, logging in and shutting it down."""

import re
import subprocess
from pathlib import Path

from . import debroot
from .machine import SLOTS, Machine

#: A root disk's emulation -> the name that Linux gives its first disk.
DISKS = {"virtio-blk": "vda", "ahci-hd": "sda", "nvme": "nvme0n1"}
#: SeaBIOS looks for the PIIX power management of an i440FX.
BIOS_SLOTS = ("-s", "0,hostbridge,model=i440fx", "-s", "31,lpc")
MEMORY = "1024M"
#: What a driver prints of a device that misbehaves.  regulatory.db is a file
#: that Debian ships apart; the calibrations are judged by the host's load.
BAD = re.compile(
    r"BUG|WARNING|Oops|Call Trace|I/O error|exception Emask|failed command|"
    r"[Ff]irmware [Bb]ug|ACPI (?:Error|Warning|BIOS)|can't claim|not-yet|"
    r"(?:ata\d|nvme|virtio|ahci|e1000|EXT4-fs|pci|serial).*"
    r"(?:[Ee]rror|[Ww]arn|[Ff]ail|timeout|hung)|nobody cared|Hardware Error"
)
CALM = re.compile(r"regulatory\.db|calibrat|errors=remount-ro|CONFIG_IMA")


def login(machine: Machine, timeout: float = 600) -> None:
    """Wait for getty and log in by the password."""
    machine.expect("debian login:", timeout)
    machine.send("root\n")
    machine.expect("Password:", timeout)
    machine.send(debroot.PASSWORD + "\n")
    machine.expect("guest# ", timeout)


def boot(
    machine: Machine,
    guest: debroot.Debian,
    kind: str,
    disk: Path,
    *args: str,
    cmdline: str = "",
    options: str = "",
    log_in: bool = True,
) -> None:
    """Start the server from a disk that is one file system, by bhyveload."""
    # Linux gives AHCI's disks their names in any order.
    words = f"console=ttyS0 quiet root=LABEL=debroot ro {cmdline}"
    images = ("--kernel", str(guest.kernel), "--initrd", str(guest.initrd))
    machine.load("-m", MEMORY, *images, "--cmdline", words)
    slot = f"4,{kind},{disk}{options}"
    machine.start("-m", MEMORY, *args, slots=(*SLOTS, "-s", slot))
    if log_in:
        login(machine)


def node(machine: Machine, slot: int) -> str:
    """Return the name in /dev of the disk in a PCI slot."""
    path = f"/dev/disk/by-path/pci-0000:00:{slot:02x}.0*"
    said = machine.shell(f"readlink -f {path} | grep -v part")
    found = re.search(r"^/dev/\w+", said, re.M)
    assert found, said
    return found[0]


def boot_bios(machine: Machine, bios: Path, *args: str) -> None:
    """Start the server by SeaBIOS from whatever bootable disk it is given."""
    firmware = ("-l", f"bootrom,{bios},fwcfg=qemu")
    machine.start("-m", MEMORY, *firmware, *args, slots=BIOS_SLOTS)
    machine.expect(r"SeaBIOS \(version ", 180)
    login(machine)


def check_log(machine: Machine) -> None:
    """Fail if a driver of the guest complains."""
    log = machine.shell("dmesg", 120)
    bad = [
        line for line in log.splitlines() if BAD.search(line) and not CALM.search(line)
    ]
    assert not bad, "\n".join(bad)


def power_off(machine: Machine) -> None:
    """Shut the server down; bhyve must say that the guest powered off."""
    machine.send("poweroff\n")
    assert machine.wait(600) == 1, machine.output[-2000:]


def check_clean(disk: Path, offset: int = 0) -> None:
    """Fail unless the file system is clean and its structures agree."""
    name = f"{disk}?offset={offset}" if offset else str(disk)
    done = subprocess.run(
        ["/sbin/e2fsck", "-fn", name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "recovering journal" not in done.stdout


def host_copy(disk: Path, name: str, out: Path) -> bytes:
    """Return a file out of a disk that no guest uses."""
    argv = ["/sbin/debugfs", "-R", f"dump {name} {out}", str(disk)]
    subprocess.run(argv, check=True, capture_output=True)
    return out.read_bytes()
