"""Kernels of the other boot protocols whose headers lie (L01, L02)."""

import struct
from collections.abc import Iterator

import pytest

from bhyveload_py import protocols
from bhyveload_py.errors import LoadError
from bhyveload_py.request import LoadRequest
from libvmmapi import VM
from support.ownguests import own_guest

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

MAGIC = 0x1BADB002
SETTINGS = hypothesis.settings(
    max_examples=150,
    deadline=3000,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
WORD = st.one_of(
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF]),
    st.integers(0x100000, 0x120000),
)


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMM_DIR", str(tmp_path_factory.mktemp("vmm")))
        patch.setenv("BHYVE_BACKEND", "soft")
        made = VM.create("t")
        made.setup_memory(8 << 20)
        yield made
        made.destroy()


def attempt(vm: VM, image: bytes) -> None:
    """Load an image: it goes well, or fails with one sentence."""
    try:
        protocols.load(vm, LoadRequest("kernel", image))
    except LoadError as error:
        lines = str(error).splitlines()
    else:
        lines = ["loaded"]
    assert len(lines) == 1


@SETTINGS
@hypothesis.given(st.integers(0, 0x1FFFF), st.tuples(*[WORD] * 5), st.integers(0, 200))
def check_header(vm: VM, flags: int, words: tuple[int, ...], tail: int) -> None:
    check = -(MAGIC + flags) & 0xFFFFFFFF
    image = struct.pack("<III5I", MAGIC, flags, check, *words) + bytes(tail)
    attempt(vm, image)
    attempt(vm, image[: 12 + tail % 20])


def test_headers_that_lie(vm: VM) -> None:
    check_header(vm)


def test_damaged_elf_kernels(vm: VM) -> None:
    good = own_guest("monitor").read_bytes()
    head = list(range(52)) * 3 + list(range(52, 52 + 32 * 4))

    @SETTINGS
    @hypothesis.given(
        st.lists(st.tuples(st.sampled_from(head), WORD), min_size=1, max_size=5)
    )
    def run(damage: list[tuple[int, int]]) -> None:
        image = bytearray(good)
        for at, word in damage:
            struct.pack_into("<I", image, at, word)
        attempt(vm, bytes(image))
        attempt(vm, bytes(image[: len(image) // 2]))

    run()
