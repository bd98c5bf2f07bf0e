"""Files stay short, and C files have names of their own."""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("csrc", "libvmmapi", "bhyve_py", "bhyvectl_py", "bhyveload_py", "tests")
SUFFIXES = {".c", ".h", ".py", ".S", ".def", ".pyi"}
LIMIT = 800


def _files() -> list[Path]:
    return [
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SUFFIXES and path.is_file()
    ]


def test_no_file_has_more_than_800_lines() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in _files()
    }
    assert not {name: n for name, n in lengths.items() if n > LIMIT}


def test_c_files_have_names_of_their_own() -> None:
    names = Counter(path.name for path in (ROOT / "csrc").rglob("*.c"))
    assert not [name for name, count in names.items() if count > 1]
