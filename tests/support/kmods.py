"""Modules of Debian's kernel for a test guest's initrd, in the order of need."""

from pathlib import Path

from . import guestfiles

VIRTIO = ("virtio_pci", "virtio_blk", "virtio-rng", "virtio_console")


def _depends(module: bytes) -> list[str]:
    """Return the names in a module's `depends=` note."""
    start = module.find(b"\0depends=") + len(b"\0depends=")
    text = module[start : module.index(b"\0", start)].decode()
    return [name for name in text.split(",") if name]


def _same(name: str) -> str:
    return name.replace("-", "_")


def with_dependencies(cache: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return name -> contents of modules, each after those that it needs.

    A name that is no file is part of the kernel itself.
    """
    tree = guestfiles.debian_kernel(cache).parents[1] / "lib" / "modules"
    files = {_same(path.stem): path for path in tree.glob("*/kernel/**/*.ko")}
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        path = files.get(_same(name))
        if path is None or path.stem in found:
            return
        data = path.read_bytes()
        for other in _depends(data):
            add(other)
        found[path.stem] = data

    for name in names:
        add(name)
    return found


def initrd(
    cache: Path, out: Path, names: tuple[str, ...], scripts: dict[str, str]
) -> Path:
    """Write the usual initrd with more modules, which are loaded in order."""
    base = guestfiles.initrd(cache, out, scripts).read_bytes()
    files = {
        f"lib/{number:02}-{name}.ko": (0o644, data)
        for number, (name, data) in enumerate(with_dependencies(cache, names).items())
    }
    # The kernel unpacks archives that follow each other one by one.
    base += b"\0" * (-len(base) % 4)
    out.write_bytes(base + guestfiles.pack_initrd(files))
    return out
