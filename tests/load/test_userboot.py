"""FreeBSD's loader as an object, -l: each callback, and objects that lie."""

import contextlib
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bhyveload_py import userboot
from bhyveload_py.console import Console
from bhyveload_py.errors import LoadError
from bhyveload_py.userboothost import Host, Request
from libvmmapi._ffi import lib
from support import fbsdimage
from support.tools import Tool, tool_argv

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compile the test's loader with flags, once for each set of them."""
    if shutil.which("gcc") is None:
        pytest.skip("no compiler here")
    folder = tmp_path_factory.mktemp("userboot")
    return lambda *flags: fbsdimage.userboot_object(folder, *flags)


@pytest.fixture
def host_root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "boot").mkdir(parents=True)
    (root / "data").write_bytes(bytes(range(1, 251)) * 2400)
    os.utime(root / "data", (0x5000_0000, 0x5000_0000))
    (tmp_path / "secret").write_text("secret")
    (root / "out").symlink_to("../secret")
    return root


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(512) + struct.pack("<Q", 0xABCDEF) + bytes(2040))
    return path


def fields(text: str) -> dict[str, str]:
    """Return the lines "label value" of the loader."""
    rows = [line.rpartition(" ") for line in text.splitlines()]
    return {label: value for label, _, value in rows}


SAME = {
    "open none": "2", "open out": "2", "open link": "2", "isdir": "0",
    "name data file": "4", "name boot dir": "4", "name .. dir": "2", "seen": "5",
    "read dir": "16", "close": "0", "close again": "9", "read": "0",
    "resid": f"{700000 - 600000:x}", "sum": f"{sum(range(1, 251)) * 2400:x}",
    "at 2": "403", "end resid": "1", "seek bad": "16", "stat": "0",
    "mode": f"{0o100644:x}", "size": f"{600000:x}", "disks": "1", "ioctl": "0",
    "sector": "200", "media": "a00", "ioctl bad": "19", "ioctl none": "9",
    "diskread": "0", "word": "abcdef", "over resid": "200", "diskread none": "5",
    "low": "4000000", "high": "0", "copyin": "0", "copyout": "0", "differ": "0",
    "copyin bad": "e", "copyout bad": "e", "set": "0", "desc": "0",
    "set bad": "16", "set cpu": "16", "desc bad": "16", "late": "1", "poll": "0",
}  # fmt: skip


@pytest.mark.parametrize("flags", [(), ("-DNEW",)], ids=["old", "new"])
def test_each_callback(
    tool: Tool, build: Build, host_root: Path, disk: Path, flags: tuple[str, ...]
) -> None:
    (host_root / "data").chmod(0o644)
    done = tool(
        "bhyveload", "-m", "64M", "-l", str(build(*flags)), "-h", str(host_root),
        "-d", str(disk), "-e", "a=1", "-e", "b=2", "guest",
    )  # fmt: skip
    assert done.status == 0, done.err
    rows = fields(done.out)
    assert {name: rows.get(name) for name in SAME} == SAME
    names = [line for line in done.out.splitlines() if line.startswith("env ")]
    assert names == [
        "env boot_serial=1", "env smbios.bios.vendor=BHYVE", "env b=2", "env a=1",
    ]  # fmt: skip
    assert rows["version"] == "6"
    assert "BAD" not in done.out
    if flags:
        assert rows["mtime"] == "50000000"
        assert rows["diskwrite"] == "0"
        assert rows["beyond"] == "5"
        assert disk.read_bytes()[:8] == struct.pack("<Q", 0x1122334455667788)
        assert disk.stat().st_size == 2560
    state = tool(
        "bhyvectl", "--vm=guest", "--get-rip", "--get-rsp", "--get-cr3", "--get-cr4",
        "--get-efer", "--get-desc-gdtr", "--get-r8", "--get-desc-idtr",
    ).out  # fmt: skip
    wanted = {
        "rip[0]": 0x200000, "rsp[0]": 0x1000, "cr3[0]": 0x2000, "cr4[0]": 0x20,
        "efer[0]": 0x500, "r8[0]": 0x8888,
    }  # fmt: skip
    for name, value in wanted.items():
        assert f"{name}\t\t{value:#018x}" in state, state
    assert "0x0000000000005000/0x00000017" in state
    assert "0x0000000000007000/0x00000fff" in state
    assert tool("bhyvectl", "--vm=guest", "--destroy").status == 0


def test_the_guest_has_the_memory_and_32_bit_registers(
    tool: Tool, build: Build, vm_dir: Path
) -> None:
    done = tool(
        "bhyveload", "-m", "64M", "-l", str(build()), "-e", "mode=i386", "guest"
    )
    assert done.status == 0, done.err
    code = (
        "import sys; from libvmmapi import VM; vm = VM.open('guest');"
        "vm.setup_memory(64 << 20); v = bytes(vm.map_gpa(0x200000, 700016));"
        "w = bytes((i * 7 + (i >> 8)) & 255 for i in range(700000));"
        "assert v == bytes(3) + w + bytes(13)"
    )
    argv = [*tool_argv("bhyveload")[:1]]
    python = str(Path(argv[0]).parent / "python") if len(argv) == 1 else argv[0]
    subprocess.run(
        [python, "-c", code], check=True, env=dict(os.environ, VMM_DIR=str(vm_dir))
    )
    state = tool("bhyvectl", "--vm=guest", "--get-cr0", "--get-desc-cs").out
    assert "0x0000000000000031" in state
    assert "0x0000c09b" in state
    assert tool("bhyvectl", "--vm=guest", "--destroy").status == 0


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_loader_of_an_older_abi(tool: Tool, build: Build, version: int) -> None:
    done = tool("bhyveload", "-m", "64M", "-l", str(build(f"-DONLY={version}")), "g")
    assert done.status == 0, done.err
    assert f"version {version}\n" in done.out
    assert tool("bhyvectl", "--vm=g", "--destroy").status == 0


@pytest.fixture
def fails(tool: Tool, vm_dir: Path) -> Callable[..., str]:
    """Run a loader that does not boot; return its one line."""

    def run(path: Path, *args: str, status: int = 1) -> str:
        done = tool("bhyveload", "-m", "64M", "-l", str(path), *args, "g")
        assert done.status == status, done.err
        lines = done.err.splitlines()
        assert len(lines) <= 1, done.err
        assert not (vm_dir / "g").exists()
        return lines[0] if lines else ""

    return run


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("crash", "crashed (SIGSEGV)"),
        ("abort", "gave up (abort)"),
        ("setreg", "test_setreg(3): not implemented"),
        ("setmsr", "test_setmsr(16): not implemented"),
        ("setcr", "test_setcr(8): not implemented"),
        ("zero", "without a kernel"),
        ("return", "without a kernel"),
        ("swap", "userboot_lua.so"),
        ("open", "system call"),
        ("mmap", "system call"),
        ("fd", "system call"),
        ("junk", "damaged its own process"),
        ("reboot", "begins again without end"),
    ],
)
def test_a_loader_that_does_not_boot(
    fails: Callable[..., str], build: Build, mode: str, text: str
) -> None:
    if mode == "reboot":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(userboot, "MAX_RESTARTS", 3)
            with pytest.raises(LoadError, match=text):
                _run(build(), env=["mode=reboot"])
        return
    assert text in fails(build(), "-e", f"mode={mode}")


def _run(path: Path, env: list[str], silence: float = 10) -> None:
    """Run a loader in this process's child, with its output thrown away."""
    loader = userboot.Loader(str(path), [], "", 64 << 20, env, "/dev/null")
    assert userboot.run(loader, path.read_bytes(), silence) is None


def test_quit_and_the_console_s_end(fails: Callable[..., str], build: Build) -> None:
    assert fails(build(), "-e", "mode=quit") == ""
    assert fails(build(), "-e", "mode=key") == ""


def test_a_silent_loader_is_ended(build: Build) -> None:
    with pytest.raises(LoadError, match=r"nothing for 0\.5 seconds"):
        _run(build(), env=["mode=spin"], silence=0.5)


def test_an_old_vm_is_as_it_was_after_a_failure(tool: Tool, build: Build) -> None:
    loader = str(build())
    assert tool("bhyveload", "-m", "64M", "-l", loader, "g").status == 0
    before = tool("bhyvectl", "--vm=g", "--get-rip", "--get-r8", "--get-cr3").out
    done = tool("bhyveload", "-m", "64M", "-l", loader, "-e", "mode=crash", "g")
    assert done.status == 1
    after = tool("bhyvectl", "--vm=g", "--get-rip", "--get-r8", "--get-cr3").out
    assert after == before
    assert tool("bhyvectl", "--vm=g", "--destroy").status == 0


def _patch(blob: bytes, at: int, form: str, *values: int) -> bytes:
    out = bytearray(blob)
    struct.pack_into(form, out, at, *values)
    return bytes(out)


def _tag(blob: bytes, tag: int) -> int:
    """Return where in the file a row of the dynamic section has its value."""
    phoff, count = struct.unpack_from("<Q", blob, 32)[0], blob[56]
    for i in range(count):
        kind, _, offset = struct.unpack_from("<IIQ", blob, phoff + 56 * i)
        if kind == 2:
            while struct.unpack_from("<Q", blob, offset)[0] != tag:
                offset += 16
            return int(offset + 8)
    raise AssertionError(tag)


DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ, DT_STRSZ = 5, 6, 7, 8, 10
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda b: b"",
    "text": lambda b: b"#!/bin/sh\n" * 20,
    "short": lambda b: b[:40],
    "truncated": lambda b: b[: len(b) // 3],
    "header alone": lambda b: b[:64],
    "an i386 object": lambda b: _patch(b, 18, "<H", 3),
    "a program": lambda b: _patch(b, 16, "<H", 2),
    "headers far away": lambda b: _patch(b, 32, "<Q", 1 << 63),
    "many headers": lambda b: _patch(b, 56, "<H", 65535),
    "a wild segment": lambda b: _patch(b, 64 + 16, "<Q", 1 << 62),
    "a huge segment": lambda b: _patch(b, 64 + 40, "<Q", (1 << 64) - 1),
    "wild symbols": lambda b: _patch(b, _tag(b, DT_SYMTAB), "<Q", 1 << 63),
    "wild names": lambda b: _patch(b, _tag(b, DT_STRTAB), "<Q", (1 << 64) - 8),
    "no names": lambda b: _patch(b, _tag(b, DT_STRSZ), "<Q", 0),
    "wild relocations": lambda b: _patch(b, _tag(b, DT_RELA), "<Q", 1 << 48),
    "many relocations": lambda b: _patch(b, _tag(b, DT_RELASZ), "<Q", 1 << 60),
    "a relocation outside": lambda b: _patch(
        b, struct.unpack_from("<Q", b, _tag(b, DT_RELA))[0], "<Q", 1 << 40
    ),
    "an odd relocation": lambda b: _patch(
        b, struct.unpack_from("<Q", b, _tag(b, DT_RELA))[0] + 8, "<Q", 37
    ),
    "a wild symbol": lambda b: _patch(
        b, struct.unpack_from("<Q", b, _tag(b, DT_RELA))[0] + 8, "<II", 1, 1 << 30
    ),
    "no loader_main": lambda b: b.replace(b"loader_main", b"loader_none"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_object(
    fails: Callable[..., str], build: Build, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "damaged.so"
    path.write_bytes(DAMAGES[damage](build().read_bytes()))
    line = fails(path)
    assert str(path) in line
    assert "crashed" not in line


def test_what_this_host_does_not_offer(
    fails: Callable[..., str], build: Build, tmp_path: Path
) -> None:
    assert "it needs getpid" in fails(build("-Dabort=getpid"))
    library = tmp_path / "libother.so"
    argv = ["gcc", "-shared", "-nostdlib", "-Wl,-soname,libother.so"]
    subprocess.run([*argv, "-o", library, "-xc", "/dev/null"], check=True)
    path = build("-Wl,--no-as-needed", str(library))
    assert "libother.so" in fails(path)
    assert "such file" in fails(tmp_path / "none.so", status=71)
    assert "directory" in fails(tmp_path, status=71)


hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies


def test_any_damage_ends_in_one_error(build: Build) -> None:
    blob = build().read_bytes()
    used = [i for i, byte in enumerate(blob[:0x1000]) if byte] + list(range(64)) * 2
    offset = _tag(blob, 6) & ~0xFFF
    used += [i for i in range(offset, min(offset + 0x1000, len(blob))) if blob[i]]
    value = st.one_of(
        st.binary(min_size=1, max_size=8),
        st.sampled_from([b"\0", b"\xff" * 4, b"\xff" * 8, b"\0\0\0\x80"]),
    )
    rows = st.lists(st.tuples(st.sampled_from(used), value), min_size=1, max_size=4)

    texts: list[str] = []

    @hypothesis.settings(
        max_examples=60,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(rows)
    def run(damage: list[tuple[int, bytes]]) -> None:
        out = bytearray(blob)
        for at, data in damage:
            out[at : at + len(data)] = data
        loader = userboot.Loader("x", [], "", 64 << 20, [], "/dev/null")
        try:
            userboot.run(loader, bytes(out), silence=2)
        except LoadError as error:
            texts.append(str(error))

    run()
    assert not [text for text in texts if "\n" in text]


def test_numbers_that_no_honest_loader_sends(host_root: Path) -> None:
    big = (1 << 64) - 1
    asked = set(range(lib.UB_LASTOP)) - {lib.UB_FAIL, lib.UB_GETC, lib.UB_DELAY}
    with Console("/dev/null") as console:
        host = Host([], str(host_root), [], console)
        host.begin(64 << 20)
        for op in asked:
            for args in ([big] * 3, [0, big, big], [0, 0, big], [1 << 63] * 3):
                for data in (b"", b"\xff" * 8, b"\0/\0" * 100):
                    with contextlib.suppress(LoadError):
                        host.serve(Request(op, args, data))
        host.close()
