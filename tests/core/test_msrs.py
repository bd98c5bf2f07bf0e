"""What a guest finds by RDMSR and WRMSR, on both processors.

A row is an MSR and what is done with it, one step after the other; all rows of
a processor are one run of a guest.  Without x86.strictmsr what is not there
reads as zero and swallows writes; what is there and refuses a value is #GP in
any case.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from support.probeguest import (
    Did,
    Op,
    Probe,
    Step,
    cpuid,
    rdmsr,
    rdtsc,
    rdtscp,
    wrmsr,
)
from support.tools import interprets

UNCANONICAL = 0x8000 << 32, 0xFFFF7FFF << 32, 1 << 63
CANONICAL = 0x7FFFFFFFF000, 0xFFFF800000001000
PHYSICAL_TOO_WIDE = 1 << 52
TSC, TSC_ADJUST, APICBASE = 0x10, 0x3B, 0x1B
PAT, MTRR_CAP, MTRR_DEF, MISC_ENABLE = 0x277, 0xFE, 0x2FF, 0x1A0
EFER, STAR, LSTAR, CSTAR, SFMASK = range(0xC0000080, 0xC0000085)
FSBASE, GSBASE, KGSBASE, TSC_AUX = range(0xC0000100, 0xC0000104)
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 0x174, 0x175, 0x176
PAT_RESET = 0x0007040600070406
#: Fast strings, thermal control, SpeedStep, MONITOR, few leaves, xTPR, no NX.
MISC_BITS = 1 | 1 << 3 | 1 << 16 | 1 << 18 | 1 << 22 | 1 << 23 | 1 << 34
MISC_RESET = 0x1801
FIXED_MTRRS = (0x250, 0x258, 0x259, *range(0x268, 0x270))
VARIABLE_MTRRS = range(0x200, 0x210)


class Want(NamedTuple):
    """A step of a row, and whether what came of it is right."""

    step: Step
    right: Callable[[Did], bool]
    words: str


def reads(number: int, value: int) -> Want:
    """Return a step: the MSR has this value."""
    step = rdmsr(number)
    return Want(step, lambda d: d.ok and d.value == value, f"reads {value:#x}")


def takes(number: int, value: int) -> Want:
    """Return a step: the MSR takes this value."""
    return Want(wrmsr(number, value), lambda d: d.ok, f"takes {value:#x}")


def holds(number: int, value: int) -> list[Want]:
    """Return steps: the MSR takes this value and shows it."""
    return [takes(number, value), reads(number, value)]


def refuses(number: int, value: int) -> Want:
    """Return a step: to write this value is #GP."""
    return Want(wrmsr(number, value), lambda d: d.refused, f"refuses {value:#x}")


def hidden(number: int) -> Want:
    """Return a step: to read the MSR is #GP."""
    return Want(rdmsr(number), lambda d: d.refused, "is hidden")


def absent(number: int) -> list[Want]:
    """Return steps: the MSR is not there."""
    return [hidden(number), refuses(number, 0), refuses(number, 1)]


def constant(number: int, value: int) -> list[Want]:
    """Return steps: the MSR has this value, and writes are ignored."""
    return [reads(number, value), takes(number, 0x55), reads(number, value)]


def read_only(number: int, value: int) -> list[Want]:
    """Return steps: the MSR has this value and takes none."""
    return [reads(number, value), refuses(number, 0x55), reads(number, value)]


def write_only(number: int) -> list[Want]:
    """Return steps: writes are ignored, to read is #GP."""
    return [takes(number, 0), takes(number, 1), hidden(number)]


def address(number: int) -> list[Want]:
    """Return steps: the MSR holds canonical addresses."""
    good = [want for value in CANONICAL for want in holds(number, value)]
    bad = [refuses(number, value) for value in UNCANONICAL]
    return [*good, *bad, reads(number, CANONICAL[-1]), *holds(number, 0)]


def tsc_between(low: int, high: int, step: Step) -> Want:
    """Return a step: the TSC is in a range."""
    return Want(step, lambda d: d.ok and low <= d.value < high, f"from {low:#x}")


def has_apic(on: bool) -> Want:
    """Return a step: CPUID's bit of the local APIC."""
    return Want(cpuid(1), lambda d: d.regs.edx >> 9 & 1 == on, f"CPUID's bit: {on}")


def any_mtrr() -> list[Want]:
    steps: list[Want] = []
    for number in FIXED_MTRRS:
        steps += holds(number, 0x0605040100060504)
        steps += [refuses(number, 2), refuses(number, 7 << 32), refuses(number, 8)]
        steps += holds(number, 0)
    for number in VARIABLE_MTRRS:
        mask = number & 1
        steps += holds(number, 0x80000800 if mask else 0x80000006)
        steps += [refuses(number, 0x100 if mask else 2), refuses(number, 0x400)]
        steps += [refuses(number, PHYSICAL_TOO_WIDE), reads(number, steps[-4].step[2])]
        steps += holds(number, 0)
    return [*steps, *absent(0x210), *absent(0x21F), *absent(0x251), *absent(0x270)]


#: The rows that hold on each processor.
EVERYWHERE: dict[str, list[Want]] = {
    "MTRRcap": read_only(MTRR_CAP, 0x508),
    "MTRRdefType": [
        *holds(MTRR_DEF, 0xC06), *holds(MTRR_DEF, 0x800),
        refuses(MTRR_DEF, 0x1C06), refuses(MTRR_DEF, 0xC02), refuses(MTRR_DEF, 1 << 32),
        reads(MTRR_DEF, 0x800), *holds(MTRR_DEF, 0),
    ],
    "MTRRs": any_mtrr(),
    "MCG_CAP": read_only(0x179, 0),
    "MCG_STATUS": constant(0x17A, 0),
    "MCG_CTL": absent(0x17B),
    "machine check banks": [want for n in range(0x400, 0x480) for want in absent(n)],
    "corrected errors": [*absent(0x280), *absent(0x29F)],
    "PAT": [
        reads(PAT, PAT_RESET), *holds(PAT, 0x0001040500070406),
        refuses(PAT, 2), refuses(PAT, 3 << 56), refuses(PAT, 8), refuses(PAT, 1 << 31),
        reads(PAT, 0x0001040500070406), *holds(PAT, PAT_RESET),
    ],
    "MISC_ENABLE": [
        reads(MISC_ENABLE, MISC_RESET),
        *holds(MISC_ENABLE, MISC_RESET ^ MISC_BITS),
        *(
            refuses(MISC_ENABLE, MISC_RESET ^ 1 << bit)
            for bit in range(64) if not MISC_BITS >> bit & 1
        ),
        reads(MISC_ENABLE, MISC_RESET ^ MISC_BITS),
        *holds(MISC_ENABLE, MISC_RESET),
    ],
    "PLATFORM_INFO": [refuses(0xCE, 0)],
    "TURBO_RATIO_LIMIT": [refuses(0x1AD, 0), refuses(0x1AE, 0)],
    "EFER": [
        reads(EFER, 0xD01), *holds(EFER, 0xD00), *holds(EFER, 0x501),
        *holds(EFER, 0xD01), refuses(EFER, 0xC01),
        *(
            refuses(EFER, 0xD01 | 1 << bit)
            for bit in (*range(1, 8), 9, *range(16, 64))
        ),
        reads(EFER, 0xD01),
    ],
    "EFER.SVME": [refuses(EFER, 0x1D01)],
    "STAR": [*holds(STAR, 0xFEDCBA9876543210), *holds(STAR, 0)],
    "LSTAR": address(LSTAR),
    "CSTAR": address(CSTAR),
    "SF_MASK": [*holds(SFMASK, 0x47700), *holds(SFMASK, 0xFFFFFFFF), *holds(SFMASK, 0)],
    "FSBASE": address(FSBASE),
    "GSBASE": address(GSBASE),
    "KGSBASE": address(KGSBASE),
    "SYSENTER_CS": [*holds(SYSENTER_CS, 0x1234), *holds(SYSENTER_CS, 0)],
    "SYSENTER_ESP": [*holds(SYSENTER_ESP, 0x7FFFFFFFF000), *holds(SYSENTER_ESP, 0)],
    "SYSENTER_EIP": [*holds(SYSENTER_EIP, 0x7FFFFFFFF000), *holds(SYSENTER_EIP, 0)],
    "APICBASE": [
        reads(APICBASE, 0xFEE00900), *holds(APICBASE, 0xFEE00900),
        refuses(APICBASE, 0xFED00900), refuses(APICBASE, 0x1FEE00900),
        *(refuses(APICBASE, 0xFEE00900 | 1 << bit) for bit in (*range(8), 9, 52, 63)),
        refuses(APICBASE, 0xFEE00D00), refuses(APICBASE, 0xFEE00500),
        has_apic(True), *holds(APICBASE, 0xFEE00100), has_apic(False),
        takes(APICBASE, 0xFEE00800), reads(APICBASE, 0xFEE00900), has_apic(True),
    ],
    "x2APIC without its mode": [
        want for n in range(0x800, 0x900, 5) for want in absent(n)
    ],
    "debugging and performance": [
        want
        for n in (0xC1, 0xC2, 0x186, 0x187, 0x198, 0x199, 0x19A, 0x19C, 0x1C9, 0x1D9,
                  0x1DB, 0x309, 0x345, 0x38D, 0x38F, 0x3F1, 0x600, 0x1FC)
        for want in absent(n)
    ],
    "virtualisation": [
        want
        for n in (*range(0x480, 0x492), 0xC0010114, 0xC0010117, 0xC0010104)
        for want in absent(n)
    ],
    "other hypervisors'": [
        want
        for n in (0x11, 0x12, *range(0x4B564D00, 0x4B564D09),
                  *range(0x40000000, 0x40000004), 0x40000020, 0x40000070, 0x400000B0)
        for want in absent(n)
    ],
    "nobody's": [
        want for n in (2, 0xDEAD, 0xC0002000, 0xFFFFFFFF) for want in absent(n)
    ],
}  # fmt: skip

#: MSRs of user space, by the vendor of the guest's processor.
INTEL: dict[str, list[Want]] = {
    "BIOS_SIGN": constant(0x8B, 0),
    "PLATFORM_ID": read_only(0x17, 0),
    "energy": [want for n in (0x611, 0x619, 0x639, 0x641) for want in read_only(n, 0)],
    "RAPL_POWER_UNIT": read_only(0x606, 0x000A1003),
    "uncore": [*write_only(0xD04), *write_only(0xC24)],
    "BIOS_UPDT_TRIG": write_only(0x79),
    "FEATURE_CONTROL": read_only(0x3A, 1),
    "MISC_FEATURES": constant(0x140, 0),
    # Not bhyve's: Linux asks on each boot, and no SMI ever comes.
    "SMI_COUNT": read_only(0x34, 0),
}
AMD: dict[str, list[Want]] = {
    "HWCR": constant(0xC0010015, 0x01000010 | 1 << 9),
    "configuration": [
        want
        for n in (0xC001001F, 0xC0011020, 0xC0011021, 0xC0011022)
        for want in constant(n, 0)
    ],
    "counters": [
        want
        for n in (*range(0xC0010000, 0xC0010008), *range(0xC0010200, 0xC001020C))
        for want in constant(n, 0)
    ],
    "SMM": [*constant(0xC0010112, 0), *constant(0xC0010113, 0)],
    "P-state": [want for n in range(0xC0010061, 0xC0010065) for want in constant(n, 0)],
    "DE_CFG": constant(0xC0011029, 1),
    "PATCH_LEVEL": constant(0x8B, 0),
    "PATCH_LOADER": write_only(0xC0010020),
    # Of the kernel part there.
    "SYSCFG, INT_PENDING": [*constant(0xC0010010, 0), *constant(0xC0010055, 0)],
}
#: The numbers of each vendor alone: what the other's guests do not have.
INTEL_ALONE = (0x17, 0x34, 0x3A, 0x79, 0x140, 0x606, 0x611, 0x641, 0xC24, 0xD04)
AMD_ALONE = (
    *(0xC0010000, 0xC0010015, 0xC001001F, 0xC0010020, 0xC0010062),
    *(0xC0010112, 0xC0010200, 0xC0011020, 0xC0011029),
)

BACKENDS = ("soft", "kvm")


@dataclass(frozen=True)
class Ran:
    """A run: its steps, what came of each, and where each row's begin."""

    rows: dict[str, list[Want]]
    probe: Probe

    def did(self, name: str) -> list[Did]:
        """Return what came of a row."""
        first = 0
        for row, steps in self.rows.items():
            if row == name:
                return self.probe.did[first : first + len(steps)]
            first += len(steps)
        raise KeyError(name)


def vendor_rows(amd: bool) -> dict[str, list[Want]]:
    """Return the rows that depend on the guest's vendor."""
    others = INTEL_ALONE if amd else AMD_ALONE
    foreign = [want for n in others for want in absent(n)]
    return {**(AMD if amd else INTEL), "of the other vendor": foreign}


def guest_is_amd(root: Path, backend: str) -> bool:
    """Say whether the processor of a backend's guests is AMD's or Hygon's."""
    return Probe([cpuid(0)]).run(root, backend).did[0].regs.ebx != 0x756E6547


@pytest.fixture(scope="module")
def amds() -> dict[str, bool]:
    return {}


@pytest.fixture
def amd(vm_dir: Path, backend: str, amds: dict[str, bool]) -> bool:
    if backend not in amds:
        amds[backend] = guest_is_amd(vm_dir, backend)
    return amds[backend]


@pytest.fixture(scope="module")
def runs() -> dict[str, Ran]:
    return {}


@pytest.fixture
def ran(vm_dir: Path, backend: str, amd: bool, runs: dict[str, Ran]) -> Ran:
    """Run all rows once on each processor."""
    if backend not in runs:
        rows = {**EVERYWHERE, **vendor_rows(amd)}
        steps = [want.step for row in rows.values() for want in row]
        runs[backend] = Ran(rows, Probe(steps).run(vm_dir, backend))
    return runs[backend]


NAMES = [*EVERYWHERE, *INTEL, *AMD, "of the other vendor"]


@pytest.mark.parametrize("name", NAMES)
def test_msr(ran: Ran, name: str) -> None:
    if name not in ran.rows:
        pytest.skip("the guest's processor is of the other vendor")
    steps = ran.rows[name]
    wrong = [
        f"{want.step.op.name} {want.step.first:#x}: {want.words}: {did}"
        for want, did in zip(steps, ran.did(name), strict=True)
        if not want.right(did)
    ]
    assert not wrong
    # The log names each that is refused, but a guest has ten lines a second.
    assert "msr to register 0x" in ran.probe.output


def test_clock_ratios(vm_dir: Path, backend: str) -> None:
    """PLATFORM_INFO tells the TSC's pace, and turbo has no other."""
    steps = [rdmsr(0xCE), rdmsr(0x1AD), rdmsr(0x1AE)]
    info, one, two = Probe(steps).run(vm_dir, backend).did
    ratio = info.value >> 8 & 0xFF
    assert info.ok
    assert ratio > 0
    assert info.value == ratio << 8 | ratio << 40
    assert one.value == two.value == ratio * 0x0101010101010101


def test_tsc_is_written(vm_dir: Path, backend: str) -> None:
    """A write moves the offset, and RDTSC, RDMSR and the offset agree."""
    second = 10 << 30
    steps = [wrmsr(TSC, 0), rdtsc(), rdmsr(TSC), wrmsr(TSC, 1 << 50), rdtsc(),
             rdmsr(TSC), rdtscp()]  # fmt: skip
    did = Probe(steps).run(vm_dir, backend).did
    assert did[0].ok
    assert did[3].ok
    if interprets(backend):
        # This KVM's guests run RDTSC as it is.
        assert did[1].value <= did[2].value <= did[4].value <= did[5].value
        return
    assert did[1].value <= did[2].value < second
    assert 1 << 50 <= did[4].value <= did[5].value < (1 << 50) + second
    if did[6].ok:
        assert did[6].value >= did[5].value


def test_what_cpuid_offers_is_there(vm_dir: Path, backend: str) -> None:
    """MSRs with a feature bit: there with it, #GP without."""
    steps = [cpuid(1), cpuid(7), cpuid(0x80000001), cpuid(0xD, 1), cpuid(0)]
    steps += [
        *(rdmsr(n) for n in (0x48, 0x10A, TSC_ADJUST, TSC_AUX, 0xDA0, 0x6E0)),
        *(wrmsr(n, 0) for n in (0x49, 0x10B)),
        *(rdmsr(n) for n in (0x49, 0x10B, 0x122, 0xC001011F, 0x1C4)),
    ]
    did = Probe(steps).run(vm_dir, backend).did
    seven, ext, area = (did[i].regs for i in (1, 2, 3))
    spec_ctrl, arch, adjust, aux, xss, deadline, ibpb, flush, *never = did[5:]
    assert spec_ctrl.ok == any(seven.edx >> bit & 1 for bit in (26, 27, 31))
    assert arch.ok == bool(seven.edx >> 29 & 1)
    assert adjust.ok == bool(seven.ebx >> 1 & 1)
    assert aux.ok == bool(ext.edx >> 27 & 1 or seven.ecx >> 22 & 1)
    xsaves = did[4].regs.eax >= 0xD and area.eax >> 3 & 1
    assert xss.ok == bool(xsaves)
    assert ibpb.ok == bool(seven.edx >> 26 & 1)
    assert flush.ok == bool(seven.edx >> 28 & 1)
    # Hidden, and there for who does not ask (csrc/README.md).
    assert deadline.ok
    assert all(d.refused for d in never)
    assert all(d.ok or d.refused for d in did)


def test_speculation_control_of_the_software_processor(vm_dir: Path) -> None:
    rows = [
        *holds(0x48, 7), refuses(0x48, 8), refuses(0x48, 1 << 63), *holds(0x48, 0),
        takes(0x49, 1), refuses(0x49, 2), refuses(0x10A, 0), hidden(0x49),
        *holds(TSC_AUX, 0xFFFFFFFF), refuses(TSC_AUX, 1 << 32), *holds(TSC_AUX, 5),
        Want(rdtscp(), lambda d: d.ok and d.regs.ecx == 5, "RDTSCP's ECX"),
        refuses(SFMASK, 1 << 32),
    ]  # fmt: skip
    did = Probe([want.step for want in rows]).run(vm_dir, "soft").did
    wrong = [(w, d) for w, d in zip(rows, did, strict=True) if not w.right(d)]
    assert not wrong


def test_sysenter_wants_canonical_addresses(vm_dir: Path, backend: str) -> None:
    """KVM makes them canonical, as processors need that have no SYSENTER in 64 bits."""
    rows: list[Want] = []
    for number in (SYSENTER_ESP, SYSENTER_EIP):
        for value in UNCANONICAL:
            if backend == "soft":
                rows.append(refuses(number, value))
            else:
                low = value & (1 << 48) - 1
                high = 0xFFFF << 48 if low >> 47 else 0
                rows += [takes(number, value), reads(number, high | low)]
    did = Probe([want.step for want in rows]).run(vm_dir, backend).did
    wrong = [(w, d) for w, d in zip(rows, did, strict=True) if not w.right(d)]
    assert not wrong


def test_x2apic_mode(vm_dir: Path, backend: str) -> None:
    """With -x the guest turns the mode on; it cannot go back but by off."""
    rows = [
        hidden(0x802), *holds(APICBASE, 0xFEE00D00), reads(0x802, 0),
        reads(0x80D, 1), refuses(0x802, 1), hidden(0x80B), hidden(0x80E),
        hidden(0x831), refuses(0x80F, 1 << 32),
        *holds(0x80F, 0x1FF), refuses(APICBASE, 0xFEE00900),
        *holds(APICBASE, 0xFEE00100), hidden(0x802), refuses(APICBASE, 0xFEE00D00),
        *holds(APICBASE, 0xFEE00900), *holds(APICBASE, 0xFEE00D00), reads(0x802, 0),
    ]  # fmt: skip
    # KVM's takes any EOI (csrc/README.md).
    eoi = refuses if backend == "soft" else takes
    rows.insert(4, eoi(0x80B, 1))
    probe = Probe([want.step for want in rows], ["-x"]).run(vm_dir, backend)
    wrong = [(w, d) for w, d in zip(rows, probe.did, strict=True) if not w.right(d)]
    assert not wrong


def test_without_strictmsr(vm_dir: Path, backend: str, amd: bool) -> None:
    """With -w what is not there reads as zero and swallows writes, silently."""
    gone = [
        *(0x2, 0x11, 0x12, 0xC1, 0x186, 0x1D9, 0x17B, 0x400, 0x403, 0x47F, 0x480),
        *(0x10B, 0xDEAD, 0x4B564D00, 0x40000000, 0xC001011F, 0xFFFFFFFF),
        *(INTEL_ALONE if amd else AMD_ALONE),
    ]
    steps = [
        step
        for n in gone
        for step in (rdmsr(n), wrmsr(n, 0x1234567887654321), rdmsr(n))
    ]
    # Known, and refused as ever; or known and read-only, which -w lets pass.
    known = [refuses(EFER, 0xD03), refuses(PAT, 2), refuses(MTRR_DEF, 2),
             refuses(MTRR_CAP, 0), refuses(APICBASE, 0xFED00900),
             refuses(LSTAR, UNCANONICAL[0]), hidden(0x802),
             takes(0xCE, 0), takes(MISC_ENABLE, 2),
             reads(MISC_ENABLE, MISC_RESET)]  # fmt: skip
    steps += [want.step for want in known]
    probe = Probe(steps, ["-w"]).run(vm_dir, backend)
    for i, number in enumerate(gone):
        before, wrote, after = probe.did[3 * i : 3 * i + 3]
        assert all(did.ok for did in (before, wrote, after)), hex(number)
        assert before.value == after.value == 0, hex(number)
    rest = probe.did[3 * len(gone) :]
    wrong = [(w, d) for w, d in zip(known, rest, strict=True) if not w.right(d)]
    assert not wrong
    assert "msr" not in probe.output


def test_what_a_guest_wrote_is_kept(vm_dir: Path, backend: str) -> None:
    """The VM that bhyve leaves has the guest's values, not the processor's own."""
    values = {
        MTRR_DEF: 0xC06,
        0x200: 0x80000006,
        0x201: 0x3F80000800,
        0x268: 0x0605040100060504,
        PAT: 0x0001040500070406,
        MISC_ENABLE: MISC_RESET ^ 1 << 18,
        LSTAR: CANONICAL[1],
        SYSENTER_EIP: 0x1234,
    }
    steps = [wrmsr(number, value) for number, value in values.items()]
    probe = Probe(steps, keep=list(values)).run(vm_dir, backend)
    assert all(did.ok for did in probe.did)
    assert probe.kept == values


#: Numbers that systems use, by ranges of the manuals.
ARCHITECTURAL = (
    *range(0x100), *range(0x10A, 0x124), *range(0x140, 0x150), *range(0x174, 0x19F),
    *range(0x1A0, 0x1B2), *range(0x1C4, 0x1E0), *range(0x200, 0x2A0), 0x2FF,
    *range(0x309, 0x30C), 0x345, *range(0x38D, 0x393), *range(0x3F1, 0x3FD),
    *range(0x400, 0x4D0), *range(0x560, 0x590), *range(0x600, 0x650),
    *range(0x6A0, 0x6B0), 0x6E0, *range(0x770, 0x778), *range(0x800, 0x900),
    *range(0xC80, 0xC94), *range(0xD90, 0xDD0), *range(0x1200, 0x1210),
    *range(0x40000000, 0x40000010), *range(0x4B564D00, 0x4B564D10),
    *range(0xC0000080, 0xC0000086), *range(0xC0000100, 0xC0000108),
    *range(0xC00000E7, 0xC00000EA), *range(0xC0000300, 0xC0000304),
    *range(0xC0010000, 0xC0010080), *range(0xC0010100, 0xC0010150),
    *range(0xC0010200, 0xC0010250), *range(0xC0011000, 0xC0011050),
)  # fmt: skip
MOVES = {TSC, TSC_ADJUST}


def numbers(rng: random.Random) -> list[int]:
    """Return the numbers that systems use, and random ones."""
    ranges = ((0, 1 << 32, 1000), (0, 0x2000, 400), (0xC0000000, 0xC0002000, 300),
              (0xC0010000, 0xC0012000, 300))  # fmt: skip
    some = [rng.randrange(low, high) for low, high, n in ranges for _ in range(n)]
    return [*dict.fromkeys((*ARCHITECTURAL, *some))]


def value_of(rng: random.Random) -> int:
    """Return a value to write: any, or one with few bits, or an address."""
    kind = rng.randrange(3)
    if kind == 0:
        return rng.getrandbits(64)
    return 1 << rng.randrange(64) if kind == 1 else rng.getrandbits(47)


@pytest.mark.parametrize("option", ["strict", "-w"])
def test_any_number_is_answered_or_refused(
    vm_dir: Path, backend: str, option: str
) -> None:
    """Read and write thousands: each answer is the same again, each refusal #GP(0)."""
    rng = random.Random(67)
    all_ = numbers(rng)
    steps: list[Step] = []
    for number in all_:
        steps += [rdmsr(number), rdmsr(number), wrmsr(number, value_of(rng)),
                  rdmsr(number)]  # fmt: skip
    options = [option] if option == "-w" else []
    probe = Probe(steps, options).run(vm_dir, backend)
    assert len(probe.did) == len(steps) == 4 * len(all_)
    for i, number in enumerate(all_):
        first, again, wrote, after = probe.did[4 * i : 4 * i + 4]
        assert all(d.ok or d.refused for d in (first, again, wrote, after)), hex(number)
        assert first.ok == again.ok == after.ok, hex(number)
        if number in MOVES:
            continue
        if first.ok:
            assert first.value == again.value, hex(number)
        if wrote.refused and first.ok:
            assert after.value == first.value, hex(number)
        if not first.ok and number not in (0x49, 0x79, 0xC24, 0xD04, 0xC0010020):
            assert wrote.refused, hex(number)
    assert {step.op for step in steps} == {Op.RDMSR, Op.WRMSR}
