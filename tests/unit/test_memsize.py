"""Sizes as people write them."""

import pytest

from libvmmapi.memsize import humanize, parse_memsize


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512 << 20),
        ("1", 1 << 20),
        ("1048575", 1048575 << 20),
        ("1048576", 1048576),
        ("8589934592", 8 << 30),
        ("512m", 512 << 20),
        ("512M", 512 << 20),
        ("2G", 2 << 30),
        ("1T", 1 << 40),
        ("1024K", 1 << 20),
    ],
)
def test_a_size_is_a_number_with_a_suffix(text: str, size: int) -> None:
    assert parse_memsize(text) == size


@pytest.mark.parametrize("text", ["", "0", "M", "12Q", "abc", "1G2", "0G", "\0"])
def test_what_is_no_size_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="invalid memsize"):
        parse_memsize(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (99999, "99999B"),
        (100000, "98KB"),
        (64 << 20, "65536KB"),
        (128 << 20, "128MB"),
        (3 << 30, "3072MB"),
        (97 << 30, "99328MB"),
        (128 << 30, "128GB"),
    ],
)
def test_columns_show_up_to_five_digits(size: int, text: str) -> None:
    assert humanize(size) == text
