"""virtio-net under load: iperf3 between guests and the host, at full speed."""

import contextlib
import ctypes.util
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import guestfiles, hostnet, netguest
from support.machine import Machine

CACHE = Path(__file__).parents[2] / "build" / "guest"
Guest = tuple[str, str]


@pytest.fixture(scope="session")
def guest() -> Guest:
    if not netguest.have("ip", "iperf3"):
        pytest.skip("no ip or iperf3 on this host")
    try:
        image = netguest.kernel(CACHE)
        out = CACHE / "net-iperf3.cpio"
        netguest.initrd(CACHE, out, image, "iperf3")
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    return str(image), str(out)


@pytest.fixture
def netns() -> Iterator[None]:
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("no /dev/net/tun here")
    try:
        with hostnet.namespace():
            yield
    except hostnet.NoNamespaceError as error:
        pytest.skip(f"no network name space: {error}")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def other_namespace() -> Iterator[None]:
    """Be in another name space, tied to this one by bridges and a veth pair."""
    hostnet.bridge("br0")
    with subprocess.Popen(["sleep", "infinity"]) as here:
        try:
            with hostnet.namespace():
                peer = ("peer", "name", "veth1", "netns", str(here.pid))
                ip("link", "add", "veth0", "type", "veth", *peer)
                hostnet.bridge("br0")
                ip("link", "set", "veth0", "master", "br0")
                for name in ("veth0", "br0"):
                    hostnet.up(name)
                yield
        finally:
            here.kill()


def iperf3(m: Machine, *words: str, limit: float = 200) -> dict[str, dict[str, float]]:
    """Run iperf3 as a client in the guest; return the "end" of its report."""
    m.shell(f"iperf3 -J {' '.join(words)} >/tmp/report", limit)
    report = json.loads(m.shell("cat /tmp/report"))
    assert "error" not in report, report
    end: dict[str, dict[str, float]] = report["end"]
    return end


def two_guests(tmp_path: Path, guest: Guest, seconds: int) -> None:
    with (
        Machine(tmp_path / "1", "one") as one,
        Machine(tmp_path / "2", "two") as two,
    ):
        with other_namespace():
            netguest.boot(one, guest, "3,virtio-net,br0")
        ip("link", "set", "veth1", "master", "br0")
        for name in ("veth1", "br0"):
            hostnet.up(name)
        netguest.boot(two, guest, "3,virtio-net,br0")
        for m, last in ((one, 1), (two, 2)):
            m.shell(f"ip link set eth0 up; ip addr add 10.9.1.{last}/24 dev eth0")
            # A receiver that a busy host keeps waiting loses nothing by itself.
            m.shell(
                "cd /proc/sys/net/core; for i in [rw]mem_max; do echo 4194304 >$i; done"
            )
        one.shell("iperf3 -s -D; httpd -h /tmp; head -c 33000000 /dev/urandom >/tmp/f")
        assert " 0% packet loss" in two.shell("ping -c 3 10.9.1.1")
        for way in ("", "-R"):
            end = iperf3(
                two, "-c 10.9.1.1 -t", str(seconds), way, limit=seconds * 2 + 60
            )
            sent, got = end["sum_sent"], end["sum_received"]
            mbits = got["bits_per_second"] / 1e6
            print(f"{way or '  '} {mbits:.0f} Mbit/s, {sent.get('retransmits')} again")
            assert got["bytes"] > seconds * 5e6
            assert sent["bytes"] - got["bytes"] < 8 << 20  # what is on its way
        # No byte is another, and what is not hurried comes in order.
        sums = two.shell("wget -q -O - http://10.9.1.1/f | md5sum", 120)
        assert one.shell("md5sum </tmp/f").strip() == sums.strip()
        for way in ("", "-R"):
            end = iperf3(two, "-c 10.9.1.1 -u -b 10M -t 5 -w 4M", way)
            assert end["sum"]["lost_packets"] == 0, end["sum"]
            assert end["sum"].get("out_of_order", 0) == 0, end["sum"]
        for m in (two, one):
            netguest.check_log(m)
            m.send("poweroff -f\n")
            assert m.wait() == 1


@pytest.mark.slow
def test_two_guests_for_10_seconds(tmp_path: Path, guest: Guest, netns: None) -> None:
    two_guests(tmp_path, guest, 10)


@pytest.mark.slow
@pytest.mark.hours
def test_two_guests_for_a_minute(tmp_path: Path, guest: Guest, netns: None) -> None:
    two_guests(tmp_path, guest, 60)


#: How a guest hears of its frames; plain MSI is vtnet_hostile.c's.
INTERRUPTS = {
    "msix": ((), "quiet", "PCI-MSI"),
    "intx": ((), "quiet pci=nomsi", "fasteoi"),
    "legacy-intx": (("-W", "-o", "virtio.modern=false"), "quiet", "fasteoi"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "queues"), [("msix", 1), ("msix", 2), ("intx", 1), ("legacy-intx", 2)]
)
def test_the_hot_path(
    tmp_path: Path, guest: Guest, netns: None, kind: str, queues: int
) -> None:
    args, cmdline, want = INTERRUPTS[kind]
    with Machine(tmp_path) as m:
        slot = f"3,virtio-net,tap5,create,queues={queues}"
        netguest.boot(m, guest, slot, args=args, cpus="2", cmdline=cmdline)
        hostnet.address("tap5", "192.168.77.1")
        m.shell("ip link set eth0 up; ip addr add 192.168.77.2/24 dev eth0")
        assert want in m.shell("grep virtio0 /proc/interrupts")
        several = 'echo $(ls /sys/class/net/eth0/queues | grep -c "rx-")'
        assert m.shell(several).strip() == str(queues)
        with subprocess.Popen(["iperf3", "-s"], stdout=subprocess.DEVNULL) as server:
            try:
                for way in ("", "-R", "-P 4", "-P 4 -R"):
                    end = iperf3(m, "-c 192.168.77.1 -t 2", way)
                    assert end["sum_received"]["bytes"] > 10e6
            finally:
                server.kill()
        netguest.check_log(m)
        m.send("poweroff -f\n")
        assert m.wait() == 1


def echo(port: int, payload: bytes) -> bytes:
    """Send to a server that answers with what it gets."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sender = threading.Thread(target=sock.sendall, args=(payload,))
        sender.start()
        while len(got) < len(payload):
            block = sock.recv(1 << 20)
            if not block:
                break
            got += block
        sender.join()
    return got


@pytest.mark.slow
def test_a_server_in_the_guest_by_hostfwd(tmp_path: Path, guest: Guest) -> None:
    """One TCP port while the guest is kept in; several, and UDP, while it is not."""
    if ctypes.util.find_library("slirp") is None:
        pytest.skip("no libslirp here")
    port, other = hostnet.free_port(), hostnet.free_port()
    with Machine(tmp_path) as m:
        forward = f"hostfwd=tcp:127.0.0.1:{port}-:7777"
        # libslirp takes no UDP at all from a guest that is kept in.
        several = f"hostfwd=tcp:127.0.0.1:{other}-10.0.2.15:5201;udp::{other}-:5201"
        cards = ("3,virtio-net,slirp,", "4,virtio-net,slirp,open,")
        netguest.boot(m, guest, cards[0] + forward, cards[1] + several)
        netguest.dhcp(m)
        m.shell("nc -ll -p 7777 -e cat </dev/null >/dev/null 2>&1 & sleep 1")
        for size in (1, 1460, 3 << 20):
            payload = hostnet.payload(size)
            assert echo(port, payload) == payload
        m.shell("ip addr flush dev eth0; ip link set eth0 down")
        netguest.dhcp(m, "eth1")
        # Its control connection is TCP, its load UDP.
        m.shell("iperf3 -s -D")
        words = (
            "-c",
            "127.0.0.1",
            "-p",
            str(other),
            *["-J", "-u", "-b", "1M", "-l", "999", "-t", "2"],
        )
        done = subprocess.run(
            ["iperf3", *words], capture_output=True, text=True, check=False
        )
        report = json.loads(done.stdout)
        assert "error" not in report, report
        assert report["end"]["sum"]["packets"] > 100
        assert report["end"]["sum"]["lost_packets"] == 0
        netguest.check_log(m)
