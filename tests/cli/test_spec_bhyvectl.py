"""Every line that bhyvectl prints, byte for byte, of VMs whose state is known."""

import os
import pty
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bhyvectl_py import actions, cli, runonce
from libvmmapi import VM, Cap, ExitCode, Reg, VMExit
from libvmmapi.cli.failure import UsageError
from libvmmapi.cli.tool import scan
from libvmmapi.exits import Vmx
from support.runner import standing
from support.setters import REGISTERS, SELECTORS, SET_LDTR, SET_TR, SETTERS
from support.tools import Result, Tool, interprets, tool_argv

Ctl = Callable[..., Result]
STATES = ("stopped", "paused", "running")


def lit(text: str) -> str:
    """Return a pattern for exactly this text."""
    return re.escape(text)


def _registers() -> Iterator[tuple[str, str]]:
    others = {
        "rbx",
        "rcx",
        "rdx",
        "rsi",
        "rdi",
        "rbp",
        *(f"r{n}" for n in range(8, 16)),
    }
    for name in actions.GET_REGISTERS:
        tabs = "\t" if name == "rflags" else "\t\t"
        head = f"{name}[0]{tabs}0x"
        if name in REGISTERS:
            yield f"get-{name}", lit(f"{head}{REGISTERS[name]:016x}\n")
        else:
            assert name in others
            value = "0*f00" if name == "rdx" else "0{16}"
            yield f"get-{name}", lit(head) + f"(?:{value}|[0-9a-f]{{16}})\n"


def _segments() -> Iterator[tuple[str, str]]:
    for name in actions.DESCRIPTORS:
        text = f"{name} desc[0]\t0x0000000000000000/0x0000ffff/0x00000093\n"
        if name in {"gdtr", "idtr"}:
            text = f"{name}[0]\t\t0x0000000000000000/0x0000ffff\n"
        elif name == "tr":
            text = "tr desc[0]\t0x0000000000007000/0x00000067/0x0000008b\n"
        elif name == "ldtr":
            text = "ldtr desc[0]\t0x0000000000006000/0x00000007/0x00000082\n"
        yield f"get-desc-{name}", lit(text)
    for name, value in SELECTORS.items():
        yield f"get-{name}", lit(f"{name}[0]\t\t0x{value:04x}\n")


CAPABILITY = r'Capability "%s" is (?:(?:not )?set on vcpu 0|not available)\n'

#: Getters in bhyvectl's order, and what each prints.
ROWS: dict[str, str] = {
    "get-memseg": lit(
        "ID  Length      Name\n0   16384KB     sysmem\n1   65536B      bootrom\n"
    ),
    "get-memmap": lit(
        "Address     Length      Segment     Offset      Prot  Flags\n"
        "0           16384KB     sysmem      0           RWX   \n"
        "FFFF0000    61440B      bootrom     1000        R-X   \n"
    ),
    **dict(_registers()),
    **dict(_segments()),
    "get-x2apic-state": lit("x2apic_state[0]\t1\n"),
    "get-exception-bitmap": lit("exception_bitmap[0]\t0x8\n"),
    "get-tsc-offset": r"tsc_offset\[0\]\t0x[0-9a-f]{16}\n",
    "get-guest-pat": lit("guest_pat[0]\t\t0x0007040600070406\n"),
    "get-guest-sysenter": lit(
        "guest_sysenter_cs[0]\t0\nguest_sysenter_sp[0]\t0\nguest_sysenter_ip[0]\t0\n"
    ),
    "get-rtc-nvram": lit("rtc nvram[080]: 0xa5\n"),
    "get-rtc-time": r"rtc time 0x3b9aca[0-3][0-9a-f]: Sun Sep 09 01:4[67]:\d\d 2001\n",
    "getcap": "".join(CAPABILITY % cap.title for cap in Cap),
    "get-active-cpus": r"active cpus:\t (?:0|\(none\))\n",
    "get-debug-cpus": lit("debug cpus:\t (none)\n"),
    "get-suspended-cpus": lit("suspended cpus:\t (none)\n"),
    "get-intinfo": lit("pending:\tn/a\ncurrent:\tn/a\n"),
    "get-stats": r"vcpu0 stats:\n(?:[^\n]{40,}\t\d+\n)+",
    "get-cpu-topology": lit(
        "cpu_topology:\tsockets=1, cores=1, threads=1, maxcpus=64\n"
    ),
}


@pytest.fixture
def made(tool: Tool, vm_factory: Callable[..., VM], backend: str) -> Ctl:
    """Make the VM "t": memory and a ROM that is mapped in part."""
    with vm_factory("t", mb=16) as vm:
        vm.create_devmem(1, "bootrom", 0x10000)
        vm.mmap_memseg(0xFFFF0000, 1, 0x1000, 0xF000, 0x5)
    return lambda *args: tool("bhyvectl", "--vm=t", *args)


def settle(ctl: Ctl) -> None:
    """Set all that can be set."""
    for args in (
        SETTERS,
        (*SET_TR, "--set-desc-tr"),
        (*SET_LDTR, "--set-desc-ldtr"),
    ):
        assert ctl(*args) == Result(0, "", "")


@pytest.mark.parametrize("state", STATES)
def test_every_getter_prints_its_line_in_the_fixed_order(made: Ctl, state: str) -> None:
    names = [*ROWS]
    random.Random(state).shuffle(names)
    with standing("t", state):
        settle(made)
        asked = made("--rtc-nvram-offset=0x50", *(f"--{name}" for name in names))
        everything = made("--get-all", "--rtc-nvram-offset=0x50")
    for done in (asked, everything):
        assert (done.status, done.err) == (0, "")
        at = 0
        for name, pattern in ROWS.items():
            found = re.compile(pattern).match(done.out, at)
            assert found, (name, done.out[at : at + 200])
            at = found.end()
        assert at == len(done.out)


def test_rows_are_all_getters_there_are() -> None:
    known = {
        option.name
        for vendor in actions.VENDORS
        for option in actions.options(vendor)
        if option.name.startswith("get") and option.name != "get-all"
    }
    refused = actions.HARDWARE | {*actions.SILENT}
    assert known - refused - {"get-gpa-pmap"} == {*ROWS}


def test_one_capability(made: Ctl) -> None:
    assert made("--getcap", "--capname=unrestricted_guest") == Result(
        0, 'Capability "unrestricted_guest" is set on vcpu 0\n', ""
    )
    assert made("--getcap", "--capname=ipi_exit") == Result(
        0, 'Capability "ipi_exit" is not available\n', ""
    )


@pytest.mark.parametrize("state", STATES)
def test_each_capability_is_set_and_got(made: Ctl, state: str) -> None:
    """Those that are there can be set; the others say so, with ENOENT."""
    fixed = ("unrestricted_guest", "enable_invpcid", "rdpid", "rdtscp")
    with standing("t", state):
        there = dict(
            re.findall(r'^Capability "(\w+)" is (.*)$', made("--getcap").out, re.M)
        )
        assert [*there] == [cap.title for cap in Cap]
        for name, said in there.items():
            if said == "not available":
                done = made(f"--capname={name}", "--setcap=1")
                assert (done.status, done.out) == (
                    255,
                    f'Capability "{name}" is not available\nerrno = 2\n',
                )
            elif name in fixed:
                on = said == "set on vcpu 0"
                assert made(f"--capname={name}", f"--setcap={on:d}").status == 0
                other = made(f"--capname={name}", f"--setcap={not on:d}")
                assert (other.status, other.out) == (255, "errno = 95\n")
            elif name != "mtrap_exit" or state != "running":
                for value, word in (("1", "set"), ("0", "not set")):
                    done = made(f"--capname={name}", f"--setcap={value}", "--getcap")
                    assert done == Result(
                        0, f'Capability "{name}" is {word} on vcpu 0\n', ""
                    )


def test_where_a_page_is(made: Ctl) -> None:
    """One entry: the place in the segment, and the mapping's rights."""
    assert made("--get-gpa-pmap=0x3456") == Result(0, "gpa 0x3456: 0x3007\n", "")
    assert made("--get-gpa-pmap=0xffff0000").out == "gpa 0xffff0000: 0x1005\n"
    assert made("--get-gpa-pmap=0").out == "gpa 0: 0x7\n"
    assert made("--get-gpa-pmap=0x80000000").out == "gpa 0x80000000:\n"


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (0x80000000 | 33, "extint vector 33"),
        (0x80000000 | 2 << 8 | 2, "nmi vector 2"),
        (0x80000000 | 3 << 8 | 6, "exception vector 6"),
        (0x80000000 | 0x800 | 3 << 8 | 14 | 6 << 32, "exception vector 14 errcode 0x6"),
        (0x80000000 | 0x800 | 3 << 8 | 13, "exception vector 13 errcode 0"),
        (0x80000000 | 4 << 8 | 128, "swint vector 128"),
    ],
)
def test_events_in_words(made: Ctl, info: int, text: str) -> None:
    with VM.open("t") as vm:
        vm.vcpu(0).set_intinfo(info)
    assert made("--get-intinfo").out in {
        f"pending:\t{text}\ncurrent:\tn/a\n",
        f"pending:\tn/a\ncurrent:\t{text}\n",
    }


# ---- what is not done ----


@pytest.mark.parametrize(
    "option",
    [*sorted(actions.HARDWARE_COMMON), *actions.HARDWARE_SETTERS],
)
def test_hardware_state_is_refused_in_words(made: Ctl, option: str) -> None:
    vendor = cli.host_vendor()
    if option not in {known.name for known in actions.options(vendor)}:
        pytest.skip(f"no option on {vendor}")
    value = "=1" if option in actions.HARDWARE_SETTERS else ""
    done = made("--get-rip", f"--{option}{value}")
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        f"bhyvectl: --{option}: KVM does not give out {actions.missing(option)}, "
        "and the software processor has none\n"
    )


def test_options_are_those_of_the_hosts_vendor(tool: Tool) -> None:
    sets = {v: {o.name for o in actions.options(v)} for v in actions.VENDORS}
    intel, amd = sets["GenuineIntel"], sets["AuthenticAMD"]
    assert {n for n in intel - amd if "vmcs" in n} == {
        *actions.HARDWARE_INTEL,
        *actions.HARDWARE_SETTERS,
    }
    assert amd - intel == {*actions.HARDWARE_AMD}
    assert amd == sets["HygonGenuine"]
    mine = cli.host_vendor()
    usage = tool("bhyvectl").err
    assert usage == f"bhyvectl: --vm is missing\n{actions.usage('bhyvectl', mine)}"
    other = "get-vmcs-link" if mine != "GenuineIntel" else "get-vmcb-asid"
    done = tool("bhyvectl", "--vm=t", f"--{other}")
    assert done.status == 1
    assert done.err.startswith(f"bhyvectl: option --{other} not recognized\nUsage: ")


def test_an_unknown_vendor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "host_vendor", lambda: "CentaurHauls")
    assert cli.main() == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", 'Unknown cpu vendor "CentaurHauls"\n')


# ---- the command line ----


@pytest.mark.parametrize("vendor", [*actions.VENDORS])
def test_the_usage_has_a_line_for_each_option(vendor: str) -> None:
    lines = actions.usage("bhyvectl", vendor).splitlines()
    assert lines[0] == "Usage: bhyvectl --vm=<vmname>"
    names = []
    for line in lines[1:]:
        found = re.fullmatch(r" {7}\[--([a-z0-9-]+)(=<[^<>]+>)?\]", line)
        assert found, line
        names.append((found[1], found[2] is not None))
    assert names == [
        (option.name, bool(option.argument))
        for option in actions.options(vendor)
        if option.name != "vm"
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("vendor", [*actions.VENDORS])
def test_every_prefix_that_is_one_options_means_that_option(vendor: str) -> None:
    options = actions.options(vendor)
    specs = [option.spec for option in options]
    names = [option.name for option in options]
    for option in options:
        for end in range(1, len(option.name) + 1):
            part = option.name[:end]
            fits = [name for name in names if name.startswith(part)]
            word = f"--{part}=1" if option.argument else f"--{part}"
            if part in names or len(fits) == 1:
                pairs, _ = scan(["x", word], "", specs)
                assert pairs[0][0] == f"--{part if part in names else fits[0]}"
            else:
                with pytest.raises(UsageError, match="not a unique prefix"):
                    scan(["x", word], "", specs)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--get-rip=1"], "option --get-rip must not have an argument"),
        (["--set-rip"], "option --set-rip requires argument"),
        (["--get-d"], "option --get-d not a unique prefix"),
        (["--set-rip="], "--set-rip: '' is no number"),
        (["--set-rip=1_0"], "--set-rip: '1_0' is no number"),
        (["--set-rip=0x"], "--set-rip: '0x' is no number"),
        (["--set-rip=18446744073709551616"], "does not fit 64 bits"),
        (["--cpu=0x0"], "--cpu: '0x0' is no decimal number"),
        (["--set-mem=-1"], "--set-mem: '-1' is no decimal number"),
        (["--assert-lapic-lvt=x"], "--assert-lapic-lvt: 'x' is no decimal number"),
        (["--setcap=1"], "--setcap: --capname is missing"),
        (["--setcap=2", "--capname=hlt_exit"], "--setcap: '2' is above 0x1"),
        (["--set-x2apic-state=2"], "--set-x2apic-state: '2' is above 0x1"),
        (["--set-cs=0x10000"], "--set-cs: '0x10000' is above 0xffff"),
        (["--desc-limit=0x100000000"], "--desc-limit: '0x100000000' is above"),
        (["--set-rtc-nvram=256"], "--set-rtc-nvram: '256' is above 0xff"),
        (["--rtc-nvram-offset=-1"], "--rtc-nvram-offset: '-1' is above"),
        (["--set-rtc-time=-1"], "--set-rtc-time: '-1' is above"),
        (["--pmtmr-port=10000"], "--pmtmr-port: '10000' is no hexadecimal number"),
        (["--pmtmr-port=-1"], "--pmtmr-port: '-1' is no hexadecimal number"),
        (["--unassign-pptdev=1/2"], "--unassign-pptdev: '1/2' is no bus/slot/func"),
    ],
)
def test_what_makes_no_sense_ends_in_the_usage(
    tool: Tool, args: list[str], words: str
) -> None:
    done = tool("bhyvectl", "--vm=t", *args)
    assert (done.status, done.out) == (1, "")
    first, rest = done.err.split("\n", 1)
    assert first.startswith("bhyvectl: ")
    assert words in first
    assert rest == actions.usage("bhyvectl", cli.host_vendor())


@pytest.mark.parametrize(
    "pair",
    [
        ("--create", "--destroy"),
        ("--force-reset", "--checkpoint=/x"),
        ("--checkpoint=/x", "--suspend=/x"),
        ("--destroy", "--force-poweroff"),
    ],
)
def test_two_ends_at_once(tool: Tool, pair: tuple[str, str]) -> None:
    done = tool("bhyvectl", "--vm=t", *pair)
    assert done == Result(1, "", "bhyvectl: mutually exclusive actions specified\n")


def test_a_failed_step_leaves_out_the_rest(made: Ctl) -> None:
    """The steps before it are done, in the fixed order; nothing after it is."""
    done = made(
        *("--destroy", "--get-rip", "--set-rip=0x1234", "--rtc-nvram-offset=999"),
        *("--get-rtc-nvram", "--get-active-cpus"),
    )
    assert (done.status, done.out) == (
        255,
        "rip[0]\t\t0x0000000000001234\nerrno = 22\n",
    )
    assert made("--get-rip").out == "rip[0]\t\t0x0000000000001234\n"
    failed = made("--assert-lapic-lvt=99", "--set-rax=5", "--get-rax")
    assert (failed.status, failed.out) == (255, "errno = 22\n")
    assert made("--get-rax").out == "rax[0]\t\t0x0000000000000005\n"
    assert made("--get-rax", "--destroy").out == "rax[0]\t\t0x0000000000000005\n"
    assert made("--get-rax").status == 1


def test_a_vm_in_one_call(tool: Tool) -> None:
    done = tool(
        *("bhyvectl", "--get-rip", "--set-rip=0x20", "--set-mem=3", "--get-memseg"),
        *("--create", "--vm", "new"),
    )
    assert done == Result(
        0,
        "ID  Length      Name\n0   4096KB      sysmem\nrip[0]\t\t0x0000000000000020\n",
        "",
    )
    tool("bhyvectl", "--vm=new", "--destroy")


@pytest.mark.parametrize(
    ("mb", "size"),
    [(1, "2048KB"), (2, "2048KB"), (3, "4096KB"), (127, "128MB"), (4097, "4098MB")],
)
def test_memory_is_rounded_up(tool: Tool, mb: int, size: str) -> None:
    """Nothing of it is touched: the host need not have so much."""
    made = tool("bhyvectl", "--vm=m", "--create", f"--set-mem={mb}", "--get-memseg")
    assert made.out == f"ID  Length      Name\n{0:<4}{size:<12}sysmem\n"
    tool("bhyvectl", "--vm=m", "--destroy")


@contextmanager
def in_state(state: str) -> Iterator[None]:
    """Have the VM "t" in a state, and stopped as it was made afterwards."""
    with standing("t", state):
        yield
    with VM.open("t") as vm:
        vm.reinit()


def test_actions_on_events(made: Ctl, backend: str) -> None:
    """An NMI and a line of the LVT, on a VM that stands still and on one that runs."""
    for state in ("stopped", "running"):
        with in_state(state):
            assert made("--inject-nmi") == Result(0, "", "")
            for pin in range(8):
                done = made(f"--assert-lapic-lvt={pin}")
                if pin == 7:
                    assert (done.status, done.out) == (255, "errno = 22\n")
                else:
                    assert done == Result(0, "", "")


@pytest.mark.parametrize("option", ["--force-reset", "--force-poweroff"])
@pytest.mark.parametrize("state", STATES)
def test_the_ends_of_a_vm(made: Ctl, state: str, option: str) -> None:
    with in_state(state):
        assert made(option) == Result(0, "", "")
        if state != "stopped":
            return
        again = made("--force-poweroff")
        assert (again.status, again.out) == (255, "errno = 114\n")
        assert made("--get-suspended-cpus").out == "suspended cpus:\t (none)\n"


@pytest.mark.parametrize("state", STATES)
def test_illumos_options(made: Ctl, state: str) -> None:
    with in_state(state):
        assert made("--wrlock-cycle") == Result(0, "", "")
        moved = made("--pmtmr-port=0x418")
        assert moved == Result(0, "", "")
        assert made("--pmtmr-port=428") == Result(0, "", "")


# ---- --run ----


def _head(rip: int, length: int) -> str:
    return f"vm exit[0]\n\trip\t\t0x{rip:016x}\n\tinst_length\t{length}\n"


def _inout(direction: str, size: int, flags: str, port: int, eax: int) -> str:
    return (
        f"\treason\t\tINOUT\n\tdirection\t{direction}\n\tbytes\t\t{size}\n"
        f"\tflags\t\t{flags}\n\tport\t\t0x{port:04x}\n\teax\t\t0x{eax:08x}\n"
    )


def _other(code: ExitCode) -> str:
    return f"*** unknown vm run exitcode {int(code)}\n"


#: Real-mode code, options before --run, the dump.
RUNS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "out 8": (
        "e680",
        ("--set-rax=0x42",),
        _head(0x1000, 2) + _inout("OUT", 1, "", 0x80, 0x42),
    ),
    "out 16": (
        "e780",
        ("--set-rax=0x12345678",),
        _head(0x1000, 2) + _inout("OUT", 2, "", 0x80, 0x5678),
    ),
    "out 32": (
        "66e780",
        ("--set-rax=0x12345678",),
        _head(0x1000, 3) + _inout("OUT", 4, "", 0x80, 0x12345678),
    ),
    "in 8": ("e4ee", (), _head(0x1000, 2) + _inout("IN", 1, "", 0xEE, 0)),
    "rep outs": (
        "ba0012b90300befe1ff36e",
        (),
        _head(0x1009, 2) + _inout("OUT", 1, "STRING REP ", 0x1200, 0),
    ),
    "memory": (
        "a00000",
        ("--desc-base=0xd0000000", "--desc-limit=0xffff", "--set-desc-ds"),
        _head(0x1000, 3) + _other(ExitCode.MMIO),
    ),
    "halted": ("f4", (), _head(0x1001, 0) + _other(ExitCode.SUSPENDED)),
    "step": (
        "90ebfe",
        ("--capname=mtrap_exit", "--setcap=1"),
        _head(0x1001, 0) + _other(ExitCode.MTRAP),
    ),
    "breakpoint": (
        "cc",
        ("--set-exception-bitmap=8",),
        _head(0x1000, 0) + _other(ExitCode.BPT),
    ),
    "unknown msr": (
        "66b9efbe00000f32",
        (),
        _head(0x1006, 2) + _other(ExitCode.RDMSR),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_run_shows_the_exit(
    tool: Tool, vm_factory: Callable[..., VM], backend: str, name: str
) -> None:
    if name == "breakpoint" and interprets(backend):
        pytest.skip("this KVM does not show #BP of real mode")
    code, options, dump = RUNS[name]
    with vm_factory("r", mb=8) as vm:
        program = bytes.fromhex(code)
        vm.map_gpa(0x1000, len(program))[:] = program
        cpu = vm.vcpu(0)
        cpu.reset()
        for reg in (Reg.CS, Reg.DS, Reg.ES):
            cpu.set_desc(reg, 0, 0xFFFF, 0x93)
            cpu.set_register(reg, 0)
        cpu.set_register(Reg.RIP, 0x1000)
        cpu.set_run_state(2)
        cpu.activate()
    if options:
        assert tool("bhyvectl", "--vm=r", *options).status == 0
    assert tool("bhyvectl", "--vm=r", "--run") == Result(0, dump, "")


def test_a_run_that_fails(made: Ctl) -> None:
    done = made("--run")  # vCPU 0 is not active
    assert (done.status, done.out) == (255, "vm_run error -1\nerrno = 22\n")
    with standing("t", "running"):
        done = made("--run")
        assert (done.status, done.out) == (255, "vm_run error -1\nerrno = 16\n")


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        (
            ExitCode.VMX,
            "\treason\t\tVMX\n\tstatus\t\t9\n\texit_reason\t0x80000021 (2147483681)\n"
            "\tqualification\t0x0000000000000007\n\tinst_type\t\t1\n\tinst_error\t\t2",
        ),
        (
            ExitCode.SVM,
            "\treason\t\tSVM\n\texit_reason\t\t0x80000021\n\texitinfo1\t\t0x7\n"
            "\texitinfo2\t\t0x9",
        ),
    ],
)
def test_a_processors_refusal_is_shown(code: ExitCode, lines: str) -> None:
    """No guest makes a processor refuse; the exit is written down here."""
    detail = Vmx(9, 0x80000021, 7, 1, 2)
    shown = runonce.vm_exit(1, VMExit(code, 0x1000, 2, detail))
    head = ["vm exit[1]", "\trip\t\t0x0000000000001000", "\tinst_length\t2"]
    assert shown == [*head, *lines.split("\n")]


def test_exit_codes_have_bhyves_numbers() -> None:
    names = (
        *("INOUT", "VMX", "BOGUS", "RDMSR", "WRMSR", "HLT", "MTRAP", "PAUSE"),
        *("PAGING", "INST_EMUL", "SPINUP_AP", "DEPRECATED1", "RENDEZVOUS"),
        *("IOAPIC_EOI", "SUSPENDED", "INOUT_STR", "TASK_SWITCH", "MONITOR"),
        *("MWAIT", "SVM", "REQIDLE", "DEBUG", "VMINSN", "BPT", "IPI", "DB"),
    )
    assert [ExitCode[name] for name in names] == [*range(len(names))]


# ---- the list ----


def test_a_list_on_a_terminal_is_a_table(vm_factory: Callable[..., VM]) -> None:
    vm_factory("t", mb=16).close()
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(tool_argv("bhyvectl", "--list"), stdout=slave, env=env)
    os.close(slave)
    text = b""
    try:
        while data := os.read(master, 4096):
            text += data
    except OSError:
        pass  # the terminal's other end is closed
    os.close(master)
    assert process.wait() == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.decode())
    assert plain != text.decode()
    head, row, *rest = plain.replace("\r", "").split("\n")
    assert head.split() == ["NAME", "STATE", "PID", "VCPUS", "MEMORY", "UPTIME"]
    assert row.split() == ["t", "stopped", "-", "1", "16384KB", "-"]
    assert rest == [""]
