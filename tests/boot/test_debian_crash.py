"""bhyve killed while Debian writes: what was synced is there, fsck repairs."""

import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support import debroot, server, serverdisk
from support.guestfiles import GuestUnavailableError
from support.machine import Machine, SilentConsoleError
from support.serverdisk import Form

CACHE = Path(__file__).parents[2] / "build" / "guest"
SYNCED = re.compile(r"SYNCED (\d+)\.")
#: Writers that never sync, so that a crash finds the disk's queues full.
LOAD = (
    "mkdir -p /srv/load; cd /srv/load; "
    "(while :; do dd if=/dev/urandom of=a bs=64k count=400 2>/dev/null; "
    "cp a b; rm a; done) & "
    "(while :; do for i in 1 2 3 4 5 6 7 8 9; do echo $i >f$i; mv f$i g$i; done; "
    "done) & "
)
#: The root by itself, without the minute that systemd takes.
SHORT = f"""#!/bin/sh
mount -o remount,rw /
{LOAD}
exec /usr/local/sbin/recorder /srv/log $1
"""


@pytest.fixture(scope="session")
def guest() -> debroot.Debian:
    try:
        return debroot.debian(CACHE)
    except GuestUnavailableError as error:
        pytest.skip(f"no Debian root: {error}")


def repaired(disk: Path) -> None:
    """Let e2fsck do what a boot would; nothing may need an administrator."""
    done = subprocess.run(
        ["/sbin/e2fsck", "-p", disk], capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    server.check_clean(disk)


def kill_while_writing(machine: Machine, moment: float) -> int:
    """Kill bhyve some seconds after the first record; return the last printed."""
    machine.expect(SYNCED.pattern, 600)
    end = time.monotonic() + moment
    try:
        while time.monotonic() < end:
            machine.expect(SYNCED.pattern, end - time.monotonic())
    except SilentConsoleError:
        assert time.monotonic() >= end  # the moment lies between two records
    machine.signal(signal.SIGKILL)
    assert machine.wait() == -signal.SIGKILL
    return int(SYNCED.findall(machine.output)[-1])


def all_there(form: Form, image: Path, last: int) -> tuple[int, int]:
    """Check every record up to the last printed; return how many, and their length."""
    serverdisk.check(form, image, leaks=True)
    disk = serverdisk.as_raw(form, image)
    repaired(disk)
    data = server.host_copy(disk, "/srv/log", disk.with_suffix(".log"))
    count, length = debroot.records(data)
    assert count > last, f"record {last} was synced; {count} are whole"
    return count, length


def write_script(disk: Path, script: Path) -> None:
    """Put the short init into a disk that no guest uses."""
    script.write_text(SHORT)
    for command in (
        "write {} /usr/local/sbin/short",
        "sif /usr/local/sbin/short mode 0100755",
    ):
        argv = ["/sbin/debugfs", "-w", "-R", command.format(script), str(disk)]
        subprocess.run(argv, check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("form", [*serverdisk.RAW, serverdisk.QCOW2[0]], ids=str)
def test_synced_records_survive_a_kill(
    guest: debroot.Debian, tmp_path: Path, form: Form
) -> None:
    raw = debroot.copy(debroot.raw_disk(guest), tmp_path / "raw.img")
    write_script(raw, tmp_path / "short")
    disk = serverdisk.from_raw(form, raw, tmp_path / "disk.img")
    with Machine(tmp_path / "vmm") as machine:
        server.boot(
            *(machine, guest, form.kind, disk),
            cmdline="init=/usr/local/sbin/short -- 0",
            options=form.options,
            log_in=False,
        )
        last = kill_while_writing(machine, random.uniform(0.2, 3))
    all_there(form, disk, last)


@pytest.mark.slow
@pytest.mark.hours
@pytest.mark.parametrize("form", serverdisk.FORMS, ids=str)
def test_twenty_kills(guest: debroot.Debian, tmp_path: Path, form: Form) -> None:
    """The same disk crashes under the whole system, again and again."""
    raw = debroot.raw_disk(guest)
    disk = serverdisk.from_raw(form, raw, tmp_path / "disk.img")
    count = length = 0
    for turn in range(20):
        with Machine(tmp_path / f"vmm{turn}") as machine:
            server.boot(machine, guest, form.kind, disk, options=form.options)
            # The log goes on behind its last whole record.
            machine.shell(f"touch /srv/log; truncate -s {length} /srv/log; sync")
            machine.send(f"{LOAD} cd; recorder /srv/log {count}\n")
            moment = random.uniform(0.1, 12)
            last = kill_while_writing(machine, moment)
        count, length = all_there(form, disk, last)
        print(f"{form} turn {turn}: {moment:.2f} s, {last} printed, {count} there")
