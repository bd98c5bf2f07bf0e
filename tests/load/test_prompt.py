"""The countdown and the OK prompt, typed at on a pseudo terminal."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.tools import Tool, tool_argv


class Typist:
    """bhyveload on a terminal of ours."""

    def __init__(self, cwd: Path, *args: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            tool_argv("bhyveload", "-m", "64M", *args, "typed"),
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def expect(self, pattern: str, seconds: float = 20) -> str:
        """Read until `pattern` is seen; return the text before it."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < end, (pattern, self.text)
            if select.select([self.master], [], [], 0.2)[0]:
                self.text += os.read(self.master, 4096).decode()
        before = self.text[: found.start()]
        self.text = self.text[found.end() :]
        return before.replace("\r", "")

    def type(self, text: str) -> str:
        """Type a command; return what it prints."""
        os.write(self.master, text.encode() + b"\r")
        return self.expect(r"OK $").split("\n", 1)[-1]

    def end(self, text: str) -> int:
        """Type the last command; return the exit status."""
        os.write(self.master, text.encode() + b"\r")
        status = self.process.wait(20)
        self.close()
        return status

    def close(self) -> None:
        """End bhyveload if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


@pytest.fixture
def typist(tmp_path: Path, tree: Path) -> Iterator[Callable[..., Typist]]:
    made: list[Typist] = []

    def start(*args: str) -> Typist:
        made.append(Typist(tmp_path, "-h", str(tree), *args))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def at_prompt(typist: Callable[..., Typist], tree: Path) -> Typist:
    """Stand at the prompt, the countdown stopped."""
    conf = tree / "boot" / "loader.conf"
    conf.write_text(conf.read_text().replace('delay="0"', 'delay="30"'))
    made = typist()
    made.expect(r"in 30 seconds")
    os.write(made.master, b" ")
    made.expect(r"OK $")
    return made


def test_the_everyday_commands(at_prompt: Typist, tree: Path) -> None:
    say = at_prompt.type
    assert "first.ko" in say("ls /boot/kernel")
    assert re.search(r"- +8000 disk.img", say("ls -l host0:/boot"))
    assert "* host0: directory (host)" in say("lsdev")
    assert "hint.uart.0.at" in say("more /boot/device.hints")
    say("set a=b")
    assert say("show a") == "b\n"
    assert say("echo $a ${a}c") == "b bc\n"
    say("unset a")
    assert "not found" in say("show a")
    assert "unknown command" in say("nonsense")
    os.write(at_prompt.master, b"help\r")
    assert "boot [kernel]" in at_prompt.expect("--more--")
    assert "reboot" in say("")
    say("load kernel")
    say("load first")
    assert "elf obj module" in say("lsmod")
    say("unload")
    assert say("lsmod") == ""
    (tree / "script").write_text("# commands\n@echo one\necho two\n")
    assert say("include /script") == "one\ntwo\n"
    (tree / "script").write_text("include /script\n")
    assert "include each other" in say("include /script")
    assert at_prompt.end("quit") == 1


def test_modules_by_hand(at_prompt: Typist) -> None:
    say = at_prompt.type
    assert say("show-module disk") == (
        "disk: load YES\n  file: /boot/disk.img\n  type: md_image\n"
    )
    say("disable-module disk first")
    say("toggle-module first")
    assert "disk: load NO" in say("show-module")
    assert say("show-module first") == "first: load YES\n"
    assert "usage" in say("enable-module")
    assert say("try-include /none") == ""
    assert "no help" in say("help nonsense")
    assert say("help quit") == " quit            leave without booting\n"
    say("load kernel")
    assert "0x0002, 0x40" in say("lsmod -v")


def test_read_asks_for_a_line(at_prompt: Typist) -> None:
    os.write(at_prompt.master, b"read -p name? who\r")
    at_prompt.expect(r"name\?")
    at_prompt.type("beastie")
    assert at_prompt.type("show who") == "beastie\n"
    assert at_prompt.type("read -t 0 who") == ""
    assert at_prompt.type("show who") == "beastie\n"


def test_boot_with_flags(at_prompt: Typist, tool: Tool) -> None:
    assert at_prompt.end("boot -s") == 0
    assert "rip[0]" in tool("bhyvectl", "--vm=typed", "--get-rip").out
    assert tool("bhyvectl", "--vm=typed", "--destroy").status == 0


def test_reboot_begins_again(at_prompt: Typist) -> None:
    os.write(at_prompt.master, b"set a=b\rreboot\r")
    at_prompt.expect(r"in 30 seconds")
    os.write(at_prompt.master, b" ")
    at_prompt.expect(r"OK $")
    assert "not found" in at_prompt.type("show a")


def test_enter_boots_at_once(typist: Callable[..., Typist], tree: Path) -> None:
    conf = tree / "boot" / "loader.conf"
    conf.write_text(conf.read_text().replace('delay="0"', 'delay="30"'))
    made = typist()
    made.expect(r"in 30 seconds")
    assert made.end("") == 0


def test_a_missing_kernel_leads_to_the_prompt(
    typist: Callable[..., Typist], tree: Path
) -> None:
    (tree / "boot/kernel/kernel").unlink()
    made = typist()
    assert "no kernel" in made.expect(r"OK $")
    assert made.end("\x15quit") == 1


def test_the_end_of_input_quits(tool: Tool, tree: Path) -> None:
    done = tool("bhyveload", "-h", str(tree), "-e", "x=y", "t", stdin="", timeout=30)
    assert done.status == 0, done.err
    assert tool("bhyvectl", "--vm=t", "--destroy").status == 0
    (tree / "boot/loader.conf").write_text('autoboot_delay="NO"\n')
    done = tool("bhyveload", "-h", str(tree), "t", stdin="echo one\n", timeout=30)
    assert done.status == 1
    assert "one" in done.out
    assert done.err == ""


def test_another_terminal_as_the_console(tmp_path: Path, tree: Path) -> None:
    (tree / "boot/loader.conf").write_text('autoboot_delay="NO"\n')
    master, slave = pty.openpty()
    process = subprocess.Popen(
        tool_argv("bhyveload", "-h", str(tree), "-c", os.ttyname(slave), "t"),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    text = b""
    while b"OK " not in text and select.select([master], [], [], 20)[0]:
        text += os.read(master, 4096)
    os.write(master, b"quit\r")
    assert process.communicate(timeout=20)[0] == b""
    assert process.returncode == 1
    assert b"OK " in text
    for fd in (master, slave):
        os.close(fd)
