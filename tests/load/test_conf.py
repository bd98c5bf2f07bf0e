"""loader.conf, partition tables and preload metadata, each by itself."""

import struct

import pytest

from bhyveload_py import (
    freebsd,
    kernelelf,
    linkerhints,
    loader,
    partitions,
    preload,
)
from bhyveload_py.errors import LoadError
from bhyveload_py.loaderconf import LoaderConf, read_all
from bhyveload_py.media import BytesMedia
from support import diskimages


def read(files: dict[str, str]) -> tuple[LoaderConf, list[str]]:
    conf, warnings = LoaderConf(), []

    def names(folder: str) -> list[str]:
        head = folder + "/"
        return [path.removeprefix(head) for path in files if path.startswith(head)]

    read_all(
        conf,
        lambda path: files[path].encode() if path in files else None,
        names,
        warnings.append,
    )
    return conf, warnings


def test_lines_of_every_form() -> None:
    conf, warnings = read(
        {
            "/boot/loader.conf": 'a="1"\n  b = two # c\nc="x # y" # z\nd="${a}$b;$a"\n'
            'e="say \\"hi\\""\nexec="evil"\nnot a line\nf=\n"g"=1\nh="open\n',
        }
    )
    env = conf.env
    assert [env[k] for k in "abcde"] == ["1", "two", "x # y", "1two;1", 'say "hi"']
    assert env["f"] == ""
    assert "exec" not in env
    assert [w.split(":")[1] for w in warnings] == ["7)", "9)", "10)"]


def test_defaults_and_files_apply_in_order() -> None:
    conf, _ = read(
        {
            "/boot/defaults/loader.conf": 'kernel="kernel"\nx="defaults"\n'
            'loader_conf_files="/boot/loader.conf /boot/more.conf"\n'
            'local_loader_conf_files="/boot/loader.conf.local"\n'
            'loader_conf_dirs="/boot/loader.conf.d"\n',
            "/boot/loader.conf": 'x="1"\ny="1"\nz="1"\nw="1"\n',
            "/boot/more.conf": 'y="2"\nz="2"\nw="2"\n',
            "/boot/loader.conf.d/a.conf": 'z="3"\nw="3"',
            "/boot/loader.conf.d/README": 'z="no"',
            "/boot/loader.conf.local": 'w="4"',
        }
    )
    assert [conf.env[k] for k in "xyzw"] == ["1", "2", "3", "4"]
    assert conf.env["bootfile"] == "kernel"


def test_modules_and_their_blacklist() -> None:
    conf, _ = read(
        {
            "/boot/loader.conf": 'a_load="YES"\nb_load="yes"\nc_load="NO"\n'
            'd_load="YES"\nmodule_blacklist="d other"\nb_name="/x/b.img"\n'
            'b_type="mfs_root"\nb_flags="-x"\n'
        }
    )
    assert [(m.path, m.type, m.flags) for m in conf.wanted()] == [
        ("a", "", ""),
        ("/x/b.img", "mfs_root", "-x"),
    ]


def test_a_file_that_includes_itself() -> None:
    text = 'loader_conf_files="/boot/loader.conf /boot/defaults/loader.conf"\nn="1"'
    conf, _ = read({"/boot/defaults/loader.conf": text, "/boot/loader.conf": text})
    assert conf.env["n"] == "1"


def test_an_endless_chain_of_files() -> None:
    files = {f"/{i}": f'loader_conf_files="/{i + 1} /{i + 2}"\n' for i in range(10000)}
    files["/boot/loader.conf"] = 'loader_conf_files="/0"'
    with pytest.raises(LoadError, match="too many"):
        read(files)


def test_values_that_double_themselves() -> None:
    text = 'a="xxxxxxxxxxxxxxxx"\n' + 'a="${a}${a}"\n' * 64
    with pytest.raises(LoadError, match="too large"):
        read({"/boot/loader.conf": text})


def test_boot_flags() -> None:
    assert freebsd.howto("-s x -Dh", {}) == 0x20001002
    assert freebsd.howto("", {"boot_serial": "NO", "boot_single": "YES"}) == 2
    assert loader.start_environment(["boot_serial=0"])["boot_serial"] == "0"


def test_metadata_comes_back() -> None:
    files = [
        preload.Preloaded("/k", "elf kernel", 1, 2, "-s", metadata={7: b"\1\2\3\4"}),
        preload.Preloaded("/m", "elf obj module", 3, 4),
    ]
    data = preload.encode(files)
    assert len(data) % 8 == 0
    assert preload.decode(data) == files
    assert preload.environment({"b": "2", "a": "1"}) == b"a=1\0b=2\0\0"
    with pytest.raises(LoadError):
        preload.decode(data[:-8])


def _hint(kind: int, module: str, version: int | None, file: str) -> bytes:
    out = struct.pack("<i", kind) + bytes([len(module)]) + module.encode()
    if version is not None:
        out += bytes(-len(out) % 4) + struct.pack("<i", version)
    out += bytes([len(file)]) + file.encode()
    out += bytes(-len(out) % 4)
    return struct.pack("<i", len(out)) + out


def test_linker_hints() -> None:
    rows = [(3, "a", 1, "a1.ko"), (3, "a", 3, "a3.ko"), (2, "b", None, "b.ko"),
            (4, "p", None, "p.ko"), (3, "a", 7, "a7.ko")]  # fmt: skip
    data = struct.pack("<i", 1) + b"".join(_hint(*row) for row in rows)
    hints = linkerhints.parse(data)
    assert [(h.module, h.version) for h in hints] == [
        ("a", 1), ("a", 3), ("b", -1), ("a", 7),
    ]  # fmt: skip
    want = linkerhints.Wanted
    assert linkerhints.find(hints, want("a", 1, 1, 9)) == "a1.ko"
    assert linkerhints.find(hints, want("a", 2, 2, 5)) == "a3.ko"
    assert linkerhints.find(hints, want("a", 4, 5, 6)) is None
    assert linkerhints.find(hints, want("b", 0, 0, 9)) is None
    for at in range(len(data)):
        linkerhints.parse(data[:at])
        linkerhints.parse(data[:at] + b"\xff" + data[at + 1 :])
    assert linkerhints.parse(b"\2\0\0\0" + data[4:]) == []


def names(disk: bytes) -> list[str]:
    return [row.name for row in partitions.partitions(BytesMedia(bytes(disk)))]


def test_gpt_by_its_backup() -> None:
    disk = diskimages.gpt([(diskimages.UFS_GUID, 40, 49)], 200)
    disk[512:1024] = bytes(512)
    assert names(disk) == ["p1"]


def test_gpt_of_a_disk_with_large_sectors() -> None:
    disk = diskimages.gpt([(diskimages.UFS_GUID, 6, 10)], 64, 4096)
    rows = partitions.partitions(BytesMedia(bytes(disk)))
    assert [(row.name, row.start, row.size) for row in rows] == [("p1", 24576, 20480)]
    disk[4096:8192] = bytes(4096)
    assert names(disk) == ["p1"]


def test_gpt_rows_that_lie() -> None:
    guid = diskimages.UFS_GUID
    rows = [(guid, 40, 49), (guid, 45, 60), (guid, 60, 50), (guid, 40, 1 << 60),
            (guid, 0, 10), (guid, (1 << 64) - 1, 0)]  # fmt: skip
    assert names(diskimages.gpt(rows, 200)) == ["p1", "p2"]


@pytest.mark.parametrize(
    ("count", "step", "entries"),
    [(1 << 31, 128, 2), (128, 0, 2), (4, 1 << 30, 2), (128, 128, 1 << 62), (8, 120, 2)],
)
def test_gpt_headers_that_lie(count: int, step: int, entries: int) -> None:
    disk = bytearray(200 * 512)
    diskimages.put_gpt_header(disk, 1, entries, b"", count=count, step=step)
    diskimages.put_gpt_header(disk, 199, entries, b"", count=count, step=step)
    assert names(disk) == [""]


def test_logical_partitions_that_loop() -> None:
    disk = diskimages.mbr([(0x83, 1, 9), (5, 10, 100)], 200)
    diskimages.put_mbr(disk, 10, [(0x83, 1, 9), (5, 20, 10)])
    diskimages.put_mbr(disk, 30, [(0x83, 1, 9), (5, 20, 10)])
    assert names(disk) == ["s1", "s5", "s6"]


def test_a_label_with_wild_rows() -> None:
    disk = diskimages.mbr([(0xA5, 10, 100)], 200)
    rows = [(20, 26, 7), (1 << 31, 26, 7), (100, 10, 0), (20, 0, 7), (0, 0, 0)]
    diskimages.put_label(disk, 10, rows)
    assert names(disk) == ["s1", "s1a"]


def section(kind: int, size: int, link: int, align: int) -> bytes:
    row = kernelelf.Section(0, kind, 2, 0, 0, size, link, 0, align, 0)
    return struct.pack("<IIQQQQIIQQ", *row)


@pytest.mark.parametrize(
    ("size", "align", "what"),
    [(1 << 60, 1, "memory"), (16, 3, "alignment"), (16, 1 << 40, "alignment")],
)
def test_modules_with_wild_sections(size: int, align: int, what: str) -> None:
    head = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, 3, 2
    )
    rows = section(8, size, 0, align) + section(2, 24, 2, 8) + section(3, 8, 0, 1)
    with pytest.raises(LoadError, match=what):
        kernelelf.load_module(head + rows, "m.ko", 1 << 21, 1 << 26)
