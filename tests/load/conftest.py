"""A kernel of our own as FreeBSD has them, and a system's folder around it."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.diskimages import make_image

SOURCES = Path(__file__).resolve().parents[1] / "guests" / "fbsd"

LOADER_CONF = """# a comment
autoboot_delay="0"
first_load="YES"
second_load="NO"
disk_load="YES"      # a memory disk
disk_name="/boot/disk.img"
disk_type="md_image"
kern.test="a value"
"""
HINTS = 'hint.uart.0.at="isa"\nhint.uart.0.port="0x3F8"\n'


@pytest.fixture(scope="session")
def fbsd_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build tests/guests/fbsd; return the folder of kernel and module.ko."""
    if shutil.which("gcc") is None or shutil.which("ld") is None:
        pytest.skip("no compiler here")
    out = tmp_path_factory.mktemp("fbsd")

    def run(*argv: str) -> None:
        subprocess.run(argv, cwd=out, check=True, capture_output=True)

    run("gcc", "-c", "-o", "kernel.o", str(SOURCES / "kernel.S"))
    run(
        "ld", "-nostdlib", "--no-warn-rwx-segments", "-z", "max-page-size=4096",
        "-T", str(SOURCES / "kernel.ld"), "-o", "kernel", "kernel.o",
    )  # fmt: skip
    # second needs first, third needs second and what the kernel has.
    module = str(SOURCES / "module.S")
    run("gcc", "-c", "-o", "module.ko", module)
    run("gcc", "-c", "-DMODULE=second", "-DNEEDS=first", "-o", "second.ko", module)
    run("gcc", "-c", "-DMODULE=third", "-DNEEDS=second", "-o", "third.ko", module)
    run("gcc", "-c", "-DMODULE=loop", "-DNEEDS=missing", "-o", "fourth.ko", module)
    run("gcc", "-c", "-DMODULE=fifth", "-DNEEDS=inside", "-o", "fifth.ko", module)
    run("gcc", "-c", "-DMODULE=ping", "-DNEEDS=pong", "-o", "ping.ko", module)
    run("gcc", "-c", "-DMODULE=pong", "-DNEEDS=ping", "-o", "pong.ko", module)
    run("gcc", "-c", "-DMODULE=late", "-DNEEDS=first", "-DMINIMUM=2", "-o", "late.ko",
        module)  # fmt: skip
    return out


@pytest.fixture(scope="session")
def fbsd32_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the twins for i386; return the folder of kernel and modules."""
    if shutil.which("gcc") is None or shutil.which("ld") is None:
        pytest.skip("no compiler here")
    out = tmp_path_factory.mktemp("fbsd32")

    def run(*argv: str) -> None:
        subprocess.run(argv, cwd=out, check=True, capture_output=True)

    run("gcc", "-m32", "-c", "-o", "kernel.o", str(SOURCES / "kernel32.S"))
    run(
        "ld", "-m", "elf_i386", "-nostdlib", "--no-warn-rwx-segments",
        "-z", "max-page-size=4096", "-T", str(SOURCES / "kernel32.ld"),
        "-o", "kernel", "kernel.o",
    )  # fmt: skip
    for name, need in (("first", "inside"), ("bad", "first")):
        module = str(SOURCES / "module32.S")
        run("gcc", "-m32", "-c", f"-DMODULE={name}", f"-DNEEDS={need}", "-o", "m.o",
            module)  # fmt: skip
        run("ld", "-m", "elf_i386", "-shared", "-o", f"{name}.ko", "m.o")
    kernel = bytearray((out / "kernel").read_bytes())
    kernel[7] = 9  # FreeBSD's mark
    (out / "kernel").write_bytes(kernel)
    return out


@pytest.fixture
def tree(tmp_path: Path, fbsd_files: Path) -> Path:
    """Make the folder of a small system and return it."""
    root = tmp_path / "root"
    (root / "boot" / "kernel").mkdir(parents=True)
    (root / "etc").mkdir()
    shutil.copy(fbsd_files / "kernel", root / "boot" / "kernel" / "kernel")
    shutil.copy(fbsd_files / "module.ko", root / "boot" / "kernel" / "first.ko")
    (root / "boot" / "disk.img").write_bytes(b"disk\0\0\0\0" * 1000)
    (root / "boot" / "loader.conf").write_text(LOADER_CONF)
    (root / "boot" / "device.hints").write_text(HINTS)
    (root / "etc" / "fstab").write_text(
        "# Device Mountpoint FStype Options Dump Pass\n/dev/vtbd0p2 / ufs rw 1 1\n"
    )
    return root


@pytest.fixture
def image(tmp_path: Path) -> Callable[[str, Path], Path]:
    """Make a file system of a kind from a folder; return the image."""

    def make(kind: str, folder: Path) -> Path:
        return make_image(kind, folder, tmp_path / f"{kind}.img")

    return make
