"""VMError is an OSError that names its call and its VM."""

import errno

import pytest

from libvmmapi import VM, VMError


def test_a_missing_vm_is_enoent_with_its_name() -> None:
    with pytest.raises(VMError) as caught:
        VM.open("nobody")
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == "nobody"
    assert caught.value.operation == "vm_open"
    assert str(caught.value).startswith("vm_open: nobody: ")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * 300, "a\0b"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(VMError) as caught:
        VM.create(name)
    assert caught.value.errno in {errno.EINVAL, errno.ENAMETOOLONG}
