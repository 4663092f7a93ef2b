"""What changed from one run to another."""

from __future__ import annotations

import copy

import pytest

from mqbridge_conformance.report import Document, compare, document
from mqbridge_conformance.results import Report, ScenarioResult, Verdict
from tests.conformance.report.made import result


def told(first: Document, second: Document) -> list[tuple[str, bool, str]]:
    return [(change.kind, change.worse, change.text) for change in compare(first, second).changes]


def changed(found: Document, capability: str, **fields: object) -> Document:
    """The same, with a claim that is another."""
    other = copy.deepcopy(found)
    for row in other["claims"]:
        if row["capability"] == capability:
            row.update(fields)  # type: ignore[typeddict-item]
    return other


@pytest.fixture
def found(report: Report) -> Document:
    return document(report)


def test_nothing_changed_is_said_and_is_not_worse(found: Document) -> None:
    """A run compared with itself."""
    same = compare(found, found)
    assert not same.worse
    assert "nothing changed" in same.as_text()


def of(*results: ScenarioResult) -> Document:
    return document(Report(results=list(results)))


@pytest.mark.parametrize(
    ("was", "now", "worse"),
    [
        (Verdict.PASS, Verdict.FAIL, True),
        (Verdict.PASS, Verdict.PASS_EMULATED, True),
        (Verdict.PASS, Verdict.REFUSED_PROVEN, True),
        (Verdict.PENDING, Verdict.UNKNOWN, True),
        (Verdict.FAIL, Verdict.UNKNOWN, False),
        (Verdict.PENDING, Verdict.PASS, False),
    ],
)
def test_a_verdict_that_changed_is_worse_or_better(was: Verdict, now: Verdict, worse: bool) -> None:
    """By the order of the verdicts, with the reason that there is now."""
    changes = told(of(result("one", "memory", was)), of(result("one", "memory", now)))
    assert changes == [("verdict", worse, f"one on memory: {was} -> {now} (because {now})")]


def test_the_worst_of_several_runs_is_compared() -> None:
    """One failure of three is a failure, before and after."""
    good, bad = result("one", "memory", Verdict.PASS), result("one", "memory", Verdict.FAIL)
    assert compare(of(good, good), of(good, bad, good)).worse
    assert told(of(good, bad), of(bad, good)) == []


def test_what_did_not_run_again_is_worse() -> None:
    """Nothing that is not shown any more passes for unchanged."""
    one, two = result("one", "memory", Verdict.PASS), result("two", "memory", Verdict.PASS)
    assert told(of(one, two), of(one)) == [("gone", True, "two on memory: was PASS, did not run")]
    after = of(one)
    after["unasked"] = [{"scenario": "two", "target": "memory", "reason": "needs processes"}]
    assert told(of(one, two), after) == [("gone", True, "two on memory: was PASS, needs processes")]


@pytest.mark.parametrize(("verdict", "worse"), [(Verdict.PASS, False), (Verdict.FAIL, True), (Verdict.UNKNOWN, True)])
def test_a_new_scenario_is_worse_if_it_is_not_green(verdict: Verdict, worse: bool) -> None:
    """What was never compared may still be broken."""
    one, two = result("one", "memory", Verdict.PASS), result("two", "memory", verdict)
    assert told(of(one), of(one, two)) == [("new", worse, f"two on memory: {verdict} (because {verdict})")]


@pytest.mark.parametrize(
    ("before", "after", "worse", "text"),
    [
        ({"level": "direct"}, {"level": "emulated"}, True, "direct -> emulated"),
        ({"level": "emulated"}, {"level": "unsupported"}, True, "emulated -> refused"),
        ({"level": "unsupported", "later": True}, {"level": "unsupported"}, True, "later -> refused"),
        ({"level": "unsupported"}, {"level": "unsupported", "later": True}, False, "refused -> later"),
        ({"level": "emulated"}, {"level": "direct"}, False, "emulated -> direct"),
        ({}, {"conditions": "on Sundays"}, False, "unqualified -> on Sundays"),
        ({"cost": "a send"}, {"cost": "two"}, False, "costs: a send -> costs: two"),
    ],
)
def test_a_claim_that_changed_is_told(
    found: Document, before: dict[str, object], after: dict[str, object], worse: bool, text: str
) -> None:
    """A lower level is worse; what qualifies it is for a person to judge."""
    plain: dict[str, object] = {"level": "direct", "later": False, "conditions": "", "cost": ""}
    first, second = (changed(found, "SEEK", **{**plain, **fields}) for fields in (before, after))
    assert told(first, second) == [("claim", worse, f"SEEK on native: {text}")]


@pytest.mark.parametrize(
    ("was", "now", "is_told"),
    [(10, 20, True), (10, 19, False), (20, 9, True), (0, 1, True), (3, 0, True), (1, 4, False)],
)
def test_counts_that_changed_a_lot_are_told_and_are_not_worse(was: int, now: int, is_told: bool) -> None:
    """Twice or half of many, and what came to be or ceased."""

    def run(number: int) -> Document:
        other = of(result("one", "memory", Verdict.PASS))
        other["results"][0]["evidence"] = {"checks": 1, **({"kills": number} if number else {})}
        return other

    expected = [("evidence", False, f"one on memory: {was} -> {now} kills")] if is_told else []
    assert told(run(was), run(now)) == expected


def test_anomalies_that_came_or_became_frequent_are_told() -> None:
    """Errors and legal ones alike, by their names."""
    before, after = of(result("one", "memory", Verdict.PASS)), of(result("one", "memory", Verdict.FAIL))
    before["results"][0]["counted"] = {"duplicate": 4}
    after["results"][0]["counted"] = {"duplicate": 40}
    after["results"][0]["anomalies"] = ["lost-write"]
    assert told(before, after)[1:] == [
        ("anomaly", False, "one on memory: 4 -> 40 duplicate"),
        ("anomaly", False, "one on memory: 0 -> 1 lost-write"),
    ]


def test_counts_are_taken_per_run() -> None:
    """Three runs count no more than one."""
    one = result("one", "memory", Verdict.PASS)
    assert told(of(one), of(one, one, one)) == []


def test_the_worse_comes_first() -> None:
    """Whoever reads one line reads the one that matters."""
    before = of(result("a", "memory", Verdict.FAIL), result("b", "memory", Verdict.PASS))
    after = of(result("a", "memory", Verdict.PASS), result("b", "memory", Verdict.FAIL))
    assert [change.worse for change in compare(before, after).changes] == [True, False]
    text = compare(before, after).as_text()
    assert text.index("worse:") < text.index("b on memory") < text.index("changed:") < text.index("a on memory")


def test_a_broker_at_another_address_is_the_same_target() -> None:
    """The only one of its engine on both sides, and both runs are told with their versions."""
    first, second = of(result("one", "kafka, a:1", Verdict.PASS)), of(result("one", "kafka, b:2", Verdict.FAIL))
    second["targets"][0]["versions"] = {"native": "2"}
    assert [change.kind for change in compare(first, second).changes] == ["verdict"]
    assert "kafka, b:2 (native 2)" in compare(first, second).as_text()


def test_two_targets_of_an_engine_are_not_guessed_at() -> None:
    """Where nobody can say which is which, both are gone and both are new."""
    first = of(result("one", "a", Verdict.PASS), result("one", "b", Verdict.PASS))
    second = of(result("one", "c", Verdict.PASS), result("one", "d", Verdict.PASS))
    assert [change.kind for change in compare(first, second).changes] == ["gone", "gone", "new", "new"]
    alone = of(result("one", "a", Verdict.PASS))
    assert [change.kind for change in compare(alone, second).changes] == ["gone", "new", "new"]
    assert [change.kind for change in compare(second, alone).changes] == ["gone", "gone", "new"]
