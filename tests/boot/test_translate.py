"""Translated code under stress: two processors, many processes, right results."""

import hashlib
from pathlib import Path

import pytest

from support import guestfiles
from support.machine import Machine

CACHE = Path(__file__).parents[2] / "build" / "guest"
COUNT = 30000

#: Four pipelines at once; each prints a checksum that Python knows.
STRESS = "; ".join(
    [
        f"seq {COUNT} > /tmp/n",
        *(
            f"(gzip -c /tmp/n | gunzip | sort -n | {tool} > /tmp/{tool}) &"
            for tool in ("md5sum", "sha1sum", "sha256sum", "sha512sum")
        ),
        "wait",
        "cut -d' ' -f1 /tmp/md5sum /tmp/sha1sum /tmp/sha256sum /tmp/sha512sum",
    ]
).replace("&;", "&")


@pytest.mark.slow
@pytest.mark.parametrize("translate", ["0", "1", "all"])
def test_checksums_on_two_processors(tmp_path: Path, translate: str) -> None:
    try:
        kernel = guestfiles.debian_kernel(CACHE)
        initrd = guestfiles.initrd(CACHE, tmp_path / "initrd.cpio")
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    text = "".join(f"{n}\n" for n in range(1, COUNT + 1)).encode()
    want = [
        hashlib.new(name, text).hexdigest()
        for name in ("md5", "sha1", "sha256", "sha512")
    ]
    with Machine(tmp_path) as machine:
        machine.env["BHYVE_TRANSLATE"] = translate
        line = ("--cmdline", "console=ttyS0 quiet")
        files = ("--kernel", str(kernel), "--initrd", str(initrd))
        machine.load("-m", "512M", *files, *line)
        machine.start("-c", "2", "-m", "512M")
        machine.expect("guest# ", 120)
        for _ in range(3):
            assert machine.shell(STRESS, 120).split()[-4:] == want
        machine.send("poweroff\n")
        assert machine.wait() == 1
