"""Arrows point one way: includes and imports that a floor may have.

bhyve -> vmmapi -> vmm -> {kvm, soft}; only kvm includes KVM's header; Python
reaches C through libvmmapi alone.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.MULTILINE)

#: Folder of csrc -> headers that nothing in it may include.
FORBIDDEN_INCLUDES = {
    "csrc/vmm": {
        "vmmapi.h",
        "bhyverun.h",
        "pci_emul.h",
        "config.h",
        "inout.h",
        "mem.h",
        "mevent.h",
    },
    "csrc/vmmapi": {"bhyverun.h", "pci_emul.h", "config.h", "inout.h", "mevent.h"},
    "csrc/bhyveload": {"vmm.h", "vmmapi.h", "bhyverun.h", "pci_emul.h", "config.h"},
    "csrc/bhyve": {"vmm.h", "vlapic.h", "vchips.h", "kvm_local.h", "soft_local.h"},
}

#: Package -> packages of ours that it may import.
ALLOWED_IMPORTS = {
    "libvmmapi": {"libvmmapi"},
    "bhyve_py": {"libvmmapi", "bhyve_py"},
    "bhyvectl_py": {"libvmmapi", "bhyvectl_py"},
    "bhyveload_py": {"libvmmapi", "bhyveload_py"},
}


def _includes(path: Path) -> set[str]:
    return {Path(name).name for name in INCLUDE.findall(path.read_text("utf-8"))}


def _c_files(folder: str) -> list[Path]:
    return [p for p in (ROOT / folder).rglob("*") if p.suffix in {".c", ".h"}]


@pytest.mark.parametrize("folder", FORBIDDEN_INCLUDES)
def test_c_includes_nothing_from_above(folder: str) -> None:
    wrong = {
        str(path.relative_to(ROOT)): bad
        for path in _c_files(folder)
        if (bad := _includes(path) & FORBIDDEN_INCLUDES[folder])
    }
    assert not wrong


def test_only_the_kvm_backend_knows_kvm() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in _c_files("csrc")
        if "<linux/kvm.h>" in path.read_text("utf-8")
        and path.parent != ROOT / "csrc/vmm/kvm"
    ]
    assert not wrong


def test_only_one_folder_knows_vfio() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in _c_files("csrc")
        if "<linux/vfio.h>" in path.read_text("utf-8")
        and path.parent != ROOT / "csrc/vmm/vfio"
    ]
    assert not wrong


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("package", ALLOWED_IMPORTS)
def test_python_imports_nothing_from_beside(package: str) -> None:
    wrong = {
        str(path.relative_to(ROOT)): bad
        for path in (ROOT / package).rglob("*.py")
        if (
            bad := {name.split(".")[0] for name in _imports(path)}
            & set(ALLOWED_IMPORTS) - ALLOWED_IMPORTS[package]
        )
    }
    assert not wrong


def test_the_library_knows_no_terminal() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "libvmmapi").glob("*.py")
        if {"click", "rich"} & {name.split(".")[0] for name in _imports(path)}
        or re.search(r"^\s*print\(", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert not wrong


def test_one_module_imports_the_extension() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for package in ALLOWED_IMPORTS
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^\s*from \S*_vmm import", path.read_text("utf-8"), re.M)
        and path.name != "_ffi.py"
    ]
    assert not wrong
