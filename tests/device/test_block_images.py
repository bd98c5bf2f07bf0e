"""Image formats against qemu-img: both ways, cut off, and hostile ones."""

import ctypes
import errno
import itertools
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import blockhost
from support.blockhost import SECTOR, Steps, sectors
from support.machine import SLOTS, Machine

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler"),
    pytest.mark.skipif(shutil.which("qemu-img") is None, reason="no qemu-img"),
]
MIB = 1 << 20
QCOW2 = ",format=qcow2"
FORMATS = (
    "compat=1.1",
    "compat=0.10",
    "compat=1.1,lazy_refcounts=on",
    "cluster_size=512,refcount_bits=64",
    "cluster_size=4096,refcount_bits=1",
    "cluster_size=2M,refcount_bits=8",
    "preallocation=metadata",
)
#: How a raw disk can be used: options, and who has to do the transfers.
ENGINES = {
    "": "threads",
    ",nocache,aio=threads": "threads",
    ",nocache": "io_uring",
    ",aio=io_uring": "io_uring",
    ",nocache,sync": "io_uring",
}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blockhost.build(tmp_path_factory.mktemp("block") / "block_host")


def run(
    program: Path,
    *args: str,
    preexec_fn: Callable[[], None] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run block_host; the sanitizers' findings are failures."""
    done = subprocess.run(
        [program, *args],
        capture_output=True,
        text=True,
        timeout=120,
        env=blockhost.environment(**environment),
        preexec_fn=preexec_fn,
    )
    assert "Sanitizer" not in done.stderr, done.stderr[:3000]
    assert "runtime error" not in done.stderr, done.stderr[:3000]
    return done


def good(program: Path, *args: str, **environment: str) -> str:
    """Run block_host; it must succeed."""
    done = run(program, *args, **environment)
    assert done.returncode == 0, done.stderr[:3000]
    return done.stdout


def qemu(*args: str | Path) -> str:
    """Run qemu-img; it must succeed."""
    done = subprocess.run(["qemu-img", *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def create(path: Path, size: int, *options: str) -> Path:
    """Make an image with qemu-img."""
    qemu("create", "-q", "-f", "qcow2", *options, path, str(size))
    return path


def as_raw(image: Path, *options: str) -> bytes:
    """Return the disk as qemu-img reads it."""
    out = image.with_suffix(".asraw")
    qemu("convert", "-f", "qcow2", "-O", "raw", *options, image, out)
    return out.read_bytes()


def ours(program: Path, image: str) -> bytes:
    """Return the disk as we read it."""
    out = Path(image.split(",", maxsplit=1)[0] + ".ours")
    good(program, image, "dump", str(out))
    return out.read_bytes()


@pytest.mark.parametrize("options", FORMATS)
def test_what_many_threads_write_is_whole(
    program: Path, tmp_path: Path, options: str
) -> None:
    image = create(tmp_path / "a.qcow2", 24 * MIB, "-o", options)
    assert good(program, f"{image},format=qcow2", "stress", "1500", "7")
    qemu("check", "-q", image)
    assert as_raw(image) == ours(program, f"{image},format=qcow2,ro")


def test_raw_and_overlay_under_stress(program: Path, tmp_path: Path) -> None:
    disk = tmp_path / "a.raw"
    disk.touch()
    os.truncate(disk, 24 * MIB)
    good(program, f"{disk},overlay", "stress", "2000", "3")
    assert disk.stat().st_blocks == 0
    good(program, str(disk), "stress", "2000", "4")


@pytest.mark.parametrize(
    ("options", "rounds"), [("", 1500), (",nocache", 1500), (QCOW2, 400)]
)
def test_what_is_stopped_between_two_parts(
    program: Path, tmp_path: Path, options: str, rounds: int
) -> None:
    """A transfer whose next part its last one's end begins, as devices do it."""
    disk = tmp_path / "disk.img"
    create(disk, 24 * MIB) if options == QCOW2 else raw_disk(disk)
    good(program, f"{disk}{options}", "parts", str(rounds))


@pytest.mark.slow
def test_stress_without_races(tmp_path: Path) -> None:
    """The same under the thread sanitizer, over every kind of image."""
    racing = blockhost.build(tmp_path / "block_host", "thread")
    for i, options in enumerate(
        ("", ",nocache", ",aio=io_uring", ",overlay", QCOW2, f"{QCOW2},overlay")
    ):
        disk = tmp_path / f"{i}.img"
        if QCOW2 in options:
            create(disk, 24 * MIB)
        else:
            raw_disk(disk)
        name = f"{disk}{options}"
        if "aio" in options and "no io_uring" in run(racing, name, "info").stderr:
            continue
        good(racing, name, "stress", "1500", str(i + 1))
        good(racing, name, "parts", "300", str(i + 1))
        if "overlay" not in options:
            good(racing, name, "cancel", "300", str(i + 1))


def write_script(folder: Path, ops: list[tuple[str, int, int, int]]) -> str:
    """Write a script for block_host."""
    path = folder / "script"
    path.write_text("".join(" ".join(map(str, op)) + "\n" for op in ops))
    return str(path)


def text_like(size: int) -> bytes:
    """Return data that compresses."""
    rng = random.Random(1)
    words = [rng.randbytes(7) for _ in range(200)]
    return b"".join(rng.choices(words, k=size // 7 + 1))[:size]


def make_backing(folder: Path, data: bytes, *options: str) -> Path:
    (folder / "base.raw").write_bytes(data)
    name = folder / "t.qcow2"
    rest = ["-F", "raw", "-b", "base.raw", name, str(len(data) + MIB)]
    qemu("create", "-q", "-f", "qcow2", *options, *rest)
    return name


def make_chain(folder: Path, data: bytes) -> Path:
    (folder / "sub").mkdir()
    middle = make_backing(folder / "sub", data)
    rest = ["-F", "qcow2", "-b", "sub/t.qcow2", folder / "top.qcow2"]
    assert middle.exists()
    qemu("create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", *rest)
    return folder / "top.qcow2"


def make_converted(folder: Path, data: bytes, *options: str) -> Path:
    (folder / "base.raw").write_bytes(data)
    name = folder / "t.qcow2"
    qemu("convert", "-O", "qcow2", *options, folder / "base.raw", name)
    return name


def make_snapshot(folder: Path, data: bytes, *options: str) -> Path:
    name = make_converted(folder, data, *options)
    qemu("snapshot", "-c", "one", name)
    return name


MAKERS: dict[str, Callable[[Path, bytes], Path]] = {
    "backing": make_backing,
    "backing-512": lambda f, d: make_backing(f, d, "-o", "cluster_size=512"),
    "backing-v2": lambda f, d: make_backing(f, d, "-o", "compat=0.10"),
    "chain": make_chain,
    "compressed": lambda f, d: make_converted(f, d, "-c"),
    "snapshot": make_snapshot,
    "snapshot-compressed": lambda f, d: make_snapshot(f, d, "-c"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_what_lies_below_shows_through(
    program: Path, tmp_path: Path, kind: str
) -> None:
    below = text_like(12 * MIB)
    image = MAKERS[kind](tmp_path, below)
    name = f"{image},format=qcow2,backing"
    model = bytearray(as_raw(image))
    assert model[: len(below)] == below
    assert ours(program, name) == model
    rng = random.Random(kind)
    total = len(model) // SECTOR
    ops = []
    for seed in range(1, 300):
        # A version that has no zero clusters keeps what it is asked to drop.
        op = rng.choice("wwwwzuf" if kind == "backing-v2" else "wwwwzufd")
        count = rng.randint(1, rng.choice([20, 300]))
        at = rng.randint(0, total - count)
        ops.append((op, at, count, seed))
        if op != "f":
            data = sectors(at, count, seed if op == "w" else 0)
            model[at * SECTOR : (at + count) * SECTOR] = data
    good(program, name, "script", write_script(tmp_path, ops))
    assert ours(program, f"{name},ro") == model
    assert as_raw(image) == model
    qemu("check", "-q", image)
    if kind.startswith("snapshot"):
        assert as_raw(image, "-l", "one") == below


def test_an_overlay_of_qcow2_leaves_it_alone(program: Path, tmp_path: Path) -> None:
    below = text_like(4 * MIB)
    image = make_backing(tmp_path, below)
    before = image.read_bytes()
    name = f"{image},format=qcow2,backing,overlay"
    ops = [("w", 5, 300, 1), ("d", 100, 50, 0), ("z", 1000, 9, 0)]
    good(program, name, "script", write_script(tmp_path, ops))
    assert image.read_bytes() == before


def kill_in_steps(program: Path, name: str, seed: int, rng: random.Random) -> int:
    """Kill block_host while it writes batches; return the last one flushed."""
    with subprocess.Popen(
        [program, name, "steps", "100000", str(seed)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().split("\n")
    return max((int(s.split()[1]) for s in lines[:-1]), default=1)


def logged_steps(program: Path, name: str, log: Path) -> list[blockhost.Event]:
    """Let block_host write twelve batches; return what reached the file."""
    subprocess.run(
        [program, name, "steps", "12", "5"],
        env=blockhost.environment(BLOCK_LOG=str(log)),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return blockhost.read_log(log)


@pytest.mark.parametrize("options", ["compat=1.1", "compat=1.1,cluster_size=512"])
def test_killed_at_any_moment(program: Path, tmp_path: Path, options: str) -> None:
    rng = random.Random(options)
    for seed in range(1, 7):
        image = create(tmp_path / "k.qcow2", 4 * MIB, "-o", options)
        flushed = kill_in_steps(program, f"{image},format=qcow2", seed, rng)
        check = subprocess.run(["qemu-img", "check", image], capture_output=True)
        assert check.returncode in (0, 3), check.stdout  # 3: leaked clusters only
        assert Steps(4 * MIB, seed).wrong(as_raw(image), flushed) == ""


@pytest.mark.parametrize(
    "options", ["compat=1.1", "cluster_size=512", "cluster_size=4096,compat=0.10"]
)
def test_power_cut_at_any_moment(program: Path, tmp_path: Path, options: str) -> None:
    image = create(tmp_path / "p.qcow2", 4 * MIB, "-o", options)
    start = image.read_bytes()
    events = logged_steps(program, f"{image},format=qcow2", tmp_path / "log")
    rng = random.Random(options)
    for _ in range(12):
        disk, flushed = blockhost.cut_power(
            start, events, rng.randrange(len(events)), rng
        )
        image.write_bytes(disk)
        check = subprocess.run(["qemu-img", "check", image], capture_output=True)
        assert check.returncode in (0, 3), check.stdout
        assert Steps(4 * MIB, 5).wrong(as_raw(image), flushed) == ""


def raw_disk(path: Path, size: int = 24 * MIB) -> Path:
    """Make a disk of zeroes."""
    path.write_bytes(b"")
    os.truncate(path, size)
    return path


@pytest.fixture(scope="session")
def ring(program: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where the host refuses io_uring."""
    disk = raw_disk(tmp_path_factory.mktemp("ring") / "a.raw")
    done = run(program, f"{disk},aio=io_uring", "info")
    if "the host has no io_uring" in done.stderr:
        pytest.skip(done.stderr)


@pytest.mark.usefixtures("ring")
@pytest.mark.parametrize("options", ENGINES)
def test_raw_disks_under_stress(program: Path, tmp_path: Path, options: str) -> None:
    name = f"{raw_disk(tmp_path / 'a.raw')}{options}"
    assert good(program, name, "info").split()[-1] == ENGINES[options]
    said = good(program, name, "stress", "2000", "4")
    assert (", ring 0," in said) == (ENGINES[options] == "threads")
    found = re.search(
        r"back (\d+), too late (\d+)", good(program, name, "cancel", "400", "3")
    )
    assert found
    assert int(found[1]) > 0


@pytest.mark.usefixtures("ring")
def test_what_a_ring_leaves_is_done_again(program: Path, tmp_path: Path) -> None:
    """Short transfers, EINTR and EAGAIN: nobody sees them."""
    name = f"{raw_disk(tmp_path / 'a.raw')},nocache"
    said = good(program, name, "stress", "3000", "4", BLOCK_MISCHIEF="40")
    found = re.search(r"ring (\d+), spoilt (\d+)", said)
    assert found
    assert int(found[2]) > int(found[1]) // 8 > 0


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.ENOMEM])
def test_a_host_that_refuses_rings(program: Path, tmp_path: Path, number: int) -> None:
    disk = raw_disk(tmp_path / "a.raw")
    line = f"{disk}: the host has no io_uring for us ({os.strerror(number)})"
    refuse = {"BLOCK_REFUSE": str(number)}
    done = run(program, f"{disk},nocache", "info", **refuse)
    assert (done.returncode, done.stderr) == (0, line + ": threads transfer\n")
    assert done.stdout.split()[-1] == "threads"
    done = run(program, f"{disk},nocache,aio=io_uring", "info", **refuse)
    assert (done.returncode, done.stderr) == (4, line + "\n")


def test_engines_that_there_are_not(program: Path, tmp_path: Path) -> None:
    disk = raw_disk(tmp_path / "a.raw")
    image = create(tmp_path / "a.qcow2", MIB)
    for option, line in (
        (f"{disk},aio=posix", f"{disk}: aio posix is not auto, threads or io_uring"),
        (
            f"{disk},overlay,aio=io_uring",
            f"{disk}: aio=io_uring is for raw images without overlay",
        ),
        (
            f"{image},format=qcow2,aio=io_uring",
            f"{image}: aio=io_uring is for raw images without overlay",
        ),
    ):
        done = run(program, option, "info")
        assert (done.returncode, done.stderr) == (4, line + "\n")


@pytest.mark.usefixtures("ring")
def test_errors_are_the_same_with_both(program: Path, tmp_path: Path) -> None:
    """Ends that are no success: what a file that changed or is full gives."""
    ops = [
        ("w", 0, 300, 1),
        ("w", 4000, 64, 2),  # across the limit of the file's size
        ("w", 9000, 8, 3),  # behind it
        ("t", 100, 0, 0),
        ("r", 0, 100, 0),
        ("r", 96, 16, 0),  # across the end
        ("r", 200, 8, 0),  # behind it
        ("w", 200, 8, 4),
        ("r", 200, 8, 0),
        ("r", 49151, 8, 0),  # outside of the disk
        ("f", 0, 0, 0),
    ]
    script = write_script(tmp_path, ops)
    limit = (4032 * SECTOR, resource.RLIM_INFINITY)
    ends = {}
    for options in ENGINES:
        disk = raw_disk(tmp_path / "a.raw")
        done = run(
            *(program, f"{disk}{options}", "script", script),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        )
        ends[options] = (done.returncode, done.stderr, disk.read_bytes())
    assert ends[""][1].splitlines() == [
        "w 4000+64: File too large",
        "w 9000+8: File too large",
        "r 96+16: Input/output error",
        "r 200+8: Input/output error",
        "r 49151+8: Invalid argument",
    ]
    assert all(end == ends[""] for end in ends.values())


@pytest.mark.usefixtures("ring")
@pytest.mark.parametrize("options", ENGINES)
def test_raw_disks_killed_at_any_moment(
    program: Path, tmp_path: Path, options: str
) -> None:
    rng = random.Random(options)
    for seed in range(1, 4):
        disk = raw_disk(tmp_path / "k.raw", 4 * MIB)
        flushed = kill_in_steps(program, f"{disk}{options}", seed, rng)
        assert Steps(4 * MIB, seed).wrong(disk.read_bytes(), flushed) == ""


@pytest.mark.usefixtures("ring")
@pytest.mark.parametrize("options", ENGINES)
def test_raw_disks_lose_power_at_any_moment(
    program: Path, tmp_path: Path, options: str
) -> None:
    disk = raw_disk(tmp_path / "p.raw", 4 * MIB)
    start = disk.read_bytes()
    events = logged_steps(program, f"{disk}{options}", tmp_path / "log")
    assert Steps(4 * MIB, 5).wrong(disk.read_bytes(), 11) == ""
    rng = random.Random(options)
    for _ in range(25):
        cut = rng.randrange(len(events))
        left, flushed = blockhost.cut_power(start, events, cut, rng)
        assert Steps(4 * MIB, 5).wrong(left, flushed) == ""


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """Give a block device whose sectors have 4096 bytes."""
    disk = raw_disk(tmp_path / "loop.raw")
    argv = ["losetup", "-b", "4096", "-f", "--show", disk]
    try:
        made = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no loop device: {error}")
    device = made.stdout.strip()
    yield device
    subprocess.run(["losetup", "-d", device], check=True)


@pytest.mark.usefixtures("ring")
def test_a_block_device(program: Path, tmp_path: Path, loop: str) -> None:
    disk = tmp_path / "loop.raw"
    line = "Sector size 512 incompatible with underlying device sector size 4096"
    done = run(program, f"{loop},sectorsize=512/4096", "info")
    assert (done.returncode, done.stderr) == (4, line + "\n")
    assert run(program, f"{loop},sectorsize=4096/8192", "info").returncode == 0
    for options, engine in ENGINES.items():
        said = good(program, f"{loop}{options}", "info").split()
        assert said == [str(24 * MIB), "rw", "delete", "any", engine]
        # Requests of 512 bytes, too, which the page cache has to take.
        zero = write_script(tmp_path, [("z", 0, 24 * MIB // SECTOR, 0)])
        good(program, loop, "script", zero)
        assert good(program, f"{loop}{options}", "stress", "800", "4")
    trim = [("d", 0, 8 * MIB // SECTOR, 0), ("f", 0, 0, 0)]
    full = disk.stat().st_blocks
    good(program, loop, "script", write_script(tmp_path, trim))
    assert disk.stat().st_blocks < full - (7 * MIB // SECTOR)


def test_what_cannot_be_written_is_read(program: Path, tmp_path: Path) -> None:
    """Without "ro" an image that cannot be opened for writing is read-only."""
    disk = raw_disk(tmp_path / "a.raw", MIB)
    disk.chmod(0o444)

    def drop() -> None:
        # After exec root has no CAP_DAC_OVERRIDE: the mode counts.
        if os.getuid() == 0:
            ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)

    for options in ("", ",nocache"):
        done = run(program, f"{disk}{options}", "info", preexec_fn=drop)
        assert done.stdout.split()[:3] == [str(MIB), "ro", "keep"]
    write = write_script(tmp_path, [("r", 0, 8, 0), ("w", 0, 8, 1), ("f", 0, 0, 0)])
    done = run(program, f"{disk},nocache", "script", write, preexec_fn=drop)
    assert (done.returncode, done.stderr) == (1, "w 0+8: Read-only file system\n")


def test_deleted_ranges_leave_the_host(program: Path, tmp_path: Path) -> None:
    image = create(tmp_path / "a.qcow2", 16 * MIB)
    name = f"{image},format=qcow2"
    write = [("w", at, 256, 1) for at in range(0, 8 * MIB // SECTOR, 256)]
    good(program, name, "script", write_script(tmp_path, write))
    full = image.stat().st_blocks
    trim = [("d", 0, 8 * MIB // SECTOR, 0), ("f", 0, 0, 0)]
    good(program, name, "script", write_script(tmp_path, trim))
    assert image.stat().st_blocks < full - (7 * MIB // 512)
    good(program, name, "script", write_script(tmp_path, write))
    assert image.stat().st_size < 9 * MIB  # the clusters were used again
    qemu("check", "-q", image)


def put(image: Path, offset: int, fmt: str, value: int) -> None:
    """Overwrite one number of an image."""
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(struct.pack(fmt, value))


def get64(image: Path, offset: int) -> int:
    """Read one number of an image."""
    return int(struct.unpack_from(">Q", image.read_bytes(), offset)[0])


def test_a_dirty_image_is_counted_anew(program: Path, tmp_path: Path) -> None:
    image = make_snapshot(tmp_path, text_like(8 * MIB))
    content = as_raw(image)
    block = get64(image, get64(image, 48))
    # Wrong counts, as lazy refcounts leave them.
    with image.open("r+b") as file:
        file.seek(block + 20)
        file.write(bytes(60))
    put(image, 72, ">Q", 1)
    ops = [("w", 2000, 300, 1)]
    good(program, f"{image},format=qcow2", "script", write_script(tmp_path, ops))
    assert get64(image, 72) == 0
    qemu("check", "-q", image)
    data = as_raw(image)
    assert data[2000 * SECTOR : 2300 * SECTOR] == sectors(2000, 300, 1)
    assert data[: 2000 * SECTOR] == content[: 2000 * SECTOR]
    assert as_raw(image, "-l", "one") == content


REFUSED: dict[str, tuple[int, str, int, str]] = {
    "magic": (0, ">I", 7, "not an image of this format"),
    "version": (4, ">I", 9, "version 9 is not 2 or 3"),
    "clusters": (20, ">I", 30, "cluster_bits 30 is not from 9 to 21"),
    "size": (24, ">Q", 2**63, "disk of 9223372036854775808 bytes is too large"),
    "longer": (
        *(24, ">Q", 2**45),
        "L1 table of 1 entries is too small for 35184372088832 bytes",
    ),
    "crypt": (32, ">I", 1, "encrypted images are not supported"),
    "l1-size": (36, ">I", 2**31, "L1 table of 2147483648 entries is too large"),
    "l1-wild": (40, ">Q", 2**50, "L1 table at 0x4000000000000 is outside the file"),
    "l1-odd": (40, ">Q", 77, "L1 table at 0x4d is not aligned"),
    "rt-wild": (
        *(48, ">Q", 2**40),
        "refcount table at 0x10000000000 is outside the file",
    ),
    "rt-size": (56, ">I", 2**20, "refcount table of 1048576 clusters"),
    "rt-on-l1": (40, ">Q", 0x10000, "refcount table at 0x10000 overlaps another table"),
    "snapshots": (60, ">I", 2**20, "1048576 snapshots are too many"),
    "external": (72, ">Q", 4, "external data files are not supported"),
    "zstd": (
        *(72, ">Q", 8),
        "only zlib's compression is supported (type 0), not type 0",
    ),
    "subclusters": (72, ">Q", 16, "extended L2 entries are not supported"),
    "feature": (72, ">Q", 2**40, "unknown incompatible features 0x10000000000"),
    "corrupt": (
        *(72, ">Q", 2),
        "marked as damaged: open it with ro, or repair it with qemu-img check -r all",
    ),
    "order": (96, ">I", 7, "refcount_order 7 is more than 6"),
    "header": (100, ">I", 2**20, "header of 1048576 bytes"),
    "name": (16, ">I", 5000, "backing file name of 5000 bytes"),
    "extension": (116, ">I", 2**31, "header extension of 2147483648 bytes"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_hostile_headers(program: Path, tmp_path: Path, what: str) -> None:
    image = create(tmp_path / "h.qcow2", 16 * MIB)
    offset, fmt, value, line = REFUSED[what]
    put(image, offset, fmt, value)
    done = run(program, f"{image},format=qcow2", "info")
    assert done.returncode == 4
    assert done.stderr == f"{image}: qcow2: {line}\n"


def test_hostile_chains(program: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a.qcow2", tmp_path / "b.qcow2"
    create(a, MIB)
    for up, down in ((b, a), (a, b)):
        up.unlink(missing_ok=True)
        qemu(
            *("create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", down.name),
            *(up, str(MIB)),
        )
    refusals = {
        f"{a},format=qcow2": f"{a}: qcow2: has the backing file "
        '"b.qcow2": the option backing allows it',
        f"{a},format=qcow2,backing": f"{b}: qcow2: backing chain comes back to {a}",
    }
    for option, line in refusals.items():
        done = run(program, option, "info")
        assert (done.returncode, done.stderr) == (4, line + "\n")
    names = [tmp_path / f"{i}.qcow2" for i in range(20)]
    create(names[0], MIB)
    for down, up in itertools.pairwise(names):
        qemu("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", down.name, up)
    assert run(program, f"{names[16]},format=qcow2,backing", "info").returncode == 0
    done = run(program, f"{names[19]},format=qcow2,backing", "info")
    assert done.stderr.endswith("more than 16 images in a backing chain\n")


def test_a_guest_never_writes_a_table(program: Path, tmp_path: Path) -> None:
    """A cluster of data that is the header, or is outside, is refused."""
    for entry in (0, 0x30000, 0x50000000, 0x10000):
        image = create(tmp_path / "w.qcow2", 16 * MIB)
        write = write_script(tmp_path, [("w", 0, 8, 1)])
        good(program, f"{image},format=qcow2", "script", write)
        l2 = get64(image, get64(image, 40)) & 0x00FFFFFFFFFFFE00
        put(image, l2, ">Q", 1 << 63 | (entry or 0x200))
        before = image.read_bytes()
        done = run(program, f"{image},format=qcow2", "script", write)
        assert done.returncode == 1
        assert "image is damaged" in done.stderr
        after = image.read_bytes()
        assert after[:72] == before[:72]
        assert after[80:] == before[80:]  # the mark is all that was written
        assert get64(image, 72) == 2


def test_random_damage(program: Path, tmp_path: Path) -> None:
    base = make_snapshot(tmp_path, text_like(MIB), "-o", "cluster_size=4096")
    clean = base.read_bytes()
    image = tmp_path / "d.qcow2"
    rng = random.Random(9)
    tables = [0, get64(base, 40), get64(base, 48), get64(base, get64(base, 48))]
    tables.append(get64(base, get64(base, 40)) & 0x00FFFFFFFFFFFE00)
    for round_ in range(80):
        data = bytearray(clean)
        for _ in range(rng.randint(1, 4)):
            at = rng.choice(tables) + rng.randrange(160)
            data[at] = rng.choice([0, 1, 0x40, 0x80, 0xFF, rng.randrange(256)])
        image.write_bytes(data)
        if round_ % 4 == 0:
            put(image, 72, ">Q", 1)
        size = struct.unpack_from(">Q", data, 24)[0]
        run(program, f"{image},format=qcow2", "info")
        if size <= 64 * MIB:
            ops = [(rng.choice("wrdzuf"), rng.randrange(1500), 60, 1) for _ in "12345"]
            run(program, f"{image},format=qcow2", "script", write_script(tmp_path, ops))


def test_two_users_at_a_time(program: Path, tmp_path: Path) -> None:
    image = create(tmp_path / "l.qcow2", 4 * MIB)
    with subprocess.Popen(
        [program, f"{image},format=qcow2", "steps", "100000", "1"],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        done = run(program, f"{image},format=qcow2", "info")
        line = f"{image}: qcow2: in use by another program\n"
        assert (done.returncode, done.stderr) == (4, line)
        theirs = subprocess.run(
            ["qemu-img", "check", image], capture_output=True, text=True
        )
        assert "lock" in theirs.stderr
        process.kill()


def test_formats_are_never_guessed(
    program: Path, tmp_path: Path, machine: Machine
) -> None:
    """A guest that writes a qcow2 header into its raw disk gains nothing."""
    image = create(tmp_path / "a.qcow2", 16 * MIB)
    size = image.stat().st_size
    assert good(program, str(image), "info").split()[0] == str(size)
    assert machine.ctl("--create").returncode == 0
    for option, line in (
        ("format=vmdk", f"{image}: format vmdk is not raw or qcow2"),
        ("overlay,ro", f"{image}: overlay and ro exclude each other"),
        ("format=qcow2,backing=x", "Invalid value x for boolean variable backing"),
    ):
        slot = f"3,virtio-blk,{image},{option}"
        done = machine.run("bhyve", *SLOTS, "-s", slot, machine.name)
        assert done.returncode == 4
        assert line in done.stderr
