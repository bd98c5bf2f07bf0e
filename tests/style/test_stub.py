"""The stub of the extension is the one that csrc/cdef makes."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_stub_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "csrc/cffi/gen_stub.py"), "--check"], check=False
    )
    assert done.returncode == 0, "run: python csrc/cffi/gen_stub.py"


def test_every_declared_function_is_in_the_extension() -> None:
    from libvmmapi._ffi import lib

    for name in dir(lib):
        if name.startswith(("vm_", "vcpu_", "bhyve_", "pci_", "lpc_")):
            assert callable(getattr(lib, name))


def test_cdef_names_every_call_of_vmmapi() -> None:
    text = (ROOT / "csrc/include/vmmapi.h").read_text("utf-8")
    declared = set(re.findall(r"\b(v(?:m|cpu)_\w+)\(", text))
    known = set(
        re.findall(
            r"\b(v(?:m|cpu)_\w+)\(", (ROOT / "csrc/cdef/vmmapi.h").read_text("utf-8")
        )
    )
    vectors = {"vm_copy_setup", "vm_copyin", "vm_copyout", "vm_copy_teardown"}
    # Eventfds of device threads, the end of bhyve's start and what its handlers
    # of exits ask, which are C.
    bhyve = {"vm_ioevent", "vm_irqfd", "vm_keep", "vm_amd_guests"}
    assert declared - known == vectors | bhyve
