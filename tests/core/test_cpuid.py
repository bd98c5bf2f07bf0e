"""What a guest reads by CPUID: each leaf of bhyve's table, on both processors.

The software processor has a set of features of its own; KVM shows the host's
processor, cut.  A KVM that interprets its guests (kvm_pvm) cannot hide
instructions and shows the host's bits for them beside what it was told.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.probeguest import (
    NO_FAULT,
    UD,
    Probe,
    Regs,
    cpuid,
    cr4,
    host_cpuid,
    invpcid,
    wrmsr,
    xsetbv,
)
from support.tools import interprets

APICBASE, EXTD = 0x1B, 0xFEE00C00
OSXSAVE = 1 << 18

Bits = dict[str, int]
#: Leaf 1.
C1: Bits = {
    "SSE3": 0, "PCLMULQDQ": 1, "DTES64": 2, "MONITOR": 3, "DS_CPL": 4, "VMX": 5,
    "SMX": 6, "EST": 7, "TM2": 8, "SSSE3": 9, "CNXT_ID": 10, "SDBG": 11, "FMA": 12,
    "CX16": 13, "XTPR": 14, "PDCM": 15, "PCID": 17, "DCA": 18, "SSE4_1": 19,
    "SSE4_2": 20, "X2APIC": 21, "MOVBE": 22, "POPCNT": 23, "TSCDLT": 24, "AES": 25,
    "XSAVE": 26, "OSXSAVE": 27, "AVX": 28, "F16C": 29, "RDRAND": 30, "HV": 31,
}  # fmt: skip
D1: Bits = {
    "FPU": 0, "VME": 1, "DE": 2, "PSE": 3, "TSC": 4, "MSR": 5, "PAE": 6, "MCE": 7,
    "CX8": 8, "APIC": 9, "SEP": 11, "MTRR": 12, "PGE": 13, "MCA": 14, "CMOV": 15,
    "PAT": 16, "PSE36": 17, "PSN": 18, "CLFSH": 19, "DS": 21, "ACPI": 22, "MMX": 23,
    "FXSR": 24, "SSE": 25, "SSE2": 26, "SS": 27, "HTT": 28, "TM": 29, "IA64": 30,
    "PBE": 31,
}  # fmt: skip
#: Leaf 7.
B7: Bits = {
    "FSGSBASE": 0, "BMI1": 3, "HLE": 4, "AVX2": 5, "SMEP": 7, "BMI2": 8, "ERMS": 9,
    "INVPCID": 10, "RTM": 11, "AVX512F": 16, "AVX512DQ": 17, "RDSEED": 18, "ADX": 19,
    "SMAP": 20, "AVX512IFMA": 21, "CLFLUSHOPT": 23, "CLWB": 24, "AVX512PF": 26,
    "AVX512ER": 27, "AVX512CD": 28, "SHA": 29, "AVX512BW": 30, "AVX512VL": 31,
}  # fmt: skip
C7: Bits = {
    "AVX512VBMI": 1, "UMIP": 2, "VBMI2": 6, "GFNI": 8, "VAES": 9, "VPCLMULQDQ": 10,
    "VNNI": 11, "BITALG": 12, "VPOPCNTDQ": 14, "RDPID": 22,
}  # fmt: skip
D7: Bits = {"FSRM": 4, "VP2INTERSECT": 8, "MD_CLEAR": 10}
#: Ours: MSRs that say that this processor does not speculate.
D7_SOFT: Bits = {"IBRS": 26, "STIBP": 27, "ARCH_CAP": 29, "SSBD": 31}
#: Leaf 0x80000001.
CE: Bits = {
    "LAHF": 0, "CMP": 1, "CR8": 4, "ABM": 5, "SSE4A": 6, "MISALIGN": 7,
    "PREFETCH": 8, "XOP": 11, "FMA4": 16, "TCE": 17, "TBM": 21, "TOPOEXT": 22,
}  # fmt: skip
CE_OFF: Bits = {
    "SVM": 2, "EXTAPIC": 3, "OSVW": 9, "IBS": 10, "SKINIT": 12, "WDT": 13, "LWP": 15,
    "NODE_ID": 19, "PCXC": 23, "PNXC": 24, "DBE": 26, "PTSC": 27, "PCX_L2I": 28,
    "MWAITX": 29,
}  # fmt: skip
DE: Bits = {
    "SYSCALL": 11, "NX": 20, "MMXEXT": 22, "FFXSR": 25, "PAGE1GB": 26, "RDTSCP": 27,
    "LM": 29, "3DNOWEXT": 30, "3DNOW": 31,
}  # fmt: skip
#: AMD's copies of leaf 1 in EDX of 0x80000001.
DE_COPIES = 0x0183F3FF


def bits(table: Bits, names: str = "") -> int:
    """Return the bits of a table that are named, or all."""
    chosen = names.split() if names else table
    return sum(1 << table[name] for name in chosen)


@dataclass(frozen=True)
class Seen:
    """What a guest of a backend read, beside what its host reads."""

    backend: str
    guest: dict[tuple[int, int], Regs]
    x2apic: dict[tuple[int, int], Regs]
    host: dict[tuple[int, int], Regs]
    #: Leaves 1 and 0xd behind values of XCR0; empty: no XSAVE to try it with.
    xcr0: dict[int, tuple[Regs, Regs]]

    @property
    def soft(self) -> bool:
        """Whether this is the software processor."""
        return self.backend == "soft"

    @property
    def imposes(self) -> bool:
        """Whether the processor adds bits of the host's to what it was told."""
        return interprets(self.backend)

    @property
    def amd(self) -> bool:
        """Whether the guest's processor is AMD's or Hygon's."""
        return self.vendor() in (b"AuthenticAMD", b"HygonGenuine")

    def vendor(self, host: bool = False) -> bytes:
        """Return what leaf 0 says of the guest's or the host's processor."""
        regs = (self.host if host else self.guest)[0, 0]
        words = (regs.ebx, regs.edx, regs.ecx)
        return b"".join(word.to_bytes(4, "little") for word in words)

    def last(self, range_: int) -> int:
        """Return the highest leaf of a range."""
        return self.guest[range_, 0].eax

    def within(self, leaf: int, reg: str, allowed: int, always: int = 0) -> bool:
        """Whether a register has bits of `allowed` only, and those of the host.

        `always` are bits that are there without the host's having them.
        """
        value = getattr(self.guest[leaf, 0], reg) & ~always
        has = getattr(self.host[leaf, 0], reg)
        if self.soft:
            return not value & ~allowed
        return not value & ~has and (self.imposes or not value & ~allowed)


LEAVES = [
    *((leaf, 0) for leaf in range(0x18)),
    *((4, sub) for sub in range(1, 6)),
    *((7, sub) for sub in (1, 2)),
    *((0xB, sub) for sub in (1, 2)),
    *((0xD, sub) for sub in (*range(1, 11), 63)),
    *((leaf, 0) for leaf in range(0x40000000, 0x40000003)),
    *((leaf, 0) for leaf in range(0x80000000, 0x80000023)),
    *((0x8000001D, sub) for sub in range(1, 5)),
    *((leaf, 0) for leaf in (0x1F, 0x1234567, 0x40000100, 0x4FFFFFFF, 0x7FFFFFFF)),
    *((leaf, 0) for leaf in (0x80001000, 0x8FFFFFFF, 0xC0000000, 0xFFFFFFFF)),
]
XCR0 = (1, 3, 7, 0xE7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cpuid")


@pytest.fixture(scope="module")
def readings() -> dict[str, Seen]:
    return {}


@pytest.fixture
def seen(backend: str, folder: Path, readings: dict[str, Seen]) -> Seen:
    """Read all leaves once on each processor."""
    if backend not in readings:
        root = folder / backend
        root.mkdir(mode=0o700)
        steps = [cpuid(*leaf) for leaf in LEAVES]
        plain = Probe([*steps, cr4(OSXSAVE)])
        for value in XCR0:
            plain.steps = [*plain.steps, xsetbv(value), cpuid(1), cpuid(0xD)]
        plain.run(root, backend)
        mode = Probe([*steps, wrmsr(APICBASE, EXTD), cpuid(1)], ["-x"])
        mode.run(root, backend)
        count = len(LEAVES)
        guest = {leaf: plain.did[i].regs for i, leaf in enumerate(LEAVES)}
        xcr0 = {}
        for i, value in enumerate(XCR0):
            done, one, area = plain.did[count + 1 + 3 * i :][:3]
            if plain.did[count].ok and done.ok and guest[0, 0].eax >= 0xD:
                xcr0[value] = (one.regs, area.regs)
        assert all(did.ok for did in mode.did), mode.did[count]
        x2apic = {leaf: mode.did[i].regs for i, leaf in enumerate(LEAVES)}
        assert x2apic[1, 0] == mode.did[-1].regs
        host = host_cpuid(folder, LEAVES)
        readings[backend] = Seen(backend, guest, x2apic, host, xcr0)
    return readings[backend]


ZERO = Regs(0, 0, 0, 0)
SOFT_C1 = "SSE3 PCLMULQDQ SSSE3 CX16 SSE4_1 SSE4_2 MOVBE POPCNT AES XSAVE RDRAND HV"
SOFT_D1 = (
    "FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH "
    "MMX FXSR SSE SSE2"
)
SOFT_B7 = "FSGSBASE SMEP ERMS ADX SMAP CLFLUSHOPT CLWB"
KEPT_C1 = (
    "SSE3 PCLMULQDQ SSSE3 FMA CX16 PCID SSE4_1 SSE4_2 MOVBE POPCNT AES XSAVE AVX F16C "
    "RDRAND"
)
OFF_C1 = "DTES64 MONITOR DS_CPL VMX SMX EST TM2 CNXT_ID SDBG XTPR PDCM DCA"
OFF_D1 = "PSN DS ACPI TM IA64 PBE"


def vendor_is_the_hosts(seen: Seen) -> bool:
    return seen.vendor() == (b"GenuineIntel" if seen.soft else seen.vendor(host=True))


def host_leaf(leaf: int) -> Callable[[Seen], bool]:
    """Return a row: the leaf is the host's; the software processor has its own."""
    return lambda seen: seen.soft or seen.guest[leaf, 0] == seen.host[leaf, 0]


def zeros(leaf: int) -> Callable[[Seen], bool]:
    """Return a row: the leaf is there and empty, or past the last one."""
    return lambda seen: seen.last(0) < leaf or seen.guest[leaf, 0] == ZERO


def software_set(seen: Seen) -> bool:
    """Say whether the features of the software processor are the ones it has."""
    if not seen.soft:
        return True
    one, seven, ext = (seen.guest[leaf, 0] for leaf in (1, 7, 0x80000001))
    return (
        one.ecx == bits(C1, SOFT_C1)
        and one.edx == bits(D1, SOFT_D1)
        and seven.ebx == bits(B7, SOFT_B7)
        and seven.ecx == bits(C7, "UMIP RDPID")
        and seven.edx == bits(D7, "FSRM") | bits(D7_SOFT)
        and ext.ecx == bits(CE, "LAHF ABM PREFETCH")
        and ext.edx == bits(DE, "SYSCALL NX PAGE1GB RDTSCP LM")
    )


def deadline_only_where_interpreted(seen: Seen) -> bool:
    """Say whether the timer's mode is hidden: README tells of the exception."""
    has = seen.guest[1, 0].ecx >> C1["TSCDLT"] & 1
    return seen.imposes or not has


def x2apic_bit_follows(seen: Seen) -> bool:
    bit = 1 << C1["X2APIC"]
    plain, on = seen.guest[1, 0], seen.x2apic[1, 0]
    same = [leaf for leaf in LEAVES if leaf != (1, 0)]
    return (
        not plain.ecx & bit
        and on == plain._replace(ecx=plain.ecx | bit)
        and all(seen.guest[leaf] == seen.x2apic[leaf] for leaf in same)
    )


def osxsave_follows_cr4(seen: Seen) -> bool:
    bit = 1 << C1["OSXSAVE"]
    return not seen.guest[1, 0].ecx & bit and all(
        one.ecx & bit for one, _ in seen.xcr0.values()
    )


def subleaves_of_7(seen: Seen) -> bool:
    """Say whether sub-leaf 0 is the only one."""
    last = seen.guest[7, 0].eax
    empty = seen.guest[7, 1] == seen.guest[7, 2] == ZERO
    return empty and (last == 0 or seen.imposes)


def invpcid_beside_pcid(seen: Seen) -> bool:
    pcid = seen.guest[1, 0].ecx >> C1["PCID"] & 1
    return pcid >= seen.guest[7, 0].ebx >> B7["INVPCID"] & 1


def area(seen: Seen, states: int) -> int:
    """Return the size of an XSAVE area by the sub-leaves of its components."""
    size = 576
    for i in range(2, 63):
        if states >> i & 1:
            part = seen.guest[0xD, i]
            size = max(size, part.eax + part.ebx)
    return size


def xsave(seen: Seen) -> bool:
    """Say whether leaf 0xd has states of the host only, and sizes that follow."""
    offered = seen.guest[1, 0].ecx >> C1["XSAVE"] & 1
    if seen.last(0) < 0xD:
        return not offered or seen.imposes
    if not offered:
        return seen.guest[0xD, 0] == ZERO
    top, host = seen.guest[0xD, 0], seen.host[0xD, 0]
    known = 3 if seen.soft else host.eax & 0xE7
    sizes = all(
        now.ebx == area(seen, value & now.eax) and now.ecx == area(seen, top.eax)
        for value, (_, now) in seen.xcr0.items()
    )
    return top.eax & ~known == 0 and top.eax & 1 == 1 and top.edx == 0 and sizes


def xsave_features(seen: Seen) -> bool:
    """Say whether sub-leaf 1 has XSAVEOPT alone; XSAVES and the like are off."""
    if seen.last(0) < 0xD:
        return True
    one = seen.guest[0xD, 1]
    has = 1 if seen.soft else seen.host[0xD, 1].eax & 1
    return one.eax & ~has == 0 and (one.ebx, one.ecx, one.edx) == (0, 0, 0)


def xsave_components(seen: Seen) -> bool:
    """Say whether components that are not offered have no sub-leaf."""
    if seen.last(0) < 0xD:
        return True
    states = seen.guest[0xD, 0].eax
    beyond = [i for i in (*range(2, 11), 63) if not states >> i & 1]
    return all(seen.guest[0xD, i] == ZERO for i in beyond)


def signature(seen: Seen) -> bool:
    regs = seen.guest[0x40000000, 0]
    text = b"".join(word.to_bytes(4, "little") for word in regs[1:])
    return (regs.eax, text) == (0x40000000, b"bhyve bhyve ")


def amd_features(seen: Seen) -> bool:
    """Say whether what is AMD's is off, and the topology's leaf an AMD's only."""
    ecx = seen.guest[0x80000001, 0].ecx
    return not ecx & bits(CE_OFF) and (seen.amd or not ecx >> CE["TOPOEXT"] & 1)


def invariant_tsc(seen: Seen) -> bool:
    regs, host = seen.guest[0x80000007, 0], seen.host[0x80000007, 0]
    return regs[:3] == (0, 0, 0) and regs.edx == host.edx & 0x100


def address_sizes(seen: Seen) -> bool:
    """Say whether sizes are the host's at most, and no feature is AMD's."""
    regs, host = seen.guest[0x80000008, 0], seen.host[0x80000008, 0]
    physical, linear = regs.eax & 0xFF, regs.eax >> 8 & 0xFF
    fits = physical <= host.eax & 0xFF and linear <= host.eax >> 8 & 0xFF
    return (
        (seen.soft or fits)
        and 36 <= physical <= 52
        and linear in (48, 57)
        and regs.eax >> 16 == 0
        and (regs.ebx, regs.edx) == (0, 0)
    )


def highest_extended(seen: Seen) -> bool:
    top = seen.last(0x80000000)
    if seen.soft:
        return top == 0x80000008
    limit = 0x8000001E if seen.amd else 0x80000008
    return top == min(limit, seen.host[0x80000000, 0].eax)


def highest_basic(seen: Seen) -> bool:
    if seen.soft:
        return seen.last(0) == 0xD
    top = min(0x15, seen.host[0, 0].eax)
    # Without XSAVE of its own the leaf is past the last one.
    return seen.last(0) == top or (seen.imposes and seen.last(0) == 0xC)


def past_the_end(leaf: int) -> Callable[[Seen], bool]:
    """Return a row: past the end of its range a leaf is as the highest one.

    KVM answers for leaves past the end by itself: as the guest's vendor does,
    AMD's with zeros, Intel's with the highest basic leaf.
    """

    def check(seen: Seen) -> bool:
        range_ = leaf & 0xC0000000 if leaf < 0xC0000000 else 0x80000000
        if leaf <= seen.last(range_):
            return True
        if not seen.soft:
            range_ = 0
            if seen.amd:
                return seen.guest[leaf, 0] == ZERO
        return seen.guest[leaf, 0] == seen.guest[seen.last(range_), 0]

    return check


ROWS: dict[str, Callable[[Seen], bool]] = {
    "0: vendor": vendor_is_the_hosts,
    "0: highest leaf": highest_basic,
    "1: virtualisation, power, monitor and debug are off": lambda s: (
        not s.guest[1, 0].ecx & bits(C1, OFF_C1)
    ),
    "1: ACPI, TM, DS, PSN are off": lambda s: not s.guest[1, 0].edx & bits(D1, OFF_D1),
    "1: no TSC deadline": deadline_only_where_interpreted,
    "1: hypervisor": lambda s: s.guest[1, 0].ecx >> C1["HV"] & 1 == 1,
    "1: MCA MCE MTRR APIC": lambda s: (
        ~s.guest[1, 0].edx & bits(D1, "MCA MCE MTRR APIC") == 0
    ),
    "1: x2APIC follows the state": x2apic_bit_follows,
    "1: OSXSAVE follows CR4": osxsave_follows_cr4,
    "1: APIC id 0": lambda s: s.guest[1, 0].ebx >> 24 == 0,
    "1: one logical processor": lambda s: s.guest[1, 0].ebx >> 16 & 0xFF == 1,
    "1: ecx is the host's or less": lambda s: s.within(
        1, "ecx", bits(C1, KEPT_C1), bits(C1, "HV TSCDLT")
    ),
    "1: edx is the host's or less": lambda s: s.within(
        1, "edx", bits(D1) & ~bits(D1, OFF_D1) & ~bits(D1, "HTT"),
        bits(D1, "MCA MCE MTRR APIC"),
    ),
    "1: signature": lambda s: (
        s.guest[1, 0].eax == (0x106A5 if s.soft else s.host[1, 0].eax)
    ),
    "2": host_leaf(2),
    "3, 5, 8, 9, 0xc": lambda s: all(zeros(leaf)(s) for leaf in (3, 5, 8, 9, 0xC)),
    "6: ARAT only": lambda s: s.guest[6, 0] == Regs(4, 0, 0, 0),
    "7: sub-leaf 0 only": subleaves_of_7,
    "7: ebx": lambda s: s.within(7, "ebx", bits(B7)),
    "7: ecx": lambda s: s.within(7, "ecx", bits(C7)),
    "7: edx": lambda s: s.within(
        7, "edx", bits(D7), bits(D7_SOFT) if s.soft else 0
    ),
    "7: INVPCID beside PCID": invpcid_beside_pcid,
    "0xa": zeros(0xA),
    "0xd: states and sizes": xsave,
    "0xd.1: XSAVEOPT only": lambda s: s.imposes or xsave_features(s),
    "0xd: components": lambda s: s.imposes or xsave_components(s),
    "0x10, 0x12, 0x14": lambda s: all(zeros(x)(s) for x in (0x10, 0x12, 0x14)),
    "0x15": zeros(0x15),
    "0x40000000: signature": signature,
    "0x80000000: highest leaf": highest_extended,
    "0x80000001: ecx": lambda s: s.within(0x80000001, "ecx", bits(CE)),
    "0x80000001: edx": lambda s: s.within(0x80000001, "edx", bits(DE) | DE_COPIES),
    "0x80000001: SVM and AMD's are off": amd_features,
    "0x80000002: brand": lambda s: (
        s.guest[0x80000002, 0].eax.to_bytes(4, "little") == b"bhyv"
        if s.soft
        else s.guest[0x80000002, 0] == s.host[0x80000002, 0]
    ),
    "0x80000005": host_leaf(0x80000005),
    "0x80000006": host_leaf(0x80000006),
    "0x80000007: invariant TSC": invariant_tsc,
    "0x80000008: sizes": address_sizes,
    "the software processor's set": software_set,
    **{
        f"{leaf:#x}: past the end": past_the_end(leaf)
        for leaf in (
            *(0xE, 0x16, 0x17, 0x1F, 0x1234567),
            *(0x40000001, 0x40000100, 0x4FFFFFFF, 0x7FFFFFFF),
            *(0x80000009, 0x8000000A, 0x8000001F, 0x80000022, 0x80001000),
            *(0x8FFFFFFF, 0xC0000000, 0xFFFFFFFF),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_leaf(seen: Seen, row: str) -> None:
    found = re.match(r"0x[0-9a-f]+|\d+", row)
    where = int(found[0], 0) if found else 1, 0
    assert ROWS[row](seen), (seen.guest.get(where), seen.host.get(where))


def width(count: int) -> int:
    """Return the bits that number so many."""
    return (count - 1).bit_length()


@dataclass(frozen=True)
class Topology:
    """Sockets, cores and threads of a VM."""

    sockets: int
    cores: int
    threads: int

    @property
    def logical(self) -> int:
        """Processors of a socket."""
        return self.cores * self.threads

    @property
    def cpus(self) -> int:
        """Processors in all."""
        return self.sockets * self.logical

    def __str__(self) -> str:
        parts = f"sockets={self.sockets},cores={self.cores},threads={self.threads}"
        return f"{self.cpus},{parts}"

    def leaf_b(self, sub: int, number: int) -> Regs:
        """Return what leaf 0xb gives where there is one."""
        if sub == 0:
            return Regs(width(self.threads), self.threads, 0x100, number)
        if sub == 1:
            return Regs(width(self.logical), self.logical, 0x201, number)
        return Regs(0, 0, sub, number)


TOPOLOGIES = (Topology(2, 2, 2), Topology(1, 3, 1), Topology(3, 1, 1))
TOPOLOGY_LEAVES = (
    (0, 0), (1, 0), (4, 0), (4, 3), (0xB, 0), (0xB, 1), (0xB, 2), (0x80000000, 0),
    (0x80000008, 0), (0x8000001D, 0), (0x8000001D, 3), (0x8000001E, 0),
)  # fmt: skip


@pytest.mark.parametrize("shape", TOPOLOGIES, ids=str)
def test_topology(vm_dir: Path, backend: str, shape: Topology) -> None:
    """Each processor finds its number as its APIC ID, and who is beside it."""
    probe = Probe(
        [cpuid(*leaf) for leaf in TOPOLOGY_LEAVES],
        topology=str(shape),
        leaves=TOPOLOGY_LEAVES,
        others=shape.cpus - 1,
    )
    probe.run(vm_dir, backend)
    all_ = {0: [did.regs for did in probe.did], **probe.seen}
    assert sorted(all_) == list(range(shape.cpus))
    for number, regs in all_.items():
        _check_processor(
            dict(zip(TOPOLOGY_LEAVES, regs, strict=True)), number, shape, backend
        )


def _check_processor(
    leaf: dict[tuple[int, int], Regs], number: int, shape: Topology, backend: str
) -> None:
    """Check what one processor read against the numbers of the topology."""
    one = leaf[1, 0]
    amd = leaf[0, 0].ebx.to_bytes(4, "little") != b"Genu"
    assert one.ebx >> 24 == number
    assert one.ebx >> 16 & 0xFF == shape.logical
    if shape.logical > 1 or not interprets(backend):
        assert one.edx >> D1["HTT"] & 1 == (shape.logical > 1)
    inner = shape.threads, shape.logical
    if amd:
        # Leaf 0xb is Intel's; KVM itself fills in the number of a sub-leaf.
        for sub in range(3):
            assert leaf[0xB, sub][:2] == (0, 0)
            assert leaf[0xB, sub].ecx in (0, sub)
        if leaf[0x80000000, 0].eax >= 0x8000001E:
            _check_amd(leaf, number, shape)
        return
    for sub in range(3):
        assert leaf[0xB, sub] == shape.leaf_b(sub, number)
    for sub, sharing in ((0, inner[0]), (3, inner[1])):
        if leaf[4, sub].eax & 0x1F:
            assert leaf[4, sub].eax >> 14 & 0xFFF == (1 << width(sharing)) - 1
            assert leaf[4, sub].eax >> 26 == (1 << width(shape.cores)) - 1
    assert leaf[0x80000008, 0].ecx == 0


def _check_amd(leaf: dict[tuple[int, int], Regs], number: int, shape: Topology) -> None:
    sizes = leaf[0x80000008, 0].ecx
    assert sizes & 0xFF == shape.logical - 1
    assert sizes >> 12 == (width(shape.logical) if shape.logical > 1 else 0)
    for sub, sharing in ((0, shape.threads), (3, shape.logical)):
        if leaf[0x8000001D, sub].eax & 0x1F:
            assert leaf[0x8000001D, sub].eax >> 14 == sharing - 1
    who = leaf[0x8000001E, 0]
    core = number // shape.threads & 0xFF
    assert who == Regs(number, (shape.threads - 1) << 8 | core, 0, 0)


def test_invpcid_is_there_if_it_is_offered(vm_dir: Path, backend: str) -> None:
    leaf, did = Probe([cpuid(7), invpcid()]).run(vm_dir, backend).did
    offered = leaf.regs.ebx >> B7["INVPCID"] & 1
    assert did.vector == (NO_FAULT if offered else UD)


def test_same_in_32_bit_mode(vm_dir: Path, seen: Seen) -> None:
    """A KVM that interprets 32-bit code tells the same there."""
    probe = Probe([cpuid(*leaf) for leaf in LEAVES], flat=True)
    probe.run(vm_dir, seen.backend)
    found = {leaf: did.regs for leaf, did in zip(LEAVES, probe.did, strict=True)}
    assert found == seen.guest
