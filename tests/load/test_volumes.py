"""Every file system gives back the files that the host's tool put in."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bhyveload_py import filesystems, hostfs
from bhyveload_py.errors import LoadError
from bhyveload_py.media import FileMedia
from bhyveload_py.volume import Kind, Node, find_file, read_file, resolve
from support import diskimages

Image = Callable[[str, Path], Path]
LONG = "a rather long name with spaces, and dots.in.it.text"
DEEP = "one/two/three/four/five/six/seven/eight/nine/ten"
#: Beyond direct blocks and the first indirect one of small blocks.
BIG = bytes(range(256)) * 4 * 5000


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    (root / DEEP).mkdir(parents=True)
    (root / DEEP / "file").write_text("deep")
    (root / LONG).write_text("long")
    (root / "empty").write_bytes(b"")
    (root / "big").write_bytes(BIG)
    (root / "many").mkdir()
    for i in range(700):
        (root / "many" / f"number-{i:04}").write_text(str(i))
    return root


def content(root: Node, path: str) -> bytes:
    node = find_file(root, path)
    assert node is not None, path
    return bytes(read_file(node, path, 1 << 30))


def opened(image: Path) -> Node:
    found = filesystems.open_volume(FileMedia(str(image)))
    assert found is not None
    return found[1]


@pytest.mark.parametrize("kind", [k for k in diskimages.KINDS if k != "iso"])
def test_files_come_back(image: Image, files: Path, kind: str) -> None:
    root = opened(image(kind, files))
    assert content(root, "/big") == BIG
    assert content(root, f"/{LONG}") == b"long"
    assert content(root, f"{DEEP}/file") == b"deep"
    assert content(root, "/empty") == b""
    assert content(root, "many/number-0699") == b"699"
    assert resolve(root, "/many/number-0700") is None
    assert resolve(root, "/empty/x") is None
    assert resolve(root, "/../../many").kind is Kind.DIR  # type: ignore[union-attr]
    names = {name for name, _ in root.entries()} - {"rr_moved"}
    assert names == {"one", LONG, "empty", "big", "many"}


def test_plain_iso_names(image: Image, tmp_path: Path) -> None:
    root = tmp_path / "t"
    (root / "boot").mkdir(parents=True)
    (root / "boot" / "loader.con").write_text("x")
    assert content(opened(image("iso", root)), "/boot/loader.con") == b"x"


@pytest.mark.parametrize("kind", ["ufs1", "ufs2", "rock", "host"])
def test_links_stay_beneath_the_root(image: Image, tmp_path: Path, kind: str) -> None:
    root = tmp_path / "t"
    (root / "boot").mkdir(parents=True)
    (root / "boot" / "kernel").write_text("k")
    (root / "passwd").write_text("ours")
    long = "/".join([".."] * 40) + "/boot/kernel"
    links = {
        "relative": "boot/kernel",
        "absolute": "/boot/kernel",
        "boot/up": "../../../../passwd",
        "long": long,
        "loop": "loop",
        "loop2": "boot/../loop2/x",
        "missing": "nowhere",
        "escape": "/proc/self/root/etc/passwd",
        "folder": "boot",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    volume = (
        hostfs.open_directory(str(root))
        if kind == "host"
        else opened(image(kind, root))
    )
    for name in ("relative", "absolute", "long", "folder/kernel"):
        assert content(volume, name) == b"k"
    assert content(volume, "boot/up") == b"ours"
    assert content(volume, "../../passwd") == b"ours"
    for name in ("missing", "escape"):
        assert resolve(volume, name) is None
    for name in ("loop", "loop2"):
        with pytest.raises(LoadError, match="links"):
            resolve(volume, name)


def test_the_host_gives_only_files_and_folders(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    root = hostfs.open_directory(str(tmp_path))
    assert resolve(root, "fifo").kind is Kind.OTHER  # type: ignore[union-attr]
    assert find_file(root, "fifo") is None


def test_a_sparse_file_reads_as_zeros(image: Image, tmp_path: Path) -> None:
    root = tmp_path / "t"
    root.mkdir()
    with (root / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    assert content(opened(image("ufs2", root)), "sparse") == bytes(3 << 20) + b"end"
