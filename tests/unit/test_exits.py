"""Exits and entries without a VM."""

import pytest

from libvmmapi._ffi import ffi, lib
from libvmmapi.exits import EntryCmd, ExitCode, Inout, Mmio, VMExit, exit_from_c


def test_a_port_exit_becomes_its_fields() -> None:
    vme = ffi.new("struct vm_exit *")
    vme.exitcode = lib.VM_EXITCODE_INOUT
    vme.rip = 0x1000
    vme.inst_length = 2
    vme.u.inout = {"bytes": 1, "in": True, "port": 0x60}
    assert exit_from_c(vme) == VMExit(
        ExitCode.INOUT, 0x1000, 2, Inout(0x60, 1, True, 0)
    )


def test_a_read_is_fulfilled_with_its_value() -> None:
    vme = VMExit(ExitCode.MMIO, 0, 0, Mmio(0xD0000000, 4, True, 0))
    entry = vme.fulfill(0x12345678)
    raw = entry.to_c()
    assert raw.cmd == EntryCmd.FULFILL_MMIO
    assert (raw.u.mmio.gpa, raw.u.mmio.bytes, raw.u.mmio.read) == (0xD0000000, 4, True)
    assert raw.u.mmio.data == 0x12345678


def test_a_write_keeps_what_was_written() -> None:
    vme = VMExit(ExitCode.INOUT, 0, 0, Inout(0x80, 2, False, 0xBEEF))
    raw = vme.fulfill(1).to_c()
    assert raw.cmd == EntryCmd.FULFILL_INOUT
    assert (raw.u.inout.eax, getattr(raw.u.inout, "in")) == (0xBEEF, False)


def test_only_an_access_can_be_fulfilled() -> None:
    with pytest.raises(ValueError, match="HLT"):
        VMExit(ExitCode.HLT, 0, 0).fulfill()
