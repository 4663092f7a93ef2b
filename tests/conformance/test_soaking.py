"""Running again and again, until something is wrong or it is enough."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mqbridge_conformance.env import Env
from mqbridge_conformance.history import load
from mqbridge_conformance.results import CannotTell, Report, Verdict
from mqbridge_conformance.scenario import Scenario, scenario
from mqbridge_conformance.soaking import Enough, soak
from mqbridge_conformance.targets import NativeMemory

FOREVER = Enough(rounds=50)


class Watched(NativeMemory):
    """Says whether it is up."""

    running = False

    def start(self) -> None:
        self.running = True
        super().start()

    def stop(self) -> None:
        self.running = False
        super().stop()


def toy(name: str, body: Callable[[Env], None] = lambda _: None) -> Scenario:
    def checked(env: Env) -> None:
        env.check(True, "never false")
        body(env)

    return scenario(name, "A toy")(checked)


def test_each_round_has_a_new_seed_which_is_told_before_it_begins() -> None:
    """So that the round that fails can be run again alone, even if it never comes to its end."""
    told: list[object] = []
    report = Report(seed=40)
    rounds = soak(
        report,
        [NativeMemory()],
        [toy("one"), toy("two")],
        Enough(rounds=2),
        tell=lambda result: told.append((result.scenario, result.seed)),
        tell_round=lambda number, seed: told.append((number, seed)),
    )
    assert rounds == 2
    assert told == [(1, 40), ("one", 40), ("two", 40), (2, 41), ("one", 41), ("two", 41)]
    assert [result.seed for result in report.results] == [40, 40, 41, 41]
    assert report.green


def fail(env: Env) -> None:
    env.check(False, "on purpose")


def cannot(env: Env) -> None:
    raise CannotTell("no second machine")


@pytest.mark.parametrize(("end", "verdict"), [(fail, Verdict.FAIL), (cannot, Verdict.UNKNOWN)])
def test_what_is_not_green_ends_it_at_once_with_its_history(
    end: Callable[[Env], None], verdict: Verdict, tmp_path: Path
) -> None:
    """In the middle of the second round: nothing runs after it, the target is stopped, its history is there."""
    ran: list[str] = []

    def second_time(env: Env) -> None:
        ran.append("one")
        if len(ran) == 2:
            env.queue()
            end(env)

    target, report = Watched(), Report(seed=1)
    assert soak(report, [target], [toy("one", second_time), toy("two")], FOREVER, keep=tmp_path) == 2
    assert [(result.scenario, result.verdict) for result in report.results] == [
        ("one", Verdict.PASS),
        ("two", Verdict.PASS),
        ("one", verdict),
    ]
    assert not target.running
    kept = Path(report.results[-1].history)
    assert kept.parent == tmp_path
    assert load(kept).header["seed"] == 2


def test_it_ends_when_the_time_is_over() -> None:
    """After the scenario that is under way, not after the round."""
    report = Report()

    def long(env: Env) -> None:
        threading.Event().wait(0.2)

    assert soak(report, [NativeMemory()], [toy("long", long), toy("next")], Enough(seconds=0.1)) == 1
    assert [result.scenario for result in report.results] == ["long"]


def test_no_time_is_no_run() -> None:
    """And an empty report, which is not green."""
    report = Report()
    assert soak(report, [NativeMemory()], [toy("one")], Enough(seconds=0.0)) == 0
    assert not report.results
    assert not report.green
