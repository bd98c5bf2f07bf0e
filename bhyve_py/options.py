"""The grammar of options that are more than a switch.

Each function takes an option's argument and the tree, puts what it says into
the tree, and raises Failure with bhyve's exit status when it makes no sense.
"""

import os
from collections.abc import Callable

from libvmmapi.cli import console
from libvmmapi.cli.failure import Failure
from libvmmapi.config import ConfigTree
from libvmmapi.errors import VMError
from libvmmapi.memsize import parse_memsize

from .status import ExitStatus

_TOPOLOGY = ("cpus", "sockets", "cores", "threads")
_MAX_VCPU = 63
_MAX_HOSTCPU = 1023
_MAX_FWCFG_NAME = 55
_MAX_DOMAINS = 8
_MAX_DOMAIN_ID = 255


class Request:
    """What the command line asks for: the tree, and a file to resume from."""

    def __init__(self, tree: ConfigTree) -> None:
        self.tree = tree
        self.restore: str | None = None


#: Handles an option's argument.
Handler = Callable[[str, Request], None]


def _usage(text: str) -> Failure:
    return Failure(ExitStatus.EX_USAGE, text)


def _error(text: str) -> Failure:
    return Failure(ExitStatus.ERROR, text)


def _set(tree: ConfigTree, path: str, value: str) -> None:
    """Set a value; C has said why if it cannot."""
    try:
        tree.set(path, value)
    except VMError as error:
        raise Failure(ExitStatus.ERROR) from error


def topology(text: str, request: Request) -> None:
    """-c [[cpus=]N][,sockets=N][,cores=N][,threads=N]."""
    if not text:
        for name in _TOPOLOGY:
            _set(request.tree, name, "1")
        return
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            name, value = "cpus", part
        if name not in _TOPOLOGY:
            raise _usage(
                f"invalid cpu topology '{text}': '{name}' is none of "
                f"{', '.join(_TOPOLOGY)}"
            )
        _set(request.tree, name, value)


def fwcfg(text: str, request: Request) -> None:
    """-f [name=]NAME,(string|file)=VALUE."""
    name, comma, rest = text.removeprefix("name=").partition(",")
    kind, equals, value = rest.partition("=")
    if not (name and comma and equals) or kind not in {"string", "file"}:
        raise _usage(f"-f '{text}': want [name=]NAME,(string|file)=VALUE")
    if len(name) > _MAX_FWCFG_NAME:
        raise _usage(f"-f: name '{name}' has more than {_MAX_FWCFG_NAME} characters")
    if kind == "file":
        try:
            with open(value, "rb"):
                pass
        except OSError as error:
            raise _usage(f"-f: {value}: {error.strerror}") from None
    number = 0
    while request.tree.has_node(f"fwcfg.{number}"):
        number += 1
    _set(request.tree, f"fwcfg.{number}.name", _literal(name))
    _set(request.tree, f"fwcfg.{number}.{kind}", _literal(value))


def _literal(text: str) -> str:
    """Return a value that the tree's expansion of variables turns into `text`."""
    return text.replace("\\", "\\\\").replace("%", "%%")


def gdb(text: str, request: Request) -> None:
    """-G [w][address:]port."""
    rest = text
    if rest.startswith("w"):
        _set(request.tree, "gdb.wait", "true")
        rest = rest[1:]
    address, colon, port = rest.rpartition(":")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise _error(f"-G '{text}': port '{port}' is not in 0 to 65535")
    if colon:
        address = address.removeprefix("[").removesuffix("]")
    _set(request.tree, "gdb.address", address or "localhost")
    _set(request.tree, "gdb.port", port)


def config_file(text: str, request: Request) -> None:
    """-k FILE: lines var=value; # and empty lines do not count."""
    try:
        request.tree.parse_file(text)
    except VMError as error:
        raise Failure(ExitStatus.ERROR) from error


def lpc(text: str, request: Request) -> None:
    """-l DEVICE[,options]; "help" is the caller's."""
    from libvmmapi._ffi import lib

    if "\0" in text:
        raise _usage("-l: a NUL byte")
    status = lib.lpc_device_parse(os.fsencode(text))
    if status != 0:
        raise Failure(status)


def memory(text: str, request: Request) -> None:
    """-m SIZE[K|M|G|T]."""
    try:
        parse_memsize(text)
    except ValueError as error:
        raise _usage(str(error)) from None
    _set(request.tree, "memory.size", text)


def numa(text: str, request: Request) -> None:
    """-n id=N,size=SIZE,cpus=CPUS[,domain_policy=POLICY]."""
    from libvmmapi.cpuset import parse_cpuset

    values: dict[str, str] = {}
    last = ""
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if equals and key in {"id", "size", "cpus", "domain_policy"}:
            if key in values:
                raise _usage(f"-n '{text}': '{key}' stands there twice")
            values[key], last = value, key
        elif last in {"cpus", "domain_policy"} and not equals:
            values[last] += f",{part}"  # a list goes on: cpus=0-1,4
        else:
            raise _usage(
                f"-n '{text}': '{part}' is none of id=, size=, cpus=, domain_policy="
            )
    if not values.get("id", "").isdigit() or int(values["id"]) > _MAX_DOMAIN_ID:
        raise _usage(f"-n '{text}': want id= with a number up to {_MAX_DOMAIN_ID}")
    try:
        if "size" in values:
            parse_memsize(values["size"])
        if "cpus" in values:
            parse_cpuset(values["cpus"])
    except ValueError as error:
        raise _usage(f"-n '{text}': {error}") from None
    number = int(values.pop("id"))
    if not values:
        values["domain_policy"] = "first-touch"  # the default makes it a domain
    for key, value in values.items():
        _set(request.tree, f"domains.{number}.{key}", value)
    domains = {path.split(".")[1] for path, _ in _below(request.tree, "domains")}
    if len(domains) > _MAX_DOMAINS:
        raise _usage(f"-n '{text}': more than {_MAX_DOMAINS} domains")


def _below(tree: ConfigTree, node: str) -> list[tuple[str, str]]:
    return [item for item in tree.items() if item[0].startswith(node + ".")]


def variable(text: str, request: Request) -> None:
    """-o VARIABLE=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise _usage(f"invalid configuration option '{text}': want variable=value")
    try:
        request.tree.parse_option(text)
    except VMError as error:
        raise Failure(ExitStatus.ERROR) from error


def pin(text: str, request: Request) -> None:
    """-p VCPU:HOSTCPU, or range:range; again for more host CPUs."""
    from libvmmapi.cpuset import parse_pinning

    try:
        pairs = parse_pinning(text, _MAX_VCPU, _MAX_HOSTCPU)
    except ValueError as error:
        raise _usage(f"invalid vcpu pinning configuration '{text}': {error}") from None
    for vcpu, hostcpu in pairs:
        path = f"vcpu.{vcpu}.cpuset"
        before = request.tree.get(path)
        _set(request.tree, path, f"{before},{hostcpu}" if before else str(hostcpu))


def restore(text: str, request: Request) -> None:
    """-r FILE."""
    request.restore = text


def slot(text: str, request: Request) -> None:
    """-s [bus:]slot[:func],MODEL[,options]; "help" is the caller's."""
    from libvmmapi._ffi import lib

    if "\0" in text:
        raise _error("-s: a NUL byte")
    from libvmmapi.devices import device_names

    from . import models

    where, _, rest = text.partition(",")
    model, place = rest.partition(",")[0], models.place(where)
    if place and model in models.GRAMMARS and model not in device_names():
        try:
            models.parse_slot(request.tree, place, rest)
        except ValueError as error:
            if str(error):
                console.err(str(error))
            raise Failure(ExitStatus.ERROR) from error
    elif lib.pci_parse_slot(os.fsencode(text)) != 0:
        raise Failure(ExitStatus.ERROR)


def smbios(text: str, request: Request) -> None:
    """-B TYPE,key=value[,key=value...], which is illumos'."""
    from .smbios import variables

    try:
        for path, value in variables(text):
            _set(request.tree, path, _literal(value))
    except ValueError as error:
        raise _usage(f"-B '{text}': {error}") from None
