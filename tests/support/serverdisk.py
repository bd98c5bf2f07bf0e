"""A Debian server's disk: its emulation, its format, and how the host reads it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import debroot, server


@dataclass(frozen=True, slots=True)
class Form:
    """What a disk is to the guest and on the host."""

    kind: str
    options: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{self.options}".replace(",", "-")

    @property
    def qcow2(self) -> bool:
        """Whether the image has a map of its own."""
        return "format=qcow2" in self.options

    def slot(self, image: Path) -> str:
        """Return what -s takes after the slot's number."""
        return f"{self.kind},{image}{self.options}"


RAW = tuple(Form(kind) for kind in server.DISKS)
QCOW2 = tuple(Form(kind, ",format=qcow2") for kind in server.DISKS)
#: Past the page cache the transfers are a ring's, where the host has one.
NOCACHE = Form("virtio-blk", ",nocache")
FORMS = (*RAW, *QCOW2, NOCACHE)


def qemu_img(*args: str | Path) -> None:
    """Run qemu-img; its failure is the test's."""
    done = subprocess.run(["qemu-img", *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def from_raw(form: Form, raw: Path, out: Path) -> Path:
    """Copy a raw image into one of the form's format."""
    if not form.qcow2:
        return debroot.copy(raw, out)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, out)
    return out


def empty(form: Form, out: Path, size: int) -> Path:
    """Make a disk of zeroes."""
    qemu_img("create", "-q", "-f", "qcow2" if form.qcow2 else "raw", out, str(size))
    return out


def check(form: Form, image: Path, leaks: bool = False) -> None:
    """Fail if a format's own tables disagree; a crash may leak clusters."""
    if not form.qcow2:
        return
    argv = ["qemu-img", "check", "-f", "qcow2", str(image)]
    done = subprocess.run(argv, capture_output=True, text=True)
    # 3: clusters that nothing uses are counted as used, no more than that.
    assert done.returncode in ((0, 3) if leaks else (0,)), done.stdout + done.stderr


def as_raw(form: Form, image: Path) -> Path:
    """Return the disk byte for byte: the image, or a copy by qemu-img."""
    if not form.qcow2:
        return image
    out = image.with_suffix(".asraw")
    qemu_img("convert", "-f", "qcow2", "-O", "raw", image, out)
    return out
