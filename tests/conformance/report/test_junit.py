"""A run as JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from mqbridge_conformance.report import document, junit_xml
from mqbridge_conformance.results import LeftOut, Report, Verdict
from tests.conformance.report.made import result


def properties(of: ET.Element) -> dict[str | None, str | None]:
    return {item.get("name"): item.get("value") for item in of.findall("properties/property")}


@pytest.fixture
def suites(report: Report) -> dict[str | None, ET.Element]:
    report.results.append(result("two", "folder", Verdict.UNKNOWN))
    root = ET.fromstring(junit_xml(document(report)))
    return {suite.get("name"): suite for suite in root.findall("testsuite")}


def test_a_suite_a_target_and_a_case_a_run(suites: dict[str | None, ET.Element]) -> None:
    """With the counts that a server shows, and no two cases of one name."""
    assert list(suites) == ["memory", "folder"]
    folder = suites["folder"]
    counts = [folder.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["3", "1", "1", "0"]
    assert [case.get("name") for case in folder.findall("testcase")] == ["one", "one [2]", "two"]
    assert {case.get("classname") for case in folder.findall("testcase")} == {"mqbridge_conformance.folder"}


def test_a_failure_is_no_error_and_neither_is_hidden(suites: dict[str | None, ET.Element]) -> None:
    """FAIL is a failure and UNKNOWN an error, each with its reason."""
    first, second, third = suites["folder"].findall("testcase")
    assert [child.tag for child in first] == ["properties", "system-out"]
    assert (second.find("failure") is not None, second.find("error") is not None) == (True, False)
    assert (third.find("failure") is not None, third.find("error") is not None) == (False, True)
    failure = second.find("failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message"), failure.text) == ("FAIL", "because FAIL", "because FAIL")


def test_what_was_not_run_is_an_error(report: Report) -> None:
    """A server that shows an interrupted run shows no green one; a target that did not begin at all has a suite too."""
    report.not_run += [LeftOut("two", "About two", target, "native", "interrupted") for target in ("folder", "client")]
    root = ET.fromstring(junit_xml(document(report)))
    suites = {suite.get("name"): suite for suite in root.findall("testsuite")}
    assert {name: (suite.get("tests"), suite.get("errors")) for name, suite in suites.items()} == {
        "memory": ("2", "0"),
        "folder": ("3", "1"),
        "client": ("1", "1"),
    }
    (case,) = suites["client"].findall("testcase")
    assert (case.get("classname"), case.get("name")) == ("mqbridge_conformance.client", "two")
    error = case.find("error")
    assert error is not None
    assert (error.get("type"), error.get("message"), error.text) == ("NOT RUN", "interrupted", "interrupted")
    assert properties(case)["verdict"] == "NOT RUN"


def test_the_verdict_is_told_where_junit_only_knows_passed(suites: dict[str | None, ET.Element]) -> None:
    """PENDING is not among the skipped, and its reason is in the output."""
    _, pending = suites["memory"].findall("testcase")
    assert pending.find("skipped") is None
    assert properties(pending)["verdict"] == "PENDING"
    assert properties(pending)["evidence checks"] == "2"
    assert pending.findtext("system-out") == "because PENDING\nby thread\na | b"


def test_the_run_can_be_repeated_from_it(suites: dict[str | None, ET.Element]) -> None:
    """Level, seed and versions."""
    assert properties(suites["memory"]) == {
        "level": "full",
        "seed": "7",
        "version native": "1.0",
        "version client": "2",
    }


def test_characters_that_xml_cannot_have_do_not_break_it(report: Report) -> None:
    """A payload in a reason may hold any of them."""
    report.results.append(result("bytes", "memory", Verdict.FAIL, notes=("\x00<&>\ud800",)))
    root = ET.fromstring(junit_xml(document(report)))
    (case,) = [case for case in root.iter("testcase") if case.get("name") == "bytes"]
    assert case.findtext("system-out") == "\\x00<&>\\xd800"
