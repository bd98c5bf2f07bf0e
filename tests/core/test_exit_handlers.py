"""What bhyve says of an exit, and whether it goes on: made-up exits of vCPU 3."""

import subprocess
from pathlib import Path

import pytest

from support import cbuild

HERE = Path(__file__).parent
CONTINUE, STOP, FAIL, ABORT = 0, 1, 2, -1

#: An exit of exits_host.c, what its handler returns, its lines, other deeds.
ROWS: list[tuple[str, int, str, str]] = [
    ("vmx", ABORT, """\
vm exit[3]
\treason\t\tVMX
\trip\t\t0x000000000000fff0
\tinst_length\t2
\tstatus\t\t9
\texit_reason\t33 (VM-entry failure due to invalid guest state)
\tqualification\t0x0000000000000055
\tinst_type\t\t4
\tinst_error\t\t7
""", ""),
    ("vmx-unknown", ABORT, """\
vm exit[3]
\treason\t\tVMX
\trip\t\t0x0000000000000000
\tinst_length\t0
\tstatus\t\t0
\texit_reason\t65535 (Unknown)
\tqualification\t0x0000000000000000
\tinst_type\t\t0
\tinst_error\t\t0
""", ""),
    ("svm", ABORT, """\
vm exit[3]
\treason\t\tSVM
\trip\t\t0x000000000000fff0
\tinst_length\t0
\texitcode\t0x400
\texitinfo1\t0x55
\texitinfo2\t0x9
""", ""),
    ("inst-emul", ABORT,
     "Failed to emulate instruction sequence [ 0f 0b c3 ] at 0x1000\n", ""),
    ("inst-emul-no-bytes", ABORT,
     "Failed to emulate instruction sequence [ ] at 0x1000\n", ""),
    ("mtrap", FAIL, "vm_loop: unexpected VMEXIT_MTRAP\n", ""),
    ("bpt", FAIL, "vm_loop: unexpected VMEXIT_BPT\n", ""),
    ("db", FAIL, "vm_loop: unexpected VMEXIT_DB\n", ""),
    ("no-such-exit", FAIL, "vm_loop: unexpected exitcode 0x7f\n", ""),
    ("bogus", CONTINUE, "", ""),
    ("reqidle", CONTINUE, "", ""),
    ("rendezvous", CONTINUE, "", ""),
    ("eoi", CONTINUE, "", ""),
    ("hlt", CONTINUE, "", ""),
    ("pause", CONTINUE, "", ""),
    ("mwait", CONTINUE, "", "exception 6 0\n"),
    ("outw", ABORT, "Unhandled outw 0x0080 at 0x1234\n", ""),
    ("mmio", CONTINUE, "Unhandled memory access to 0x1000000000\n", ""),
    ("rdmsr", CONTINUE, "rdmsr to register 0x1234567 on vcpu 3\n",
     "exception 13 1\n"),
    ("rdmsr-known", FAIL, "vcpu 3: its registers cannot be set\n", ""),
    ("rdmsr-known amd", CONTINUE, "rdmsr to register 0x17 on vcpu 3\n",
     "exception 13 1\n"),
    ("rdmsr-hwcr", CONTINUE, "rdmsr to register 0xc0010015 on vcpu 3\n",
     "exception 13 1\n"),
    ("rdmsr-hwcr amd", FAIL, "vcpu 3: its registers cannot be set\n", ""),
    ("wrmsr-hwcr", CONTINUE, "wrmsr to register 0xc0010015(0x0) on vcpu 3\n",
     "exception 13 1\n"),
    ("wrmsr-hwcr amd", CONTINUE, "", ""),
    ("wrmsr-uncore", CONTINUE, "", ""),
    ("wrmsr-uncore amd", CONTINUE, "wrmsr to register 0xd04(0x0) on vcpu 3\n",
     "exception 13 1\n"),
    ("suspend-none", STOP, "vmexit_suspended: invalid reason 0\n", "stop 100\n"),
    ("suspend-99", STOP, "vmexit_suspended: invalid reason 99\n", "stop 100\n"),
    ("suspend-reset", STOP, "", "stop 0\n"),
    ("suspend-halt", STOP, "", "stop 2\n"),
]  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exits") / "exits"
    bhyve = cbuild.CSRC / "bhyve"
    core = [bhyve / f"{name}.c" for name in ("vmexit", "xmsr", "config", "debug")]
    return cbuild.program(out, [HERE / "exits_host.c"], core)


@cbuild.needs_gcc
@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_is_made_of_an_exit(program: Path, row: tuple[str, int, str, str]) -> None:
    name, returns, lines, deeds = row
    done = subprocess.run(
        [program, *name.split()], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == lines
    enters = 2 if name == "mmio" else 0
    assert done.stdout == f"{deeds}returns {returns}\nenters {enters}\n"
