"""The loader's devices: disk0p2, disk1s1a, host0, and paths on them.

A path is "/boot/kernel" on the current device or "disk0p2:/boot/kernel".
"""

from dataclasses import dataclass

from . import filesystems, hostfs, partitions
from .errors import LoadError
from .media import Media
from .volume import Kind, Node, resolve

_PREFERRED = ("freebsd-ufs", "freebsd")
_KERNEL_PLACES = ("/boot/kernel", "/boot/loader.conf", "/boot")


@dataclass(slots=True)
class Device:
    """A file system, or what stands where one could be."""

    name: str
    kind: str
    size: int
    media: Media | None
    root: Node | None = None
    fstype: str = ""
    problem: str = ""

    def open(self) -> Node:
        """Return the root directory, reading it the first time."""
        if self.root is None and not self.problem and self.media is not None:
            try:
                found = filesystems.open_volume(self.media)
                if found is None:
                    what = filesystems.describe(self.media) or "no file system"
                    self.problem = f"{self.name}: {what}"
                else:
                    self.fstype, self.root = found
            except LoadError as error:
                self.problem = str(error)
        if self.root is None:
            raise LoadError(self.problem or f"{self.name}: no file system")
        return self.root


class Devices:
    """All devices of one run, and the current one."""

    def __init__(self, disks: list[Media], host_root: str = "") -> None:
        self.rows: list[Device] = []
        for disk in disks:
            self.rows += _disk_devices(disk)
        if host_root:
            root = hostfs.open_directory(host_root)
            self.rows.append(Device("host0", "directory", 0, None, root, "host"))
        self.current = ""

    def find(self, name: str) -> Device:
        """Return a device by its name, with or without the colon."""
        name = name.removesuffix(":")
        for row in self.rows:
            if row.name == name:
                return row
        raise LoadError(f"no device {name}")

    def choose(self) -> Device:
        """Make the device to boot from the current one and return it.

        FreeBSD's own partitions come first, then any with a /boot, disks
        before the host's directory.  Raises LoadError saying what was found.
        """
        rows = sorted(self.rows, key=lambda row: row.kind not in _PREFERRED)
        for place in _KERNEL_PLACES:
            for row in rows:
                try:
                    found = resolve(row.open(), place)
                except LoadError as error:
                    row.problem = row.problem or str(error)
                    continue
                if found is not None:
                    self.current = row.name
                    return row
        raise LoadError(self._nothing())

    def _nothing(self) -> str:
        """Say what the devices hold when none of them can be booted."""
        texts = []
        for row in self.rows:
            if row.problem:
                texts.append(row.problem)
            elif row.root is not None:
                texts.append(f"{row.name}: a file system without /boot")
        if any("Linux" in text or "NTFS" in text for text in texts):
            advice = (
                "; that is no FreeBSD disk: load its kernel with --kernel FILE "
                "--initrd FILE, or start bhyve with a boot ROM"
            )
        elif any("ZFS" in text for text in texts):
            advice = "; ZFS is not read yet: give the files with -h DIRECTORY"
        else:
            advice = ""
        found = ", ".join(texts[:4]) or "no disks"
        return f"nothing to boot: {found}{advice}"

    def node(self, path: str) -> Node | None:
        """Return the node at a path, with or without a device."""
        device, colon, rest = path.partition(":")
        if colon and "/" not in device:
            return resolve(self.find(device).open(), rest)
        return resolve(self.find(self.current).open(), path)

    def file(self, path: str) -> Node | None:
        """Return the regular file at a path, or None."""
        node = self.node(path)
        return node if node is not None and node.kind is Kind.FILE else None

    def names(self, path: str) -> list[str]:
        """Return the names in a folder; none where there is no folder."""
        node = self.node(path)
        if node is None or node.kind is not Kind.DIR:
            return []
        return [name for name, _ in node.entries()]


def _disk_devices(disk: Media) -> list[Device]:
    rows = []
    for part in partitions.partitions(disk):
        name = disk.name + part.name
        rows.append(Device(name, part.kind, part.size, part.media(disk)))
    # A disk with a table may also be an image of one file system, as
    # CD images that start from memory sticks are.
    if rows[0].name != disk.name:
        rows.append(Device(disk.name, "disk", disk.size, disk))
    return rows
