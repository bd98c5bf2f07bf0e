"""A Debian server and the network: apt, a server reached from here, ten cards."""

import functools
import hashlib
import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import debroot, firmware, server
from support.guestfiles import GuestUnavailableError
from support.machine import Machine

CACHE = Path(__file__).parents[2] / "build" / "guest"
CONTROL = """Package: from-the-host
Version: 1.5
Architecture: all
Maintainer: Nobody <nobody@localhost>
Description: a package of the test's own
"""
#: Eight functions of one slot and two of the next; the even ones are e1000.
PLACES = [f"6:{function}" for function in range(8)] + ["7:0", "7:1"]
CARDS = ("e1000", "virtio-net")
#: How interrupts arrive -> the kernel's words, and what /proc/interrupts names
#: the source of a virtio card.  Linux's virtio driver has no use for plain MSI;
#: that is what an AHCI controller runs on, in test_debian_disks.py.
INTERRUPTS = {
    "msix": ("", r"PCI-MSI.* virtio\d+-input"),
    "intx": ("pci=nomsi", r"IO-APIC.* virtio\d+\b"),
}


@pytest.fixture(scope="session")
def guest() -> debroot.Debian:
    if not Path("/usr/lib/x86_64-linux-gnu/libslirp.so.0").exists():
        pytest.skip("no libslirp on this host")
    try:
        return debroot.debian(CACHE)
    except GuestUnavailableError as error:
        pytest.skip(f"no Debian root: {error}")


def slots() -> tuple[str, ...]:
    words = [f"{at},{CARDS[n % 2]},slirp" for n, at in enumerate(PLACES)]
    return tuple(word for slot in words for word in ("-s", slot))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server of files that keeps its log to itself."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[int]:
    """Serve a repository with one package on the loopback; yield the port."""
    if shutil.which("dpkg-scanpackages") is None:
        pytest.skip("no dpkg-scanpackages (dpkg-dev)")
    tree, pool = tmp_path / "package", tmp_path / "pool"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(CONTROL)
    (tree / "opt").mkdir()
    (tree / "opt" / "payload").write_bytes(payload())
    pool.mkdir()
    subprocess.run(["dpkg-deb", "-b", tree, pool], check=True, capture_output=True)
    index = subprocess.run(
        ["dpkg-scanpackages", "."], cwd=pool, check=True, capture_output=True
    )
    (pool / "Packages").write_bytes(index.stdout)
    handler = functools.partial(Quiet, directory=str(pool))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield httpd.server_port
        httpd.shutdown()
        thread.join()


@functools.cache
def payload() -> bytes:
    """Return 2 MiB that no compression makes smaller."""
    return os.urandom(2 << 20)


def check_cards(machine: Machine, source: str) -> None:
    """All ten cards got an address; the right interrupts came in on each."""
    machine.expect_output(
        "networkctl --no-pager --no-legend list | grep -c routable", r"^10\b", 300
    )
    for at in PLACES:
        slot, function = at.split(":")
        bus = f"0000:00:{int(slot):02x}.{function}"
        there = f"/sys/bus/pci/devices/{bus}"
        where = f"ls -d {there}/net/* {there}/virtio*/net/* 2>/dev/null"
        name = machine.shell(where).strip().rsplit("/", 1)[1]
        said = machine.shell(f"ethtool -i {name}; ip -4 -br addr show {name}")
        driver = "e1000" if PLACES.index(at) % 2 == 0 else "virtio_net"
        assert f"driver: {driver}" in said, said
        assert "10.0.2.15/24" in said, said
        if driver == "e1000":
            assert f"bus-info: {bus}" in said, said
            said += machine.shell(f"ethtool {name}")
            assert re.search(r"Speed: 1000Mb/s", said), said
    table = machine.shell("cat /proc/interrupts")
    counts = re.findall(rf"^ *\d+: +(\d+) .*?{source}", table, re.M)
    assert counts, table
    assert sum(map(int, counts)) > 0, table


def ssh(guest: debroot.Debian, port: int, command: str, data: bytes) -> bytes:
    """Run a command in the guest with its standard input; return its output."""
    options = ("UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no")
    flags = [word for one in options for word in ("-o", one)]
    argv = ["ssh", "-q", "-i", guest.key, "-p", str(port), *flags, "root@127.0.0.1"]
    done = subprocess.run(
        [*argv, command], input=data, capture_output=True, timeout=300, check=True
    )
    return done.stdout


@pytest.mark.slow
def test_a_server_from_the_mbr_talks(
    guest: debroot.Debian, tmp_path: Path, repository: int
) -> None:
    """SeaBIOS, GRUB, virtio-blk, and slirp both ways."""
    try:
        bios = firmware.seabios(CACHE)
        image = debroot.grub_disk(guest, CACHE)
    except GuestUnavailableError as error:
        pytest.skip(f"no firmware: {error}")
    disk = debroot.copy(image, tmp_path / "disk.img")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    card = f"5,virtio-net,slirp,open,hostfwd=tcp:127.0.0.1:{port}-:22"
    with Machine(tmp_path / "vmm") as machine:
        server.boot_bios(machine, bios, "-s", f"4,virtio-blk,{disk}", "-s", card)
        machine.expect_output("ip -4 -br addr", r"10\.0\.2\.15/24", 180)
        sources = "/etc/apt/sources.list"
        line = f"deb [trusted=yes] http://10.0.2.2:{repository} ./"
        machine.shell(f"echo '{line}' >{sources}")
        said = machine.shell("apt-get update && apt-get install -y from-the-host", 300)
        assert "Setting up from-the-host (1.5)" in said, said
        said = machine.shell("sha256sum /opt/payload")
        assert hashlib.sha256(payload()).hexdigest() in said
        reply = ssh(guest, port, "tee /root/in | sha256sum", payload())
        assert reply.split()[0].decode() == hashlib.sha256(payload()).hexdigest()
        assert ssh(guest, port, "cat /root/in", b"") == payload()
        server.check_log(machine)
        server.power_off(machine)
    server.check_clean(disk, debroot.MIB)


@pytest.mark.slow
@pytest.mark.parametrize("how", INTERRUPTS)
def test_ten_cards(guest: debroot.Debian, tmp_path: Path, how: str) -> None:
    disk = debroot.copy(debroot.raw_disk(guest), tmp_path / "disk.img")
    words, source = INTERRUPTS[how]
    with Machine(tmp_path / "vmm") as machine:
        server.boot(machine, guest, "virtio-blk", disk, *slots(), cmdline=words)
        check_cards(machine, source)
        server.check_log(machine)
        server.power_off(machine)
    server.check_clean(disk)
