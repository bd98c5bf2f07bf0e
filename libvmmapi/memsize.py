"""Sizes as people write them, and as bhyvectl prints them."""

from ._ffi import ffi, lib


def parse_memsize(text: str) -> int:
    """Return the bytes of guest memory that `text` means, at least 1.

    The rule is vm_parse_memsize(3)'s: a number, maybe with K, M, G or T; a
    plain number below 1 MiB counts as mebibytes.  Raises ValueError.

    >>> parse_memsize("512") == parse_memsize("512M") == 512 << 20
    True
    """
    size = ffi.new("size_t *")
    raw = text.encode("utf-8", "surrogateescape")
    bad = "\0" in text or lib.vm_parse_memsize(raw, size) != 0
    if bad or size[0] == 0:
        raise ValueError(
            f"invalid memsize '{text}': want a number above 0, in MiB or "
            "with one of K, M, G, T"
        )
    return int(size[0])


def humanize(size: int) -> str:
    """Return `size` in bytes as bhyvectl's columns show it.

    That is humanize_number(3) on a buffer of eight: up to five digits, then
    the unit, rounded to the nearest.

    >>> humanize(256 << 20), humanize(2 << 20), humanize(4 << 30), humanize(512)
    ('256MB', '2048KB', '4096MB', '512B')
    """
    units = ("", "K", "M", "G", "T", "P", "E")
    unit = 0
    value, rest = size, 0
    limit = 10**5
    while value >= limit or (value == limit - 1 and rest >= 512):
        value, rest = divmod(value, 1024)
        unit += 1
    return f"{value + (rest >= 512)}{units[unit]}B"
