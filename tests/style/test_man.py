"""The manual pages are sound, and name every option."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bhyve_py.cli import OPTSTRING
from bhyve_py.usage import usage
from bhyvectl_py.actions import (
    DESCRIPTORS,
    GET_REGISTERS,
    SELECTORS,
    SET_REGISTERS,
    VENDORS,
    options,
)

MAN = Path(__file__).resolve().parents[2] / "man"
PAGES = sorted(path for path in MAN.iterdir() if path.suffix[1:].isdigit())

#: Options of bhyvectl that the page describes by their form.
FORMS = {
    *(f"get-{name}" for name in (*GET_REGISTERS, *SELECTORS)),
    *(f"set-{name}" for name in (*SET_REGISTERS, *SELECTORS)),
    *(f"{verb}-desc-{name}" for verb in ("get", "set") for name in DESCRIPTORS),
}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.name))
def test_mandoc_finds_nothing(page: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(page)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def _flags(page: str) -> set[str]:
    """Return the options that a page's lists describe."""
    found: set[str] = set()
    for line in (MAN / page).read_text("utf-8").splitlines():
        if line.startswith((".It Fl", ".Fl -")):
            found.update(re.findall(r"\bFl (\S+)", line))
    return found


def test_bhyve_8_describes_every_option() -> None:
    letters = {*OPTSTRING.replace(":", ""), "h"}
    assert _flags("bhyve.8") == letters


def test_bhyve_8_describes_every_device() -> None:
    from libvmmapi.devices import device_names, lpc_names

    text = (MAN / "bhyve.8").read_text("utf-8")
    words = set(re.findall(r"[\w-]+", text.replace("com1", "com1 com2 com3 com4")))
    assert {*device_names(), *lpc_names()} <= words


def test_the_usage_text_names_every_option() -> None:
    letters = {*OPTSTRING.replace(":", ""), "h"}
    shown = set(re.findall(r"^ +-(\w): ", usage("bhyve"), re.M))
    assert letters - shown == {"A", "I"}  # which do nothing
    assert shown <= letters


def test_bhyvectl_8_describes_every_option() -> None:
    described = {flag.removeprefix("-") for flag in _flags("bhyvectl.8")}
    names = {option.name for vendor in VENDORS for option in options(vendor)}
    assert names - FORMS - described == set()
    assert described - names == {"get-", "set-", "get-desc-", "set-desc-"}


def test_bhyvectl_8_names_every_register() -> None:
    text = (MAN / "bhyvectl.8").read_text("utf-8")
    text = text.replace("r8 to r15", "r8 r9 r10 r11 r12 r13 r14 r15")
    words = set(re.findall(r"\w+", text.replace("dr0 to dr3", "dr0 dr1 dr2 dr3")))
    assert {*GET_REGISTERS, *SELECTORS, *DESCRIPTORS} <= words


def _variables() -> dict[str, str]:
    """Return the variables of bhyve_config(5), and their defaults."""
    found: dict[str, str] = {}
    for line in (MAN / "bhyve_config.5").read_text("utf-8").splitlines():
        cells = line.removeprefix(".It ").split(" Ta ")
        if line.startswith(".It ") and len(cells) == 3 and cells[0] != "Sy variable":
            assert cells[0] not in found
            found[cells[0]] = cells[1]
    return found


def test_bhyve_config_5_has_the_variables_that_options_set() -> None:
    from bhyve_py.cli import SWITCHES, VALUES
    from bhyve_py.smbios import variables
    from bhyve_py.variables import BOOLEANS

    names = {*(path for path, _ in SWITCHES.values()), *VALUES.values(), *BOOLEANS}
    names |= {path for path, _ in variables("1,sku=x,family=x,serial=x")}
    assert names - set(_variables()) == set()


def test_bhyve_config_5_has_the_variables_that_are_read() -> None:
    """Literal paths in the sources of the machine and of the tool."""
    found: set[str] = set()
    for path in (MAN.parent / "csrc" / "bhyve").rglob("*.c"):
        text = path.read_text("utf-8")
        found.update(re.findall(r'get_(?:raw_)?config_\w+\(\s*"([^"]+)"', text))
    for path in (MAN.parent / "bhyve_py").glob("*.py"):
        text = path.read_text("utf-8")
        found.update(re.findall(r'tree\.get(?:_bool|_raw)?\(\s*"([^"]+)"', text))
    assert {"bootrom", "memory.size", "gdb.port", "name"} <= found
    assert found - set(_variables()) == set()


def test_bhyve_config_5_tells_the_defaults() -> None:
    from libvmmapi import ConfigTree

    described = _variables()
    for name, value in ConfigTree(defaults=True).items():
        assert described[name] == value


def test_libvmmapi_3_names_every_method() -> None:
    from libvmmapi import VCPU, VM

    text = (MAN / "libvmmapi.3").read_text("utf-8")
    for kind in (VM, VCPU):
        wanted = {name for name in dir(kind) if not name.startswith("_")}
        missing = {name for name in wanted if not re.search(rf"\b{name}\b", text)}
        assert missing == set()
        undocumented = {n for n in wanted if not getattr(kind, n).__doc__}
        assert undocumented == set()
