"""virtio-blk throughput, ours and QEMU's, with one guest and image for both.

The guest runs tests/device/blkload.c as soon as it is up; the image is in the
host's memory, so that what is measured is the way to it.
"""

import os
import re
import subprocess
from pathlib import Path

from support import blkguest, blockhost, guestfiles, kmods

SIZE = 256 << 20
MS = 4000
WORK = {"iops": f"iops /dev/vda {MS} 32", "seq": f"seq /dev/vda {MS} 4"}
#: Requests of one unit of the load's result.
REQUESTS = {"iops": 1.0, "seq": 1e6 / 2**20}
CMDLINE = "console=ttyS0 quiet run=work"


def guest(cache: Path, work: str) -> tuple[str, str, str]:
    """Return kernel, an initrd that runs a load at once, and a warm image."""
    image = cache / "bench-disk.img"
    initrd = cache / f"bench-disk-{work}.cpio"
    script = {"work": f"echo BEGIN-NOW\nblkload {WORK[work]}\n"}
    try:
        kernel = guestfiles.debian_kernel(cache)
        blkguest.initrd(cache, initrd, kmods.VIRTIO, script)
    except guestfiles.GuestUnavailableError as error:
        raise RuntimeError(str(error)) from None
    if not image.exists() or image.stat().st_size != SIZE:
        image.write_bytes(os.urandom(SIZE))
    image.read_bytes()
    return str(kernel), str(initrd), str(image)


def _until(process: subprocess.Popen[bytes], mark: bytes) -> re.Match[bytes]:
    """Read the console until it has what matches; nothing may come behind it."""
    assert process.stdout is not None
    seen = b""
    while (found := re.search(mark, seen)) is None:
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            raise RuntimeError(f"no result: {seen[-500:].decode(errors='replace')}")
        seen += data
    if b"RESULT" in seen and b"RESULT" not in mark:
        process.kill()
        raise RuntimeError("the host was too busy to see the load begin")
    return found


def result(process: subprocess.Popen[bytes]) -> float:
    """Return the number in the line that blkload prints, and end the guest."""
    found = _until(process, rb"RESULT ([\d.]+)\s")
    process.kill()
    return float(found[1])


def _processor(pid: int) -> float:
    """Return the seconds of processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost(process: subprocess.Popen[bytes], work: str) -> float:
    """Return the microseconds of the host's processors that a request takes.

    All of the machine counts, the guest's own part of the work, too; other
    programs of the host change it less than they change a rate.
    """
    _until(process, rb"BEGIN-NOW")
    before = _processor(process.pid)
    found = _until(process, rb"RESULT ([\d.]+)\s")
    spent = _processor(process.pid) - before
    process.kill()
    return spent * 1e6 / (float(found[1]) * REQUESTS[work] * MS / 1000)


def engine(cache: Path, aio: str, op: str) -> float:
    """Return the microseconds of processor of a 4 KiB request with nocache.

    Requests are random, 24 at a time, on a file of the file system that holds
    the cache, without a guest.
    """
    program = blockhost.build_fast(cache / "bench-block-host")
    image = cache / "bench-disk.img"
    if not image.exists() or image.stat().st_size != SIZE:
        image.write_bytes(os.urandom(SIZE))
    argv = [program, f"{image},nocache,aio={aio}", "speed", "30000", "8", op]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = re.search(rf"{aio}: \d+ a second, ([\d.]+) us each", done.stdout)
    if found is None:
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1])
