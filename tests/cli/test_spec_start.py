"""Starts that must not be, and large ones that must: statuses and lines.

Each row is a sentence of bhyve(8) or bhyve_config(5).  What is refused gives
one line on standard error, and leaves no VM that was not there before.
"""

import os
import re
from pathlib import Path

import pytest

from libvmmapi import VM
from support.bhyvecmd import start
from support.rom import write_rom
from support.tools import Tool

#: What, options, exit status, the line.  {rom} is a ROM that powers off, {disk}
#: a file of 1 MB.
REFUSED: list[tuple[str, str, int, str]] = [
    # Options.
    ("m-suffix", "-m 1Q", 64, "bhyve: invalid memsize '1Q': .*"),
    ("m-empty", "-m ''", 64, "bhyve: invalid memsize '': .*"),
    ("m-negative", "-m -5", 64, "bhyve: invalid memsize '-5': .*"),
    ("m-huge", "-m 99999999999999999999G", 64, "bhyve: invalid memsize '9+G': .*"),
    ("m-by-variable", "-o memory.size=1Q", 4, "bhyve: invalid memsize '1Q'"),
    ("m-too-much", "{rom} -m 1000T", 4, r"Unable to set up memory \(12\): "
     "1048576000 MiB of guest memory do not fit: .*"),
    ("c-zero", "-c 0", 4, "bhyve: Invalid value for cpus: '0'"),
    ("c-range", "-c 65536", 4, "bhyve: Invalid value for cpus: '65536'"),
    ("c-text", "-c 2x", 4, "bhyve: Invalid value for cpus: '2x'"),
    ("c-no-number", "-c 2,", 4, "bhyve: Invalid value for cpus: ''"),
    ("c-cores", "-c cores=0", 4, "bhyve: Invalid value for cores: '0'"),
    ("c-key", "-c 2,dies=2", 64, "bhyve: invalid cpu topology '2,dies=2': .*"),
    ("c-product", "-c sockets=300,cores=300", 4,
     "bhyve: Computed number of vCPUs too high: 90000"),
    ("c-mismatch", "-c 2,cores=2", 4,
     r"bhyve: Topology \(2,2,1\) does not match 2 vCPUs"),
    ("c-too-many", "{rom} -c 65", 4, "65 vCPUs requested but only 64 available"),
    ("p-format", "-p 1", 64,
     "bhyve: invalid vcpu pinning configuration '1': invalid format: 1"),
    ("p-vcpu", "-p 64:0", 64, "bhyve: invalid vcpu pinning configuration '64:0': "
     "vcpu '64' outside valid range from 0 to 63"),
    ("p-hostcpu", "-p 0:1024", 64, "bhyve: invalid vcpu pinning configuration "
     "'0:1024': hostcpu '1024' outside valid range from 0 to 1023"),
    ("p-lengths", "-p 0-1:4-6", 64, ".*'0-1:4-6': invalid format: 0-1:4-6"),
    ("p-descending", "-p 3-1:3-1", 64, ".*'3-1:3-1': invalid format: 3-1:3-1"),
    ("p-not-here", "{rom} -p 0:1000", 4, r"bhyve: vcpu.0.cpuset: '1000' has none of "
     r"the host CPUs that this process may use \([0-9,-]+\)"),
    ("cpuset", "-o vcpu.0.cpuset=3-a", 4, "bhyve: invalid cpuset for vcpu 0: '3-a'"),
    ("f-syntax", "-f opt/x", 64, "bhyve: -f 'opt/x': want .*"),
    ("f-kind", "-f opt/x,number=3", 64, "bhyve: -f 'opt/x,number=3': want .*"),
    ("f-long", "-f " + "x" * 56 + ",string=1", 64, ".*more than 55 characters"),
    ("f-file", "-f a,file=/no/file", 64, "bhyve: -f: /no/file: No such file .*"),
    ("G-port", "-G w127.0.0.1:65536", 4, "bhyve: -G 'w127.0.0.1:65536': port .*"),
    ("gdb.port", "{rom} -o gdb.port=65536", 4,
     "bhyve: Invalid value for gdb.port: '65536'"),
    ("G-address", "{rom} -G 192.0.2.1:4000", 4, ".*192.0.2.1.*"),
    ("U", "{rom} -U no-uuid", 4, '.*uuid "no-uuid" is not of the form.*'),
    ("k-absent", "-k /no/file", 4,
     "bhyve: Failed to open configuration file /no/file: No such file or directory"),
    ("k-folder", "-k /", 4, "bhyve: Failed to read configuration file /: .*"),
    ("o-no-value", "-o a=", 64, "bhyve: invalid configuration option 'a=': .*"),
    ("o-no-name", "-o =a", 64, "bhyve: invalid configuration option '=a': .*"),
    ("o-empty-node", "-o a..b=1", 4, 'bhyve: Invalid config node name "a..b"'),
    ("o-no-leaf", "-o a.=1", 4, 'bhyve: Invalid config node name "a."'),
    ("o-no-node", "-o .a=1", 4, 'bhyve: Invalid config node name ".a"'),
    ("value-over-node", "-o a.b=1 -o a=2", 4,
     "bhyve: Attempting to add value 2 to existing node a"),
    ("node-over-value", "-o a=1 -o a.b.c=2", 4,
     "bhyve: Failed to add configuration node a.b: a is a value"),
    ("loop", "-o cpus=%(cpus)", 4, r'bhyve: Failed to expand .* "%\(cpus\)" of cpus: '
     "too many recursive references"),
    ("integer-by-reference", "-o n=many -o cpus=%(n)", 4,
     "bhyve: Invalid value for cpus: 'many'"),
    ("B-type", "-B 9,a=b", 64, "bhyve: -B '9,a=b': SMBIOS type '9' is none of .*"),
    ("r", "-r /no/file", 4, "bhyve: -r /no/file: .*"),
    # NUMA.
    ("n-no-id", "-n size=1G", 64, "bhyve: -n 'size=1G': want id= .*"),
    ("n-id", "-n id=256,size=1G", 64, "bhyve: -n 'id=256,size=1G': want id= .*255"),
    ("n-key", "-n id=0,memory=1G", 64, ".*'memory=1G' is none of id=, size=, .*"),
    ("n-size", "-n id=0,size=no", 64, ".*invalid memsize 'no'.*"),
    ("n-nine", " ".join(f"-n id={i},size=1M" for i in range(9)), 64,
     ".*more than 8 domains"),
    ("n-without-rom", "-n id=0", 4,
     r"bhyve: NUMA domains \(-n\) need a boot ROM \(-l bootrom\)"),
    ("n-without-acpi", "{rom} -n id=0 -o acpi_tables=no", 4,
     r"bhyve: NUMA domains \(-n\) need ACPI tables \(acpi_tables\)"),
    ("n-vcpus", "{rom} -n id=0,cpus=4", 4, "bhyve: domains.0.cpus: .* vCPUs 0 to 0"),
    ("n-policy", "{rom} -n id=0,domain_policy=best", 4,
     "bhyve: domains.0.domain_policy: 'best' is no first-touch, .*"),
    # LPC.
    ("l-unknown", "-l com5,stdio", 64,
     "bhyve: invalid lpc device configuration 'com5,stdio'"),
    ("l-no-backend", "-l com1", 64, "bhyve: invalid lpc device configuration 'com1'"),
    ("l-no-rom", "-l bootrom", 4, "bhyve: bootrom: .*"),
    ("l-no-tpm", "-l tpm", 4, "bhyve: tpm: no type given"),
    ("l-no-tpm-path", "-l tpm,swtpm", 4, "bhyve: tpm: no path given"),
    ("l-tpm", "-l tpm,swtpm,/run/tpm.sock", 4, r"bhyve: -l tpm \(tpm.type\): .*"),
    ("rom", "-l bootrom,/no/rom", 4, 'Error opening bootrom "/no/rom": .*'),
    ("rom-by-variable", "-o bootrom=/no/rom", 4, 'Error opening bootrom "/no/rom": .*'),
    ("vars", "{rom},/no/vars", 4, '.*"?/no/vars"?: No such file or directory'),
    ("fwcfg", "{rom},fwcfg=other", 4, 'lpc.fwcfg: "other" is neither .*'),
    ("com", "{rom} -s 31,lpc -l com2,/no/tty", 4,
     "uart: /no/tty: No such file or directory"),
    *(
        (f"com-tcp-{what}", f"{{rom}} -s 31,lpc -l com2,tcp={what}", 4,
         f'uart: invalid address "tcp={what}": want .* a port up to 65535')
        for what in ("nowhere", "5000", "127.0.0.1:", "127.0.0.1:65536", "::1:x")
    ),
    ("lpc-twice", "{rom} -s 30,lpc -s 31,lpc", 4, "Only one LPC device is allowed."),
    ("lpc-bus", "{rom} -s 1:31:0,lpc", 4,
     "LPC bridge can be present only on bus 0."),
    ("pcireg", "{rom} -s 31,lpc -o lpc.pcireg.vendor=65536", 4,
     'Invalid pcireg value for vendor: "65536"'),
    # PCI.
    ("s-empty", "-s ,", 4, 'Invalid PCI slot info field ","'),
    ("s-no-device", "-s 3", 4, 'Invalid PCI slot info field "3"'),
    ("s-slot", "-s 32,virtio-rnd", 4, 'Invalid PCI slot info field "32,virtio-rnd"'),
    ("s-func", "-s 3:8,virtio-rnd", 4, 'Invalid PCI slot info field "3:8,virtio-rnd"'),
    ("s-bus", "-s 256:3:0,virtio-rnd", 4, "Invalid PCI slot info field .*"),
    ("s-unknown", "-s 3,e2000", 4, 'pci slot 0?:?3:0: unknown device "e2000"'),
    ("s-unknown-bus", "-s 1:3:2,e2000", 4, 'pci slot 1:3:2: unknown device "e2000"'),
    ("s-twice", "-s 3,virtio-rnd -s 0:3:0,virtio-rnd", 4,
     "pci slot 0:3:0 already occupied!"),
    ("s-option-twice", "-s 3,virtio-rnd,a=1,a=2", 4,
     '.*device setting "a" given twice'),
    ("s-no-path", "{rom} -s 3,virtio-blk", 4, 'Missing "path" for block device.'),
    ("s-path", "{rom} -s 3,nvme,/no/disk", 4, "bhyve: Could not open backing file: "
     "/no/disk: No such file or directory"),
    ("s-sector", "{rom} -s 3,virtio-blk,{disk},sectorsize=x", 4,
     'Invalid sector size "x"'),
    ("s-sectors", "{rom} -s 3,virtio-blk,{disk},sectorsize=4096/512", 4,
     "Invalid sector size 4096/512"),
    ("s-tap", "{rom} -s 3,virtio-net,tap4094", 4, "tap tap4094: .*"),
    ("s-passthru", "-s 3,passthru,129:0:0", 4,
     'bhyve: invalid passthru options "129:0:0"'),
    ("device-legacy", "{rom} -o pci.0.3.0.device=ahci-cd", 4,
     'pci slot 0:3:0: legacy device "ahci-cd", use "ahci" instead'),
    ("device-unknown", "{rom} -o pci.0.3.0.device=e2000", 4,
     'pci slot 0:3:0: unknown device "e2000"'),
    ("device-missing", "{rom} -o pci.0.3.0.path=/x", 4,
     'pci slot 0:3:0: missing "device" value'),
    ("device-place", "{rom} -o pci.0.32.0.device=lpc", 4,
     'Invalid PCI slot info field "32"'),
    ("mptable-buses", "{rom} -s 1:3:0,virtio-rnd", 4, "MP table: .* use -Y .*"),
    # Starting.
    ("no-rom-no-vm", "", 4, "bhyve: {name}: no such VM, and no bootrom was configured"),
    ("topology-comes-first", "-c 2,cores=2 -s 3,nvme,/no/disk", 4,
     r"bhyve: Topology \(2,2,1\) does not match 2 vCPUs"),
    ("vm-comes-before-devices", "-s 3,nvme,/no/disk", 4,
     ".* no bootrom was configured"),
    ("M-without-rom", "-M", 4, r"bhyve: -M \(monitor.enabled\): without a bootrom .*"),
    ("M-of-a-failed-start", "{rom} -M -s 3,nvme,/no/disk", 4, ".*/no/disk: .*"),
    ("backend", "{rom} -o vmm.backend=xen", 4,
     'vmm.backend: unknown processor "xen"'),
]  # fmt: skip


def _disks(tmp_path: Path, count: int) -> list[str]:
    paths = [tmp_path / f"{number}.img" for number in range(count)]
    for path in paths:
        with path.open("wb") as file:
            file.truncate(1 << 20)
    return [str(path) for path in paths]


def _options(text: str, tmp_path: Path) -> list[str]:
    """Split a row's options; a bare '' is an empty word."""
    if "{rom}" in text:
        text = text.replace("{rom}", f"-l {write_rom(tmp_path, 'poweroff')}")
    if "{disk}" in text:
        text = text.replace("{disk}", _disks(tmp_path, 1)[0])
    return [word if word != "''" else "" for word in text.split()]


@pytest.mark.parametrize("row", REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_refused(
    vm_dir: Path, tmp_path: Path, row: tuple[str, str, int, str]
) -> None:
    _, options, status, line = row
    memory = () if "-m " in options else ("-m", "16M")
    done = start(tmp_path, *memory, *_options(options, tmp_path), "t")
    assert (done.status, done.out) == (status, ""), done.err
    assert re.fullmatch(line.replace("{name}", "t") + "\n", done.err), done.err
    assert not list(vm_dir.iterdir())


#: Every boolean of bhyve_config(5) refuses other words, before there is a VM.
def test_booleans_are_true_or_false(vm_dir: Path, tmp_path: Path) -> None:
    from bhyve_py.variables import BOOLEANS

    (rom,) = _options("{rom}", tmp_path)[1:]
    for name in BOOLEANS:
        done = start(tmp_path, "-l", rom, "-o", f"{name}=maybe", "t")
        assert done.status == 4, name
        assert done.err == (f"bhyve: Invalid value maybe for boolean variable {name}\n")
        assert not list(vm_dir.iterdir())


def test_a_vm_that_was_there_survives_a_failed_start(
    vm_dir: Path, tmp_path: Path
) -> None:
    VM.create("t").close()
    options = _options("{rom} -m 16M -s 3,nvme,/no/disk", tmp_path)
    assert start(tmp_path, *options, "t").status == 4
    assert (vm_dir / "t").is_dir()


def test_memory_is_as_much_as_was_loaded(tmp_path: Path) -> None:
    with VM.create("t") as vm:
        vm.setup_memory(32 << 20)
    assert start(tmp_path, "-m", "16M", "t").err == (
        "Unable to set up memory (22): the VM has 32 MB, not 16 MB\n"
    )


def test_a_processor_that_is_not_there_leaves_no_vm(
    vm_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("this host has KVM")
    monkeypatch.setenv("BHYVE_BACKEND", "kvm")
    assert start(tmp_path, *_options("{rom}", tmp_path), "t").status == 4
    assert not list(vm_dir.iterdir())


def _ahci(tmp_path: Path) -> str:
    return "-s 4,ahci," + ",".join(f"hd:{path}" for path in _disks(tmp_path, 32))


def _two_buses(tmp_path: Path) -> str:
    """30 disks from slot 4 on, as vm-bhyve numbers them, with -Y."""
    places = [f"{slot}:0" for slot in range(4, 31)]
    places += [f"1:{slot}:0" for slot in range(4, 7)]
    disks = _disks(tmp_path, len(places))
    rows = zip(places, disks, strict=True)
    return "-Y " + " ".join(f"-s {place},virtio-blk,{disk}" for place, disk in rows)


def _nics(tmp_path: Path) -> str:
    places = [f"{5 + number // 8}:{number % 8}" for number in range(10)]
    return " ".join(f"-s {place},virtio-net,none" for place in places)


def _consoles(tmp_path: Path) -> str:
    """15 ports and 3 more, as libvirt spreads them."""
    ports = [f"port{number}={tmp_path}/s{number}" for number in range(18)]
    return f"-s 4,virtio-console,{','.join(ports[:15])} -s 5,virtio-console," + (
        ",".join(ports[15:])
    )


STARTS = {
    "32-disks-on-ahci": _ahci,
    "30-disks-on-two-buses": _two_buses,
    "10-nics-on-functions": _nics,
    "18-console-ports": _consoles,
    "lpc-without-function-0": lambda _: "-s 4:1,lpc -l com1,stdio",
    "32-slots": lambda _: " ".join(f"-s {slot},virtio-rnd" for slot in range(1, 31)),
    "every-bus-number": lambda _: "-Y -s 255:31:7,virtio-rnd",
    "numa-without-sizes": lambda _: "-c 2 -n id=5,cpus=1 -n id=9,cpus=0",
    "numa-of-ids-alone": lambda _: "-n id=0 -n id=1",
    "all-switches": lambda _: "-aAeuHICDPSWYw -o lpc.fwcfg=qemu",
    "pinned-to-more-than-is-there": lambda _: (
        f"-o vcpu.0.cpuset=%(here),1000 -o here={min(os.sched_getaffinity(0))}"
    ),
}
EVENLY = "Warning: a NUMA domain has no size: each of the 2 gets 8 MB"
WARNINGS = {"numa-without-sizes": EVENLY, "numa-of-ids-alone": EVENLY}


@pytest.mark.parametrize("name", STARTS)
def test_what_starts(tmp_path: Path, name: str) -> None:
    text = STARTS[name](tmp_path)
    lpc = () if "lpc" in text.replace("lpc.", "") else ("-s", "31,lpc")
    done = start(
        tmp_path,
        *("-m", "16M", "-s", "0,hostbridge", *lpc),
        *_options("{rom} " + text, tmp_path),
        "t",
    )
    assert (done.status, done.out) == (1, ""), done.err
    assert done.err.rstrip("\n") == WARNINGS.get(name, "")


#: Names that a VM cannot have, and what is said of them.
NAMES = [
    ("a/b", "a VM's name has no slash and no control character"),
    ("a\tb", "a VM's name has no slash and no control character"),
    ("", '"" is no name for a VM'),
    (".", '"." is no name for a VM'),
    ("..", '".." is no name for a VM'),
    ("n" * 230, "a VM's name has at most 229 bytes"),
]


@pytest.mark.parametrize(("name", "why"), NAMES, ids=lambda text: text[:12])
def test_names_that_are_none(vm_dir: Path, tmp_path: Path, name: str, why: str) -> None:
    done = start(tmp_path, *_options("{rom} -m 16M", tmp_path), name)
    assert done.status == 4
    assert done.err == f"bhyve: vm_open {name}: {why}\n"
    assert not list(vm_dir.iterdir())


@pytest.mark.parametrize("name", ["n" * 229, "vm0:1", "1", "-x", "a b", "ü", ".a", "%"])
def test_names_that_vms_have(vm_dir: Path, tmp_path: Path, name: str) -> None:
    done = start(tmp_path, *_options("{rom} -m 16M", tmp_path), "--", name)
    assert (done.status, done.err) == (1, "")
    assert [path.name for path in vm_dir.iterdir()] == [name]


def test_a_vm_has_one_owner(tool: Tool, vm_dir: Path, tmp_path: Path) -> None:
    with VM.create("t") as vm:
        vm.serve()
        done = tool("bhyve", *_options("{rom} -m 16M", tmp_path), "t")
    assert done.status == 4
    assert re.fullmatch(r"bhyve: vm_open t: process \d+ runs this VM\n", done.err)
    assert (vm_dir / "t").is_dir()
