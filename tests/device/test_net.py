"""Network cards and back ends, with Debian's drivers at the other side."""

import ctypes.util
import hashlib
import os
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import guestfiles, hostnet, netguest
from support.hostnet import Server
from support.machine import Machine
from support.ownguests import own_guest
from support.tools import Tool

CACHE = Path(
    os.environ.get("GUEST_CACHE", Path(__file__).parents[2] / "build" / "guest")
)
#: Debian's kernel with all drivers; the cloud kernel has no e1000.
FULL = "linux-image-amd64"
CARDS = ("virtio-net", "e1000")
BULK = 8 << 20


def _guest(package: str) -> tuple[str, str]:
    try:
        image = netguest.kernel(CACHE, package)
        initrd = netguest.initrd(CACHE, CACHE / f"net-{package}.cpio", image)
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    return str(image), str(initrd)


@pytest.fixture(scope="session")
def cloud() -> tuple[str, str]:
    return _guest(guestfiles.KERNEL_PACKAGE)


@pytest.fixture(scope="session")
def full() -> tuple[str, str]:
    return _guest(FULL)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as made:
        yield made


@pytest.fixture
def slirp() -> None:
    if ctypes.util.find_library("slirp") is None:
        pytest.skip("no libslirp here")


@pytest.fixture
def netns() -> Iterator[None]:
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("no /dev/net/tun here")
    try:
        with hostnet.namespace():
            yield
    except hostnet.NoNamespaceError as error:
        pytest.skip(f"no network name space: {error}")


def guest_of(card: str, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the guest that has the card's driver."""
    name = "full" if card == "e1000" else "cloud"
    guest: tuple[str, str] = request.getfixturevalue(name)
    return guest


def bulk_both_ways(m: Machine, host: str, listen: str, size: int = BULK) -> None:
    """Send bytes to the guest and back; no byte may differ."""
    data = hostnet.payload(size)
    digest = hashlib.md5(data).hexdigest()
    with Server(data, listen) as server:
        said = m.shell(
            f"nc {host} {server.port} </dev/null >/tmp/bulk; md5sum /tmp/bulk", 300
        )
        assert digest in said, said
    with Server(b"", listen) as server:
        m.shell(f"nc {host} {server.port} </tmp/bulk >/dev/null", 300)
        assert server.done.wait(30)
        assert server.count == size
        assert server.received.hexdigest() == digest


def power_off(m: Machine) -> None:
    netguest.check_log(m)
    m.send("poweroff -f\n")
    assert m.wait() == 1


@pytest.mark.slow
@pytest.mark.parametrize("card", CARDS)
def test_dhcp_and_tcp_through_slirp(
    machine: Machine, card: str, slirp: None, request: pytest.FixtureRequest
) -> None:
    port = hostnet.free_port()
    forward = f"hostfwd=tcp:127.0.0.1:{port}-:7777"
    netguest.boot(machine, guest_of(card, request), f"3,{card},slirp,open,{forward}")
    netguest.dhcp(machine)
    assert "10.0.2.15" in machine.shell("ip addr show eth0")
    assert " 0% packet loss" in machine.shell("ping -c 2 10.0.2.2")
    bulk_both_ways(machine, "10.0.2.2", "127.0.0.1")
    # A server in the guest, reached through the forwarded port.
    machine.shell("head -c 2000000 /dev/urandom >/tmp/f; httpd -p 7777 -h /tmp")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/f", timeout=60) as got:
        digest = hashlib.md5(got.read()).hexdigest()
    assert digest in machine.shell("md5sum /tmp/f")
    power_off(machine)


def test_slirp_without_open_keeps_the_guest_in(
    machine: Machine, cloud: tuple[str, str], slirp: None
) -> None:
    netguest.boot(machine, cloud, "3,virtio-net,slirp")
    netguest.dhcp(machine)
    with Server(b"secret") as server:
        said = machine.shell(f"nc -w 3 10.0.2.2 {server.port} </dev/null")
        assert "secret" not in said
    power_off(machine)


@pytest.mark.slow
@pytest.mark.parametrize("card", CARDS)
def test_tap_both_ways(
    machine: Machine, card: str, netns: None, request: pytest.FixtureRequest
) -> None:
    netguest.boot(machine, guest_of(card, request), f"3,{card},tap5,create")
    hostnet.address("tap5", "192.168.77.1")
    machine.shell("ip link set eth0 up; ip addr add 192.168.77.2/24 dev eth0")
    assert " 0% packet loss" in machine.shell("ping -c 3 192.168.77.1")
    assert " 0% packet loss" in machine.shell("ping -c 3 -s 1400 192.168.77.1")
    bulk_both_ways(machine, "192.168.77.1", "192.168.77.1", 4 * BULK)
    power_off(machine)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("-W",), ("-o", "virtio.modern=false")])
def test_virtio_net_on_other_transports(
    machine: Machine, cloud: tuple[str, str], netns: None, flags: tuple[str, ...]
) -> None:
    netguest.boot(machine, cloud, "3,virtio-net,tap5,create", args=flags)
    hostnet.address("tap5", "192.168.77.1")
    machine.shell("ip link set eth0 up; ip addr add 192.168.77.2/24 dev eth0")
    bulk_both_ways(machine, "192.168.77.1", "192.168.77.1")
    power_off(machine)


@pytest.mark.slow
def test_two_guests_on_a_bridge_and_a_unix_pair(
    tmp_path: Path, cloud: tuple[str, str], netns: None
) -> None:
    hostnet.bridge("br0")
    hostnet.up("br0")
    ends = [tmp_path / "a", tmp_path / "b"]
    with Machine(tmp_path, "one") as one, Machine(tmp_path, "two") as two:
        for m, mine, other in ((one, *ends), (two, *reversed(ends))):
            pair = f"4,virtio-net,unix,path={mine},peer={other}"
            netguest.boot(m, cloud, "3,virtio-net,br0", pair)
            last = 1 if m is one else 2
            for card, net in ((0, 1), (1, 2)):
                m.shell(
                    f"ip link set eth{card} up; "
                    f"ip addr add 10.9.{net}.{last}/24 dev eth{card}"
                )
        one.shell("head -c 4000000 /dev/urandom >/tmp/f; httpd -h /tmp")
        for net in (1, 2):
            assert " 0% packet loss" in two.shell(f"ping -c 3 10.9.{net}.1")
            sums = two.shell(f"wget -q -O - http://10.9.{net}.1/f | md5sum", 120)
            assert one.shell("md5sum </tmp/f").strip() == sums.strip()
        power_off(two)
        power_off(one)


@pytest.mark.slow
def test_ten_cards_on_one_slot(machine: Machine, cloud: tuple[str, str]) -> None:
    slots = [f"3:{n},virtio-net,none" for n in range(8)]
    slots += [f"4:{n},virtio-net,none" for n in range(2)]
    netguest.boot(machine, cloud, *slots)
    found = machine.shell("cat /sys/class/net/eth*/address").split()
    assert len(set(found)) == 10
    digest = hashlib.md5(b"3-0-guest").hexdigest()
    want = "58:9c:fc:" + ":".join(re.findall("..", digest[:6]))
    assert want in found
    power_off(machine)


def test_identity_and_options(machine: Machine, cloud: tuple[str, str]) -> None:
    netguest.boot(
        machine,
        cloud,
        "3,virtio-net,none,mac=02:00:00:0a:0b:0c,mtu=1400",
        "4,virtio-net",
    )
    assert machine.shell("cat /sys/class/net/eth0/address").strip() == (
        "02:00:00:0a:0b:0c"
    )
    assert machine.shell("cat /sys/class/net/eth0/mtu").strip() == "1400"
    machine.shell("ip link set eth0 up; ip link set eth1 up; sleep 1")
    assert machine.shell("cat /sys/class/net/eth0/carrier").strip() == "1"
    assert machine.shell("cat /sys/class/net/eth1/carrier").strip() == "0"
    machine.shell("cd -P /sys/class/net/eth0/device; cd ..")
    ids = machine.shell("cat vendor device class subsystem_v* subsystem_d*")
    assert ids.split() == ["0x1af4", "0x1000", "0x020000", "0x1af4", "0x0001"]
    power_off(machine)


#: {dir} has a file, a live socket and no more room for a name.
BAD_CARDS = [
    ("virtio-net,none,mac=1", 'Invalid MAC address "1"'),
    ("virtio-net,none,mac=01:02:03:04:05:06", "Invalid MAC address"),
    ("virtio-net,none,mac=00:00:00:00:00:00", "Invalid MAC address"),
    ("virtio-net,none,mac=ff:ff:ff:ff:ff:ff", "Invalid MAC address"),
    ("virtio-net,none,mtu=45", 'Invalid MTU "45": 46 to 65535'),
    ("virtio-net,none,mtu=65536", 'Invalid MTU "65536"'),
    ("virtio-net,none,queues=17", 'invalid queues "17": 1 to 16'),
    ("virtio-net,none,queues=2", "network backend none: it has one queue only"),
    ("virtio-net,none,queue_size=100", 'invalid queue_size "100": a power of two'),
    ("virtio-net,bogus", 'network backend "bogus"'),
    ("e1000,tap99", 'tap tap99: no such interface ("create" makes it)'),
    ("e1000,tap" + "9" * 13, "the name is too long"),
    ("e1000,unix,path=/tmp/x", 'network backend unix: no option "peer"'),
    ("e1000,unix,peer=/tmp/x", 'network backend unix: no option "path"'),
    ("e1000,unix,path=/" + "x" * 200 + ",peer=/y", "network backend unix: too long"),
    ("e1000,unix,path={dir}/file,peer=/y", "/file: File exists"),
    ("e1000,unix,path={dir}/used,peer=/y", "/used: Address already in use"),
    ("e1000,slirp,hostfwd=tcp:1:2", 'slirp: invalid hostfwd "tcp:1:2"'),
    ("e1000,slirp,hostfwd=sctp::1-:2", 'slirp: invalid hostfwd "sctp::1-:2"'),
    ("e1000,slirp,hostfwd=tcp::0-:2", 'slirp: invalid hostfwd "tcp::0-:2"'),
    ("e1000,slirp,hostfwd=udp::1-:65536", 'slirp: invalid hostfwd "udp::1-:65536"'),
    ("e1000,slirp,hostfwd=tcp:x:1-:2", 'slirp: invalid hostfwd "tcp:x:1-:2"'),
    ("e1000,slirp,hostfwd=tcp::{port}-:2", "Address already in use"),
    ("e1000,slirp,open=perhaps", "perhaps"),
]


@pytest.mark.parametrize(("conf", "line"), BAD_CARDS)
def test_wrong_options_end_in_one_line(
    tool: Tool, tmp_path: Path, conf: str, line: str
) -> None:
    if "slirp" in conf and ctypes.util.find_library("slirp") is None:
        pytest.skip("no libslirp here")
    (tmp_path / "file").touch()
    args = ("-m", "64M", "--kernel", str(own_guest("virtio_bell")), "bad")
    assert tool("bhyveload", *args).status == 0
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as used,
        socket.create_server(("0.0.0.0", 0)) as busy,
    ):
        used.bind(str(tmp_path / "used"))
        conf = conf.format(dir=tmp_path, port=busy.getsockname()[1])
        slots = ("-s", "0,hostbridge", "-s", "31,lpc", "-s", f"3,{conf}")
        done = tool("bhyve", "-m", "64M", *slots, "bad")
    tool("bhyvectl", "--vm=bad", "--destroy")
    assert done.status == 4
    assert line in done.err
    assert len(done.err.splitlines()) <= 2, done.err
    assert (tmp_path / "file").exists()
    assert (tmp_path / "used").is_socket()
