"""The options of device models, for those that this build may lack.

A model that C has not built is still known here by its grammar: its options
go into the tree as bhyve would put them, and the start refuses it by name.
C's list of models wins, so that a model leaves this module by being built.
"""

from collections.abc import Callable

from libvmmapi.config import ConfigTree
from libvmmapi.errors import VMError


class Node:
    """A place in the tree: what a model's options are set below."""

    def __init__(self, tree: ConfigTree, path: str) -> None:
        self.tree = tree
        self.path = path

    def below(self, name: str) -> "Node":
        """Return the node `name` of this one."""
        return Node(self.tree, f"{self.path}.{name}")

    def set(self, name: str, value: str) -> None:
        """Set a value once.  ValueError: it stands there already."""
        path = f"{self.path}.{name}"
        if self.tree.get_raw(path) is not None:
            raise ValueError(f'device setting "{name}" given twice')
        try:
            self.tree.set(path, value)
        except VMError as error:
            raise ValueError("") from error  # C has said why

    def pairs(self, text: str) -> None:
        """Set name=value pairs; a name alone is true."""
        for word in filter(None, text.split(",")):
            name, equals, value = word.partition("=")
            self.set(name, value if equals else "true")


#: Reads a model's options into its node; ValueError says what is wrong.
Grammar = Callable[[Node, str], None]


def _plain(node: Node, text: str) -> None:
    node.pairs(text)


def _first(name: str) -> Grammar:
    """Return the grammar whose first word is the value of `name`."""

    def parse(node: Node, text: str) -> None:
        word, _, rest = text.partition(",")
        if word:
            node.set(name, word)
        node.pairs(rest)

    return parse


def _first_unless_pair(name: str) -> Grammar:
    """Return the same, where the first word may also be a pair or absent."""

    def parse(node: Node, text: str) -> None:
        word, _, rest = text.partition(",")
        if "=" in word:
            node.pairs(text)
            return
        if word:
            node.set(name, word)
        node.pairs(rest)

    return parse


_block = _first("path")
_backend = _first_unless_pair("backend")


def _drive(kind: str) -> Grammar:
    """Return the grammar of ahci-hd or ahci-cd: one drive at port 0."""

    def parse(node: Node, text: str) -> None:
        port = node.below("port").below("0")
        port.set("type", kind)
        _block(port, text)

    return parse


def _ahci(node: Node, text: str) -> None:
    """hd:PATH[,option...][,cd:PATH...]: a port for each."""
    ports: list[list[str]] = []
    for word in text.split(",") if text else []:
        if word.startswith(("hd:", "cd:")) or not ports:
            ports.append([word])
        else:
            ports[-1].append(word)
    for number, words in enumerate(ports):
        kind, colon, path = words[0].partition(":")
        if not colon or kind not in {"hd", "cd"}:
            raise ValueError(
                f'Missing or invalid type for port {number}: "{",".join(words)}"'
            )
        port = node.below("port").below(str(number))
        port.set("type", kind)
        _block(port, ",".join([path, *words[1:]]))


def _nvme(node: Node, text: str) -> None:
    if text.startswith("ram="):
        node.pairs(text)
    else:
        _block(node, text)


def _console(node: Node, text: str) -> None:
    """NAME=PATH for each port."""
    for number, word in enumerate(filter(None, text.split(","))):
        name, equals, path = word.partition("=")
        if not equals:
            raise ValueError(f"vtcon: port {name} requires a path")
        port = node.below("port").below(str(number))
        port.set("name", name)
        port.set("path", path)


def _share(node: Node, text: str) -> None:
    """NAME=PATH[,ro]."""
    for word in filter(None, text.split(",")):
        name, equals, path = word.partition("=")
        if not equals:
            node.set(word, "true")
        elif node.tree.get_raw(f"{node.path}.sharename") is not None:
            raise ValueError(f"more than one share name given: {name}")
        else:
            node.set("sharename", name)
            node.set("path", path)


def _usb(node: Node, text: str) -> None:
    """DEVICE[=options] for each slot, such as tablet."""
    for number, word in enumerate(filter(None, text.split(",")), 1):
        device, equals, conf = word.partition("=")
        slot = node.below("slot").below(str(number))
        slot.set("device", device)
        if equals:
            slot.pairs(conf)


#: Every model of bhyve, and illumos' own, with the grammar of its options.
GRAMMARS: dict[str, Grammar] = {
    "ahci": _ahci,
    "ahci-cd": _drive("cd"),
    "ahci-hd": _drive("hd"),
    "dummy": _plain,
    "e1000": _backend,
    "fbuf": _plain,
    "hda": _plain,
    "nvme": _nvme,
    "virtio-9p": _share,
    "virtio-blk": _block,
    "virtio-console": _console,
    "virtio-input": _first_unless_pair("path"),
    "virtio-net": _backend,
    "virtio-net-viona": _first_unless_pair("vnic"),
    "virtio-rnd": _plain,
    "virtio-scsi": _first_unless_pair("dev"),
    "xhci": _usb,
}

#: Names that stand for another model with some options set.
ALIASES = {"ahci-hd": "ahci", "ahci-cd": "ahci"}


def place(text: str) -> tuple[int, int, int] | None:
    """Return bus, slot and function of SLOT, SLOT:FUNC or BUS:SLOT:FUNC.

    >>> place("4"), place("4:1"), place("1:4:0"), place("32")
    ((0, 4, 0), (0, 4, 1), (1, 4, 0), None)
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(p.isascii() and p.isdigit() for p in parts):
        return None
    numbers = [int(p) for p in parts]
    if len(numbers) < 3:
        numbers = [0, *numbers, 0][:3]
    bus, slot, func = numbers
    return (bus, slot, func) if bus < 256 and slot < 32 and func < 8 else None


def parse_slot(tree: ConfigTree, where: tuple[int, int, int], rest: str) -> None:
    """Put "MODEL[,options]" of a model of GRAMMARS into the tree.

    Raises ValueError with bhyve's line, "" if C has printed it.
    """
    model, _, options = rest.partition(",")
    bus, slot, func = where
    node = Node(tree, f"pci.{bus}.{slot}.{func}")
    if tree.get_raw(f"{node.path}.device") is not None:
        raise ValueError(f"pci slot {bus}:{slot}:{func} already occupied!")
    node.set("device", ALIASES.get(model, model))
    GRAMMARS[model](node, options)


def unbuilt(tree: ConfigTree, built: set[str]) -> str | None:
    """Return what to say of the first device that C lacks, or None."""
    for path, _ in tree.items():
        parts = path.split(".")
        if len(parts) != 5 or parts[0] != "pci" or parts[4] != "device":
            continue
        model = tree.get(path) or ""
        if model not in built and model in GRAMMARS:
            slot = ":".join(parts[1:4])
            if model in ALIASES:
                return (
                    f'pci slot {slot}: legacy device "{model}", '
                    f'use "{ALIASES[model]}" instead'
                )
            return f'pci slot {slot}: device "{model}" is not built in this version'
    return None
