"""Engines that run beside each other give the report that they would have given one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from mqbridge_conformance.beside import beside
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CannotTell, Report, ScenarioResult, Verdict
from mqbridge_conformance.runner import results
from mqbridge_conformance.scenario import Scenario, scenario
from mqbridge_conformance.targets import NativeMemory

WAIT_S = 10.0


class Named(NativeMemory):
    """The native engine under another name, which makes it another engine; says whether it is up."""

    def __init__(self, engine: str, name: str) -> None:
        super().__init__()
        self.engine = engine
        self.name = name
        self.running = False

    def start(self) -> None:
        self.running = True
        super().start()

    def stop(self) -> None:
        self.running = False
        super().stop()


class Absent(Named):
    def start(self) -> None:
        raise CannotTell("it is not installed")


def toy(name: str, body: Callable[[Env], object] = lambda _: None) -> Scenario:
    def checked(env: Env) -> None:
        env.check(True, "never false")
        body(env)

    return scenario(name, "A toy")(checked)


def told(found: list[ScenarioResult]) -> list[tuple[str, str, Verdict, int]]:
    return [(result.target, result.scenario, result.verdict, result.seed) for result in found]


def test_the_report_is_that_of_one_after_the_other() -> None:
    """In its order, with what was not asked, what could not be started, claims and versions."""
    process = replace(toy("process"), processes=True)

    def targets() -> list[NativeMemory]:
        return [Named("a", "a1"), Named("b", "b1"), Named("a", "a2"), Absent("c", "c1")]

    scenarios = [toy("one"), process, toy("two", lambda env: env.check(env.target.name != "b1", "on purpose"))]
    ordered, parallel = Report(seed=4), Report(seed=4)
    for report, way in ((ordered, results), (parallel, beside)):
        heard = list(way(report, targets(), scenarios, repeat=2))
        assert sorted(told(heard)) == sorted(told(report.results))
    assert told(parallel.results) == told(ordered.results)
    assert set(parallel.claims) == set(ordered.claims) == {"a1", "b1", "a2"}
    assert parallel.versions == ordered.versions
    assert parallel.unasked == ordered.unasked
    assert len(parallel.unasked) == 4


def test_engines_run_at_the_same_time_and_targets_of_one_do_not() -> None:
    """Two engines meet in a scenario; two targets of one never do."""
    meeting = threading.Barrier(2)
    within: list[str] = []

    def meet(env: Env) -> None:
        assert env.target.engine not in within, "two targets of one engine at the same time"
        within.append(env.target.engine)
        meeting.wait(WAIT_S)
        within.remove(env.target.engine)

    targets = [Named("a", "a1"), Named("a", "a2"), Named("b", "b1"), Named("b", "b2")]
    found = list(beside(Report(), targets, [toy("meet", meet)]))
    assert [result.verdict for result in found] == [Verdict.PASS] * 4, found[0].reason


def test_whoever_wants_no_more_has_all_lanes_end() -> None:
    """What is under way comes to its end, nothing else begins, and every target is stopped."""
    begun: list[str] = []
    first = threading.Event()

    def slow(env: Env) -> None:
        begun.append(env.target.name)
        assert first.wait(WAIT_S)

    targets = [Named("quick", "quick"), Named("slow", "slow")]
    report = Report()
    lanes = beside(report, targets, [toy("one", lambda env: slow(env) if env.target.engine == "slow" else None)] * 3)
    assert next(lanes).target == "quick"
    threading.Timer(0.1, first.set).start()
    lanes.close()
    assert begun in ([], ["slow"])
    assert [target.running for target in targets] == [False, False]
    assert {result.target for result in report.results} == {"quick"}


def test_what_no_scenario_may_raise_is_raised_to_whoever_asked() -> None:
    """As it would be without lanes."""

    class Broken(Named):
        def start(self) -> None:
            raise LookupError("a mistake of the suite's")

    with pytest.raises(LookupError, match="a mistake"):
        list(beside(Report(), [Named("a", "a"), Broken("b", "b")], [toy("one")]))
