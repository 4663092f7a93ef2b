"""Every saboteur is killed and every scenario kills one, on the native engine: the pairs of `saboteurs.killers`."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.results import Verdict
from mqbridge_conformance.saboteurs import SABOTEURS, matrix
from mqbridge_conformance.saboteurs.killers import KILLERS, NOT_NATIVE, is_killer
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import targets_for

PATIENCE_S = 1.0
"""Most of what dies dies at once. The rest waits for what a broken engine never gives, so much longer than a sound one
takes."""
SCENARIOS = {scenario.name: scenario for scenario in ALL}
FIND = "mqbridge conformance saboteurs native --level full"


def test_every_saboteur_has_a_scenario_that_kills_it() -> None:
    """Or it says why the native engine gives it nothing to break."""
    paired = {code for code, _ in KILLERS}
    missing = set(SABOTEURS) - paired - set(NOT_NATIVE)
    how = f"find a scenario with `{FIND} --saboteur CODE` and name it in saboteurs/killers.py"
    assert not missing, f"no scenario is named that kills {', '.join(sorted(missing))}: {how}"
    assert not paired & set(NOT_NATIVE)
    assert paired | set(NOT_NATIVE) <= set(SABOTEURS)


def test_every_scenario_has_a_saboteur_that_it_kills() -> None:
    """A scenario without one is a claim without a proof. Of nodes that die, which the native engine has not, the proof
    is `acks-1` of the proofs, with the same nodes, and what `test_kafka_teeth` breaks there."""
    paired = {name for _, name in KILLERS}
    missing = set(SCENARIOS) - paired - {scenario.name for scenario in ALL if scenario.cluster}
    how = f"find a saboteur with `{FIND} --scenario NAME`, or write one, and name it in saboteurs/killers.py"
    assert not missing, f"no saboteur is named that these kill: {', '.join(sorted(missing))}: {how}"
    assert paired <= set(SCENARIOS)


def _params() -> list[Any]:
    """Those that stop a broker take long: for ``-m soak``, but for what no other scenario kills."""
    elsewhere = {code for code, name in KILLERS if not SCENARIOS[name].own_broker}
    needed = {name for code, name in KILLERS if code not in elsewhere}
    return [
        pytest.param(one, id=one.name, marks=[pytest.mark.soak] if one.own_broker and one.name not in needed else [])
        for one in ALL
        if not one.cluster
    ]


@pytest.mark.parametrize("scenario", _params())
def test_what_kills_still_does(scenario: Scenario) -> None:
    """The scenario holds on the engine as it is, and fails, by the right name, on each that is named as its victim."""
    unbroken, *broken = matrix.trials(
        lambda: targets_for("native"), [scenario], list(SABOTEURS.values()), wanted=is_killer, patience_s=PATIENCE_S
    )
    assert Verdict(unbroken.verdict).green, f"{unbroken.verdict}: {unbroken.reason}"
    assert {(trial.code, trial.scenario) for trial in broken} == {pair for pair in KILLERS if pair[1] == scenario.name}
    alive = [trial for trial in broken if trial.fate is not matrix.Fate.KILLED]
    how = f"see it with `{FIND} --scenario {scenario.name} --saboteur CODE --keep FOLDER`"
    assert not alive, f"{[(trial.code, trial.fate.value, trial.anomalies, trial.reason) for trial in alive]}: {how}"
