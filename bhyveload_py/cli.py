"""bhyveload(8)'s options: what to load and into which VM."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

import click

from libvmmapi import VM, VMError
from libvmmapi.cli.command import Failure, GetoptCommand
from libvmmapi.memory import MemFlags
from libvmmapi.memsize import parse_memsize
from libvmmapi.vm import OpenFlags

from .errors import LoadError
from .request import LoadRequest

EX_USAGE_TEXT = 1
EX_FAIL = 1
_EX_USAGE = 64
_EX_OSERR = 71
_MAX_DISKS = 32
_MAX_FILE = 1 << 30
_ENOENT = 2


def usage(prog: str) -> str:
    """Return the usage text."""
    pad = " " * len(f"usage: {prog}")
    return (
        f"usage: {prog} [-CS] [-c cons-dev] [-d disk-path] [-e name=value]\n"
        f"{pad} [-h host-path] [-l os-loader] [-m mem-size]\n"
        f"{pad} [--kernel file [--initrd file] [--cmdline str]] vmname\n"
    )


@dataclass(slots=True)
class _Options:
    """The command line, as it was given."""

    memory: int = 256 << 20
    flags: MemFlags = field(default_factory=lambda: MemFlags(0))
    console: str = "stdio"
    disks: list[str] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    host_root: str = ""
    loader: str = ""
    kernel: str = ""
    initrds: list[str] = field(default_factory=list)
    cmdline: str = ""


def _incore(o: _Options, _: str) -> None:
    o.flags |= MemFlags.INCORE


def _wired(o: _Options, _: str) -> None:
    o.flags |= MemFlags.WIRED


def _console(o: _Options, path: str) -> None:
    """Check that a loader console is stdio or a character device."""
    try:
        ok = path == "stdio" or (
            stat.S_ISCHR(os.stat(path).st_mode) and os.access(path, os.R_OK | os.W_OK)
        )
    except OSError:
        ok = False
    if not ok:
        raise Failure(_EX_USAGE, f"-c: Could not open '{path}': not a terminal device")
    o.console = path


def _disk(o: _Options, path: str) -> None:
    if len(o.disks) == _MAX_DISKS:
        raise Failure(_EX_USAGE, f"-d: Could not open '{path}': at most 32 disks")
    if not os.access(path, os.R_OK) or os.path.isdir(path):
        raise Failure(_EX_USAGE, f"-d: Could not open '{path}'")
    o.disks.append(path)


def _env(o: _Options, value: str) -> None:
    if "=" not in value or any(c in value for c in "\n\0"):
        raise Failure(_EX_USAGE, f"-e: '{value}' is not name=value")
    o.env.append(value)


def _host_root(o: _Options, path: str) -> None:
    if not os.path.isdir(path):
        raise Failure(_EX_OSERR, f"-h: '{path}' is not a directory")
    o.host_root = path


def _loader(o: _Options, path: str) -> None:
    if o.loader:
        raise Failure(_EX_USAGE, "-l can only be given once")
    o.loader = path


def _memory(o: _Options, text: str) -> None:
    try:
        o.memory = parse_memsize(text)
    except ValueError as error:
        raise Failure(_EX_USAGE, f"Invalid memsize '{text}': {error}") from None


def _kernel(o: _Options, path: str) -> None:
    o.kernel = path


def _initrd(o: _Options, path: str) -> None:
    o.initrds.append(path)


def _cmdline(o: _Options, text: str) -> None:
    o.cmdline = text


_SETTERS = {
    "-C": _incore,
    "-S": _wired,
    "-c": _console,
    "-d": _disk,
    "-e": _env,
    "-h": _host_root,
    "-l": _loader,
    "-m": _memory,
    "--kernel": _kernel,
    "--initrd": _initrd,
    "--cmdline": _cmdline,
}


def _parse(pairs: list[tuple[str, str]]) -> _Options:
    """Turn getopt's pairs into options, in their order."""
    o = _Options()
    for option, value in pairs:
        _SETTERS[option](o, value)
    return o


def _read(option: str, path: str) -> bytes:
    """Read a whole file of at most 1 GiB."""
    try:
        with open(path, "rb") as file:
            st = os.fstat(file.fileno())
            if not stat.S_ISREG(st.st_mode):
                raise Failure(EX_FAIL, f"{option}: {path}: not a regular file")
            # Room for what is asked is taken at once, so no more is asked.
            data = file.read(min(st.st_size, _MAX_FILE) + 1)
    except OSError as error:
        raise Failure(EX_FAIL, f"{option}: {path}: {error.strerror}") from None
    if len(data) > _MAX_FILE:
        raise Failure(EX_FAIL, f"{option}: {path}: larger than {_MAX_FILE >> 20} MiB")
    if not data:
        raise Failure(EX_FAIL, f"{option}: {path}: an empty file")
    return data


def _open(name: str) -> tuple[VM, bool]:
    """Open and reinitialise the VM, or create it; true: it is new."""
    try:
        return VM.open(name, OpenFlags.OWNER | OpenFlags.REINIT), False
    except VMError as error:
        if error.errno != _ENOENT:
            raise
    return VM.open(name, OpenFlags.CREATE | OpenFlags.OWNER), True


def _request(o: _Options) -> LoadRequest:
    kernel = _read("--kernel", o.kernel)
    modules = [(path, _read("--initrd", path)) for path in o.initrds]
    # A Linux kernel hands name=value words to init as environment: what -e is.
    cmdline = " ".join([o.cmdline, *o.env]).strip()
    return LoadRequest(o.kernel, kernel, cmdline, modules)


def _put(o: _Options, name: str, load_into: Callable[[VM], None]) -> int:
    """Open the VM, give it its memory and load; a new VM goes if that fails."""
    vm, created = _open(name)
    with vm:
        try:
            vm.memflags = o.flags
            vm.setup_memory(o.memory)
            load_into(vm)
        except (LoadError, VMError) as error:
            if created:
                vm.destroy()
            raise Failure(EX_FAIL, str(error)) from None
    return 0


def _load(vm: VM, req: LoadRequest) -> None:
    from .protocols import load

    load(vm, req)


def _printable(text: str) -> str:
    """Return a text that may quote an image, fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _freebsd(o: _Options, name: str) -> int:
    """Run FreeBSD's kind of loader and hand its kernel to the VM."""
    from . import freebsd, session

    wanted = session.Session(o.disks, o.host_root, o.memory, o.env, o.console)
    try:
        loader = session.run(wanted)
    except LoadError as error:
        raise Failure(EX_FAIL, _printable(str(error))) from None
    if loader is None:
        return EX_FAIL
    files, env, args = loader.files, loader.env, loader.args
    return _put(o, name, lambda vm: freebsd.boot(vm, vm.vcpu(0), files, env, args))


def _userboot(o: _Options, name: str) -> int:
    """Run FreeBSD's own loader and hand its kernel to the VM."""
    from . import userboot

    wanted = userboot.Loader(o.loader, o.disks, o.host_root, o.memory, o.env, o.console)
    try:
        image = userboot.read_object(o.loader)
    except OSError as error:
        raise Failure(_EX_OSERR, f"-l: {o.loader}: {error.strerror}") from None
    try:
        handoff = userboot.run(wanted, image)
    except LoadError as error:
        raise Failure(EX_FAIL, _printable(str(error))) from None
    return EX_FAIL if handoff is None else _put(o, name, handoff.put)


def bhyveload(pairs: list[tuple[str, str]], operands: list[str]) -> int:
    """Load a kernel into the VM that the operand names."""
    o = _parse(pairs)
    if len(operands) != 1:
        raise click.UsageError("exactly one vmname is needed")
    if o.kernel:
        if o.disks or o.host_root or o.loader:
            raise Failure(_EX_USAGE, "-d, -h and -l are not for --kernel")
        req = _request(o)
        return _put(o, operands[0], lambda vm: _load(vm, req))
    if o.initrds or o.cmdline:
        raise Failure(_EX_USAGE, "--initrd and --cmdline need --kernel FILE")
    if o.loader:
        return _userboot(o, operands[0])
    if not o.disks and not o.host_root:
        raise Failure(
            EX_FAIL, "nothing to boot: give -d DISK, -h DIRECTORY or --kernel FILE"
        )
    return _freebsd(o, operands[0])


COMMAND = GetoptCommand(
    "bhyveload",
    bhyveload,
    usage,
    "CSc:d:e:h:l:m:",
    ("kernel=", "initrd=", "cmdline="),
)
