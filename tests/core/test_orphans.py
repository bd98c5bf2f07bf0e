"""Memory in /dev/shm of VMs whose directories were removed by hand."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from libvmmapi import VM

SHM = Path("/dev/shm")
OWNER = """
import sys
from libvmmapi import VM
vm = VM.create("held")
vm.setup_memory(4 << 20)
print("up", flush=True)
sys.stdin.read()
"""


def is_ram(path: Path) -> bool:
    kinds = {
        line.split()[4]: line.split(" - ")[1].split()[0]
        for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    }
    at = path.resolve()
    while str(at) not in kinds:
        at = at.parent
    return kinds[str(at)] in {"tmpfs", "ramfs"}


def files(directory: os.stat_result) -> list[str]:
    """Return what stands in /dev/shm for a VM's directory."""
    prefix = f"vmm.{directory.st_dev:x}.{directory.st_ino:x}."
    return sorted(name for name in os.listdir(SHM) if name.startswith(prefix))


@pytest.fixture(autouse=True)
def disk_root(vm_dir: Path) -> Iterator[None]:
    if is_ram(vm_dir) or not is_ram(SHM):
        pytest.skip("the VM root has to be on a disk, /dev/shm in memory")
    yield
    # The last creation collects what the tests have left.
    shutil.rmtree(vm_dir)
    vm_dir.mkdir()


def make(name: str) -> None:
    vm = VM.create(name)
    vm.setup_memory(4 << 20)
    vm.close()


def take_its_number(directory: os.stat_result, folder: Path) -> None:
    """Make sure that no VM gets the number of a directory that was removed."""
    for i in range(64):
        (folder / f"filler{i}").mkdir()
        if (folder / f"filler{i}").stat().st_ino == directory.st_ino:
            return


def names(directory: os.stat_result) -> list[str]:
    return [name.rsplit(".", 1)[1] for name in files(directory)]


def test_the_next_vm_collects_them(vm_dir: Path, tmp_path: Path) -> None:
    make("gone")
    make("stays")
    old = (vm_dir / "gone").stat()
    kept = (vm_dir / "stays").stat()
    assert names(old) == names(kept) == ["dir", "sysmem"]
    shutil.rmtree(vm_dir / "gone")
    take_its_number(old, tmp_path)
    make("next")
    assert files(old) == []
    assert names(kept) == ["dir", "sysmem"]
    with VM.open("stays") as vm:
        assert vm.lowmem_size == 4 << 20
    VM.open("stays").destroy()
    assert files(kept) == []
    VM.open("next").destroy()


def test_a_root_that_went_as_a_whole(vm_dir: Path, tmp_path: Path) -> None:
    make("gone")
    old = (vm_dir / "gone").stat()
    shutil.rmtree(vm_dir)
    take_its_number(old, tmp_path)
    vm_dir.mkdir()
    make("next")
    assert files(old) == []
    VM.open("next").destroy()


def test_a_directory_with_another_name_keeps_its_memory(vm_dir: Path) -> None:
    make("before")
    (vm_dir / "before").rename(vm_dir / "after")
    old = (vm_dir / "after").stat()
    make("next")
    assert names(old) == ["dir", "sysmem"]
    for name in ("after", "next"):
        VM.open(name).destroy()
    assert files(old) == []


def test_memory_in_use_stays(vm_dir: Path, tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        old = (vm_dir / "held").stat()
        shutil.rmtree(vm_dir / "held")
        take_its_number(old, tmp_path)
        make("next")
        assert names(old) == ["dir", "sysmem"]
    finally:
        owner.kill()
        owner.communicate()
    VM.open("next").destroy()
    assert files(old) == []
