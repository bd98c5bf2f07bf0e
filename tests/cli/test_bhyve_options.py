"""bhyve's command line, without a machine: config.dump shows the tree."""

import re
from pathlib import Path

import pytest

from libvmmapi.devices import device_names
from support.bhyvecmd import bhyve

Capture = pytest.CaptureFixture[str]


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
        (["-m", "0", "demo"], 64, "bhyve: invalid memsize '0'"),
        (["-m", "12Q", "demo"], 64, "bhyve: invalid memsize '12Q'"),
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
        (["-l", "tpm,swtpm,/run/tpm.sock"], "-l tpm (tpm.type)"),
        (["-M"], "-M (monitor.enabled): without a bootrom"),
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


#: A model, its options, and what they become; written as -s has them.
MODELS = [
    ("ahci,hd:/a,ro,cd:/b", "port.0.type=hd port.0.path=/a port.0.ro=true "
     "port.1.type=cd port.1.path=/b"),
    ("ahci-cd,/b,ro", "port.0.type=cd port.0.path=/b port.0.ro=true"),
    ("ahci-hd,/b,sectorsize=512/4096", "port.0.type=hd port.0.path=/b "
     "port.0.sectorsize=512/4096"),
    ("nvme,/d,maxq=16,ser=x", "path=/d maxq=16 ser=x"),
    ("nvme,ram=64,qsz=8", "ram=64 qsz=8"),
    ("e1000,tap0,mac=58:9c:fc:00:00:01", "backend=tap0 mac=58:9c:fc:00:00:01"),
    ("xhci,tablet", "slot.1.device=tablet"),
    ("fbuf,tcp=0.0.0.0:5900,w=8,h=6,,wait,password=", "tcp=0.0.0.0:5900 w=8 h=6 "
     "wait=true password="),
    ("hda,play=/dev/dsp0,rec=/dev/dsp1", "play=/dev/dsp0 rec=/dev/dsp1"),
    ("virtio-9p,share=/p,ro", "sharename=share path=/p ro=true"),
    ("virtio-console,a=/s,b=/t", "port.0.name=a port.0.path=/s port.1.name=b "
     "port.1.path=/t"),
    ("virtio-scsi,/dev/cam/ctl1.0,iid=3", "dev=/dev/cam/ctl1.0 iid=3"),
    ("virtio-input,/dev/input/event4", "path=/dev/input/event4"),
    ("virtio-rnd", ""),
    ("virtio-net-viona,vnic=net0,feature_mask=1", "vnic=net0 feature_mask=1"),
    ("passthru,2/0/1,rom=/r", "bus=2 slot=0 func=1 rom=/r"),
    ("passthru,pci0:2:0:1", "bus=2 slot=0 func=1"),
    ("passthru,ppt3", "pptdev=ppt3"),
    ("passthru,/dev/ppt1", "path=/dev/ppt1"),
    ("uart,stdio", "path=stdio"),
    ("hostbridge,vendor=0x8086,device=0x1237", "vendor=0x8086 devid=0x1237"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "leaves"), MODELS, ids=[m[0] for m in MODELS])
def test_options_of_models_become_leaves(
    capfd: Capture, spec: str, leaves: str
) -> None:
    model = spec.split(",", maxsplit=1)[0]
    tree = dump(capfd, "-s", f"1:4:2,{spec}")
    below = {p.removeprefix("pci.1.4.2."): v for p, v in tree.items() if "pci." in p}
    device = below.pop("device")
    assert device == {"ahci-cd": "ahci", "ahci-hd": "ahci"}.get(model, model)
    assert below == dict(leaf.split("=", 1) for leaf in leaves.split())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("ahci,/a", '(Missing or invalid type for port 0:|no hd: or cd: before) "/a"'),
        ("virtio-console,a", "port a requires a path|a: expected name=path"),
        ("hda,play=a,play=b", 'device setting "play" given twice'),
        ("passthru,129:0:0", 'bhyve: invalid passthru options "129:0:0"'),
        ("virtio-9p,a=/a,b=/b", "more than one share name given"),
    ],
)
def test_options_that_a_model_has_not(capfd: Capture, spec: str, words: str) -> None:
    assert bhyve("-s", f"4,{spec}", "demo") == 4
    err = capfd.readouterr().err
    assert re.search(words, err)
    assert err.count("\n") == 1


def test_smbios_strings_in_illumos_dialect(capfd: Capture) -> None:
    tree = dump(
        capfd,
        *("-B", "1,product=OmniOS HVM,serial=ds=nocloud-net;s=http://h/%20,sku=1"),
        *("-B", "3,asset=7"),
    )
    assert tree["system.product_name"] == "OmniOS HVM"
    assert tree["system.serial_number"] == "ds=nocloud-net;s=http://h/%%20"
    assert (tree["system.sku"], tree["chassis.asset_tag"]) == ("1", "7")


@pytest.mark.parametrize("text", ["9,a=b", "1", "1,nothing=1", "1,product"])
def test_smbios_strings_that_are_none(capfd: Capture, text: str) -> None:
    assert bhyve("-B", text, "demo") == 64
    assert capfd.readouterr().err.startswith(f"bhyve: -B '{text}': ")


def test_a_model_that_is_not_built_is_refused_by_name(capfd: Capture) -> None:
    missing = sorted({"xhci", "virtio-net-viona"} - set(device_names()))
    if not missing:
        pytest.skip("every model is built")
    assert bhyve("-s", f"7,{missing[0]}", "demo") == 4
    assert capfd.readouterr().err == (
        f'pci slot 0:7:0: device "{missing[0]}" is not built in this version\n'
    )


def test_a_name_of_older_releases_is_refused_by_its_new_one(capfd: Capture) -> None:
    assert bhyve("-o", "pci.0.1.0.device=ahci-hd", "demo") == 4
    err = capfd.readouterr().err
    if "ahci-hd" not in device_names():
        assert err == ('pci slot 0:1:0: legacy device "ahci-hd", use "ahci" instead\n')
