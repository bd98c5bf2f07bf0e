"""Fuzzers for the loader's parsers, led by which lines an input reaches.

    python -m support.loadfuzz [-t SECONDS] [-o FOLDER] [TARGET ...]   (in tests/)

An input is a seed with patches.  One that reaches a new line is kept in
FOLDER/TARGET.json, from where tests replay it.  A fault is any exception but
LoadError, an input that takes longer than LIMIT seconds, or one that wants
more than MEMORY bytes.  -r COUNT plays what is kept and COUNT inputs near it.
"""

import argparse
import gc
import gzip
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from bhyveload_py import kernelelf, linkerhints, loaderconf, modmeta, preload, userboot
from bhyveload_py.devices import Devices
from bhyveload_py.errors import LoadError
from bhyveload_py.filesystems import open_volume
from bhyveload_py.loader import Loader
from bhyveload_py.loaderconf import LoaderConf
from bhyveload_py.media import BytesMedia
from bhyveload_py.volume import Kind, Node, read_file, resolve

from . import diskimages, fbsdimage

LIMIT = 5.0
MEMORY = 512 << 20
ROOM = 64 << 20
_DEEP = 5
_WILD = (
    b"\0", b"\xff", b"\x80", b"\0\0", b"\xff\xff", b"\xff\x7f", b"\0\0\0\0",
    b"\1\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80",
    b"\xff" * 8, b"\0" * 8, b"\1" + b"\0" * 7, b"\0" * 7 + b"\x80",
)  # fmt: skip
_WORDS = (
    b"=", b'"', b"\\", b"$", b"${a}", b"${", b"_load", b'="YES"\n', b"\n", b"#",
    b"loader_conf_files", b"/boot/loader.conf", b"exec", b"\xff", b" ", b"\0",
)  # fmt: skip

Patch = tuple[int, bytes]


@dataclass
class Target:
    """A parser: seeds, and what to do with one that was patched."""

    seeds: Callable[[Path], list[bytes]]
    run: Callable[[bytes], None]
    text: bool = False


@dataclass
class Fuzzer:
    """A run of one target."""

    name: str
    folder: Path
    rng: random.Random
    seeds: list[bytes] = field(default_factory=list)
    places: list[list[int]] = field(default_factory=list)
    corpus: list[tuple[int, list[Patch]]] = field(default_factory=list)
    lines: set[tuple[str, int]] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    ran: int = 0

    def __post_init__(self) -> None:
        self.target = TARGETS[self.name]
        self.seeds = self.target.seeds(self.folder)
        for seed in self.seeds:
            used = [i for i, byte in enumerate(seed[: 6 << 20]) if byte not in b"\0xA"]
            self.places.append(used or [0])
        self.corpus = [(i, []) for i in range(len(self.seeds))]

    def make(self, seed: int, patches: list[Patch]) -> bytes:
        """Return a seed with its patches."""
        out = bytearray(self.seeds[seed % len(self.seeds)])
        for at, value in patches:
            if self.target.text:
                out[at % (len(out) + 1) : at % (len(out) + 1) + 1] = value
            elif at < len(out):
                out[at : at + len(value)] = value
        return bytes(out)

    def invent(self) -> tuple[int, list[Patch]]:
        """Return an input near one that is known."""
        seed, patches = self.rng.choice(self.corpus)
        patches = list(patches[-8:])
        for _ in range(self.rng.choice((1, 1, 1, 2, 4))):
            places = self.places[seed]
            at = max(0, self.rng.choice(places) + self.rng.randint(-4, 4))
            value = self.rng.choice(_WORDS if self.target.text else _WILD)
            if self.rng.random() < 0.4:
                value = self.rng.randbytes(self.rng.randint(1, 8))
            patches.append((at, value))
        return seed, patches

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if "bhyveload_py" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._trace

    def one(self, seed: int, patches: list[Patch], *, trace: bool = False) -> bool:
        """Run one input; true: it reached a line that none did."""
        data, known = self.make(seed, patches), len(self.lines)
        self.ran += 1
        if self.ran % 16 == 0:
            gc.collect()  # nodes that know each other keep whole images
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        if trace:
            sys.settrace(self._trace)
        try:
            with suppress(LoadError):
                self.target.run(data)
        except Exception:
            sys.settrace(None)
            text = traceback.format_exc(limit=-3)
            if len(self.faults) < 20:
                self.faults.append(f"{self.name} {seed} {patches}\n{text}")
        finally:
            sys.settrace(None)
            signal.setitimer(signal.ITIMER_REAL, 0)
        return len(self.lines) > known

    def search(self, seconds: float) -> None:
        """Look for inputs that reach new lines."""
        end = time.monotonic() + seconds
        for seed, patches in list(self.corpus):
            self.one(seed, patches, trace=True)
        while time.monotonic() < end:
            seed, patches = self.invent()
            # Most inputs run untraced: a line is new only now and then.
            if self.one(seed, patches, trace=self.ran % 4 == 0):
                self.corpus.append((seed, patches))

    def replay(self, count: int) -> None:
        """Run what is known, then so many inputs near it."""
        for seed, patches in list(self.corpus):
            self.one(seed, patches)
        for _ in range(count):
            self.one(*self.invent())

    def load(self, file: Path) -> None:
        """Add the inputs that a file keeps."""
        if file.exists():
            for seed, patches in json.loads(file.read_text()):
                rows = [(at, bytes.fromhex(value)) for at, value in patches]
                self.corpus.append((seed % len(self.seeds), rows))

    def save(self, file: Path) -> None:
        """Keep the inputs that were worth it."""
        rows = [
            [seed, [[at, value.hex()] for at, value in patches]]
            for seed, patches in self.corpus
            if patches
        ]
        file.write_text(json.dumps(rows, separators=(",", ":")) + "\n")


def _alarm(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"longer than {LIMIT} seconds")


def confine() -> None:
    """Have slow and greedy inputs end in an exception."""
    signal.signal(signal.SIGALRM, _alarm)
    with Path("/proc/self/statm").open() as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))


# ---- what is done with an input ----


def _walk(node: Node, depth: int = 0) -> Iterator[Node]:
    yield node
    if node.kind is Kind.DIR and depth < _DEEP:
        for count, (_, child) in enumerate(node.entries()):
            if count > 8:
                break
            yield from _walk(child, depth + 1)


def volume(data: bytes) -> None:
    """Walk through a file system and read its files."""
    found = open_volume(BytesMedia(data))
    if found is None:
        return
    for node in _walk(found[1]):
        with suppress(LoadError):
            if node.kind is Kind.FILE:
                read_file(node, "file", 1 << 20)
            elif node.kind is Kind.LINK:
                resolve(found[1], node.target())
    for name in ("/link", "/boot/kernel/kernel", "/boot/../boot/loader.conf"):
        resolve(found[1], name)


def disk(data: bytes) -> None:
    """Do to a disk all that the loader does."""
    devices = Devices([BytesMedia(data, "disk0")])
    devices.choose()
    loader = Loader(devices, ROOM, lambda text: None)
    loader.read_conf()
    loader.load_configured()
    loader.find_root()


def _conf(data: bytes) -> None:
    def read(path: str) -> bytes | None:
        return data if path in ("/boot/loader.conf", "/boot/more.conf") else None

    conf = LoaderConf()
    loaderconf.read_all(conf, read, lambda folder: ["a.conf"], lambda text: None)
    conf.wanted()


def _kernel(data: bytes) -> None:
    with suppress(LoadError):
        modmeta.read(data, "k")
    kernelelf.recognise(data)
    _inside(kernelelf.load_kernel(data, "k", ROOM))


def _module(data: bytes) -> None:
    with suppress(LoadError):
        modmeta.read(data, "m")
    _inside(kernelelf.load_module(data, "m", 4 << 20, ROOM))


def _inside(file: preload.Preloaded) -> None:
    for addr, data, size in file.pieces:
        assert 1 << 20 <= addr <= addr + max(len(data), size) <= ROOM


def _object(data: bytes) -> None:
    loader = userboot.Loader("x", [], "", 64 << 20, [], "/dev/null")
    try:
        userboot.run(loader, data, silence=2)
    except LoadError as error:
        if "\n" in str(error):
            raise ValueError(str(error)) from None


# ---- seeds ----


def _tree(folder: Path) -> Path:
    root = folder / "seed-tree"
    if not root.exists():
        (root / "boot" / "kernel").mkdir(parents=True)
        (root / "boot" / "loader.conf").write_text('a="1"\n' * 40)
        (root / "boot" / "a long name for a file.text").write_text("x" * 5000)
        (root / "boot" / "kernel" / "kernel").write_bytes(bytes(200_000))
    return root


def _images(*kinds: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        root = _tree(folder)
        seeds = []
        for kind in kinds:
            link = root / "link"
            if kind.startswith("fat"):
                link.unlink(missing_ok=True)
            elif not link.is_symlink():
                link.symlink_to("boot/kernel/kernel")
            path = diskimages.make_image(kind, root, folder / f"seed-{kind}")
            seeds.append(path.read_bytes()[: 6 << 20])
        return seeds

    return make


def _tables(folder: Path) -> list[bytes]:
    rows = [(diskimages.UFS_GUID, 40, 60), (diskimages.FREEBSD_GUID, 70, 90)]
    first = diskimages.gpt(rows, 200)
    diskimages.put_label(first, 70, [(5, 0, 7), (5, 5, 7), (20, 0, 0)])
    second = diskimages.mbr([(0xA5, 10, 50), (5, 70, 100)], 200)
    diskimages.put_label(second, 10, [(5, 10, 7), (5, 15, 7), (50, 10, 0)])
    diskimages.put_mbr(second, 70, [(6, 1, 9), (5, 20, 10)])
    large = diskimages.gpt([(diskimages.UFS_GUID, 6, 10)], 40, 4096)
    return [bytes(first), bytes(second), bytes(large)]


def _texts(folder: Path) -> list[bytes]:
    return [
        b'a="1"\nb=two # c\nc="x ${a} $b"\nfirst_load="YES"\nfirst_name="/x"\n'
        b'first_type="md_image"\nloader_conf_files="/boot/more.conf"\n'
        b'module_blacklist="a b"\nloader_conf_dirs="/boot/d"\n',
        b'd="\\"q\\""\nexec="echo"\n\n#\nkernel="k"\n',
    ]


def _kernels(folder: Path) -> list[bytes]:
    built = fbsdimage.small_files(folder)
    return [(built / name).read_bytes() for name in ("kernel", "kernel32")]


def _modules(folder: Path) -> list[bytes]:
    built = fbsdimage.small_files(folder)
    return [(built / name).read_bytes() for name in ("module.ko", "module32.ko")]


def _packed(folder: Path) -> list[bytes]:
    """Return a kernel as gzip packs it."""
    return [gzip.compress(_kernels(folder)[0], mtime=0)]


def _gunzip(data: bytes) -> None:
    class File:
        kind, size = Kind.FILE, len(data)

        def read(self, offset: int, size: int) -> bytes:
            return data[offset : offset + size]

    loader = Loader.__new__(Loader)
    loader.limit = ROOM
    loader._image(File(), "k")  # type: ignore[arg-type]


def _hints(folder: Path) -> list[bytes]:
    rows = b""
    for i in range(40):
        name, file = f"module{i}".encode(), f"module{i}.ko".encode()
        body = b"\3\0\0\0" + bytes([len(name)]) + name
        body += bytes(-len(body) % 4) + b"\1\0\0\0" + bytes([len(file)]) + file
        body += bytes(-len(body) % 4)
        rows += len(body).to_bytes(4, "little") + body
    return [b"\1\0\0\0" + rows]


def _metadata(folder: Path) -> list[bytes]:
    files = [
        preload.Preloaded("/k", "elf kernel", 1, 2, "-s", metadata={7: b"\1\2\3\4"}),
        preload.Preloaded("/m", "elf obj module", 3, 4),
    ]
    return [preload.encode(files), preload.encode(files, 4)]


def _objects(folder: Path) -> list[bytes]:
    return [fbsdimage.userboot_object(folder).read_bytes()]


TARGETS = {
    "ufs": Target(_images("ufs2", "ufs1"), volume),
    "iso9660": Target(_images("rock", "iso"), volume),
    "fat": Target(_images("fat12", "fat16", "fat32"), volume),
    "partitions": Target(_tables, disk),
    "loaderconf": Target(_texts, _conf, text=True),
    "kernel": Target(_kernels, _kernel),
    "module": Target(_modules, _module),
    "gzip": Target(_packed, _gunzip),
    "hints": Target(
        _hints,
        lambda d: void(linkerhints.find(linkerhints.parse(d), linkerhints.Wanted("m"))),
    ),
    "metadata": Target(
        _metadata, lambda d: void((preload.decode(d), preload.decode(d, 4)))
    ),
    "userboot": Target(_objects, _object),
}


def void(_: object) -> None:
    """Take a result that does not matter."""


def main() -> int:
    """Search for the time given; status 1 if there are faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-t", type=float, default=600, help="seconds for each")
    parser.add_argument("-o", type=Path, default=Path("load/corpus"))
    parser.add_argument("-r", type=int, help="only replay, and so many inputs more")
    parser.add_argument("-s", type=int, default=1, help="seed of the random numbers")
    parser.add_argument("names", nargs="*", help=", ".join(TARGETS))
    args = parser.parse_args()
    args.o.mkdir(parents=True, exist_ok=True)
    failed = False
    with tempfile.TemporaryDirectory() as name:
        for target in args.names or TARGETS:
            fuzzer = Fuzzer(target, Path(name), random.Random(args.s))
            fuzzer.load(args.o / f"{target}.json")
            confine()
            if args.r is None:
                fuzzer.search(args.t)
                fuzzer.save(args.o / f"{target}.json")
            else:
                fuzzer.replay(args.r)
            print(
                f"{target}: {fuzzer.ran} inputs, {len(fuzzer.lines)} lines, "
                f"{len(fuzzer.corpus)} kept, {len(fuzzer.faults)} faults",
                flush=True,
            )
            print("\n".join(fuzzer.faults), end="\n" if fuzzer.faults else "")
            failed = failed or bool(fuzzer.faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
