"""From a configuration tree to a running machine to an exit status."""

import os
import signal

from libvmmapi._ffi import lib
from libvmmapi.cli import console
from libvmmapi.cli.command import Failure
from libvmmapi.config import ConfigTree

from .options import Request
from .status import ExitStatus


def _unbuilt(request: Request) -> str | None:
    """Return what the command line asks for and this version lacks, or None."""
    tree = request.tree
    if request.restore is not None:
        return f"-r {request.restore}: there are no checkpoints in this version"
    if (tree.get("gdb.port") or "0") != "0":
        return "-G (gdb.port): there is no debug server in this version"
    if tree.get_bool("monitor.enabled", default=False):
        return "-M (monitor.enabled): there is no monitor mode in this version"
    if tree.get("tpm.type") is not None:
        return "-l tpm (tpm.type): there is no TPM in this version"
    if _has_domains(tree):
        return "-n (domains): there are no NUMA domains in this version"
    return None


def _has_domains(tree: ConfigTree) -> bool:
    """Say whether any NUMA domain is described."""
    return tree.has_node("domains")


def machine(request: Request) -> int:
    """Run the machine until it stops and return bhyve's exit status.

    The C library prints one line for whatever fails, and handles signals while
    it runs; one that ended the run is raised again here, so that the caller
    sees a death by that signal.
    """
    lacking = _unbuilt(request)
    if lacking is not None:
        raise Failure(ExitStatus.ERROR, lacking)
    if request.tree.failed:
        return ExitStatus.ERROR
    console.flush()
    status = lib.bhyve_run()
    ending = lib.bhyve_term_signal()
    if ending:
        signal.signal(ending, signal.SIG_DFL)
        os.kill(os.getpid(), ending)
    return status
