"""Running the three tools from tests."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """What a tool left behind."""

    status: int
    out: str
    err: str


Tool = Callable[..., Result]


def tool_argv(name: str, *args: str) -> list[str]:
    """Return the argv that runs the tool `name` of this interpreter's package."""
    script = Path(sys.executable).parent / name
    if script.exists():
        return [str(script), *args]
    code = (
        f"import sys; sys.argv[0] = {name!r}; "
        f"from {name}_py.__main__ import main; sys.exit(main())"
    )
    return [sys.executable, "-c", code, *args]


def interprets(backend: str) -> bool:
    """Whether the backend is a KVM that has no hardware to run guests on."""
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    assert flags
    return backend == "kvm" and not {"vmx", "svm"} & set(flags[1].split())
