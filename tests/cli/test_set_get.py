"""What bhyvectl sets is what it then gets: stopped, paused and running VMs."""

import json
from collections.abc import Callable, Iterator

import pytest

from bhyvectl_py.actions import DESCRIPTORS, SET_REGISTERS
from libvmmapi import VM
from support.runner import standing
from support.setters import REGISTERS, SELECTORS, SET_LDTR, SET_TR, SETTERS
from support.tools import Result, Tool

STATES = ("stopped", "paused", "running")


@pytest.fixture(params=STATES)
def ctl(
    request: pytest.FixtureRequest,
    tool: Tool,
    vm_factory: Callable[..., VM],
    backend: str,
) -> Iterator[Callable[..., Result]]:
    vm_factory("t", mb=16).close()

    def run(*args: str) -> Result:
        done = tool("bhyvectl", "--vm=t", *args)
        assert done.status == 0, (args, done)
        return done

    with standing("t", request.param):
        yield run


def facts(ctl: Callable[..., Result]) -> dict[str, object]:
    got: dict[str, object] = json.loads(ctl("--get-all", "--json").out)
    return got


def test_registers_segments_and_more(ctl: Callable[..., Result]) -> None:
    assert set(REGISTERS) == set(SET_REGISTERS)
    ctl(*SETTERS)
    ctl(*SET_TR, "--set-desc-tr")
    ctl(*SET_LDTR, "--set-desc-ldtr")
    got = facts(ctl)
    for name, value in REGISTERS.items():
        assert got[name] == value, name
    for name, value in SELECTORS.items():
        assert got[name] == value, name
    for name in DESCRIPTORS:
        want = {"base": 0, "limit": 0xFFFF, "access": 0x93}
        if name == "tr":
            want = {"base": 0x7000, "limit": 0x67, "access": 0x8B}
        elif name == "ldtr":
            want = {"base": 0x6000, "limit": 7, "access": 0x82}
        elif name in {"gdtr", "idtr"}:
            want["access"] = 0
        assert got[f"desc-{name}"] == want, name
    assert got["x2apic-state"] == 1
    assert got["exception-bitmap"] == 8
    assert isinstance(got["rtc-time"], int)
    assert 0 <= got["rtc-time"] - 1000000000 < 60
    nvram = ctl("--rtc-nvram-offset=0x50", "--get-rtc-nvram").out
    assert nvram == "rtc nvram[080]: 0xa5\n"
    ctl("--set-x2apic-state=0", "--set-exception-bitmap=0")
    got = facts(ctl)
    assert (got["x2apic-state"], got["exception-bitmap"]) == (0, 0)


def test_capabilities(ctl: Callable[..., Result]) -> None:
    names = ("hlt_exit", "pause_exit", "bpt_exit")
    for value in (1, 0):
        for name in names:
            ctl(f"--capname={name}", f"--setcap={value}")
        said = ctl("--getcap").out
        for name in names:
            word = "set" if value else "not set"
            assert f'Capability "{name}" is {word} on vcpu 0\n' in said


def test_other_exceptions_stay_in_the_guest(
    tool: Tool, vm_factory: Callable[..., VM]
) -> None:
    vm_factory("t", mb=16).close()
    done = tool("bhyvectl", "--vm=t", "--set-exception-bitmap=0x4000")
    assert done.status == 255
    assert "only #BP, 0x8, can leave the guest" in done.err
    assert tool("bhyvectl", "--vm=t", "--get-exception-bitmap").out == (
        "exception_bitmap[0]\t0\n"
    )
