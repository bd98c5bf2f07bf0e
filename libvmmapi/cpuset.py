"""Sets of CPUs: masks of vCPUs, lists such as "0-3,6", and pinning maps."""


def mask_to_ids(mask: int) -> list[int]:
    """Return the positions of the bits of `mask`, ascending.

    >>> mask_to_ids(0b1011)
    [0, 1, 3]
    """
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def _number(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"invalid cpuset: {whole}")
    return int(text)


def _span(text: str, whole: str) -> range:
    first, dash, last = text.partition("-")
    low = _number(first, whole)
    high = _number(last, whole) if dash else low
    if high < low:
        raise ValueError(f"invalid cpuset: {whole}")
    return range(low, high + 1)


def parse_cpuset(text: str) -> list[int]:
    """Return the CPUs of a list of numbers and ranges, ascending.

    Raises ValueError.

    >>> parse_cpuset("0-2,5")
    [0, 1, 2, 5]
    """
    found: set[int] = set()
    for part in text.split(","):
        found.update(_span(part, text))
    return sorted(found)


def parse_pinning(text: str, max_vcpu: int, max_hostcpu: int) -> list[tuple[int, int]]:
    """Return the (vCPU, host CPU) pairs of `text`: "v:h" or "a-b:c-d".

    Ranges must have one length.  Raises ValueError with bhyve's words.

    >>> parse_pinning("0-1:4-5", 15, 63)
    [(0, 4), (1, 5)]
    """
    left, colon, right = text.partition(":")
    try:
        if not colon:
            raise ValueError(text)
        vcpus = _span(left, text)
        hostcpus = _span(right, text)
    except ValueError:
        raise ValueError(f"invalid format: {text}") from None
    for vcpu in (vcpus[0], vcpus[-1]):
        if vcpu > max_vcpu:
            raise ValueError(f"vcpu '{vcpu}' outside valid range from 0 to {max_vcpu}")
    for hostcpu in (hostcpus[0], hostcpus[-1]):
        if hostcpu > max_hostcpu:
            raise ValueError(
                f"hostcpu '{hostcpu}' outside valid range from 0 to {max_hostcpu}"
            )
    if len(vcpus) != len(hostcpus):
        raise ValueError(f"invalid format: {text}")
    return list(zip(vcpus, hostcpus, strict=True))
