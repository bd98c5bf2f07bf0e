"""A Debian server made with debootstrap, and disks that hold it.

The tree is made once into a cache (as root: debootstrap needs chroot and
device nodes) and written into images with mke2fs.  Nothing in it is made for
tests except its password, its prompt, a key for ssh and one program that
writes records: systemd, udev, getty and login are the distribution's.
"""

import hashlib
import os
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from .firmware import _partitioned
from .guestfiles import GuestUnavailableError, fetch

MIB = 1 << 20
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PASSWORD = "correct-horse"
#: Room for what a guest writes beside the system's own 600 MB.
SIZE = 2048 * MIB
PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "kmod", "iproute2", "iputils-ping"),
    *("openssh-server", "initramfs-tools", "zstd", "e2fsprogs"),
    *("fio", "iperf3", "nvme-cli", "pciutils", "hdparm", "ethtool"),
)
#: What the initrd must drive to find the root on any of our disks.
MODULES = "virtio_pci virtio_blk ahci sd_mod sr_mod nvme ext4 isofs"

FILES = {
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1 localhost debian\n",
    "etc/fstab": "LABEL=debroot / ext4 errors=remount-ro 0 1\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/systemd/network/wired.network": (
        "[Match]\nType=ether\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n"
        "[Link]\nRequiredForOnline=no\n"
    ),
    "root/.profile": (
        'export TERM=dumb PS1="guest# "\nstty cols 1000\n'
        "dmesg -n 1  # keep the kernel out of what a test reads\n"
    ),
    "etc/initramfs-tools/conf.d/disks": "MODULES=list\nCOMPRESS=zstd\n",
    "etc/initramfs-tools/modules": MODULES.replace(" ", "\n") + "\n",
    # A host with other work to do may leave the guest little of a processor,
    # while the guest's clock goes on: its own patience must not be the test.
    "etc/initramfs-tools/scripts/local-top/patience": """#!/bin/sh
[ "$1" = prereqs ] && exit 0
n=0
until [ -n "$(ls /dev/disk/by-path 2>/dev/null)" ] || [ $n -ge 300 ]; do
    sleep 1
    n=$((n + 1))
done
""",
    "etc/systemd/system.conf.d/patience.conf": (
        "[Manager]\nDefaultTimeoutStartSec=600\nDefaultDeviceTimeoutSec=600\n"
    ),
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
    "usr/local/sbin/live-init": """#!/bin/sh
# A read-only medium gets a writable layer in memory, as live systems have.
mount -t tmpfs layer /mnt
mkdir /mnt/upper /mnt/work /mnt/root
modprobe overlay
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root /mnt/root
: >/mnt/root/etc/fstab
for dir in dev proc sys run; do mount --move /$dir /mnt/root/$dir; done
cd /mnt/root && pivot_root . mnt
exec chroot . /sbin/init </dev/console >/dev/console 2>&1
""",
}

#: Appends checksummed records, and says a record's number once it is synced.
RECORDER = r"""
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint32_t
crc(const unsigned char *p, size_t n)
{
	uint32_t c = ~0u;

	while (n-- > 0) {
		c ^= *p++;
		for (int i = 0; i < 8; i++)
			c = (c >> 1) ^ (c & 1 ? 0xedb88320u : 0);
	}
	return (~c);
}

int
main(int argc, char **argv)
{
	static uint32_t rec[4 + 4096];
	int fd;

	fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd < 0)
		return (1);
	for (uint32_t n = atoi(argv[2]);; n++) {
		uint32_t seed = n * 2654435761u + 1;
		uint32_t words = 8 + seed % 4000;

		for (uint32_t i = 0; i < words; i++) {
			seed = seed * 1664525u + 1013904223u;
			rec[3 + i] = seed;
		}
		rec[0] = 0x52454344;
		rec[1] = n;
		rec[2] = words;
		rec[3 + words] = crc((unsigned char *)rec, 12 + 4 * words);
		size_t len = 16 + 4 * words;
		if (write(fd, rec, len) != (ssize_t)len || fsync(fd) != 0)
			return (2);
		printf("SYNCED %u.\n", n);
		fflush(stdout);
	}
}
"""

GRUB_EARLY = """serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set prefix=($root)/boot/grub
normal
"""
GRUB_MODULES = (
    "biosdisk part_msdos ext2 iso9660 normal serial terminal linux configfile echo"
)


@dataclass(frozen=True)
class Debian:
    """The tree in the cache and what is booted from it."""

    tree: Path
    kernel: Path
    initrd: Path
    key: Path


def _run(*argv: str | Path, stdin: str | None = None) -> str:
    """Run one of the host's tools; its absence or failure is a reason to skip."""
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
    try:
        done = subprocess.run(
            argv, input=stdin, env=env, check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise GuestUnavailableError(f"no {argv[0]} here") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip())[-300:]
        raise GuestUnavailableError(f"{argv[0]}: {last}") from None
    return done.stdout


def _make_tree(tree: Path, key: Path) -> None:
    """Run debootstrap and configure what it made."""
    include = f"--include={','.join(PACKAGES)}"
    _run("debootstrap", "--variant=minbase", include, SUITE, str(tree), MIRROR)
    for name, text in FILES.items():
        path = tree / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    recorder = tree / "usr/local/sbin/recorder"
    source = tree.parent / "recorder.c"
    source.write_text(RECORDER)
    _run("gcc", "-O2", "-static", "-o", recorder, source)
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    (tree / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(f"{key}.pub", tree / "root/.ssh/authorized_keys")
    chroot = ("chroot", tree)
    install = ("apt-get", "install", "-y", "-q", "--no-install-recommends")
    _run(*chroot, *install, "linux-image-amd64")
    _run(*chroot, "chpasswd", stdin=f"root:{PASSWORD}\n")
    _run(*chroot, "systemd-machine-id-setup")
    _run(*chroot, "systemctl", "enable", "systemd-networkd")
    (tree / "usr/sbin/policy-rc.d").unlink()
    _run(*chroot, "apt-get", "clean")


def debian(cache: Path) -> Debian:
    """Return the Debian tree, made once into `cache`."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    home = cache.resolve() / f"debian-{recipe[:8]}"
    if not home.is_dir():
        if os.geteuid() != 0:
            raise GuestUnavailableError("debootstrap needs root")
        for old in cache.glob("debian-*"):
            shutil.rmtree(old)
        work = cache.resolve() / ".debian.part"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        _make_tree(work / "root", work / "key")
        work.rename(home)
    tree = home / "root"
    kernel = next((tree / "boot").glob("vmlinuz-*"))
    initrd = next((tree / "boot").glob("initrd.img-*"))
    return Debian(tree, kernel, initrd, home / "key")


def _once(out: Path, make_part: str) -> Path:
    """Return the name under which an image is made before it gets its own."""
    part = out.with_name(f".{make_part}.part")
    part.unlink(missing_ok=True)
    return part


def _ext4(guest: Debian, image: Path, offset: int) -> None:
    where = ("-E", f"offset={offset}", image, f"{(SIZE - offset) >> 10}k")
    flags = ("-q", "-t", "ext4", "-F", "-L", "debroot", "-d", guest.tree)
    _run("/sbin/mke2fs", *flags, *where)
    os.truncate(image, SIZE)


def raw_disk(guest: Debian) -> Path:
    """Return the image of a disk that is one file system; copy it before use."""
    out = guest.tree.parent / "raw.img"
    if not out.exists():
        part = _once(out, "raw")
        _ext4(guest, part, 0)
        part.rename(out)
    return out


def _grub(cache: Path) -> tuple[Path, Path]:
    """Return GRUB's PC modules and the folder of its programs."""
    if Path("/usr/lib/grub/i386-pc/boot.img").exists() and shutil.which("grub-mkimage"):
        return Path("/usr/lib/grub/i386-pc"), Path("/usr/bin")
    modules = fetch("grub-pc-bin", cache) / "usr/lib/grub/i386-pc"
    return modules, fetch("grub-common", cache) / "usr/bin"


def _menu(guest: Debian, options: str) -> str:
    return (
        "set timeout=1\n"
        'menuentry "Debian GNU/Linux" {\n'
        f"\tlinux /boot/{guest.kernel.name} {options} console=ttyS0 quiet\n"
        f"\tinitrd /boot/{guest.initrd.name}\n"
        "}\n"
    )


def grub_disk(guest: Debian, cache: Path) -> Path:
    """Return a disk with GRUB in its MBR and Debian on its one partition."""
    out = guest.tree.parent / "grub.img"
    if out.exists():
        return out
    modules, programs = _grub(cache)
    home, part = guest.tree.parent, _once(out, "grub")
    early, core = home / "early.cfg", home / "core.img"
    early.write_text("set root=(hd0,msdos1)\n" + GRUB_EARLY)
    options = ("-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-c", early)
    wanted = GRUB_MODULES.split()
    mkimage = programs / "grub-mkimage"
    _run(mkimage, "-d", modules, *options, "-o", core, *wanted)
    grub = guest.tree / "boot/grub"
    grub.mkdir(exist_ok=True)
    (grub / "grub.cfg").write_text(_menu(guest, "root=LABEL=debroot ro"))
    _ext4(guest, part, MIB)
    with part.open("r+b") as file:
        file.write(_partitioned((modules / "boot.img").read_bytes(), 0x83, SIZE))
        file.write(core.read_bytes())
    part.rename(out)
    return out


def live_disc(guest: Debian, cache: Path) -> Path:
    """Return an ISO by grub-mkrescue that boots Debian without a disk."""
    out = guest.tree.parent / "live.iso"
    if out.exists():
        return out
    modules, programs = _grub(cache)
    part = _once(out, "live")
    grub = guest.tree / "boot/grub"
    shutil.rmtree(grub, ignore_errors=True)
    grub.mkdir()
    boot = "root=LABEL=DEBLIVE ro init=/usr/local/sbin/live-init"
    text = "serial --unit=0 --speed=115200\nterminal_input serial\n"
    text += "terminal_output serial\n" + _menu(guest, boot)
    (grub / "grub.cfg").write_text(text)
    try:
        mkrescue = programs / "grub-mkrescue"
        dirs = ("-d", modules, "--locale-directory", "/nonexistent")
        _run(mkrescue, *dirs, "-o", part, guest.tree, "--", "-volid", "DEBLIVE")
    finally:
        shutil.rmtree(grub)
    part.rename(out)
    return out


def copy(image: Path, out: Path) -> Path:
    """Copy an image with its holes."""
    _run("cp", "--sparse=always", "--reflink=auto", image, out)
    return out


def records(data: bytes) -> tuple[int, int]:
    """Return how many whole records recorder has left, and their length."""
    at = number = 0
    while at + 16 <= len(data):
        magic, got, words = struct.unpack_from("<III", data, at)
        end = at + 12 + 4 * words
        if magic != 0x52454344 or got != number or end + 4 > len(data):
            break
        (sum_,) = struct.unpack_from("<I", data, end)
        if zlib.crc32(data[at:end]) != sum_:
            break
        at, number = end + 4, number + 1
    return number, at
