"""The examples in docstrings are true."""

import doctest
import importlib

import pytest

MODULES = (
    "libvmmapi.config",
    "libvmmapi.cpuset",
    "libvmmapi.devices",
    "libvmmapi.errors",
    "libvmmapi.memsize",
    "libvmmapi.regs",
    "libvmmapi.cli.params",
    "bhyvectl_py.show",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
