"""The examples in docstrings are true."""

import doctest
import importlib

import pytest

MODULES = (
    "libvmmapi.calls",
    "libvmmapi.config",
    "libvmmapi.cpuset",
    "libvmmapi.devices",
    "libvmmapi.errors",
    "libvmmapi.memsize",
    "libvmmapi.regs",
    "libvmmapi.cli.params",
    "bhyve_py.models",
    "bhyve_py.smbios",
    "bhyvectl_py.actions",
    "bhyvectl_py.listing",
    "bhyvectl_py.show",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_the_session_of_the_package_is_true_on_both_processors(backend: str) -> None:
    result = doctest.testmod(importlib.import_module("libvmmapi"))
    assert result.attempted > 20
    assert result.failed == 0
