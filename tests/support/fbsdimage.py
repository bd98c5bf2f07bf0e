"""Kernels, modules and systems of our own making, outside of pytest."""

import subprocess
from pathlib import Path

from .diskimages import make_image

SOURCES = Path(__file__).resolve().parents[1] / "guests" / "fbsd"
_PADDING = 15 << 20
MODULES = 20


def large_image(out: Path) -> Path:
    """Make a UFS2 image with a 15 MB kernel and 20 modules, if there is none."""
    image = out / "fbsd-large.img"
    if image.exists():
        return image
    tree = out / "fbsd-large"
    folder = tree / "boot" / "kernel"
    folder.mkdir(parents=True, exist_ok=True)

    def run(*argv: str) -> None:
        subprocess.run(argv, cwd=out, check=True, capture_output=True)

    (out / "pad.S").write_text(f"\t.data\n\t.fill {_PADDING}, 1, 0x41\n")
    run("gcc", "-c", "-o", "kernel.o", str(SOURCES / "kernel.S"))
    run("gcc", "-c", "-o", "pad.o", "pad.S")
    run(
        "ld", "-nostdlib", "--no-warn-rwx-segments", "-z", "max-page-size=4096",
        "-T", str(SOURCES / "kernel.ld"), "-o", str(folder / "kernel"), "kernel.o",
        "pad.o",
    )  # fmt: skip
    wishes = ['autoboot_delay="-1"']
    for i in range(MODULES):
        needs = [f"-DNEEDS=m{i - 1}"] if i else []
        run(
            "gcc", "-c", f"-DMODULE=m{i}", *needs, "-o", str(folder / f"m{i}.ko"),
            str(SOURCES / "module.S"),
        )  # fmt: skip
        wishes.append(f'm{i}_load="YES"')
    (tree / "boot" / "loader.conf").write_text("\n".join(wishes) + "\n")
    return make_image("ufs2", tree, image)


def small_files(out: Path) -> Path:
    """Build a kernel and a module for amd64 and for i386; return their folder."""
    folder = out / "fbsd-small"
    if (folder / "module32.ko").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)

    def run(*argv: str) -> None:
        subprocess.run(argv, cwd=folder, check=True, capture_output=True)

    for tail, bits, machine in (("", "-m64", "elf_x86_64"), ("32", "-m32", "elf_i386")):
        run("gcc", bits, "-c", "-o", "k.o", str(SOURCES / f"kernel{tail}.S"))
        run(
            "ld", "-m", machine, "-nostdlib", "--no-warn-rwx-segments",
            "-z", "max-page-size=4096", "-T", str(SOURCES / f"kernel{tail}.ld"),
            "-o", f"kernel{tail}", "k.o",
        )  # fmt: skip
    source = str(SOURCES / "module.S")
    run("gcc", "-c", "-DMODULE=one", "-DNEEDS=two", "-o", "module.ko", source)
    source = str(SOURCES / "module32.S")
    run("gcc", "-m32", "-c", "-DMODULE=one", "-DNEEDS=two", "-o", "m.o", source)
    run("ld", "-m", "elf_i386", "-shared", "-o", "module32.ko", "m.o")
    return folder


def userboot_object(out: Path, *flags: str) -> Path:
    """Compile the loader object of tests/guests/fbsd with flags."""
    name = "-".join(
        ("userboot", *(flag.strip("-").replace("/", "_") for flag in flags))
    )
    path = out / f"{name}.so"
    if path.exists():
        return path
    argv = ["gcc", "-shared", "-nostdlib", "-fPIC", "-O1", "-w", "-fno-stack-protector"]
    subprocess.run(
        [*argv, *flags, "-o", str(path), str(SOURCES / "userboot.c")], check=True
    )
    blob = bytearray(path.read_bytes())
    blob[7] = 9  # FreeBSD's mark, which dlopen() refuses
    path.write_bytes(blob)
    return path
