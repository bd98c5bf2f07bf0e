"""A guest that executes a table of CPUID, RDMSR and WRMSR (cpuid_msrs.S)."""

import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

from libvmmapi import VM

from .machine import Machine
from .ownguests import own_guest

MEMORY = 16 << 20
TABLE = 0x200000
HEAD = 64
ROW = 48
LEAVES = 0x8800
RESULTS = 0x10000
NO_FAULT = 0xFFFFFFFF
UD = 6
GP = 13


class Op(IntEnum):
    """Operations of a row, as cpuid_msrs.S numbers them."""

    CPUID = 1
    RDMSR = 2
    WRMSR = 3
    CR4 = 4
    XSETBV = 5
    RDTSC = 6
    RDTSCP = 7
    INVPCID = 8


class Regs(NamedTuple):
    """EAX to EDX behind CPUID."""

    eax: int
    ebx: int
    ecx: int
    edx: int


class Step(NamedTuple):
    """A row of the table: the operation and its operands."""

    op: Op
    first: int
    second: int = 0
    third: int = 0


class Did(NamedTuple):
    """What came of a row."""

    regs: Regs
    vector: int
    error: int
    own: int

    @property
    def ok(self) -> bool:
        """Whether there was no exception."""
        return self.vector == NO_FAULT

    @property
    def refused(self) -> bool:
        """Whether it was #GP with an error code of 0, of the instruction itself."""
        return (self.vector, self.error, self.own) == (GP, 0, 1)

    @property
    def value(self) -> int:
        """What RDMSR or RDTSC gave."""
        return self.regs.edx << 32 | self.regs.eax


def cpuid(leaf: int, sub: int = 0) -> Step:
    """Return a row of CPUID."""
    return Step(Op.CPUID, leaf, sub)


def rdmsr(number: int) -> Step:
    """Return a row of RDMSR."""
    return Step(Op.RDMSR, number)


def wrmsr(number: int, value: int) -> Step:
    """Return a row of WRMSR."""
    return Step(Op.WRMSR, number, value & 0xFFFFFFFF, value >> 32)


def xsetbv(value: int) -> Step:
    """Return a row that sets XCR0."""
    return Step(Op.XSETBV, 0, value)


def cr4(on: int = 0, off: int = 0) -> Step:
    """Return a row that sets bits of CR4 and clears others."""
    return Step(Op.CR4, on, off)


def rdtsc() -> Step:
    """Return a row of RDTSC."""
    return Step(Op.RDTSC, 0)


def rdtscp() -> Step:
    """Return a row of RDTSCP, which gives TSC_AUX in ECX."""
    return Step(Op.RDTSCP, 0)


def invpcid() -> Step:
    """Return a row that invalidates all contexts by INVPCID."""
    return Step(Op.INVPCID, 2)


@dataclass
class Probe:
    """A run of the guest: what is to be done, and what came of it."""

    steps: Sequence[Step] = ()
    options: Sequence[str] = ()
    flat: bool = False
    topology: str = "1"
    leaves: Sequence[tuple[int, int]] = ()
    others: int = 0
    did: list[Did] = field(default_factory=list)
    #: What each other processor read, by its APIC ID.
    seen: dict[int, list[Regs]] = field(default_factory=dict)
    output: str = ""
    #: MSRs of processor 0 to read when bhyve has ended, from the VM it leaves.
    keep: Sequence[int] = ()
    kept: dict[int, int] = field(default_factory=dict)

    def run(self, root: Path, backend: str) -> "Probe":
        """Run the guest on a processor, to its end; return self."""
        old, os.environ["VMM_DIR"] = os.environ.get("VMM_DIR"), str(root)
        try:
            with Machine(root, f"probe-{backend}", backend) as machine:
                self._run(machine)
        finally:
            if old is None:
                del os.environ["VMM_DIR"]
            else:
                os.environ["VMM_DIR"] = old
        return self

    def _run(self, machine: Machine) -> None:
        size = f"{MEMORY >> 20}M"
        machine.load("-m", size, "--kernel", str(own_guest("cpuid_msrs")))
        with VM.open(machine.name) as vm, vm.map_gpa(0, MEMORY) as memory:
            self._tell(memory)
        machine.start("-c", self.topology, "-m", size, *self.options)
        assert machine.wait(60) == 1, machine.output
        self.output = machine.output
        with VM.open(machine.name) as vm, vm.map_gpa(0, MEMORY) as memory:
            self.did = list(self._results(memory))
            self.kept = {msr: vm.vcpu(0).get_msr(msr) for msr in self.keep}
            for number in range(1, self.others + 1):
                at = RESULTS + 256 * number
                self.seen[number] = [
                    Regs(*struct.unpack_from("<4I", memory, at + 16 * i))
                    for i in range(len(self.leaves))
                ]

    def _tell(self, memory: memoryview) -> None:
        assert len(self.leaves) <= 256 // 16
        table = struct.pack("<II56x", self.flat, self.others)
        for step in self.steps:
            table += struct.pack("<IIII32x", *step)
        table += bytes(ROW)
        memory[TABLE : TABLE + len(table)] = table
        leaves = b"".join(struct.pack("<II", *leaf) for leaf in self.leaves)
        leaves += struct.pack("<I", 0xFFFFFFFF)
        memory[LEAVES : LEAVES + len(leaves)] = leaves

    def _results(self, memory: memoryview) -> Iterator[Did]:
        for i in range(len(self.steps)):
            row = struct.unpack_from("<7I", memory, TABLE + HEAD + ROW * i + 16)
            yield Did(Regs(*row[:4]), *row[4:])


_HOST = """
#include <cpuid.h>
#include <stdio.h>
int main(void) {
	unsigned leaf, sub, r[4];
	while (scanf("%u %u", &leaf, &sub) == 2) {
		__cpuid_count(leaf, sub, r[0], r[1], r[2], r[3]);
		printf("%u %u %u %u\\n", r[0], r[1], r[2], r[3]);
	}
}
"""


@cache
def _host_program(folder: Path) -> Path:
    out = folder / "hostcpuid"
    subprocess.run(
        ["gcc", "-x", "c", "-o", str(out), "-"], input=_HOST, text=True, check=True
    )
    return out


def host_cpuid(
    folder: Path, leaves: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Regs]:
    """Return what leaves and subleaves give on this host."""
    done = subprocess.run(
        [_host_program(folder)],
        input="".join(f"{leaf} {sub}\n" for leaf, sub in leaves),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    return {
        leaf: Regs(*map(int, line.split()))
        for leaf, line in zip(leaves, lines, strict=True)
    }
