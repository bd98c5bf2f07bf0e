"""Fixtures of the device tests: Debian's kernel with the modules it needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import guestfiles, kmods
from support.machine import Machine

CACHE = Path(__file__).parents[2] / "build" / "guest"


@pytest.fixture(scope="session")
def virtio_linux(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return kernel and initrd, or skip with the reason."""
    try:
        kernel = guestfiles.debian_kernel(CACHE)
        out = tmp_path_factory.mktemp("virtio") / "initrd.cpio"
        kmods.initrd(CACHE, out, kmods.VIRTIO, {})
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    return str(kernel), str(out)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Return a VM of a root of its own."""
    with Machine(tmp_path / "vmm") as made:
        yield made
