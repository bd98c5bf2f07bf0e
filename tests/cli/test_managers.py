"""Command lines of the kinds that managers of VMs write, composed for this test.

Each is parsed in full.  Then it is started on a host that has none of its
disks, taps and terminals: one line names the first of them.  A device that is
not built is named instead; without such devices the start gets as far.
"""

import re
import shlex
from pathlib import Path

import pytest

from bhyve_py.models import ALIASES, place
from libvmmapi import VM
from libvmmapi.devices import device_names
from support.bhyvecmd import start

DATA = Path(__file__).parent / "data" / "managers.txt"
LINES = {
    name: shlex.split(words)
    for name, _, words in (
        line.partition(": ") for line in DATA.read_text("utf-8").splitlines()
    )
}

#: The host's part that is missing; the group is as the command line has it.
MISSING = (
    r"bhyve: Could not open backing file: (\S+): No such file or directory",
    r'Error opening bootrom "(\S+)": No such file or directory',
    r"uart: (\S+): No such file or directory",
    r"tap (\S+): no such interface .*",
    r"virtio-console: (\S+): No such file or directory",
    r"bhyve: -r (\S+): there are no checkpoints in this version",
    r"bhyve: -l (tpm) \(tpm.type\): there is no TPM in this version",
)
UNBUILT = r'pci slot \S+: device "(\S+)" is not built in this version'


def _slots(argv: list[str]) -> list[tuple[str, str]]:
    """Return place and model of each -s, as the tree has them."""
    found = []
    for number, word in enumerate(argv):
        text = argv[number + 1] if word == "-s" else word[2:]
        if word.startswith("-s") and (word == "-s" or word[2].isdigit()):
            where, model, *_ = text.split(",")
            numbers = place(where)
            assert numbers is not None
            found.append((".".join(map(str, numbers)), model))
    return found


def _built(argv: list[str]) -> list[str]:
    """Leave out the devices that are not built, and what needs them."""
    models = device_names()
    out: list[str] = []
    for word in argv:
        option = out[-1] if out else ""
        if option == "-K" or (option == "-s" and word.split(",")[1] not in models):
            out.pop()
        else:
            out.append(word)
    return out


@pytest.mark.parametrize("name", LINES)
def test_it_is_parsed(tmp_path: Path, name: str) -> None:
    argv = LINES[name]
    done = start(tmp_path, "-o", "config.dump=1", *argv)
    assert (done.status, done.err) == (1, "")
    tree = dict(line.split("=", 1) for line in done.out.splitlines())
    assert tree["name"] == argv[-1]
    for where, model in _slots(argv):
        # A host bridge of another kind has other options, not another name.
        alias = {**ALIASES, "amd_hostbridge": "hostbridge"}.get(model, model)
        assert tree[f"pci.{where}.device"] == alias


@pytest.mark.parametrize("name", LINES)
def test_only_the_host_stops_it(vm_dir: Path, tmp_path: Path, name: str) -> None:
    argv = LINES[name]
    VM.create(argv[-1]).close()
    done = start(tmp_path, *_built(argv))
    assert (done.status, done.out) == (4, "")
    found = [re.fullmatch(f"{text}\n", done.err) for text in MISSING]
    (match,) = filter(None, found)
    assert match[1] in " ".join(argv)
    if _built(argv) != argv:
        whole = start(tmp_path, *argv)
        match = re.fullmatch(f"{UNBUILT}\n", whole.err)
        assert whole.status == 4
        assert match is not None, whole.err
        assert match[1] in " ".join(argv)
