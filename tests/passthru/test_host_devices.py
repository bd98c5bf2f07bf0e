"""Devices of a host with an IOMMU, passed through: inside.py's steps."""

import re
from pathlib import Path

import pytest

from support import iommuhost
from support.guestfiles import GuestUnavailableError
from support.ownguests import own_guest

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / "build" / "guest"
DEVICES = (
    "edu,addr=5.0",
    "nvme,addr=6.0,serial=ppt-test",
    "edu,addr=7.0,multifunction=on",
    "nvme,addr=7.1,serial=ppt-other",
)


#: By processor, in their order: the first gives the devices to VFIO.
STEPS = {"soft": "refusals calls edu nvme two_owners", "kvm": "kvm"}


@pytest.mark.slow
@pytest.mark.parametrize("processor", STEPS)
def test_devices_of_a_host_with_an_iommu(tmp_path: Path, processor: str) -> None:
    more = {"inside.py": (HERE / "inside.py").read_bytes()}
    for name in ("host_edu", "host_nvme"):
        more[f"{name}.elf"] = own_guest(name).read_bytes()
    steps = STEPS[processor]
    try:
        console = iommuhost.run(CACHE, tmp_path, more, DEVICES, steps)
    except GuestUnavailableError as error:
        pytest.skip(f"no host with an IOMMU: {error}")
    done = re.findall(r"^step (\w+) ok", console, re.M)
    assert done == steps.split(), console[-6000:]
    assert "INSIDE-STATUS 0" in console
