"""bhyvectl against a VM that stands still; output byte for byte."""

import json
import re
from collections.abc import Callable

import pytest

from bhyvectl_py.cli import host_vendor
from libvmmapi import VM, Reg
from support.runner import COUNT, running
from support.tools import Result, Tool

Factory = Callable[..., VM]


@pytest.fixture
def ctl(tool: Tool, vm_factory: Factory) -> Callable[..., Result]:
    """Run bhyvectl on a stopped VM "t" with 16 MB."""
    vm_factory("t", mb=16).close()
    return lambda *args: tool("bhyvectl", "--vm=t", *args)


def test_create_and_destroy(tool: Tool) -> None:
    assert tool("bhyvectl", "--create", "--vm=x") == Result(0, "", "")
    again = tool("bhyvectl", "--create", "--vm=x")
    assert (again.status, again.out) == (255, "errno = 17\n")
    assert again.err.startswith("bhyvectl: vm_create: x: ")
    assert tool("bhyvectl", "--destroy", "--vm", "x").status == 0
    gone = tool("bhyvectl", "--vm=x", "--destroy")
    assert gone.status == 1
    assert gone.err.startswith("vm_open: x could not be opened: No such file")


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--usage"],
        ["--get-all"],
        ["--vm=t", "--nothing"],
        ["--vm=t", "--cpu=x"],
        ["--vm=t", "--set-rip=zz"],
        ["--vm=t", "--get-cr"],
        ["--vm=t", "operand"],
    ],
)
def test_usage_goes_to_stderr_with_status_1(tool: Tool, args: list[str]) -> None:
    result = tool("bhyvectl", *args)
    assert (result.status, result.out) == (1, "")
    assert "\n       [--suspend=<" in result.err


def test_exclusive_actions_exclude_each_other(ctl: Tool) -> None:
    result = ctl("--force-reset", "--force-poweroff")
    assert result.status == 1
    assert "mutually exclusive actions specified" in result.err


def test_register_lines(ctl: Tool) -> None:
    assert ctl("--set-rip=0x1234", "--set-rax", "010").status == 0
    assert ctl("--get-rip").out == "rip[0]\t\t0x0000000000001234\n"
    assert ctl("--get-rax", "--cpu=0").out == "rax[0]\t\t0x0000000000000008\n"
    assert re.fullmatch(r"rflags\[0\]\t0x[0-9a-f]{16}\n", ctl("--get-rflags").out)


def test_options_may_be_abbreviated(ctl: Tool) -> None:
    assert ctl("--get-ri").out.startswith("rip[0]")
    assert ctl("--get-act").out == "active cpus:\t (none)\n"


def test_descriptor_and_selector_lines(ctl: Tool) -> None:
    done = ctl(
        *("--desc-base=0x1000", "--desc-limit=0xffff", "--desc-access=0x93"),
        *("--set-desc-ds", "--set-ds=0x10"),
    )
    assert done == Result(0, "", "")
    assert ctl("--get-desc-ds", "--get-ds").out == (
        "ds desc[0]\t0x0000000000001000/0x0000ffff/0x00000093\nds[0]\t\t0x0010\n"
    )
    assert re.fullmatch(
        r"gdtr\[0\]\t\t0x[0-9a-f]{16}/0x[0-9a-f]{8}\n", ctl("--get-desc-gdtr").out
    )


def test_memory_tables(ctl: Tool) -> None:
    assert ctl("--get-memseg").out == "ID  Length      Name\n0   16384KB     sysmem\n"
    assert ctl("--get-memmap").out == (
        "Address     Length      Segment     Offset      Prot  Flags\n"
        "0           16384KB     sysmem      0           RWX   \n"
    )


def test_set_mem_rounds_up_to_two_megabytes(tool: Tool) -> None:
    assert tool("bhyvectl", "--vm=m", "--create", "--set-mem=127").status == 0
    assert "128MB" in tool("bhyvectl", "--vm=m", "--get-memseg").out
    tool("bhyvectl", "--vm=m", "--destroy")


def test_cpu_sets_and_topology(ctl: Tool) -> None:
    assert ctl("--get-active-cpus", "--get-suspended-cpus", "--get-debug-cpus").out == (
        "active cpus:\t (none)\ndebug cpus:\t (none)\nsuspended cpus:\t (none)\n"
    )
    assert re.fullmatch(
        r"cpu_topology:\tsockets=\d+, cores=\d+, threads=\d+, maxcpus=\d+\n",
        ctl("--get-cpu-topology").out,
    )


def test_statistics(ctl: Tool) -> None:
    lines = ctl("--get-stats").out.splitlines()
    assert lines[0] == "vcpu0 stats:"
    assert all(re.fullmatch(r".{40,}\t\d+", line) for line in lines[1:])
    (resident,) = [line for line in lines if "Resident memory" in line]
    assert resident.split()[2].isdigit()


def test_capabilities(ctl: Tool) -> None:
    line = ctl("--getcap", "--capname=hlt_exit").out
    assert re.fullmatch(
        r'Capability "hlt_exit" is (set|not set) on vcpu 0\n|'
        r'Capability "hlt_exit" is not available\n',
        line,
    )
    nothing = ctl("--getcap", "--capname=nothing")
    assert nothing == Result(0, 'Capability "nothing" is not available\n', "")
    failed = ctl("--setcap=1", "--capname=nothing")
    assert failed.status == 255
    assert failed.out == 'Capability "nothing" is not available\nerrno = 2\n'


def test_the_clock(ctl: Tool) -> None:
    assert ctl("--set-rtc-time=1000000000").status == 0
    assert re.fullmatch(
        r"rtc time 0x3b9aca0\d: Sun Sep 09 01:46:4\d 2001\n", ctl("--get-rtc-time").out
    )
    assert ctl("--rtc-nvram-offset=0x40", "--set-rtc-nvram=0x5a").status == 0
    nvram = ctl("--rtc-nvram-offset=0x40", "--get-rtc-nvram")
    assert nvram.out == "rtc nvram[064]: 0x5a\n"


def test_events(ctl: Tool) -> None:
    assert ctl("--get-intinfo").out == "pending:\tn/a\ncurrent:\tn/a\n"


def test_get_all_prints_in_bhyvectls_order(ctl: Tool) -> None:
    result = ctl("--get-all")
    assert result.status == 0
    assert result.err == ""
    marks = (
        *("ID  Length", "Address  ", "efer[0]", "r15[0]", "rflags[0]"),
        *("ds desc[0]", "idtr[0]", "cs[0]", "ldtr[0]", "x2apic_state[0]"),
        *("rtc nvram[", "rtc time ", 'Capability "hlt_exit"', "active cpus:"),
        *("debug cpus:", "suspended cpus:", "pending:", "vcpu0 stats:"),
        "cpu_topology:",
    )
    places = [result.out.index(f"\n{mark}".lstrip("\n")) for mark in marks]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--get-exit-reason", "KVM does not give out an exit reason of a VMCS or "),
        ("--get-eptp", "KVM does not give out nested page tables to point at, "),
        ("--suspend=/x", "there are no checkpoints"),
    ],
)
def test_vendor_state_is_refused_in_words(ctl: Tool, option: str, words: str) -> None:
    result = ctl(option)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"bhyvectl: {option.partition('=')[0]}: {words}")
    assert result.err.count("\n") == 1


def test_a_device_that_no_vm_has(ctl: Tool) -> None:
    result = ctl("--unassign-pptdev=1/2/3")
    assert (result.status, result.out) == (255, "errno = 2\n")
    assert "host device 1/2/3: not assigned to this VM" in result.err
    for bad in ("1/2", "a/b/c", "1/2/3/4"):
        result = ctl(f"--unassign-pptdev={bad}")
        assert result.status == 1
        assert "is no bus/slot/func" in result.err


def test_the_time_stamp_counters_offset(ctl: Tool) -> None:
    shape = r"tsc_offset\[0\]\t0x[0-9a-f]{16}\n"
    assert re.fullmatch(shape, ctl("--get-tsc-offset").out)


def test_what_intel_shows_nothing_of(ctl: Tool) -> None:
    if host_vendor() != "GenuineIntel":
        pytest.skip("not an Intel processor")
    assert ctl("--get-apic-access-address", "--get-virtual-apic-address") == Result(
        0, "", ""
    )


def test_json_has_the_facts_of_the_lines(ctl: Tool) -> None:
    result = ctl("--get-all", "--json")
    assert result.status == 0
    facts = json.loads(result.out)
    assert (facts["vm"], facts["vcpu"]) == ("t", 0)
    assert facts["memseg"] == [{"id": 0, "length": 16 << 20, "name": None}]
    assert facts["rip"] == 0xFFF0
    assert facts["desc-cs"]["base"] == 0xFFFF0000
    assert facts["active-cpus"] == []
    assert set(facts["cpu-topology"]) == {"sockets", "cores", "threads", "maxcpus"}
    lines = ctl("--get-stats").out.splitlines()[1:]
    assert [line.split("\t")[0].rstrip() for line in lines] == list(facts["stats"])
    assert facts["capabilities"]["hlt_exit"] in {True, False, None}


def test_json_of_a_failure_has_the_errno(ctl: Tool) -> None:
    result = ctl("--json", "--setcap=1", "--capname=nothing")
    assert result.status == 255
    assert json.loads(result.out)["errno"] == 2


def test_get_all_of_a_vm_that_another_process_runs(
    tool: Tool, vm_factory: Factory, backend: str
) -> None:
    vm_factory("t", mb=16).close()
    with running("t", COUNT):
        result = tool("bhyvectl", "--vm=t", "--get-all")
        assert (result.status, result.err) == (0, "")
        assert "active cpus:\t 0\n" in result.out
        assert re.search(r"^rip\[0\]\t\t0x000000000000100[0-4]$", result.out, re.M)


def test_the_list_of_vms(tool: Tool, vm_factory: Factory) -> None:
    vm_factory("idle", mb=16).close()
    vm_factory("busy", mb=32).close()
    with running("busy") as process:
        lines = tool("bhyvectl", "--list").out.splitlines()
        assert lines[0].split() == [
            *("NAME", "STATE", "PID", "VCPUS", "MEMORY", "UPTIME")
        ]
        assert lines[1].split()[:5] == [
            *("busy", "running", str(process.pid), "1", "32768KB")
        ]
        assert re.fullmatch(r"0:00:\d\d", lines[1].split()[5])
        assert lines[2].split() == ["idle", "stopped", "-", "1", "16384KB", "-"]
        with VM.open("busy") as vm:
            vm.pause()
            (busy, idle) = json.loads(tool("bhyvectl", "--list", "--json").out)
            vm.resume()
        assert (busy["state"], busy["pid"]) == ("paused", process.pid)
        assert (idle["state"], idle["pid"], idle["memory"]) == (
            *("stopped", None),
            16 << 20,
        )
    (busy, _) = json.loads(tool("bhyvectl", "--list", "--json").out)
    assert busy["state"] == "dead"


def test_a_list_goes_with_json_alone(tool: Tool) -> None:
    assert tool("bhyvectl", "--list") == Result(
        0, "NAME  STATE  PID  VCPUS  MEMORY  UPTIME\n", ""
    )
    assert tool("bhyvectl", "--list", "--vm=t").status == 1


def test_a_vcpu_beyond_the_topology_is_refused(ctl: Tool) -> None:
    result = ctl("--cpu=999", "--get-rip")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("vm_vcpu_open: ")


def test_run_prints_the_exit(tool: Tool, vm_factory: Factory) -> None:
    vm = vm_factory("r", mb=16)
    vm.map_gpa(0x1000, 3)[:] = b"\xe6\x80\xf4"  # out 0x80, al; hlt
    cpu = vm.vcpu(0)
    cpu.reset()
    cpu.set_desc(Reg.CS, 0, 0xFFFF, 0x93)
    cpu.set_register(Reg.CS, 0)
    cpu.set_register(Reg.RIP, 0x1000)
    cpu.set_register(Reg.RAX, 0x42)
    cpu.activate()
    vm.close()
    result = tool("bhyvectl", "--vm=r", "--run")
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0] == "vm exit[0]"
    assert lines[1] == "\trip\t\t0x0000000000001000"
    assert "\treason\t\tINOUT" in lines
    assert "\tdirection\tOUT" in lines
    assert "\tport\t\t0x0080" in lines
    tool("bhyvectl", "--vm=r", "--destroy")
