"""virtio-net throughput over a tap, ours and QEMU's, with one guest for both.

The guest runs iperf3's server; the host is the client, in a network name
space made for the run.  Each figure boots a guest of its own.
"""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from support import guestfiles, hostnet, netguest

TAP = "tap5"
HOST, GUEST = "192.168.77.1", "192.168.77.2"
SECONDS = "5"

START = f"""sh /net.sh
ip link set eth0 up
ip addr add {GUEST}/24 dev eth0
iperf3 -s -D
"""

Process = subprocess.Popen[bytes]


def guest(cache: Path) -> tuple[str, str]:
    """Return kernel and initrd."""
    image = netguest.kernel(cache)
    out = cache / "bench-net.cpio"
    try:
        netguest.initrd(cache, out, image, "iperf3")
    except guestfiles.GuestUnavailableError as error:
        raise RuntimeError(str(error)) from None
    files = {"bench.sh": (0o755, START.encode())}
    out.write_bytes(out.read_bytes() + guestfiles.pack_initrd(files))
    return str(image), str(out)


def iperf3(*options: str) -> float:
    """Return the Mbit/s that arrived."""
    argv = ["iperf3", "-J", "-c", GUEST, "-t", SECONDS, *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    said = json.loads(done.stdout or '{"error": "no output"}')
    if "error" in said:
        raise RuntimeError(f"iperf3: {said['error']}")
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e6


def measure(
    start: Callable[[], Process], ready: Callable[[Process], object], *options: str
) -> float:
    """Boot by `start`, wait by `ready`, and return what iperf3 says."""
    with hostnet.namespace(), start() as process:
        try:
            ready(process)
            hostnet.address(TAP, HOST)
            time.sleep(2)  # the bridge-less link settles
            return iperf3(*options)
        finally:
            process.kill()
