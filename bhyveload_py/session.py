"""A run of bhyveload(8) for FreeBSD, from the disks to what is to be booted."""

from dataclasses import dataclass, field

from . import freebsd
from .console import Console
from .devices import Devices
from .errors import LoadError
from .loader import Loader, start_environment
from .loaderconf import LoaderConf
from .media import FileMedia
from .prompt import BootRequested, Prompt, QuitRequested, RebootRequested

BANNER = "\nFreeBSD/amd64 loader of bhyveload\n"


@dataclass(slots=True)
class Session:
    """What the command line says."""

    disks: list[str]
    host_root: str
    memory: int
    env: list[str] = field(default_factory=list)
    console: str = "stdio"


def run(session: Session) -> Loader | None:
    """Load a kernel as the user and loader.conf want it; None: the user quit.

    Raises LoadError if there is nothing to boot, or if nobody is there to
    say what else to try.
    """
    disks = [FileMedia(path, f"disk{i}") for i, path in enumerate(session.disks)]
    try:
        with Console(session.console) as console:
            while True:
                try:
                    return _once(session, disks, console)
                except QuitRequested:
                    return None
                except RebootRequested:
                    continue
    finally:
        for disk in disks:
            disk.close()


def _once(session: Session, disks: list[FileMedia], console: Console) -> Loader:
    """Run the loader from its start; requests of the user pass through."""
    devices = Devices(list(disks), session.host_root)
    limit = freebsd.low_limit(session.memory)
    conf = LoaderConf(start_environment(session.env))
    loader = Loader(devices, limit, console.write, conf)
    prompt = Prompt(loader, console)
    devices.choose()
    console.write(BANNER)
    loader.set_devices()
    try:
        try:
            _autoboot(loader, prompt)
        except LoadError as error:
            if not console.interactive:
                raise
            console.write(f"{error}\n")
        prompt.interact()
    except BootRequested:
        loader.set_devices()
        loader.find_root()
    return loader


def _autoboot(loader: Loader, prompt: Prompt) -> None:
    """Read loader.conf and boot, unless a key stops the countdown."""
    loader.read_conf()
    delay = loader.env.get("loader_delay", "")
    if delay.isdigit():
        prompt.console.key(min(int(delay), 3600))
    if prompt.countdown():
        prompt.boot([])
