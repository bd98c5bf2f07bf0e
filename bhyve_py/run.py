"""From a configuration tree to a running machine to an exit status."""

from libvmmapi.cli import console
from libvmmapi.cli.failure import Failure
from libvmmapi.config import ConfigTree

from .boot import boot, die
from .models import unbuilt
from .options import Request
from .status import ExitStatus
from .variables import BOOLEANS


def _unbuilt(request: Request) -> str | None:
    """Return what the command line asks for and this version lacks, or None."""
    tree = request.tree
    if request.restore is not None:
        return f"-r {request.restore}: there are no checkpoints in this version"
    if tree.get("tpm.type") is not None:
        return "-l tpm (tpm.type): there is no TPM in this version"
    return None


def _check_devices(tree: ConfigTree) -> None:
    """End in bhyve's shape of line where a device is not built."""
    from libvmmapi.devices import device_names

    line = unbuilt(tree, set(device_names()))
    if line is not None:
        console.err(line)
        raise Failure(ExitStatus.ERROR)


def _derive_uuid(tree: ConfigTree) -> None:
    """Give a machine without -U the UUID of its name and host, as bhyve does."""
    if tree.get("uuid") is not None:
        return
    import hashlib
    import socket
    import uuid

    text = (tree.get("name") or "") + socket.gethostname()
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    tree.set("uuid", str(uuid.UUID(bytes=digest, version=3)))


def machine(request: Request) -> int:
    """Run the machine until it stops and return bhyve's exit status."""
    tree = request.tree
    for name in BOOLEANS:
        tree.get_bool(name, default=False)
    if tree.failed:  # C has said so, before there is a VM
        return ExitStatus.ERROR
    lacking = _unbuilt(request)
    if lacking is not None:
        raise Failure(ExitStatus.ERROR, lacking)
    _check_devices(tree)
    layout = tree.get("keyboard.layout")
    if layout is not None:
        console.message(
            "bhyve",
            f"-K {layout} (keyboard.layout): no screen of this version has a "
            "keyboard, so the layout is not used",
        )
    _derive_uuid(tree)
    monitored = tree.get_bool("monitor.enabled", default=False)
    reboot = not tree.get_bool("monitor.no_reboot", default=False)
    if tree.failed:  # by something that those refer to
        return ExitStatus.ERROR
    if not monitored:
        status = boot()
        die()
        return status
    from .monitor import monitor

    if reboot and tree.get("bootrom") is None:
        raise Failure(
            ExitStatus.ERROR,
            "-M (monitor.enabled): without a bootrom a guest that resets cannot "
            "start again; use -N as well",
        )
    return monitor(tree.get("name") or "", reboot=reboot)
