"""The debug server: packets as gdb sends them, packets that it does not, and gdb."""

import random
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support import guestfiles
from support.gdbclient import Client, free_port, gdb
from support.machine import Machine
from support.ownguests import own_guest

CACHE = Path(__file__).parents[2] / "build" / "guest"
INT3 = 0xCC


def symbols(name: str) -> dict[str, int]:
    """Return the symbols of one of our guests."""
    done = subprocess.run(
        ["nm", str(own_guest(name))], check=True, capture_output=True, text=True
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[2]: int(row[0], 16) for row in rows}


SYM = symbols("debuggee")


@pytest.fixture
def machine(vm_dir: Path, backend: str) -> Iterator[Machine]:
    with Machine(vm_dir, backend=backend) as made:
        yield made


@pytest.fixture
def connect() -> Iterator[Callable[[int], Client]]:
    """Make clients that hang up at the test's end."""
    made: list[Client] = []

    def one(port: int) -> Client:
        made.append(Client(port))
        return made[-1]

    yield one
    for client in made:
        client.close()


Connect = Callable[[int], Client]


def start(machine: Machine, wait: str = "w", cpus: str = "1") -> int:
    """Start the guest under a debug server; return its port."""
    port = free_port()
    machine.load("-m", "64M", "--kernel", str(own_guest("debuggee")))
    machine.start("-c", cpus, "-m", "64M", "-G", f"{wait}127.0.0.1:{port}")
    return port


def register(client: Client, number: int, size: int = 8) -> int:
    return int.from_bytes(bytes.fromhex(client.ask(f"p{number:x}"))[:size], "little")


RAX, RBX, RIP = 0, 1, 16


def test_a_session(machine: Machine, connect: Connect) -> None:
    client = connect(start(machine, cpus="2"))
    assert client.ask("qSupported:swbreak+;multiprocess+") == (
        "PacketSize=4096;swbreak+;hwbreak+;qXfer:features:read+"
    )
    assert client.ask("?") == "T05thread:1;"
    assert client.ask("qAttached") == "1"
    assert client.ask("qfThreadInfo") == "m1,2"
    assert client.ask("qsThreadInfo") == "l"
    assert bytes.fromhex(client.ask("qThreadExtraInfo,2")) == b"vCPU 1"
    assert client.ask("Hg2") == "OK"
    assert client.ask("qC") == "QC2"
    assert client.ask("Hg0") == "OK"
    assert (client.ask("T2"), client.ask("T3")) == ("OK", "E16")
    for unknown in ("vCont?", "vMustReplyEmpty", "t1", "X0,0:", "QStartNoAckMode"):
        assert client.ask(unknown) == ""
    # Neither resumes, nor detaches, nor reads: a sequence id is not taken up.
    for numbered in ("c5:?", "D0:D", "ff:g"):
        assert client.ask(numbered) == ""
    for wrong in ("c100", "s100", "Hx1", "Hg3", "Z0,1,2", "mx,1", "M0,4:00"):
        assert client.ask(wrong) == "E16", wrong
    assert [client.ask(f"H{which}") for which in ("c-1", "c2", "g-1")] == ["OK"] * 3
    assert client.ask("Hc1") == "OK"
    assert client.ask("qXfer:features:read:none.xml:0,10") == "E00"
    # Nothing has run yet.
    assert register(client, RIP) == SYM["_start"]
    assert client.word(SYM["counter"]) == 0

    loop = SYM["loop"]
    assert client.ask(f"Z0,{loop:x},1") == "OK"
    assert client.ask("c") == "T05thread:1;swbreak:;"
    assert register(client, RIP) == loop
    assert client.ask(f"z0,{loop:x},1") == "OK"
    before = client.word(SYM["counter"])
    assert client.ask("s") == "T05thread:1;"
    assert client.word(SYM["counter"]) == before + 1
    assert register(client, RIP) > loop

    # A register and memory are changed, and the guest goes on with them.
    assert client.ask(f"M{SYM['counter']:x},4:00100000") == "OK"
    assert client.ask(f"Z0,{SYM['work_end']:x},1") == "OK"
    assert client.ask("c") == "T05thread:1;swbreak:;"
    assert register(client, RBX) == 0x1000
    assert client.ask(f"P{RAX:x}=efcdab8967452301") == "OK"
    assert register(client, RAX) == 0x0123456789ABCDEF
    assert client.ask(f"z0,{SYM['work_end']:x},1") == "OK"

    client.send("c")
    time.sleep(0.2)
    assert client.interrupt() == "T05thread:1;"
    assert client.word(SYM["counter"]) > 0x1001
    assert client.ask("D") == "OK"
    client.close()
    assert "(none)" in machine.ctl("--get-debug-cpus").stdout


def test_registers_read_as_one_and_written_back(
    machine: Machine, connect: Connect
) -> None:
    client = connect(start(machine))
    assert client.ask(f"Z0,{SYM['loop']:x},1") == "OK"
    client.ask("c")
    everything = client.ask("g")
    assert "x" not in everything
    assert client.ask("G" + everything) == "OK"
    assert client.ask("g") == everything
    pi = bytes.fromhex(client.ask("p18"))  # st0
    assert int.from_bytes(pi[:8], "little") == 0xC90FDAA22168C235
    xmm3 = bytes.fromhex(client.ask("p2b"))
    assert xmm3 == b"".join(bytes([0x11 * n]) * 4 for n in range(1, 5))
    assert client.ask("P2b=" + "5a" * 16) == "OK"
    assert client.ask("p2b") == "5a" * 16
    xml = ""
    while True:
        part = client.ask(f"qXfer:features:read:target.xml:{len(xml):x},3ff")
        xml += part[1:]
        if part[0] == "l":
            break
    sizes = [int(size) for size in re.findall(r'bitsize="(\d+)"', xml)]
    assert sum(sizes) // 4 == len(everything)
    assert client.ask(f"p{len(sizes):x}") == "E16"


def test_debug_registers(machine: Machine, connect: Connect) -> None:
    client = connect(start(machine))
    work, cell = SYM["work"], SYM["cell"]
    assert client.ask(f"Z1,{work:x},1") == "OK"
    assert client.ask("c") == "T05thread:1;hwbreak:;"
    assert register(client, RIP) == work
    assert client.word(work) & 0xFF != INT3
    assert client.ask(f"z1,{work:x},1") == "OK"
    assert client.ask(f"Z3,{cell:x},4") == ""
    if watches(machine):
        watch(client)
    else:
        assert client.ask(f"Z2,{cell:x},4") == "E5f"
    for number in range(4):
        assert client.ask(f"Z1,{number + 1:x},1") == "OK"
    assert client.ask("Z1,9,1") == "E1c"  # there are four


def watches(machine: Machine) -> bool:
    """Tell whether the processor has watchpoints: a KVM that interprets has none."""
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    assert flags
    hardware = {"vmx", "svm"} & set(flags[1].split())
    return machine.env["BHYVE_BACKEND"] == "soft" or bool(hardware)


def watch(client: Client) -> None:
    cell = SYM["cell"]
    assert client.ask(f"Z2,{cell:x},4") == "OK"
    assert client.ask("c") == f"T05thread:1;watch:{cell:x};"
    assert register(client, RIP) == SYM["work_end"]
    assert client.ask(f"z2,{cell:x},4") == "OK"
    counter = SYM["counter"]
    assert client.ask(f"Z4,{counter:x},4") == "OK"
    assert client.ask("c") == f"T05thread:1;awatch:{counter:x};"
    assert client.ask(f"z4,{counter:x},4") == "OK"
    assert client.ask(f"Z2,{counter + 1:x},4") == "E16"


def test_the_guests_own_traps_stay_its_own(machine: Machine, connect: Connect) -> None:
    client = connect(start(machine))
    after = SYM["after_trap"]
    assert client.ask(f"Z0,{after:x},1") == "OK"
    for number in range(1, 4):
        assert client.ask("c") == "T05thread:1;swbreak:;"
        assert register(client, RIP) == after
        assert client.word(SYM["traps"]) == number
        assert client.ask(f"z0,{after:x},1") == "OK"
        assert client.ask("s") == "T05thread:1;"
        assert client.ask(f"Z0,{after:x},1") == "OK"


def test_memory_that_is_no_memory(machine: Machine, connect: Connect) -> None:
    client = connect(start(machine))
    assert client.word(0xFEE00030) & 0xF0 == 0x10  # the local APIC's version
    assert client.word(0xFEC00000) == 0  # the IOAPIC's index
    assert client.ask("Mfee00080,4:20000000") == "OK"  # the task priority
    assert client.word(0xFEE00080) == 0x20
    assert client.ask("m7fffffff0,20") == "E0e"
    # Behind RAM is the hole of PCI; behind that hole nothing is.
    assert client.ask("m3fffff0,20")[32:] == "f" * 32
    assert client.ask("mfffffff0,20") == "f" * 32
    assert client.ask("m100000000,4") == "E0e"
    assert client.ask("M100000000,1:00") == "E0e"
    assert client.ask("me0000000,4") != ""  # ECAM: whatever stands there


def test_who_hangs_up_leaves_nothing_behind(machine: Machine, connect: Connect) -> None:
    port = start(machine)
    client = connect(port)
    loop = SYM["loop"]
    assert client.ask(f"Z0,{loop:x},1") == "OK"
    assert client.ask(f"Z1,{loop + 2:x},1") == "OK"
    client.close()
    client = connect(port)
    assert client.ask("?") == "T05thread:1;"
    assert client.word(loop) & 0xFF != INT3
    client.send("c")
    time.sleep(0.2)
    second = connect(port)
    assert second.socket.recv(1) == b""  # one client at a time
    client.interrupt()
    assert client.word(SYM["counter"]) > 0
    assert client.ask("k") == "OK"
    assert machine.wait(20) == 1


def test_the_end_of_the_machine_is_told(machine: Machine, connect: Connect) -> None:
    client = connect(start(machine))
    client.send("c")
    assert machine.ctl("--force-poweroff").returncode == 0
    assert client.receive() == "W01"
    assert machine.wait(20) == 1


def test_the_end_comes_while_the_vcpus_stand(
    machine: Machine, connect: Connect
) -> None:
    client = connect(start(machine, cpus="2"))
    assert client.ask("?").startswith("T05")
    assert "0, 1" in machine.ctl("--get-debug-cpus").stdout
    assert machine.ctl("--force-reset").returncode == 0
    assert machine.wait(20) == 0


def noise(rng: random.Random) -> bytes:
    """Return bytes that are more or less a packet."""
    letters = b"?cgGpPmMHTZzqvsDXQtk!+-$#}*\x03,;:=0123456789abcdef\xff\0"
    text = bytes(rng.choice(letters) for _ in range(rng.randrange(40)))
    kind = rng.randrange(4)
    if kind == 0:
        return text
    text = text.translate(None, b"$#\x03")
    if text[:1] in (b"k", b"D", b"c", b"s"):
        text = b"q" + text
    if kind == 1:
        text = (
            rng.choice(
                (b"m", b"M", b"Z0,", b"Z2,", b"G", b"P", b"p", b"qXfer:features:read:")
            )
            + text
        )
    check = sum(text) & 0xFF if kind != 3 else rng.randrange(256)
    return b"$%s#%02x" % (text, check)


def test_a_hostile_client(machine: Machine, connect: Connect) -> None:
    port = start(machine)
    rng = random.Random(4)
    for _ in range(15):
        client = connect(port)
        with suppress(OSError):
            client.socket.sendall(b"".join(noise(rng) for _ in range(40)))
            client.socket.settimeout(0.05)
            while client.socket.recv(65536):
                pass
        client.close()
    flood = connect(port)
    with suppress(OSError):
        flood.socket.sendall(b"$" + b"m" * 100000)
        assert flood.socket.recv(10) == b""
    flood.close()
    # A client that asks again and again and reads nothing.
    deaf = connect(port)
    deaf.ask("g")
    deaf.socket.settimeout(0.5)
    with suppress(OSError):
        for _ in range(2000):
            deaf.socket.sendall(b"-" * 1000)
    deaf.close()
    client = connect(port)
    assert client.ask("?") == "T05thread:1;"
    assert client.ask("D") == "OK"
    assert machine.process is not None
    assert machine.process.poll() is None


def test_bad_ports_and_addresses(vm_dir: Path) -> None:
    for text, named in (
        ("x", "'x'"),
        ("99999", "99999"),
        ("no.such.host.invalid:1234", "no.such.host.invalid:1234"),
    ):
        with Machine(vm_dir) as machine:
            machine.load("-m", "64M", "--kernel", str(own_guest("debuggee")))
            done = machine.run("bhyve", "-m", "64M", "-G", text, machine.name)
            assert done.returncode == 4
            assert named in done.stderr
            assert len(done.stderr.splitlines()) == 1, done.stderr
    with socket.socket() as busy, Machine(vm_dir) as machine:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        machine.load("-m", "64M", "--kernel", str(own_guest("debuggee")))
        done = machine.run(
            "bhyve", "-m", "64M", "-G", f"127.0.0.1:{port}", machine.name
        )
        assert done.returncode == 4
        assert f"gdb: 127.0.0.1:{port}: Address already in use" in done.stderr


def test_gdb_itself(machine: Machine) -> None:
    port = start(machine, cpus="2")
    stop = "watch *(int *)" if watches(machine) else "break *"
    place = SYM["cell"] if watches(machine) else SYM["work_end"]
    said = gdb(
        "set architecture i386:x86-64",
        f"target remote 127.0.0.1:{port}",
        "break work",
        "continue",
        f"print $rip == {SYM['work']}",
        "stepi",
        "print/x $rbx",
        "print/x $xmm3.v4i32",
        "info threads",
        "delete",
        f"{stop}{place}",
        "continue",
        "x/i $rip",
        f"set variable *(int *){SYM['counter']} = 0x2000",
        f"print/x *(int *){SYM['counter']}",
        "info registers cr0 eflags",
        "detach",
        symbols=str(own_guest("debuggee")),
    )
    assert "Thread 1 hit Breakpoint 1, work ()" in said, said
    assert "$1 = 1" in said
    assert "{0x11111111, 0x22222222, 0x33333333, 0x44444444}" in said, said
    assert "Thread 2 (vCPU 1)" in said
    assert re.search("hit (Hardware watchpoint|Breakpoint) 2", said), said
    assert "<work_end>" in said
    assert "= 0x2000" in said
    assert "[Inferior 1 (Remote target) detached]" in said


@pytest.fixture(scope="session")
def linux(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    try:
        kernel = guestfiles.debian_kernel(CACHE)
        out = tmp_path_factory.mktemp("gdb") / "initrd.cpio"
        initrd = guestfiles.initrd(CACHE, out)
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    return str(kernel), str(initrd)


@pytest.mark.slow
def test_gdb_on_linux(machine: Machine, linux: tuple[str, str]) -> None:
    if not watches(machine):
        pytest.skip("this KVM interprets: Linux takes minutes to boot")
    port = free_port()
    kernel, initrd = linux
    machine.load(
        *("-m", "256M", "--kernel", kernel, "--initrd", initrd),
        *("--cmdline", "console=ttyS0 quiet nokaslr"),
    )
    machine.start("-c", "2", "-m", "256M", "-G", f"127.0.0.1:{port}")
    machine.expect("GUEST-READY", 120)
    machine.expect("guest# ")
    said = machine.shell("grep -wE '__x64_sys_sethostname|jiffies' /proc/kallsyms")
    rows = re.findall(r"^([0-9a-f]{16}) \w (\w+)$", said, re.M)
    at = {name: int(address, 16) for address, name in rows}
    machine.send("sleep 1; hostname one; hostname two; echo ho''stnames\n")
    # Both come by breakpoints: the instruction in memory, and the register.
    said = gdb(
        "set architecture i386:x86-64",
        f"target remote 127.0.0.1:{port}",
        "info threads",
        f"break *{at['__x64_sys_sethostname']}",
        "continue",
        "print/x $rip",
        "print $cs & 3",
        "stepi",
        "stepi",
        "delete",
        f"hbreak *{at['__x64_sys_sethostname']}",
        "continue",
        "print/x $rip",
        f"x/gx {at['jiffies']}",
        "x/4gx $rsp",
        "print/x $cr3 != 0",
        "detach",
    )
    assert "Thread 2 (vCPU 1)" in said
    where = hex(at["__x64_sys_sethostname"])
    assert re.search(rf"hit Breakpoint 1, 0x0*{where[2:]}", said), said
    assert f"$1 = {where}\n$2 = 0\n" in said
    assert f"$3 = {where}\n" in said, said
    assert "$4 = 0x1" in said
    assert "Cannot access memory" not in said
    machine.expect("hostnames")
    assert machine.shell("hostname").split()[-1] == "two"
    assert not re.search("BUG|Oops|int3|stall", machine.shell("dmesg"))
