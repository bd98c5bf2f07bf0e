"""The in-tree PEP 517 backend: setuptools, plus the one cffi extension.

setuptools has no declarative form for ``cffi_modules``, so the hooks of
``setuptools.build_meta`` are offered as they are, over a ``setup()`` that
knows the extension and a compiler that uses every processor.
"""

import compileall
import functools
import os
from concurrent.futures import ThreadPoolExecutor

import setuptools  # first: it provides distutils
from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

from distutils.ccompiler import CCompiler  # isort: skip

setuptools.setup = functools.partial(
    setuptools.setup, cffi_modules=["csrc/cffi/ffi_build.py:ffibuilder"]
)


PACKAGES = ("libvmmapi", "bhyve_py", "bhyvectl_py", "bhyveload_py")


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build as setuptools does, and byte-compile the packages where they are.

    An installed wheel is compiled by pip; here nobody else would do it where
    Python is told to write no caches, and half of a tool's start is compiling.
    """
    name = build_meta.build_editable(
        wheel_directory, config_settings, metadata_directory
    )
    for package in PACKAGES:
        compileall.compile_dir(package, quiet=2)
    return name


def _jobs():
    """Return the number of compilers to run at once (``VMM_JOBS``)."""
    return int(os.environ.get("VMM_JOBS", "0")) or len(os.sched_getaffinity(0))


def _compile(  # noqa: PLR0917 -- CCompiler.compile's own parameters
    self,
    sources,
    output_dir=None,
    macros=None,
    include_dirs=None,
    debug=0,
    extra_preargs=None,
    extra_postargs=None,
    depends=None,
):
    """Compile as CCompiler.compile does, several files at a time."""
    macros, objects, extra_postargs, pp_opts, build = self._setup_compile(
        output_dir, macros, include_dirs, sources, depends, extra_postargs
    )
    cc_args = self._get_cc_args(pp_opts, debug, extra_preargs)

    def one(obj):
        if obj in build:
            src, ext = build[obj]
            self._compile(obj, src, ext, cc_args, extra_postargs, pp_opts)

    with ThreadPoolExecutor(_jobs()) as pool:
        for done in [pool.submit(one, obj) for obj in objects]:
            done.result()
    return objects


CCompiler.compile = _compile
