"""Sizes as people write them, and as bhyvectl prints them."""

_SHIFT = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
_MB = 1 << 20
_MAX = (1 << 63) - 1


def expand_number(text: str) -> int:
    """Return the bytes that `text` means: a number and maybe one of KMGTPE.

    Raises ValueError for anything else, or for more than 63 bits.

    >>> expand_number("4k")
    4096
    """
    digits = text[:-1] if text[-1:].lower() in _SHIFT else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"invalid size '{text}': a number and one of K, M, G, T")
    size = int(digits) << _SHIFT.get(text[-1:].lower(), 0)
    if size > _MAX:
        raise ValueError(f"size '{text}' is too large")
    return size


def parse_memsize(text: str) -> int:
    """Return the bytes of guest memory that `text` means.

    A plain number below 1 MiB counts as mebibytes, as vm_parse_memsize(3) has
    it.  Raises ValueError for what is no size, or for 0.

    >>> parse_memsize("512") == parse_memsize("512M") == 512 << 20
    True
    """
    size = expand_number(text)
    if text.isdigit() and size < _MB:
        size <<= 20
    if size == 0:
        raise ValueError(f"invalid size '{text}': a VM needs memory")
    return size


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
