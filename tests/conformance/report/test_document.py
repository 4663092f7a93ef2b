"""A run as data."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.checkers import Finding
from mqbridge_conformance.report import document, read_document, to_json
from mqbridge_conformance.report.document import events_of
from mqbridge_conformance.results import LeftOut, Report, Verdict
from mqbridge_conformance.timelines import what_to_show
from tests.conformance.report.made import result
from tests.conformance.timelines.made import lost


def test_json_has_every_run_and_what_it_exercised(report: Report) -> None:
    """A program sees all runs, also the one that passed beside one that failed."""
    found = json.loads(to_json(document(report)))
    assert found["run"]["green"] is False
    assert found["run"]["verdicts"] == {"PASS": 2, "PENDING": 1, "FAIL": 1}
    assert [row["verdict"] for row in found["results"]] == ["PASS", "PASS", "FAIL", "PENDING"]
    assert found["results"][0]["evidence"] == {"checks": 2}
    assert found["results"][0]["proves"] == ["GROUPS"]
    assert found["results"][3]["notes"] == ["by thread", "a | b"]


def test_json_says_how_it_was_run_and_on_what(report: Report) -> None:
    """Level, seed, moment and versions, without which nobody can run it again."""
    found = document(report)
    assert found["schema"] == 1
    assert (found["run"]["level"], found["run"]["seed"]) == ("full", 7)
    assert found["run"]["mqbridge"] == mq.__version__
    assert found["run"]["began"] == report.began.isoformat(timespec="seconds")
    assert found["targets"] == [
        {"name": "memory", "engine": "native", "versions": {"native": "1.0", "client": "2"}, "unusable": ""},
        {"name": "folder", "engine": "native", "versions": {"native": "1.0", "client": "2"}, "unusable": ""},
    ]


def test_what_was_not_asked_is_told(report: Report) -> None:
    """It is in no count."""
    report.unasked["two", "folder"] = "needs processes"
    found = document(report)
    assert found["unasked"] == [{"scenario": "two", "target": "folder", "reason": "needs processes"}]
    assert sum(found["run"]["verdicts"].values()) == len(found["results"])


def test_what_was_not_run_is_told_and_is_not_green() -> None:
    """Nor is a target that could not be used; and a file from before either was told is read."""
    found = Report(results=[result("one", "memory", Verdict.PASS)])
    assert document(found)["run"]["green"]
    found.not_run.append(LeftOut("one", "About one", "kafka", "kafka", "no Docker"))
    found.unusable["memory"] = "it is away"
    told = document(found)
    assert not told["run"]["green"]
    assert [(row["name"], row["unusable"]) for row in told["targets"]] == [("memory", "it is away"), ("kafka", "")]
    assert told["not_run"] == [
        {"scenario": "one", "title": "About one", "target": "kafka", "engine": "kafka", "reason": "no Docker"}
    ]


def test_a_file_of_before_a_field_came_is_read(report: Report, tmp_path: Path) -> None:
    """With what the field has where there is nothing to say."""
    older: Any = document(report)
    del older["not_run"], older["targets"][0]["unusable"]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(older), encoding="utf-8")
    assert read_document(path) == document(report)


def test_a_damaged_file_is_refused_by_what_is_wrong_with_it(report: Report, tmp_path: Path) -> None:
    """Whatever field is gone or is something else, it is named, and none is missed."""
    history, witness = lost()
    shown = what_to_show(history, [Finding("lost-write", "topic:t/2", "p1#3 is not there", witness)])
    report.results.append(replace(result("three", "folder", Verdict.FAIL), shown=shown))
    report.unasked["two", "folder"] = "needs processes"
    whole = to_json(document(report))
    path = tmp_path / "run.json"
    places = [place for place in _places(json.loads(whole)) if place not in _MAY_BE_GONE]
    assert len(places) > 50
    for place in places:
        for spoil in (_removed, _replaced):
            broken = json.loads(whole)
            spoil(broken, place)
            path.write_text(json.dumps(broken), encoding="utf-8")
            with pytest.raises(ValueError, match=re.escape(f"{path} ")) as told:
                read_document(path)
            assert str(place[-1]) in str(told.value)


_MAY_BE_GONE = (("schema",), ("results",), ("not_run",))


def _places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Each field of the form, by the first row that has it."""
    if isinstance(value, list):
        return _places(value[-1], (*above, -1)) if value else []
    if not isinstance(value, dict) or (above and above[-1] in ("verdicts", "versions", "evidence", "counted")):
        return []
    if len(above) > 1 and above[-2] in ("witness", "around"):
        return []
    inner = [place for name, one in value.items() for place in _places(one, (*above, name))]
    return [(*above, name) for name in value if name != "unusable"] + inner


def _removed(found: Any, place: tuple[Any, ...]) -> None:
    for step in place[:-1]:
        found = found[step]
    del found[place[-1]]


def _replaced(found: Any, place: tuple[Any, ...]) -> None:
    for step in place[:-1]:
        found = found[step]
    found[place[-1]] = {"no": ["such", {}]} if isinstance(found[place[-1]], list) else ["no such"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"verdict": "FINE"}, r"results\[0\].verdict is 'FINE', which is none"),
        ({"findings": [{"anomaly": "", "where": "", "text": "", "witness": [{"x": 1}], "around": []}]}, "no event of"),
    ],
)
def test_what_has_the_form_and_no_meaning_is_refused(
    spoil: dict[str, Any], words: str, report: Report, tmp_path: Path
) -> None:
    """Rather than shown as something that it is not."""
    found: Any = document(report)
    found["results"][0] |= spoil
    path = tmp_path / "run.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read_document(path)


def test_every_claim_is_joined_with_what_was_seen_of_it(report: Report) -> None:
    """All capabilities of each engine; the worst verdict, or none where no scenario speaks for it."""
    rows = {row["capability"]: row for row in document(report)["claims"]}
    assert set(rows) == {capability.value for capability in Cap}
    assert (rows["GROUPS"]["verdict"], rows["GROUPS"]["scenarios"]) == ("FAIL", ["one"])
    assert (rows["COMPACTION"]["verdict"], rows["COMPACTION"]["later"]) == ("PENDING", True)
    assert (rows["PRIORITY"]["verdict"], rows["PRIORITY"]["scenarios"]) == (None, [])
    assert rows["GROUPS"]["targets"] == ["memory", "folder"]


def test_two_versions_of_one_engine_are_two_columns(report: Report) -> None:
    """What fails on one of them is not said of the other."""
    report.versions["folder"] = {"native": "0.9"}
    rows = {row["column"]: row["verdict"] for row in document(report)["claims"] if row["capability"] == "GROUPS"}
    assert rows == {"native 1.0": "PASS", "native 0.9": "FAIL"}


def test_a_file_is_read_as_it_was_written(report: Report, tmp_path: Path) -> None:
    """Letters beyond ASCII and half a surrogate pair too."""
    report.results.append(result("two", "folder", Verdict.PASS, notes=("über \u2713 \ud800",)))
    path = tmp_path / "run.json"
    path.write_text(to_json(document(report)), encoding="utf-8")
    assert read_document(path) == document(report)


def test_a_finding_keeps_its_events(report: Report, tmp_path: Path) -> None:
    """Those that prove it and those around it, each as the history had it: a page can be made of the file alone."""
    history, witness = lost()
    shown = what_to_show(history, [Finding("lost-write", "topic:t/2", "p1#3 is not there", witness)])
    report.results.append(replace(result("three", "folder", Verdict.FAIL), anomalies=("lost-write",), shown=shown))
    path = tmp_path / "run.json"
    path.write_text(to_json(document(report)), encoding="utf-8")
    (row,) = read_document(path)["results"][-1]["findings"]
    assert (row["anomaly"], row["where"], row["text"]) == ("lost-write", "topic:t/2", "p1#3 is not there")
    assert tuple(events_of(row["witness"])) == witness
    assert tuple(events_of(row["around"])) == shown[0].around


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "no report of the conformance suite"),
        ('{"schema": 1}', "no report of the conformance suite"),
        ('{"schema": 2, "results": []}', "has the form 2 of a report, and this mqbridge reads 1"),
        ('{"results": []}', "has the form None"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, words: str, tmp_path: Path) -> None:
    """By what it is, rather than by a field that is missed somewhere later."""
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_document(path)
