"""tests/device/block_host.c: block_if without a guest, and what it writes."""

import os
import random
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import cbuild

SECTOR = 512
BATCH = 23  # ranges that one step writes, as block_host.c has it
TOP = Path(__file__).parents[2]
WRAPPED = (
    *("pwrite", "pwritev", "fdatasync", "ftruncate", "fallocate"),
    *("blk_ring_create", "blk_ring_queue", "blk_ring_wait"),
)


OWN = TOP / "tests" / "device" / "block_host.c"
WRAPS = "-Wl," + ",".join(f"--wrap={name}" for name in WRAPPED)


def _core() -> list[Path]:
    """Return the files of csrc that it stands on."""
    bhyve = cbuild.CSRC / "bhyve"
    more = [bhyve / name for name in ("config.c", "debug.c", "virtio/iov.c")]
    return cbuild.sources("bhyve/block") + more


def build(out: Path, sanitizer: str = cbuild.CHECKS) -> Path:
    """Compile the program with sanitizers: AddressSanitizer and UBSan."""
    return cbuild.program(out, [OWN], _core(), sanitizer, extra=(WRAPS,))


def build_fast(out: Path) -> Path:
    """Compile it as users get block_if, for measurements."""
    sources = [OWN, *_core()]
    folders = {cbuild.CSRC / "include", *(path.parent for path in sources)}
    flags = ("-std=c11", "-O2", "-D_GNU_SOURCE", "-pthread")
    includes = [f"-I{path}" for path in sorted(folders)]
    argv = ["gcc", *flags, *includes, "-o", out, *sources, WRAPS, "-lz"]
    subprocess.run(argv, check=True)
    return out


def sectors(first: int, count: int, seed: int) -> bytes:
    """Return what sectors written with a seed hold (0: zeroes)."""
    if seed == 0:
        return bytes(count * SECTOR)
    return b"".join(struct.pack("<QQ", first + i, seed) * 32 for i in range(count))


class Steps:
    """What each sector holds after each batch of the command "steps"."""

    def __init__(self, size: int, seed: int) -> None:
        self._rng = (seed * 2654435761 + 1) & (2**64 - 1)
        self._part = size // SECTOR // BATCH
        self.seeds = [0] * (size // SECTOR)

    def _rnd(self, below: int) -> int:
        r = self._rng
        r ^= r << 13 & (2**64 - 1)
        r ^= r >> 7
        r ^= r << 17 & (2**64 - 1)
        self._rng = r
        return (r >> 11) % below

    def step(self, batch: int) -> None:
        """Apply the next batch."""
        for i in range(BATCH):
            count = 1 + self._rnd(24)
            at = i * self._part + self._rnd(self._part - count)
            self.seeds[at : at + count] = [batch] * count

    def wrong(self, disk: bytes, flushed: int) -> str:
        """Compare a disk with `flushed` batches and a part of the next one."""
        for batch in range(1, flushed + 1):
            self.step(batch)
        sure = list(self.seeds)
        self.step(flushed + 1)
        for i, (old, new) in enumerate(zip(sure, self.seeds, strict=True)):
            data = disk[i * SECTOR : (i + 1) * SECTOR]
            if data != sectors(i, 1, old) and data != sectors(i, 1, new):
                return f"sector {i}: {data[:16]!r}, not of batch {old} or {new}"
        return ""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of BLOCK_LOG."""

    op: str
    offset: int
    length: int
    data: bytes


def read_log(path: Path) -> list[Event]:
    """Return what was done to the files, in order."""
    raw = path.read_bytes()
    events = []
    at = 0
    while at < len(raw):
        op, offset, length = struct.unpack_from("<qqq", raw, at)
        at += 24
        data = raw[at : at + length] if op == ord("w") else b""
        at += len(data)
        events.append(Event(chr(op), offset, length, data))
    return events


def _apply(disk: bytearray, event: Event, rng: random.Random | None) -> None:
    """Do an event; with `rng`, a part of it."""
    if rng is not None and rng.random() < 0.4:
        return
    end = event.offset + event.length
    if event.op == "t":
        if event.offset > len(disk):
            disk += bytes(event.offset - len(disk))
    elif event.op == "p":
        end = min(end, len(disk))
        disk[event.offset : end] = bytes(max(0, end - event.offset))
    elif event.op == "w":
        if end > len(disk):
            disk += bytes(end - len(disk))
        at = 0
        while at < event.length:
            # A sector is written whole or not at all.
            n = SECTOR - (event.offset + at) % SECTOR
            if rng is None or rng.random() < 0.7:
                piece = event.data[at : at + n]
                disk[event.offset + at : event.offset + at + len(piece)] = piece
            at += n


def cut_power(
    start: bytes, events: list[Event], at: int, rng: random.Random
) -> tuple[bytes, int]:
    """Return what a power cut before event `at` leaves, and the last flush told."""
    disk = bytearray(start)
    stable = max((i for i in range(at) if events[i].op == "s"), default=-1)
    flushed = 0
    for i, event in enumerate(events[:at]):
        if event.op == "F":
            flushed = event.offset
        _apply(disk, event, None if i < stable else rng)
    return bytes(disk), flushed


def environment(**more: str) -> dict[str, str]:
    """Return the program's environment."""
    return dict(os.environ, ASAN_OPTIONS="detect_leaks=1", **more)
