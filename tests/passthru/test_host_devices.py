"""Devices of a host with an IOMMU, passed through: inside.py's steps."""

import re
from pathlib import Path

import pytest

from support import iommuhost
from support.guestfiles import GuestUnavailableError
from support.ownguests import own_guest

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / "build" / "guest"
STEPS = re.findall(r"^def (step_\w+)", (HERE / "inside.py").read_text("utf-8"), re.M)
DEVICES = (
    "edu,addr=5.0",
    "nvme,addr=6.0,serial=ppt-test",
    "edu,addr=7.0,multifunction=on",
    "nvme,addr=7.1,serial=ppt-other",
)


@pytest.mark.slow
def test_devices_of_a_host_with_an_iommu(tmp_path: Path) -> None:
    more = {"inside.py": (HERE / "inside.py").read_bytes()}
    for name in ("host_edu", "host_nvme"):
        more[f"{name}.elf"] = own_guest(name).read_bytes()
    try:
        console = iommuhost.run(CACHE, tmp_path, more, DEVICES)
    except GuestUnavailableError as error:
        pytest.skip(f"no host with an IOMMU: {error}")
    done = re.findall(r"^(step_\w+) ok", console, re.M)
    assert done == STEPS, console[-6000:]
    assert "INSIDE-STATUS 0" in console
