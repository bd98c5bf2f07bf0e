"""The package offers what __all__ says."""

import subprocess
import sys

import pytest

import libvmmapi


@pytest.mark.parametrize("name", libvmmapi.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(libvmmapi, name) is not None
    assert name in dir(libvmmapi)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        libvmmapi.nothing  # noqa: B018


def test_importing_the_package_imports_no_module_of_it() -> None:
    code = (
        "import sys, libvmmapi\n"
        "print(*(m for m in sys.modules if m.startswith('libvmmapi.')))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
