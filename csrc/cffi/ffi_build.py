"""Describe the extension ``libvmmapi._vmm``: declarations, sources, flags.

The sources are all of csrc's .c files, sorted by path: the order of linker
sets is the link order.  ``VMM_ASAN=1`` builds with the sanitizers,
``VMM_CFLAGS`` adds flags at the end.
"""

import os
import shlex
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"

# What Python may call, in the order in which it must be read.
CDEFS = ("types.h", "vmmapi.h", "config.h", "bhyve.h", "userboot.h")

# The generated module sees the same headers as everybody else.
PREAMBLE = """
#include <sys/mman.h>
#include "vmmapi.h"
#include "config.h"
#include "bhyverun.h"
#include "pci_emul.h"
#include "pci_lpc.h"
#include "userboot.h"
"""

FLAGS = [
    "-std=c11",
    "-O2",
    "-pthread",
    "-Wall",
    "-fvisibility=hidden",
    "-fno-semantic-interposition",
    "-fno-strict-overflow",
    "-fstack-protector-strong",
]
# -fcf-protection is not among them: each handler of the software processor
# would begin with one more instruction, and Linux does not use it here.
HARDENING = ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
LINK_FLAGS = ["-pthread", "-Wl,-z,start-stop-visibility=hidden,-z,relro,-z,now"]
ASAN_FLAGS = [
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-omit-frame-pointer",
    "-UNDEBUG",
]


def sources():
    """Return every C file below csrc, relative to the root, sorted."""
    return sorted(str(path.relative_to(ROOT)) for path in CSRC.rglob("*.c"))


def depends():
    """Return the files that a build reads beside the sources.

    Naming them here puts them into the source distribution, too.
    """
    return sorted(
        str(path.relative_to(ROOT))
        for path in CSRC.rglob("*")
        if path.is_file()
        and path.suffix not in {".c", ".o", ".pyc"}
        and not path.name.startswith(".")
    )


def cdef():
    """Return the declarations of csrc/cdef as one text."""
    return "\n".join((CSRC / "cdef" / name).read_text("utf-8") for name in CDEFS)


def build():
    """Return the FFI that setuptools compiles."""
    files = sources()
    includes = ["csrc/include", *sorted({str(Path(name).parent) for name in files})]
    flags = list(FLAGS)
    link = list(LINK_FLAGS)
    if os.environ.get("VMM_ASAN"):
        flags += ASAN_FLAGS
        link += ["-fsanitize=address,undefined"]
    else:
        flags += HARDENING
    flags += shlex.split(os.environ.get("VMM_CFLAGS", ""))
    ffi = FFI()
    ffi.cdef(cdef())
    ffi.set_source(
        "libvmmapi._vmm",
        PREAMBLE,
        sources=files,
        include_dirs=includes,
        define_macros=[("_GNU_SOURCE", None)],
        depends=depends(),
        extra_compile_args=flags,
        extra_link_args=link,
        libraries=["m", "z"],
    )
    return ffi


ffibuilder = build()
