"""Real guests for tests and for the README's demonstration.

Debian's packaged kernel and busybox are fetched with ``apt-get download``
(which needs no root) into a cache, and an initrd is packed around busybox.
Run as a program: ``python guestfiles.py DIR`` prints the two paths.
"""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

KERNEL_PACKAGE = "linux-image-cloud-amd64"

#: The guest's first program: make a root of busybox and hand over to its init.
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /root /sbin /usr/bin /usr/sbin \
    /var/run /var/log
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec /sbin/init
"""

INITTAB = """::sysinit:/etc/rcS
::respawn:/bin/cttyhack /bin/sh -l
::ctrlaltdel:/sbin/reboot
"""

#: A word `run=NAME` of the kernel's command line runs /NAME first.
RCS = """#!/bin/sh
hostname bhyve-guest
for module in /lib/*.ko; do insmod $module 2>/dev/null; done
acpid
for word in $(cat /proc/cmdline); do
    case $word in run=*) sh /${word#run=} ;; esac
done
echo "GUEST-READY $(uname -r) on $(nproc) processors"
"""

PROFILE = """export HOME=/root TERM=linux PS1='guest# '
cd /root
"""

#: The power button, through which bhyve's SIGTERM reaches the guest.
BUTTON = """#!/bin/sh
poweroff
"""

#: Modules for the power button's event.
MODULES = ("kernel/drivers/acpi/button.ko", "kernel/drivers/input/evdev.ko")


class GuestUnavailableError(Exception):
    """A package cannot be had here; the text says why."""


def _run(argv: list[str], cwd: Path) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise GuestUnavailableError(f"{' '.join(argv[:2])}: {''.join(last)}")
    return done.stdout


def _dependency(package: str, prefix: str, cwd: Path) -> str:
    """Return the package beginning with `prefix` that a meta package wants."""
    for line in _run(["apt-cache", "depends", package], cwd).splitlines():
        word = line.strip().removeprefix("Depends:").strip()
        if line.strip().startswith("Depends:") and word.startswith(prefix):
            return word
    raise GuestUnavailableError(f"{package} names no {prefix} package")


def fetch(package: str, cache: Path) -> Path:
    """Return the folder into which `package` is unpacked, fetching it once."""
    cache = cache.resolve()
    where = cache / package
    if where.is_dir():
        return where
    cache.mkdir(parents=True, exist_ok=True)
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise GuestUnavailableError("this is no Debian machine: no apt-get")
    work = cache / f".{package}.part"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        _run(["apt-get", "download", package], work)
    except GuestUnavailableError:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "update", "-q"], work)  # the lists may be old
        _run(["apt-get", "download", package], work)
    (deb,) = work.glob("*.deb")
    _run(["dpkg-deb", "-x", str(deb), "root"], work)
    (work / "root").rename(where)
    shutil.rmtree(work)
    return where


def debian_kernel(cache: Path) -> Path:
    """Return Debian's cloud kernel, a bzImage, or what else the folder has."""
    cache.mkdir(parents=True, exist_ok=True)
    for kind in ("*-cloud-amd64", "*"):
        held = sorted(cache.glob(f"linux-image-{kind}/boot/vmlinuz-*"))
        if held:
            return held[-1]
    package = _dependency(KERNEL_PACKAGE, "linux-image-", cache)
    return next((fetch(package, cache) / "boot").glob("vmlinuz-*"))


def busybox(cache: Path) -> Path:
    """Return a static busybox."""
    return fetch("busybox-static", cache) / "bin" / "busybox"


def _cpio_entry(ino: int, mode: int, name: str, data: bytes = b"") -> bytes:
    """Return one member of a "newc" archive."""
    raw = name.encode() + b"\0"
    fields = (ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + raw
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def pack_initrd(files: dict[str, tuple[int, bytes]]) -> bytes:
    """Return a cpio archive of path -> (mode bits, contents)."""
    folders = {str(p) for name in files for p in Path(name).parents} - {"."}
    blob = bytearray()
    ino = 1
    for folder in sorted(folders):
        blob += _cpio_entry(ino, stat.S_IFDIR | 0o755, folder)
        ino += 1
    for name, (mode, data) in files.items():
        blob += _cpio_entry(ino, stat.S_IFREG | mode, name, data)
        ino += 1
    return bytes(blob + _cpio_entry(0, 0, "TRAILER!!!"))


def modules(cache: Path) -> dict[str, bytes]:
    """Return the kernel modules of the initrd, by file name."""
    tree = debian_kernel(cache).parents[1] / "lib" / "modules"
    found = [next(tree.glob(f"*/{name}")) for name in MODULES]
    return {path.name: path.read_bytes() for path in found}


def initrd(cache: Path, out: Path, scripts: dict[str, str] | None = None) -> Path:
    """Write an initrd of busybox, our init and `scripts`; return its path."""
    files = {
        "bin/busybox": (0o755, busybox(cache).read_bytes()),
        "init": (0o755, INIT.encode()),
        "etc/inittab": (0o644, INITTAB.encode()),
        "etc/profile": (0o644, PROFILE.encode()),
        "etc/rcS": (0o755, RCS.encode()),
        "etc/acpi/PWRF/00000080": (0o755, BUTTON.encode()),
    }
    for name, data in modules(cache).items():
        files[f"lib/{name}"] = (0o644, data)
    for name, text in (scripts or {}).items():
        files[name] = (0o755, text.encode())
    out.write_bytes(pack_initrd(files))
    return out


def main(argv: list[str]) -> int:
    """Fetch the guest into the folder argv[1] and print kernel and initrd."""
    cache = Path(argv[1])
    try:
        kernel = debian_kernel(cache)
        image = initrd(cache, cache / "initrd.cpio")
    except GuestUnavailableError as error:
        print(f"guestfiles: {error}", file=sys.stderr)
        return 1
    print(kernel)
    print(image)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
