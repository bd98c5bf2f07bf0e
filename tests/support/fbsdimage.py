"""A large system of our own making, for the loader's figures."""

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
