"""Every scenario can fail: on an engine with one promise broken it does, and by the check that is there for it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mqbridge_conformance.results import Verdict
from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.saboteurs import Plan, in_force, strikes_told
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import NativeClient, targets_for
from tests.conformance.saboteurs import in_engine, in_errors, in_lifecycle, in_limits, in_queues, in_routes, in_topics
from tests.conformance.saboteurs.breaking import Saboteur

SABOTEURS = [
    *in_engine.SABOTEURS,
    *in_topics.SABOTEURS,
    *in_queues.SABOTEURS,
    *in_limits.SABOTEURS,
    *in_errors.SABOTEURS,
    *in_lifecycle.SABOTEURS,
    *in_routes.SABOTEURS,
]
PATIENCE_S = 1.5
SESSION_PATIENCE_S = 3.0
"""For those that wait until the session of a killed member is over."""
PROCESS_PATIENCE_S = 8.0
"""For those that start processes and wait for what one of them has."""
SCENARIOS = {scenario.name: scenario for scenario in ALL}


def _patience_s(scenario: Scenario) -> float:
    if scenario.processes:
        return PROCESS_PATIENCE_S
    return SESSION_PATIENCE_S if "kills" in scenario.exercises else PATIENCE_S


@pytest.mark.parametrize(
    ("name", "sabotage", "where", "words"),
    [pytest.param(name, how, where, words, id=f"{name}: {what}") for name, what, how, where, words in SABOTEURS],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_engine_fails(
    name: str, sabotage: Saboteur, where: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict is FAIL, never UNKNOWN or green, and the reason names what is broken."""
    (target,) = targets_for(where)
    patience_s = _patience_s(SCENARIOS[name])
    with target:
        sabotage(monkeypatch)
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=patience_s)
        monkeypatch.undo()
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert re.search(words, result.reason, re.DOTALL), result.reason


def test_every_scenario_is_shown_able_to_fail() -> None:
    """A scenario without a saboteur is a claim without a proof; those that stop a broker are shown below."""
    assert {name for name, *_ in SABOTEURS} == {scenario.name for scenario in ALL if not scenario.own_broker}


@pytest.mark.parametrize(("plan", "found"), [(Plan("M02", 0.02), "lost"), (Plan("S30"), "starvation")], ids=str)
def test_a_restart_that_is_not_survived_is_found(plan: Plan, found: str, tmp_path: Path) -> None:
    """An engine that drops messages now and then, or whose consumers do not come back, fails the scenario that restarts
    the broker, by that name."""
    target = NativeClient(own=True)
    with target, in_force(replace(plan, told=tmp_path / "told")):
        result, _ = run_scenario(SCENARIOS["resumes-after-restart"], target, patience_s=PROCESS_PATIENCE_S)
    assert strikes_told(tmp_path / "told"), "it never struck"
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert found in result.anomalies, result.anomalies
