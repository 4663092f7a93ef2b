"""The matrix of scenarios by targets, in two shapes."""

from __future__ import annotations

from dataclasses import replace

from mqbridge_conformance.checkers import Finding
from mqbridge_conformance.report import as_markdown, as_text
from mqbridge_conformance.results import LeftOut, Report, Verdict
from mqbridge_conformance.timelines import before_the_end, what_to_show
from tests.conformance.report.made import result
from tests.conformance.timelines.made import lost


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


def test_what_was_not_run_and_who_could_not_be_used_are_one_line_each(report: Report) -> None:
    """A hundred scenarios that met the same closed door say so once; their cells say so too."""
    report.not_run += [LeftOut(name, f"About {name}", "kafka", "kafka", "no Docker") for name in ("one", "three")]
    report.unusable["away"] = "nobody answers"
    report.results += [replace(result(name, "away", Verdict.UNKNOWN), evidence={}) for name in ("one", "two")]
    lines = as_text(report).splitlines()
    assert lines[0].split() == ["scenario", "memory", "folder", "away", "kafka"]
    assert lines[2].split()[-3:] == ["UNKNOWN", "NOT", "RUN"]
    assert "NOT RUN on kafka: 2 of them (no Docker)" in lines
    assert "UNKNOWN on away: 2 of them, for it could not be used: nobody answers" in lines
    assert not [line for line in lines if line.startswith("UNKNOWN one")]
    assert lines[-1].startswith("2 NOT RUN, 1 FAIL, 2 UNKNOWN")


def test_markdown_is_one_table_with_titles(report: Report) -> None:
    """Every line has the same number of cells, and a bar in a text does not make another."""
    lines = as_markdown(report).splitlines()
    assert lines[0] == "| scenario | what it shows | memory | folder |"
    assert lines[2] == "| one | About one | PASS[1] | FAIL x2 |"
    assert "- [2] a | b" in lines


def test_a_failure_is_told_with_its_timeline_and_how_to_have_it_again(report: Report) -> None:
    """What proves it has stars; a failure that no checker found shows what was done last."""
    history, witness = lost()
    found = what_to_show(history, [Finding("lost-write", "topic:t/2", "p1#3 is not there", witness)])
    last = before_the_end(history, Finding("", "", "it did not come", ()))
    for shown in (found, last):
        failed = result("three", "folder", Verdict.FAIL)
        report.results.append(replace(failed, seed=99, history="/tmp/h.jsonl", shown=shown))
    lines = as_text(report).splitlines()
    assert "    again: --scenario three --seed 99" in lines
    assert "    history: /tmp/h.jsonl" in lines
    place = lines.index("    lost-write at topic:t/2: p1#3 is not there")
    assert any(line.startswith("      *") and "send p1#3" in line for line in lines[place:])
    place = lines.index("    what was done last:")
    assert any("send p1#6" in line for line in lines[place:])
