"""Passthrough without a device: what is refused, and a guest that is hostile."""

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from libvmmapi import VM
from support.cbuild import CSRC, environment, needs_gcc, program
from support.tools import Tool

HERE = Path(__file__).parent


@needs_gcc
def test_registers_that_a_guest_must_not_reach(tmp_path: Path) -> None:
    bhyve = CSRC / "bhyve"
    core = ("config", "debug", *(f"pci/pci_{n}" for n in ("passthru", "msi", "irqfd")))
    harness = program(
        tmp_path / "passthru",
        [HERE / "passthru_hostile.c", HERE / "fake_machine.c"],
        [bhyve / f"{name}.c" for name in core],
    )
    done = subprocess.run(
        [harness],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout == "done\n"


#: Each refusal comes before the next; a device is made to look ever better.
REFUSALS = """
import sys
from pathlib import Path
from libvmmapi import VM, MemFlags, VMError

devices = Path(sys.argv[1])
device = devices / "0000:01:02.3"
vm = VM.create("t")
vm.setup_memory(1 << 20)


def refused(*place: int) -> None:
    try:
        vm.assign_pptdev(*place)
    except VMError as error:
        print(error.errno, str(error).partition("host device ")[2])
    else:
        print("not refused")


refused(256, 0, 0)
refused(1, 2, 3)
device.mkdir()
refused(1, 2, 3)
(device / "iommu_group").symlink_to("../../../kernel/iommu_groups/noiommu")
refused(1, 2, 3)
(device / "iommu_group").unlink()
(device / "iommu_group").symlink_to("../../../kernel/iommu_groups/70000")
refused(1, 2, 3)
(device / "driver").symlink_to("../../../bus/pci/drivers/e1000e")
refused(1, 2, 3)
(device / "driver").unlink()
(device / "driver").symlink_to("../../../bus/pci/drivers/vfio-pci")
refused(1, 2, 3)
vm.memflags = MemFlags.WIRED
refused(1, 2, 3)
vm.destroy()
"""


def test_refusals_in_words(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0:
        pytest.skip("no mount name space of one's own here")
    devices = tmp_path / "devices"
    devices.mkdir()
    where = "/sys/bus/pci/devices"
    script = f'mount --bind "$0" {where} && exec "$1" -c "$2" {where}'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, devices, sys.executable, REFUSALS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.partition(" 1/2/3: ") for line in done.stdout.splitlines()[1:]]
    assert done.stdout.startswith("22 256/0/0: buses go to 255, slots to 31, ")
    assert [(int(number), why) for number, _, why in lines[:6]] == [
        (errno.ENOENT, "the host has no such device"),
        (errno.ENXIO, "the host has no IOMMU, or has it turned off"),
        (errno.ENXIO, 'IOMMU group "noiommu"'),
        (errno.EBUSY, "not bound to the host's driver vfio-pci (but to none)"),
        (errno.EBUSY, "not bound to the host's driver vfio-pci (but to e1000e)"),
        (errno.EINVAL, "guest memory must be wired for its DMA"),
    ]
    # The rest is the kernel's, with or without VFIO.
    assert re.fullmatch(r"/dev/vfio/(vfio|70000): .+", lines[6][2])


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("passthru", "bus, slot and func of a host device needed"),
        ("passthru,ppt0", 'pptdev "ppt0": this host names its devices by bus/slot/'),
        ("passthru,/dev/ppt0", 'path "/dev/ppt0": this host names its devices by'),
        ("passthru,255/31/7", "host device 255/31/7: the host has no such device"),
        ("passthru,pci255:31:7", "host device 255/31/7: the host has no such device"),
        ("passthru,256/0/0", "bus: '256'"),
        ("passthru,0/32/0", "slot: '32'"),
        ("passthru,0/0/8", "func: '8'"),
    ],
)
def test_what_bhyve_says_of_it(
    tool: Tool, vm_factory: Callable[..., VM], device: str, why: str
) -> None:
    vm_factory("t", mb=0).close()
    done = tool("bhyve", "-S", "-m", "32", "-s", f"5,{device}", "t")
    assert done.status == 4
    assert why in done.err
    assert done.err.count("\n") == 1


def test_memory_must_be_wired(tool: Tool, vm_factory: Callable[..., VM]) -> None:
    vm_factory("t", mb=0).close()
    done = tool("bhyve", "-m", "32", "-s", "5,passthru,255/31/7", "t")
    assert (done.status, done.out) == (4, "")
    assert done.err == "passthru@pci.0.5.0: guest memory must be wired: -S\n"


@pytest.mark.parametrize("word", ["1/2", "1:2:3", "pci1:0:2:0", "1/2/3/4", "a/b/c"])
def test_what_is_no_place(tool: Tool, word: str) -> None:
    done = tool("bhyve", "-S", "-m", "32", "-s", f"5,passthru,{word}", "t")
    assert done.status == 4
    assert done.err == f'bhyve: invalid passthru options "{word}"\n'
