"""Values of options: numbers as strtoul(3) reads them."""

from .failure import UsageError


def number(text: str, option: str) -> int:
    """Return a C number: decimal, 0x hexadecimal or 0 octal, below 2**64.

    >>> number("0x10", "--set-rip"), number("010", "--set-rip")
    (16, 8)
    """
    digits = text.strip().lower()
    negative = digits.startswith("-")
    digits = digits[1:] if digits[:1] in {"+", "-"} else digits
    try:
        if not (digits.isascii() and digits.isalnum()):
            raise ValueError(digits)
        if digits.startswith("0x"):
            value = int(digits[2:], 16)
        else:
            value = int(digits, 8 if digits.startswith("0") else 10)
    except ValueError:
        raise UsageError(f"{option}: '{text}' is no number") from None
    if value >= 1 << 64:
        raise UsageError(f"{option}: '{text}' does not fit 64 bits")
    return -value & (1 << 64) - 1 if negative else value


def decimal(text: str, option: str) -> int:
    """Return a decimal number below 2**31."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or int(digits) >= 1 << 31:
        raise UsageError(f"{option}: '{text}' is no decimal number")
    return int(digits)
