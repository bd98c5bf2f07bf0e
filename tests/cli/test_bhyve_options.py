"""bhyve's command line, without a machine: config.dump shows the tree."""

import json
import sys
from pathlib import Path

import pytest

from bhyve_py.cli import COMMAND
from libvmmapi.cli.main import run
from libvmmapi.devices import device_names

DATA = Path(__file__).parent / "data" / "command-lines.jsonl"
LINES = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]

Capture = pytest.CaptureFixture[str]


def bhyve(*args: str) -> int:
    """Run bhyve's command in this process and return its exit status."""
    status = run(COMMAND, ["bhyve", *args], 1, 4)
    sys.stdout.flush()
    return status


def dump(capfd: Capture, *args: str) -> dict[str, str]:
    """Return the tree that the options make."""
    assert bhyve(*args, "-o", "config.dump=1", "demo") == 1
    out, err = capfd.readouterr()
    assert err == ""
    return dict(line.split("=", 1) for line in out.splitlines())


@pytest.mark.parametrize(
    ("args", "path", "value"),
    [
        (["-C"], "memory.guest_in_core", "true"),
        (["-D"], "destroy_on_poweroff", "true"),
        (["-H"], "x86.vmexit_on_hlt", "true"),
        (["-P"], "x86.vmexit_on_pause", "true"),
        (["-S"], "memory.wired", "true"),
        (["-W"], "virtio.msix", "false"),
        (["-Y"], "x86.mptable", "false"),
        (["-a"], "x86.x2apic", "false"),
        (["-x"], "x86.x2apic", "true"),
        (["-e"], "x86.strictio", "true"),
        (["-u"], "rtc.use_localtime", "false"),
        (["-w"], "x86.strictmsr", "false"),
        (["-M"], "monitor.enabled", "true"),
        (["-N"], "monitor.no_reboot", "true"),
        (["-U", "d3c8a1d4"], "uuid", "d3c8a1d4"),
        (["-K", "jp"], "keyboard.layout", "jp"),
        (["-m", "2G"], "memory.size", "2G"),
        (["-c", "4"], "cpus", "4"),
        (["-c", "cpus=4,sockets=2,cores=2"], "cores", "2"),
        (["-c", "sockets=1,cores=4"], "sockets", "1"),
        (["-c", ""], "threads", "1"),
        (["-G", "1234"], "gdb.address", "localhost"),
        (["-G", "w127.0.0.1:1234"], "gdb.wait", "true"),
        (["-G", "w[::1]:1234"], "gdb.address", "::1"),
        (["-p", "0:4", "-p", "0:5"], "vcpu.0.cpuset", "4,5"),
        (["-p", "0-1:6-7"], "vcpu.1.cpuset", "7"),
        (["-o", "board.version=0B98401 Pro"], "board.version", "0B98401 Pro"),
        (["-o", "x=a=b;c"], "x", "a=b;c"),
        ([], "memory.size", "256M"),
        ([], "lpc.fwcfg", "bhyve"),
    ],
)
def test_an_option_sets_its_variable(
    capfd: Capture, args: list[str], path: str, value: str
) -> None:
    assert dump(capfd, *args)[path] == value


def test_numa_domains_keep_their_lists(capfd: Capture) -> None:
    tree = dump(capfd, "-n", "id=3,size=1G,cpus=0-1,4,domain_policy=prefer:1")
    assert tree["domains.3.cpus"] == "0-1,4"
    assert tree["domains.3.domain_policy"] == "prefer:1"


@pytest.mark.parametrize("cluster", ["-AHPw", "-AHPww", "-AHPSuw", "-DSHw", "-IA"])
def test_letters_cluster_and_repeat(capfd: Capture, cluster: str) -> None:
    assert dump(capfd, cluster)["name"] == "demo"


def test_a_cluster_may_end_in_an_argument(capfd: Capture) -> None:
    tree = dump(capfd, "-Hwm2G", "-Hwc", "3")
    assert (tree["memory.size"], tree["cpus"]) == ("2G", "3")


def test_options_and_files_apply_in_their_order(capfd: Capture, tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_text("a=2\nb=2\n")
    tree = dump(capfd, "-o", "a=1", "-o", "b=1", "-k", str(path), "-o", "a=3")
    assert (tree["a"], tree["b"]) == ("3", "2")


def test_the_name_may_come_from_the_tree(capfd: Capture) -> None:
    assert bhyve("-o", "name=vm0:1", "-o", "config.dump=on") == 1
    assert "name=vm0:1\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["-h"], 0, "Usage: bhyve"),
        ([], 1, "Usage: bhyve"),
        (["a", "b"], 1, "Usage: bhyve"),
        (["5", "-c", "1", "demo"], 1, "Usage: bhyve"),
        (["-g", "0", "demo"], 1, "bhyve: illegal option -- g\n"),
        (["-b", "demo"], 1, "bhyve: illegal option -- b\n"),
        (["-m"], 1, "bhyve: option requires an argument -- m\n"),
        (["-m", "0", "demo"], 64, "bhyve: -m: invalid memory size '0'"),
        (["-m", "12Q", "demo"], 64, "bhyve: -m: invalid memory size '12Q'"),
        (["-c", "foo=1", "demo"], 64, "bhyve: invalid cpu topology 'foo=1'"),
        (["-p", "x", "demo"], 64, "bhyve: invalid vcpu pinning configuration 'x'"),
        (["-o", "x", "demo"], 64, "bhyve: invalid configuration option 'x'"),
        (["-o", "x=", "demo"], 64, "bhyve: invalid configuration option 'x='"),
        (["-k", "/nowhere", "demo"], 4, "/nowhere: No such file or directory"),
        (["-G", "x", "demo"], 4, "bhyve: -G 'x': port 'x' is not in 0 to 65535"),
        (["-G", "99999", "demo"], 4, "port '99999'"),
        (["-f", "x", "demo"], 64, "bhyve: -f 'x'"),
        (["-f", "a,file=/nowhere", "demo"], 64, "bhyve: -f: /nowhere"),
        (["-f", "x" * 56 + ",string=1", "demo"], 64, "more than 55 characters"),
        (["-n", "size=1G", "demo"], 64, "bhyve: -n 'size=1G': want id="),
        (["-l", "nothing", "demo"], 64, "bhyve: "),
        (["-l", "bootrom", "demo"], 4, "bhyve: "),
        (["-s", "32,hostbridge", "demo"], 4, "Invalid PCI slot info field"),
        (["-s", "0,nothing", "demo"], 4, 'pci slot 0:0: unknown device "nothing"'),
        (["-o", "config.dump=x", "demo"], 4, "config.dump"),
    ],
)
def test_what_cannot_be_ends_in_one_line_and_a_status(
    capfd: Capture, args: list[str], status: int, words: str
) -> None:
    assert bhyve(*args) == status
    out, err = capfd.readouterr()
    assert out == ""
    assert words in err
    assert "Traceback" not in err
    if "Usage" not in err:
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-G", "1234"], "-G"),
        (["-M"], "-M"),
        (["-n", "id=0,size=1G,cpus=0"], "-n"),
        (["-r", "/file"], "-r /file"),
    ],
)
def test_what_is_not_built_is_refused_by_name(
    capfd: Capture, args: list[str], words: str
) -> None:
    assert bhyve(*args, "demo") == 4
    err = capfd.readouterr().err
    assert err.startswith(f"bhyve: {words}")
    assert err.count("\n") == 1


def test_fw_cfg_files_are_numbered_nodes(capfd: Capture, tmp_path: Path) -> None:
    path = tmp_path / "100%(x)"
    path.write_bytes(b"x")
    tree = dump(capfd, "-f", "name=opt/a.b,string=c,d", "-f", f"opt/e,file={path}")
    assert tree["fwcfg.0.name"] == "opt/a.b"
    assert tree["fwcfg.0.string"] == "c,d"
    assert tree["fwcfg.1.name"] == "opt/e"
    assert tree["fwcfg.1.file"] == f"{tmp_path}/100%%(x)"


def test_help_lists_are_names_only(capfd: Capture) -> None:
    assert bhyve("-s", "help") == 0
    out, err = capfd.readouterr()
    names = out.splitlines()
    assert names == sorted(names)
    assert {"hostbridge", "lpc"} <= set(names)
    assert err == ""
    assert bhyve("-l", "help") == 0
    assert capfd.readouterr().out.split() == [
        *("bootrom", "com1", "com2", "com3", "com4", "tpm", "pc-testdev")
    ]


def test_clients_find_their_marks_in_the_usage_text(capfd: Capture) -> None:
    bhyve("-h")
    out, err = capfd.readouterr()
    assert out == ""
    assert "       -u: RTC keeps UTC time\n" in err
    assert "-n:" in err
    assert "-c vcpus" not in err
    assert all(line.startswith((" ", "Usage")) for line in err.splitlines())


@pytest.mark.parametrize("model", ["ahci", "fbuf", "xhci", "hda", "virtio-rnd"])
def test_a_probe_for_a_model_ends_at_once(capfd: Capture, model: str) -> None:
    status = bhyve("-s", f"0,{model}")
    err = capfd.readouterr().err
    unknown = f'pci slot 0:0: unknown device "{model}"' in err
    assert unknown == (model not in device_names())
    assert status == (4 if unknown else 1)


@pytest.mark.parametrize("line", LINES, ids=[line["test"] for line in LINES])
def test_command_lines_of_real_clients_parse(
    capfd: Capture, line: dict[str, list[str]]
) -> None:
    if line["expect"] == "usage":
        assert bhyve(*_known(line["argv"])) in {1, 4}
        return
    argv = _known(line["argv"])
    assert bhyve("-o", "config.dump=1", *argv) == 1, capfd.readouterr().err
    out, err = capfd.readouterr()
    assert err == ""
    if "-r" not in argv:
        assert f"name={argv[-1]}\n" in out


def _known(argv: list[str]) -> list[str]:
    """Leave out the devices that this build lacks, and files it cannot read."""
    known = {*device_names(), "amd_hostbridge"}
    kept: list[str] = []
    index = 0
    while index < len(argv):
        word = argv[index]
        if word.startswith("-s"):
            attached = len(word) > 2
            spec = word[2:] if attached else argv[index + 1]
            if spec.split(",")[1].lower() in known:
                kept += ["-s", spec]
            index += 1 if attached else 2
        else:
            kept.append(word)
            index += 1
    return kept
