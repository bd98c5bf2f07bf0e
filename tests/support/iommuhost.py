"""A host with an IOMMU, for passthrough: Debian's kernel in QEMU beside us.

Its root is an initrd of busybox, this interpreter with its library, and the
suite as it is installed, all at the paths that they have here.
"""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from . import guestfiles, kmods
from .guestfiles import GuestUnavailableError

QEMU = "qemu-system-x86_64"
#: QEMU up to 8 lets IRET of user code read its stack as the kernel does.
#: Its SVM is enough for KVM.
CPU = "max,smap=off,svm=on"
MODULES = ("vfio_iommu_type1", "vfio-pci", "kvm-amd")
PACKAGES = (
    *("libvmmapi", "bhyve_py", "bhyvectl_py", "bhyveload_py"),
    *("click", "rich", "elftools", "_cffi_backend", "markdown_it", "mdurl"),
)
LEFT_OUT = {
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3"),
    *("ensurepip", "distutils", "pydoc_data", "site-packages", "__pycache__"),
}

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm && mount -t tmpfs -o size=80% shm /dev/shm
mkdir -m 700 /dev/shm/vmm
for module in /lib/*.ko; do insmod $module; done
export VMM_DIR=/dev/shm/vmm BHYVE_BACKEND=soft HOME=/ TERM=dumb
export PYTHONPATH={path}
{python} /inside.py {words}
echo "INSIDE-STATUS $?"
poweroff -f
"""


def _root(name: str) -> Path:
    """Return the folder from which a package or module is imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise GuestUnavailableError(f"no package {name} here")
    return Path(spec.origin).parents[1 if spec.submodule_search_locations else 0]


def _installed(name: str) -> list[Path]:
    """Return the files of a package or module of this interpreter."""
    root = _root(name)
    if (root / name).is_dir():
        return _tree(root / name)
    return list(root.glob(f"{name}.*.so"))


def _tree(top: Path) -> list[Path]:
    return [
        path
        for path in top.rglob("*")
        if path.suffix in {".py", ".so", ".json"}
        and not LEFT_OUT & set(path.relative_to(top).parts)
        and path.is_file()
    ]


def _libraries(programs: list[Path]) -> set[Path]:
    """Return the shared objects that programs and modules are linked with."""
    command = ["ldd", *map(str, programs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = {Path(word) for word in done.stdout.split() if word.startswith("/")}
    return {path for path in words if path.is_file()}


def _initrd(cache: Path, out: Path, more: dict[str, bytes], words: str) -> Path:
    python = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix}))
    files = [python, *_tree(stdlib)]
    for name in PACKAGES:
        files += _installed(name)
    files += _libraries([python, *(path for path in files if path.suffix == ".so")])
    roots = {str(_root(name)) for name in PACKAGES}
    init = INIT.format(path=":".join(sorted(roots)), python=python, words=words)
    content = {
        "bin/busybox": (0o755, guestfiles.busybox(cache).read_bytes()),
        "init": (0o755, init.encode()),
    }
    modules = kmods.with_dependencies(cache, MODULES)
    for number, (name, data) in enumerate(modules.items()):
        content[f"lib/{number:02}-{name}.ko"] = (0o644, data)
    for path in dict.fromkeys(files):
        content[str(path).lstrip("/")] = (0o755, path.read_bytes())
    for name, data in more.items():
        content[name] = (0o755, data)
    out.write_bytes(guestfiles.pack_initrd(content))
    return out


def run(
    cache: Path,
    work: Path,
    more: dict[str, bytes],
    devices: tuple[str, ...],
    words: str,
) -> str:
    """Run /inside.py of `more` there, with `words`; return the console's text."""
    if shutil.which(QEMU) is None:
        raise GuestUnavailableError(f"no {QEMU} here")
    kernel = guestfiles.debian_kernel(cache)
    initrd = _initrd(cache, work / "initrd.cpio", more, words)
    # A busy machine of ours must not be taken for a dead timer of its.
    options = "console=ttyS0 intel_iommu=on no_timer_check quiet panic=-1"
    command = [
        *(QEMU, "-nodefaults", "-no-reboot", "-display", "none"),
        *("-accel", "tcg", "-cpu", CPU, "-smp", "2", "-m", "2G"),
        *("-machine", "q35,kernel-irqchip=split"),
        *("-device", "intel-iommu,intremap=on"),
        *(word for device in devices for word in ("-device", device)),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", options),
        *("-serial", "stdio", "-monitor", "none"),
    ]
    with (work / "console").open("w+b") as console:
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                timeout=600,
                check=False,
            )
        except subprocess.TimeoutExpired:
            console.write(b"\nQEMU was stopped after 600 s\n")
        console.seek(0)
        return console.read().decode(errors="replace")
