"""Damaged and hostile input: LoadError or a result, soon, and nothing else."""

import gzip
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bhyveload_py import kernelelf, modmeta, preload
from bhyveload_py.devices import Devices
from bhyveload_py.errors import LoadError
from bhyveload_py.filesystems import open_volume
from bhyveload_py.loader import Loader
from bhyveload_py.media import BytesMedia
from bhyveload_py.volume import Kind, Node, read_file, resolve
from support import diskimages
from support.tools import Tool

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

LIMIT = 64 << 20
SETTINGS = hypothesis.settings(
    max_examples=60,
    deadline=3000,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
#: Values that break sums and loops, beside what chance gives.
WILD = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from(
        [
            b"\0",
            b"\xff" * 4,
            b"\xff" * 8,
            b"\xff\xff\xff\x7f",
            b"\0\0\0\x80",
            b"\1\0\0\0",
            b"\2\0\0\0\0\0\0\0",
        ]
    ),
)
Damage = list[tuple[float, bytes]]
DAMAGE = st.lists(st.tuples(st.floats(0, 0.999999), WILD), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    (root / "boot" / "kernel").mkdir(parents=True)
    (root / "boot" / "loader.conf").write_text('a="1"\n' * 40)
    (root / "boot" / "a long name for a file.text").write_text("x" * 5000)
    (root / "boot" / "kernel" / "kernel").write_bytes(bytes(200_000))
    (root / "link").symlink_to("boot/kernel/kernel")
    return root


def damaged(data: bytes, places: list[int], damage: Damage) -> bytes:
    """Return `data` with some of its used bytes overwritten."""
    out = bytearray(data)
    for where, value in damage:
        at = places[int(where * len(places))]
        out[at : at + len(value)] = value
    return bytes(out[: len(data)])


def used(data: bytes) -> list[int]:
    """Return where the bytes are that mean something."""
    return [i for i, byte in enumerate(data) if byte and byte != ord("x")]


def walk(node: Node, depth: int = 0) -> Iterator[Node]:
    """Yield some nodes of a tree that may have cycles."""
    yield node
    if node.kind is Kind.DIR and depth < 5:
        for count, (_, child) in enumerate(node.entries()):
            if count > 8:
                break
            yield from walk(child, depth + 1)


def exercise(data: bytes) -> None:
    """Do to a disk what the loader may do."""
    try:
        found = open_volume(BytesMedia(data))
        if found is None:
            return
        for node in walk(found[1]):
            if node.kind is Kind.FILE:
                read_file(node, "file", 1 << 20)
            elif node.kind is Kind.LINK:
                resolve(found[1], node.target())
        for name in ("/link", "/boot/kernel/kernel", "/boot/../boot/loader.conf"):
            resolve(found[1], name)
    except LoadError:
        return


@pytest.mark.parametrize("kind", diskimages.KINDS)
def test_damaged_file_systems(small: Path, tmp_path: Path, kind: str) -> None:
    folder = small
    if kind.startswith("fat"):
        folder = tmp_path / "plain"
        shutil.copytree(small / "boot", folder / "boot")
    path = diskimages.make_image(kind, folder, tmp_path / "image")
    # FAT32's least is 64 MiB, most of which holds nothing.
    data = path.read_bytes()[: 6 << 20]
    places = used(data)

    @SETTINGS
    @hypothesis.given(DAMAGE)
    def run(damage: Damage) -> None:
        exercise(damaged(data, places, damage))

    run()


def load_all(disk: bytes) -> None:
    say: list[str] = []
    try:
        devices = Devices([BytesMedia(disk, "disk0")])
        devices.choose()
        loader = Loader(devices, LIMIT, say.append)
        loader.read_conf()
        loader.load_configured()
        loader.find_root()
    except LoadError:
        return


def test_damaged_partition_tables() -> None:
    rows = [(diskimages.UFS_GUID, 40, 60), (diskimages.FREEBSD_GUID, 70, 90)]
    disk = diskimages.gpt(rows, 200)
    diskimages.put_label(disk, 70, [(5, 0, 7), (5, 5, 7), (20, 0, 0)])
    slices = diskimages.mbr([(0xA5, 10, 50), (5, 70, 100)], 200)
    diskimages.put_label(slices, 10, [(5, 10, 7), (5, 15, 7), (50, 10, 0)])
    diskimages.put_mbr(slices, 70, [(6, 1, 9), (5, 20, 10)])
    disks = [(bytes(d), used(d)) for d in (disk, slices)]

    @SETTINGS
    @hypothesis.given(DAMAGE)
    def run(damage: Damage) -> None:
        for data, places in disks:
            load_all(damaged(data, places, damage))

    run()


def test_damaged_kernels_and_modules(fbsd_files: Path) -> None:
    kernel = (fbsd_files / "kernel").read_bytes()
    module = (fbsd_files / "module.ko").read_bytes()
    heads = list(range(64)) * 4 + used(kernel[:4096])
    tail = list(range(len(kernel) - 64 * 8, len(kernel)))

    def read_meta(data: bytes) -> None:
        try:
            modmeta.read(data, "m")
        except LoadError:
            return

    @SETTINGS
    @hypothesis.given(DAMAGE)
    def run(damage: Damage) -> None:
        for data, places, load in (
            (kernel, heads + tail, lambda d: kernelelf.load_kernel(d, "k", LIMIT)),
            (
                module,
                used(module),
                lambda d: kernelelf.load_module(d, "m", 4 << 20, LIMIT),
            ),
        ):
            wrong = damaged(data, places, damage)
            read_meta(wrong)
            try:
                file = load(wrong)
            except LoadError:
                continue
            assert all(
                1 << 20 <= addr <= addr + max(len(part), size) <= LIMIT
                for addr, part, size in file.pieces
            )

    run()


@SETTINGS
@hypothesis.given(st.binary(max_size=400))
def test_any_bytes_as_metadata(data: bytes) -> None:
    try:
        preload.decode(data)
    except LoadError:
        return


@pytest.fixture
def bad(tool: Tool, vm_dir: Path, tree: Path) -> Callable[..., str]:
    """Load from a damaged folder; return the one line after the checks."""

    def run(*args: str) -> str:
        done = tool("bhyveload", "-m", "64M", *(args or ("-h", str(tree))), "t")
        assert done.status == 1, done.out
        lines = done.err.strip().splitlines()
        assert len(lines) == 1, done.err
        assert not (vm_dir / "t").exists()
        return lines[0]

    return run


def test_a_gzip_bomb(bad: Callable[..., str], tree: Path) -> None:
    kernel = tree / "boot/kernel/kernel"
    kernel.write_bytes(gzip.compress(bytes(200 << 20), 9))
    assert "more than 64 MiB" in bad()
    kernel.write_bytes(gzip.compress(b"x" * 1000)[:-20])
    assert "gzip" in bad()


def test_links_out_of_the_folder(bad: Callable[..., str], tree: Path) -> None:
    kernel = tree / "boot/kernel/kernel"
    outside = tree.parent / "outside"
    shutil.move(kernel, outside)
    for target in (str(outside), "../../../outside", f"/proc/self/root{outside}"):
        kernel.symlink_to(target)
        assert "no kernel" in bad()
        kernel.unlink()
    kernel.mkdir()
    assert "no kernel" in bad()


def test_a_folder_that_holds_itself(tmp_path: Path, small: Path) -> None:
    """A directory of UFS whose entry is the directory above."""
    data = bytearray(
        diskimages.make_image("ufs2", small, tmp_path / "ufs").read_bytes()
    )
    at = data.index(struct.pack("<BB", 4, 6) + b"kernel\0")
    data[at - 6 : at - 2] = struct.pack("<I", 2)
    found = open_volume(BytesMedia(bytes(data)))
    assert found is not None
    node = resolve(found[1], "/" + "boot/kernel/" * 20)
    assert node is not None
    with pytest.raises(LoadError, match="deep"):
        resolve(found[1], "/" + "boot/kernel/" * 40)


def test_controls_in_a_name_do_not_reach_the_terminal(
    bad: Callable[..., str], tree: Path
) -> None:
    (tree / "boot/loader.conf").write_text(
        'autoboot_delay="0"\nkernel="\x1b[2Jx"\n', encoding="utf-8"
    )
    assert "\x1b" not in bad()


def test_disks_of_other_systems(bad: Callable[..., str], tmp_path: Path) -> None:
    disk = bytearray(4 << 20)
    disk[1080:1082] = b"\x53\xef"
    (tmp_path / "linux").write_bytes(disk)
    line = bad("-d", "linux")
    assert "Linux ext" in line
    assert "--kernel" in line
    disk = bytearray(4 << 20)
    disk[128 << 10 : (128 << 10) + 4] = b"\x0c\xb1\xba\x00"
    (tmp_path / "zfs").write_bytes(disk)
    assert "ZFS" in bad("-d", "zfs")
    (tmp_path / "empty").write_bytes(b"")
    assert "no file system" in bad("-d", "empty")


def test_a_kernel_larger_than_the_memory(tool: Tool, tree: Path) -> None:
    done = tool("bhyveload", "-m", "2M", "-h", str(tree), "t")
    assert done.status == 1
    assert "memory" in done.err


@pytest.mark.parametrize("reclen", [0, 4, 7, 12, 508, 504, 0xFFFC])
def test_directory_entries_of_wild_lengths(
    tmp_path: Path, small: Path, reclen: int
) -> None:
    image = diskimages.make_image("ufs2", small, tmp_path / "ufs")
    data = bytearray(image.read_bytes())
    at = data.index(struct.pack("<BB", 4, 6) + b"kernel\0")
    data[at - 2 : at] = struct.pack("<H", reclen)
    exercise(bytes(data))
