"""iPXE's option ROMs behind the cards' expansion ROM BARs, run by SeaBIOS."""

import ctypes.util
import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import firmware, guestfiles
from support.machine import Machine
from support.tools import Tool

CACHE = Path(__file__).parents[2] / "build" / "guest"
SLOTS = ("-s", "0,hostbridge,model=i440fx", "-s", "31,lpc")
ROMS = "usr/lib/ipxe/qemu"
#: A card, its ROM, and the options that choose its transport.
CARDS = {
    "virtio-net": ("virtio-net", "pxe-virtio.rom", ()),
    "legacy": ("virtio-net", "pxe-virtio.rom", ("-o", "virtio.modern=false")),
    "e1000": ("e1000", "pxe-e1000.rom", ()),
}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def bios() -> str:
    try:
        return str(firmware.seabios(CACHE))
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no SeaBIOS: {error}")


def rom(name: str) -> Path:
    """Return one of Debian's ROMs."""
    try:
        return firmware._find("ipxe-qemu", (f"{ROMS}/{name}",), CACHE)[0]
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no iPXE: {error}")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web server that does not write to the test's output."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[int]:
    """Serve 3 MB on the loopback; give the port."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(3 << 20))
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def command(m: Machine, text: str) -> None:
    """Type a command no faster than a PC BIOS, which holds 15 keys, takes it."""
    m.expect("iPXE> ", 30)
    for at in range(0, len(text), 8):
        m.send(text[at : at + 8])
        m.expect(re.escape(text[at : at + 8]), 30)
    m.send("\r")


@pytest.mark.slow
@pytest.mark.parametrize("kind", CARDS)
def test_ipxe_gets_a_lease_and_a_file(
    machine: Machine, bios: str, web: int, kind: str
) -> None:
    if ctypes.util.find_library("slirp") is None:
        pytest.skip("no libslirp here")
    card, name, options = CARDS[kind]
    machine.start(
        *("-m", "128M", "-l", f"bootrom,{bios},fwcfg=qemu", *options),
        *("-s", f"3,{card},slirp,open,romfile={rom(name)}"),
        slots=SLOTS,
    )
    machine.expect("iPXE initialising devices...", 60)
    machine.expect("Press Ctrl-B for the iPXE command line")
    machine.send("\x02")
    command(machine, "dhcp")
    machine.expect(r"Configuring \(net0.*ok", 60)
    command(machine, "show net0/ip")
    machine.expect(r"net0\.dhcp/ip:ipv4 = 10\.0\.2\.15")
    command(machine, f"imgfetch http://10.0.2.2:{web}/file")
    machine.expect(r"file.*ok", 120)
    command(machine, "imgstat")
    machine.expect("3145728 bytes")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (None, 'romfile "{}": No such file or directory'),
        (b"\x55\xaa", 'romfile "{}": not a file of 3 bytes to 16 MB'),
        (b"text", 'romfile "{}": no expansion ROM: it does not begin with 55 AA'),
    ],
)
def test_wrong_rom_files(
    bios: str, tool: Tool, tmp_path: Path, data: bytes | None, line: str
) -> None:
    path = tmp_path / "rom"
    if data is not None:
        path.write_bytes(data)
    slots = (*SLOTS, "-s", f"3,virtio-net,none,romfile={path}")
    done = tool("bhyve", *slots, "-l", f"bootrom,{bios}", "bad")
    assert done.status == 4
    assert line.format(path) in done.err
