"""The matrix of scenarios by targets, in two shapes."""

from __future__ import annotations

from mqbridge_conformance.report import as_markdown, as_text
from mqbridge_conformance.results import Report


def test_text_shows_the_worst_of_each_cell_and_why(report: Report) -> None:
    """Aligned, with notes by number, a cell that did not run as such, and the reason of what is not green."""
    lines = as_text(report).splitlines()
    assert lines[0].split() == ["scenario", "memory", "folder"]
    assert lines[2].split() == ["one", "PASS[1]", "FAIL", "x2"]
    assert lines[3].split() == ["two", "PENDING[1][2]", "not", "run"]
    assert "FAIL one on folder: because FAIL" in lines
    assert "    exercised: 2 checks" in lines
    assert "[2] a | b" in lines
    assert lines[-1] == "1 FAIL, 1 PENDING, 2 PASS"


def test_what_a_target_was_not_asked_is_shown_as_such(report: Report) -> None:
    """With the reason in the cell, and in no count of passes."""
    report.unasked["two", "folder"] = "needs processes"
    lines = as_text(report).splitlines()
    assert lines[3].split() == ["two", "PENDING[1][2]", "needs", "processes"]
    assert lines[-1] == "1 FAIL, 1 PENDING, 2 PASS"


def test_markdown_is_one_table_with_titles(report: Report) -> None:
    """Every line has the same number of cells, and a bar in a text does not make another."""
    lines = as_markdown(report).splitlines()
    assert lines[0] == "| scenario | what it shows | memory | folder |"
    assert lines[2] == "| one | About one | PASS[1] | FAIL x2 |"
    assert "- [2] a | b" in lines
