"""A Linux guest with network drivers: its initrd, and getting it started."""

import re
import shutil
from pathlib import Path

from . import guestfiles, hostprogs
from .machine import SLOTS, Machine

#: Modules of a guest, in the order in which they are inserted.
MODULES = (
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "net/packet/af_packet.ko",
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/net/virtio_net.ko",
    "drivers/net/ethernet/intel/e1000/e1000.ko",
)

START = """for module in /net/*.ko; do
    insmod $module || echo "insmod $module failed"
done
ip link set lo up
"""

DHCP = """#!/bin/sh
case $1 in
bound | renew)
    ip addr add $ip/$mask dev $interface
    ip route add default via $router
    echo "nameserver $dns" >/etc/resolv.conf
    ;;
esac
"""

#: What a driver or the kernel prints when a device misbehaves.
BAD = re.compile(
    r"BUG|WARNING|Oops|Call Trace|Tx Unit Hang|NETDEV WATCHDOG|hw csum failure|"
    r"bad gso|not-yet|virtio.*(?:[Ff]ailed|error)|e1000.*(?:[Ee]rror|[Ff]ailed)"
)


def kernel(cache: Path, package: str = guestfiles.KERNEL_PACKAGE) -> Path:
    """Return the kernel of a meta package: the cloud one has no e1000."""
    if package == guestfiles.KERNEL_PACKAGE:
        return guestfiles.debian_kernel(cache)
    name = next(
        iter(sorted(path.name for path in cache.glob("linux-image-*[0-9]-amd64"))), ""
    )
    if not name:
        name = guestfiles._dependency(package, "linux-image-", cache)
    return next((guestfiles.fetch(name, cache) / "boot").glob("vmlinuz-*"))


def initrd(cache: Path, out: Path, image: Path, *programs: str) -> Path:
    """Write the initrd for the kernel `image` with programs of the host."""
    guestfiles.initrd(cache, out)
    tree = image.parents[1] / "lib" / "modules"
    files = hostprogs.files(*programs) | {
        "net.sh": (0o755, START.encode()),
        "dhcp.sh": (0o755, DHCP.encode()),
    }
    for number, name in enumerate(MODULES):
        for path in tree.glob(f"*/kernel/{name}"):
            files[f"net/{number:02}-{path.name}"] = (0o644, path.read_bytes())
    # The kernel unpacks archives one after the other.
    out.write_bytes(out.read_bytes() + guestfiles.pack_initrd(files))
    return out


def boot(
    machine: Machine,
    guest: tuple[str, str],
    *slots: str,
    args: tuple[str, ...] = (),
    cpus: str = "1",
    memory: str = "256M",
    cmdline: str = "quiet",
) -> None:
    """Start the guest with further -s arguments; return at its prompt."""
    machine.load(
        *("-m", memory, "--kernel", guest[0], "--initrd", guest[1]),
        *("--cmdline", f"console=ttyS0 {cmdline} run=net.sh"),
    )
    extra = tuple(word for slot in slots for word in ("-s", slot))
    machine.start("-c", cpus, "-m", memory, *args, slots=SLOTS + extra)
    machine.expect("GUEST-READY", 180)
    machine.expect("guest# ", 30)


def dhcp(machine: Machine, interface: str = "eth0") -> None:
    """Have the guest ask for an address; it must get one."""
    machine.shell(f"ip link set {interface} up")
    said = machine.shell(f"udhcpc -i {interface} -n -q -t 8 -s /dhcp.sh", 60)
    assert "obtained" in said, said


def check_log(machine: Machine) -> None:
    """Fail if the guest's kernel complains."""
    log = machine.shell("dmesg")
    found = BAD.search(log)
    assert not found, log[max(0, found.start() - 300) : found.end() + 500]


def have(*names: str) -> bool:
    """Tell whether the programs are on the host."""
    return all(shutil.which(name) for name in names)
