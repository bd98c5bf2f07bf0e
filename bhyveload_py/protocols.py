"""THE table of boot protocols: how each kind of kernel is told and loaded."""

import gzip
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from libvmmapi import VCPU, VM

from . import elf, freebsd, kernelelf, linux, multiboot
from .errors import LoadError
from .request import LoadRequest

_MAX_KERNEL = 1 << 30


@dataclass(frozen=True, slots=True)
class Protocol:
    """One kind of kernel."""

    name: str
    recognise: Callable[[bytes], bool]
    load: Callable[[VM, VCPU, LoadRequest], None]


#: Tried in order; the first that recognises the image loads it.
PROTOCOLS = (
    Protocol("Linux bzImage", linux.recognise, linux.load),
    Protocol("multiboot", multiboot.recognise, multiboot.load),
    Protocol("FreeBSD", kernelelf.recognise, freebsd.load),
    Protocol("PVH", elf.recognise_pvh, elf.load_pvh),
    Protocol("ELF64", elf.recognise_elf64, elf.load_elf64),
)


def _gunzip(req: LoadRequest) -> LoadRequest:
    """Unpack a gzip'ed kernel; a bomb ends at 1 GiB."""
    if req.kernel[:2] != b"\x1f\x8b":
        return req
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(req.kernel)) as stream:
            image = stream.read(_MAX_KERNEL + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise LoadError(f"{req.name}: damaged gzip data: {error}") from error
    if len(image) > _MAX_KERNEL:
        raise LoadError(f"{req.name}: unpacks to more than {_MAX_KERNEL >> 20} MiB")
    return replace(req, kernel=image)


def find(image: bytes) -> Protocol | None:
    """Return the protocol of a kernel image, or None."""
    return next((p for p in PROTOCOLS if p.recognise(image)), None)


def load(vm: VM, req: LoadRequest) -> Protocol:
    """Load a kernel into `vm` and set vCPU 0 at its entry.

    Returns the protocol that was used.  Raises LoadError for a kernel that
    cannot be loaded, VMError when the VM refuses.
    """
    req = _gunzip(req)
    protocol = find(req.kernel)
    if protocol is None:
        kinds = ", ".join(p.name for p in PROTOCOLS)
        raise LoadError(f"{req.name}: not a kernel that is known here ({kinds})")
    protocol.load(vm, vm.vcpu(0), req)
    return protocol
