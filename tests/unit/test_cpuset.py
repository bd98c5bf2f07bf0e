"""Lists of CPUs and pinning maps."""

import pytest

from libvmmapi.cpuset import mask_to_ids, parse_cpuset, parse_pinning


def test_a_mask_names_its_bits() -> None:
    assert mask_to_ids(0) == []
    assert mask_to_ids(1 << 63 | 1) == [0, 63]


def test_a_list_has_numbers_and_ranges() -> None:
    assert parse_cpuset("5,0-2,2") == [0, 1, 2, 5]


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-1", "1,,2", "1 2"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid cpuset"):
        parse_cpuset(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1", "invalid format: 1"),
        ("a:b", "invalid format: a:b"),
        ("0-1:3", "invalid format: 0-1:3"),
        ("1-0:3-4", "invalid format"),
        ("64:0", "vcpu '64' outside valid range from 0 to 63"),
        ("0:1024", "hostcpu '1024' outside valid range from 0 to 1023"),
    ],
)
def test_a_bad_pinning_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_pinning(text, 63, 1023)
