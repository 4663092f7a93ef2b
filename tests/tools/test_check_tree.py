"""What the tree is checked for: files that git would commit, and each fault with the name of its file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import check_tree

README = "    make demo\n    make test\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    return tmp_path


def test_a_tree_in_order_has_no_fault(tree: Path) -> None:
    """A module of exactly the wanted length, a binary file and a plain address pass unremarked."""
    (tree / "module.py").write_text("\n" * check_tree.LONG_LINES, encoding="utf-8")
    (tree / "image.bin").write_bytes(b"\xff\xfe\x00")
    (tree / "notes.md").write_text("see https://kafka.apache.org/protocol", encoding="utf-8")
    assert check_tree.check(tree) == ([], [])


def test_a_long_module_is_remarked_and_a_longer_one_is_a_fault(tree: Path) -> None:
    """Between the two limits a remark, above the second a fault, each naming the file."""
    (tree / "long.py").write_text("\n" * (check_tree.LONG_LINES + 1), encoding="utf-8")
    (tree / "longer.py").write_text("\n" * (check_tree.TOO_LONG_LINES + 1), encoding="utf-8")
    (tree / "long.txt").write_text("\n" * 5000, encoding="utf-8")
    faults, remarks = check_tree.check(tree)
    assert [text.split(":")[0] for text in faults] == ["longer.py"]
    assert [text.split(":")[0] for text in remarks] == ["long.py"]


def test_a_command_missing_from_the_readme_is_a_fault(tree: Path) -> None:
    """Both commands are wanted, also when there is no README at all."""
    (tree / "README.md").write_text("    make demo\n", encoding="utf-8")
    assert check_tree.check(tree) == (["README.md: does not show `make test`"], [])
    (tree / "README.md").unlink()
    assert len(check_tree.check(tree)[0]) == 2


def test_the_address_of_a_registry_is_a_fault_unless_the_file_is_ignored(tree: Path) -> None:
    """A new file counts before it is added; one that git ignores, as a lock of a tool, does not."""
    address = "https://files." + "pythonhosted" + ".org/packages/x"
    (tree / ".gitignore").write_text("tool.lock\n", encoding="utf-8")
    for name in ("new.toml", "tool.lock"):
        (tree / name).write_text(address, encoding="utf-8")
    faults, _ = check_tree.check(tree)
    assert [text.split(":")[0] for text in faults] == ["new.toml"]
