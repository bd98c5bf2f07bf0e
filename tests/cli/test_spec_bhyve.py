"""bhyve_config(5) and the answers without a machine, row by row."""

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from bhyve_py.models import GRAMMARS
from libvmmapi import ConfigTree
from libvmmapi.devices import device_names
from support.bhyvecmd import start
from support.rom import write_rom
from support.tools import tool_argv

#: bhyve_config(5), before any option.
DEFAULTS = {
    "acpi_tables": "true",
    "acpi_tables_in_memory": "true",
    "memory.size": "256M",
    "x86.strictmsr": "true",
    "x86.verbosemsr": "false",
    "lpc.fwcfg": "bhyve",
    "rundir": "/var/run/bhyve/",
    "config.dump": "1",
    "name": "t",
}


def _dump(tmp_path: Path, *args: str) -> tuple[dict[str, str], str]:
    """Return the tree that the options make, and standard error."""
    done = start(tmp_path, *args, "-o", "config.dump=1", "t")
    assert done.status == 1
    return dict(line.split("=", 1) for line in done.out.splitlines()), done.err


def test_the_defaults_and_nothing_else(tmp_path: Path) -> None:
    assert _dump(tmp_path) == (DEFAULTS, "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lpc.bootrom", "bootrom"),
        ("lpc.bootvars", "bootvars"),
        ("virtio_msix", "virtio.msix"),
        ("monitor", "monitor.enabled"),
    ],
)
def test_old_names_are_mapped_and_named(tmp_path: Path, old: str, new: str) -> None:
    warning = f'bhyve: deprecated variable "{old}", use "{new}"\n'
    assert _dump(tmp_path, "-o", f"{old}=1") == ({**DEFAULTS, new: "1"}, warning)
    path = tmp_path / "k"
    path.write_text(f"{old}=1\n")
    assert _dump(tmp_path, "-k", str(path)) == ({**DEFAULTS, new: "1"}, warning)


#: What a value becomes when it is read; a=1, b=%(a)2, and c has a space.
EXPANSIONS = [
    ("plain", "plain"),
    ("%(a)", "1"),
    ("x%(b)y%(c)z", "x12y of cz"),
    ("%%(a)", "%(a)"),
    ("\\%(a)", "%(a)"),
    ("100%", "100%"),
    ("%(a", "%(a"),
    ("%a", "%a"),
    ("%(none)", ""),
    ("%()", ""),
    ("\\\\", "\\"),
    ("%%%%", "%%"),
]


@pytest.mark.parametrize(("raw", "value"), EXPANSIONS)
def test_a_value_is_expanded_when_it_is_read(
    tmp_path: Path, raw: str, value: str
) -> None:
    tree = ConfigTree()
    for path, text in (("a", "1"), ("b", "%(a)2"), ("c", " of c"), ("x", raw)):
        tree.set(path, text)
    assert tree.get("x") == value
    assert not tree.failed
    assert _dump(tmp_path, "-o", f"x={raw}")[0]["x"] == raw


@pytest.mark.parametrize(("references", "fine"), [(15, True), (16, False)])
def test_references_nest_fifteen_deep(
    capfd: pytest.CaptureFixture[str], references: int, fine: bool
) -> None:
    tree = ConfigTree()
    for number in range(references):
        tree.set(f"v{number}", f"%(v{number + 1})")
    tree.set(f"v{references}", "end")
    assert (tree.get("v0") == "end") is fine
    assert tree.failed is not fine
    assert capfd.readouterr().err.count("\n") == (not fine)


@pytest.mark.parametrize("yes", ["true", "on", "yes", "1", "TRUE", "On", "yEs"])
@pytest.mark.parametrize("no", ["false", "off", "no", "0", "FALSE", "Off", "nO"])
def test_words_of_booleans(yes: str, no: str) -> None:
    tree = ConfigTree()
    tree.set("yes", yes)
    tree.set("no", no)
    assert tree.get_bool("yes", default=False)
    assert not tree.get_bool("no", default=True)
    assert not tree.failed


@pytest.mark.parametrize("text", ["2", "0x2", "02", "%(two)"])
def test_integers_are_of_any_base(tmp_path: Path, text: str) -> None:
    options = ("-o", "two=2", "-o", f"cpus={text}", "-o", "sockets=3", "t")
    assert start(tmp_path, *options).err == (
        "bhyve: Topology (3,1,1) does not match 2 vCPUs\n"
    )


#: A file for -k, and what it says, or its line of failure.
FILES: list[tuple[bytes, dict[str, str] | str]] = [
    (b"a=1\nb=2\na=3\n", {"a": "3", "b": "2"}),
    (b"# no=1\n\n \t \n  \t# no=1\n \ta=1\n", {"a": "1"}),
    (b"a=1", {"a": "1"}),
    (b"a= 1 \nb=x=y#z\n", {"a": " 1 ", "b": "x=y#z"}),
    (b"a=1\r\n", {"a": "1"}),
    (b"\xff=\xfe\n", {"\udcff": "\udcfe"}),
    (b"", {}),
    (b"a=1\nword\n", "line 2: invalid config option 'word'"),
    (b"a=\n", "line 1: invalid config option 'a='"),
    (b"=1\n", "line 1: invalid config option '=1'"),
    (b"a=1\n\0b=1\n", "line 2: a NUL byte"),
    (b"a=1\0\n", "line 1: a NUL byte"),
]


@pytest.mark.parametrize(("text", "want"), FILES)
def test_files_of_variables(
    tmp_path: Path, text: bytes, want: dict[str, str] | str
) -> None:
    path = tmp_path / "k"
    path.write_bytes(text)
    tree = ConfigTree()
    if isinstance(want, dict):
        tree.parse_file(str(path))
        assert dict(tree.items()) == want
    else:
        done = start(tmp_path, "-k", str(path), "t")
        assert (done.status, done.err) == (4, f"bhyve: {path} {want}\n")


def test_files_and_options_apply_in_their_order(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_text("memory.size=1G\nx86.x2apic=false\nname=file\ncpus=7\n")
    two.write_text("cpus=2\n")
    options = ["-xm", "2G", "-k", str(one), "-c3", "-k", str(two), "-xo", "a=1"]
    tree, err = _dump(tmp_path, *options)
    assert err == ""
    assert (tree["memory.size"], tree["cpus"], tree["name"]) == ("1G", "2", "t")
    assert (tree["x86.x2apic"], tree["a"]) == ("true", "1")


def test_a_dump_is_read_back_as_it_was(tmp_path: Path) -> None:
    """What OmniOS' brand does: dump once, then run bhyve -k of it."""
    options = [
        *("-c", "2,cores=2,sockets=1", "-m", "2G", "-HPSuwYW", "-p", "0:0"),
        *("-s", "0,hostbridge,model=i440fx", "-s", "4:1,ahci,hd:/a,ro,cd:/b"),
        *("-s", "5,virtio-net,tap0,mac=58:9c:fc:00:00:01", "-s", "31,lpc"),
        *("-l", "com1,tcp=[::1]:5000", "-l", "bootrom,/r,/v,fwcfg=qemu"),
        *("-f", "name=opt/a%b\\c,string=%d\\", "-n", "id=3", "-B", "1,serial=a;b=c"),
        *("-G", "w[::1]:6", "-K", "de", "-l", "tpm,swtpm,/s", "-o", "x=%(y)"),
    ]
    first, err = _dump(tmp_path, *options)
    assert err == ""
    config = tmp_path / "bhyve.cfg"
    lines = [f"{path}={value}\n" for path, value in first.items()]
    config.write_text("".join(x for x in lines if not x.startswith("config.dump")))
    assert _dump(tmp_path, "-k", str(config)) == (first, "")


#: A client's probe, the stream it reads, what it looks for, and if it is there.
PROBES: list[tuple[str, str, str, bool]] = [
    ("-h", "err", "-u:", True),
    ("-h", "err", "       -u: RTC keeps UTC time", True),
    ("-h", "err", "-n:", True),
    ("-h", "err", "       -M: monitor mode", True),
    ("-h", "err", "-c vcpus", False),
    ("-h", "err", "-A:", False),
    ("-s 0,fbuf,password=", "err", 'Invalid fbuf emulation "password"', False),
    ("-l bootrom", "err", "bhyve: invalid lpc device configuration 'bootrom'", False),
    ("-s 0,nothing", "err", 'pci slot 0:0: unknown device "nothing"', True),
    *(
        (f"-s 0,{model}", "err", f'pci slot 0:0: unknown device "{model}"', False)
        for model in sorted({*GRAMMARS, "hostbridge", "lpc", "amd_hostbridge"})
    ),
    *(
        ("-s help", "out", f"\n{model}\n", model in device_names())
        for model in ("ahci", "e1000", "fbuf", "hda", "nvme", "virtio-9p", "xhci")
    ),
    ("-s h", "out", "\nvirtio-rnd\n", True),
    ("-l help", "out", "\ncom1\ncom2\ncom3\ncom4\ntpm\npc-testdev\n", True),
    ("-l hel", "out", "bootrom\n", True),
]


@pytest.mark.parametrize("row", PROBES, ids=[f"{row[0]}: {row[2]}" for row in PROBES])
def test_probes_of_clients(
    vm_dir: Path, tmp_path: Path, row: tuple[str, str, str, bool]
) -> None:
    probe, stream, text, there = row
    done = start(tmp_path, *probe.split())
    said = {"out": done.out, "err": done.err}
    assert (text in f"\n{said.pop(stream)}") is there
    assert set(said.values()) == {""}
    assert done.status in {0, 1, 4}
    assert "\r" not in done.out + done.err
    assert not list(vm_dir.iterdir())


def test_help_lists_are_what_is_built(tmp_path: Path) -> None:
    """A model stands in the list if and only if a start gets past its name."""
    done = start(tmp_path, "-s", "help")
    listed = done.out.splitlines()
    assert (done.status, done.err) == (0, "")
    assert listed == sorted(set(listed))
    for model in GRAMMARS:
        words = f'device "{model}" is not built in this version'
        unbuilt = words in start(tmp_path, "-s", f"4,{model}", "t").err
        assert unbuilt is (model not in listed)


def test_a_probe_leaves_the_terminal_alone(tmp_path: Path) -> None:
    """Even one that opens stdio as its console: there is no name, so no VM."""
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    for probe in ("-s 0,uart,stdio", "-l com1,stdio", "-h", "-s help", "-l bootrom"):
        done = subprocess.run(
            tool_argv("bhyve", *probe.split()),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            timeout=30,
            check=False,
        )
        assert done.returncode in {0, 1, 4}
        assert termios.tcgetattr(slave) == before
        assert re.search(rb"\S", os.read(master, 65536))
    os.close(master)
    os.close(slave)


#: Command lines, and the first line of their usage error; "" is usage alone.
USAGE = [
    ("", ""),
    ("--", ""),
    ("one two", ""),
    ("one -c 2", ""),
    ("5 bhyve_flags -c 1 vm", ""),
    ("-Z vm", "bhyve: illegal option -- Z"),
    ("-b vm", "bhyve: illegal option -- b"),
    ("-g 0 vm", "bhyve: illegal option -- g"),
    ("-AHg 0 vm", "bhyve: illegal option -- g"),
    ("-HPm", "bhyve: option requires an argument -- m"),
    ("-l", "bhyve: option requires an argument -- l"),
    ("-M -o rundir=/x", ""),
]


@pytest.mark.parametrize(("words", "line"), USAGE)
def test_what_is_answered_with_usage(tmp_path: Path, words: str, line: str) -> None:
    done = start(tmp_path, *words.split())
    first, *rest = done.err.splitlines()
    assert done.status == 1
    assert (first if line else "") == line
    assert (rest[0] if line else first).startswith("Usage: bhyve [-a")


#: Clusters and attached arguments, and a leaf that only they set.
CLUSTERS = [
    ("-AHPw", {"x86.vmexit_on_hlt": "true", "x86.strictmsr": "false"}),
    ("-AHPww", {"x86.vmexit_on_pause": "true"}),
    ("-AHPSuw", {"memory.wired": "true", "rtc.use_localtime": "false"}),
    ("-DSHw", {"destroy_on_poweroff": "true"}),
    ("-Hwl bootrom,/fw", {"bootrom": "/fw", "x86.vmexit_on_hlt": "true"}),
    ("-Hwlbootrom,/fw,/vars", {"bootrom": "/fw", "bootvars": "/vars"}),
    ("-s3:0,virtio-blk,/d", {"pci.0.3.0.device": "virtio-blk"}),
    ("-lcom1,/dev/nmdm0A", {"lpc.com1.path": "/dev/nmdm0A"}),
    ("-lCOM2,stdio", {"lpc.com2.path": "stdio"}),
    ("-c4 -m1G", {"cpus": "4", "memory.size": "1G"}),
    ("-xYWem 16", {"x86.strictio": "true", "memory.size": "16"}),
    ("-MNC", {"monitor.enabled": "true", "memory.guest_in_core": "true"}),
    ("-p0:1 -p0:3 -p1-2:4-5", {"vcpu.0.cpuset": "1,3", "vcpu.2.cpuset": "5"}),
    ("-f opt/a,string=", {"fwcfg.0.name": "opt/a", "fwcfg.0.string": ""}),
    ("-l bootrom,/r,fwcfg=qemu", {"bootrom": "/r", "lpc.fwcfg": "qemu"}),
    ("-l tpm,swtpm,/s,intf=crb", {"tpm.version": "2.0", "tpm.intf": "crb"}),
    ("-l pc-testdev", {"lpc.pc-testdev": "true"}),
    ("-n id=2", {"domains.2.domain_policy": "first-touch"}),
    ("-c threads=2,cores=2", {"threads": "2", "cores": "2"}),
]  # fmt: skip


@pytest.mark.parametrize(("words", "leaves"), CLUSTERS, ids=[c[0] for c in CLUSTERS])
def test_options_in_clusters(
    tmp_path: Path, words: str, leaves: dict[str, str]
) -> None:
    tree, err = _dump(tmp_path, *words.split())
    assert err == ""
    assert leaves.items() <= tree.items()


def test_a_full_disk_is_an_error_in_words() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            tool_argv("bhyve", "-s", "help"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (4, "bhyve: No space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nowhere(vm_dir: Path, tmp_path: Path, closed: str) -> None:
    """A disk that took stdout's number would be written by what is printed."""
    rom = write_rom(tmp_path, "say 'A'\npoweroff")
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    slots = f"-s 0,hostbridge -s 31,lpc -s 4,virtio-blk,{disk} -l com1,stdio"
    for words, status in ((f"-m 16M {slots} -l {rom} t", 1), ("-s help", 0), ("-h", 0)):
        program = " ".join(tool_argv("bhyve", *words.split()))
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec {program} {closed}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
    assert disk.read_bytes() == bytes(1 << 20)
