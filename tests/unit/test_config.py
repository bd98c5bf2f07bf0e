"""The configuration tree."""

from pathlib import Path

import pytest

from libvmmapi import ConfigTree, VMError


def test_a_later_value_replaces_an_earlier_one() -> None:
    tree = ConfigTree()
    tree.set("cpus", "1")
    tree.set("cpus", "2")
    assert tree.get("cpus") == "2"


def test_a_new_tree_is_empty_and_defaults_are_asked_for() -> None:
    ConfigTree().set("name", "x")
    assert list(ConfigTree().items()) == []
    assert ConfigTree(defaults=True).get("memory.size") == "256M"


def test_a_value_cannot_stand_where_a_node_is() -> None:
    tree = ConfigTree()
    tree.set("lpc.com1.path", "stdio")
    with pytest.raises(VMError) as caught:
        tree.set("lpc.com1", "stdio")
    assert caught.value.filename == "lpc.com1"
    with pytest.raises(VMError):
        tree.set("lpc.com1.path.more", "stdio")


def test_values_refer_to_others_when_they_are_read() -> None:
    tree = ConfigTree()
    tree.set("a", "%(b)-%%")
    tree.set("b", "1")
    assert tree.get("a") == "1-%"
    assert tree.get_raw("a") == "%(b)-%%"


@pytest.mark.parametrize("text", ["true", "ON", "Yes", "1"])
def test_words_for_true(text: str) -> None:
    tree = ConfigTree()
    tree.set("x", text)
    assert tree.get_bool("x", default=False)
    assert not tree.failed


def test_a_word_that_is_no_boolean_fails_the_tree() -> None:
    tree = ConfigTree()
    tree.set("x", "maybe")
    tree.get_bool("x", default=False)
    assert tree.failed


def test_a_file_has_comments_and_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "vm.conf"
    path.write_text("# a comment\n\n  cpus=4\nname=with space\n")
    tree = ConfigTree()
    tree.parse_file(str(path))
    assert dict(tree.items()) == {"cpus": "4", "name": "with space"}


def test_a_malformed_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "vm.conf"
    path.write_text("cpus\n")
    with pytest.raises(VMError):
        ConfigTree().parse_file(str(path))


def test_a_dump_reads_back(tmp_path: Path) -> None:
    tree = ConfigTree(defaults=True)
    tree.set("board.version", "0B98401 Pro")
    path = tmp_path / "vm.conf"
    path.write_text(tree.dump())
    before = dict(tree.items())
    again = ConfigTree()
    again.parse_file(str(path))
    assert dict(again.items()) == before
