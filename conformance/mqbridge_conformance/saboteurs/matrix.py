"""The kill matrix: every saboteur against every scenario, and what became of each of them.

The rule: a saboteur is killed by a scenario that fails with the anomaly it is named for, and by nothing else; a run in
which it never struck says nothing, neither for it nor for the scenario; and a scenario that fails without any saboteur
proves nothing with one. Every run is kept, one line each, and none is made twice.
"""

from __future__ import annotations

import enum
import json
import re
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from mqbridge_conformance.results import CannotTell, Report, ScenarioResult, Verdict
from mqbridge_conformance.runner import asked, run_scenario
from mqbridge_conformance.saboteurs.catalogue import SABOTEURS
from mqbridge_conformance.saboteurs.saboteur import Saboteur
from mqbridge_conformance.saboteurs.strikes import EVERY, Plan, strikes_told
from mqbridge_conformance.saboteurs.wrapping import in_force
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.targets import Target

__all__ = ["UNBROKEN", "Fate", "Hung", "Matrix", "Trial", "attempt", "read", "trials", "write"]

UNBROKEN: Final = "-"
"""In the place of a saboteur's code: the scenario as it is. In that of `EVERY` its anomalies are the codes of those
that had an opportunity."""
SEEDS: Final = 3
"""A rare saboteur that did not strike is tried with so many seeds."""
LONGEST_REASON: Final = 400
HANG_S: Final = 60.0
"""A run that has not ended so long after its patience is over ten times hangs."""
WORTH_SCOUTING: Final = 5
"""For more saboteurs than that a run that finds out who has an opportunity costs less than it saves."""


class Fate(enum.StrEnum):
    """What one run says of a saboteur."""

    KILLED = "killed"
    """The scenario failed, with the anomaly that it is named for."""
    NOTICED = "noticed"
    """The scenario failed, and not by that name."""
    SURVIVED = "survived"
    """It struck, and the scenario saw nothing."""
    UNKNOWN = "unknown"
    """It struck, and the scenario could not tell."""
    IDLE = "no opportunity"
    """It never struck."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of one scenario with one saboteur, or with none."""

    target: str
    scenario: str
    code: str
    probability: float
    seed: int
    verdict: str
    anomalies: tuple[str, ...]
    strikes: int
    seconds: float
    reason: str

    @property
    def key(self) -> tuple[str, str, str, float, int]:
        return self.target, self.scenario, self.code, self.probability, self.seed

    @property
    def fate(self) -> Fate:
        """What it says of its saboteur."""
        if not self.strikes:
            return Fate.IDLE
        if self.verdict == Verdict.UNKNOWN:
            return Fate.UNKNOWN
        if self.verdict != Verdict.FAIL:
            return Fate.SURVIVED
        return Fate.KILLED if names(SABOTEURS[self.code], self.anomalies, self.reason) else Fate.NOTICED


def names(saboteur: Saboteur, anomalies: Iterable[str], reason: str) -> bool:
    """Is what was found what it is named for?"""
    by_words = bool(saboteur.words) and re.search(saboteur.words, reason, re.DOTALL) is not None
    return by_words or not set(saboteur.anomalies).isdisjoint(anomalies)


class Hung(Exception):
    """A scenario that waits without end for what a broken engine never gives: its own defect. It cannot be ended, so
    nothing more can be run in this process; `trial` says what there is to say."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial.reason)
        self.trial = trial


def attempt(target: Target, scenario: Scenario, plan: Plan | None, patience_s: float, keep: Path | None) -> Trial:
    """One run on a target that is started for it. Histories of failures are kept in `keep`, or not at all. `Hung` if
    it does not end."""
    ended: list[Trial] = []
    thread = threading.Thread(
        target=lambda: ended.append(_attempt(target, scenario, plan, patience_s, keep)), daemon=True, name="trial"
    )
    thread.start()
    limit_s = 10 * patience_s + HANG_S
    thread.join(limit_s)
    if ended:
        return ended[0]
    if not thread.is_alive():
        raise CannotTell(f"{scenario.name} could not be run on {target.name!r}: its thread has died")
    plan = plan or Plan(UNBROKEN)
    reason = f"it did not end within {limit_s:g} s"
    trial = Trial(
        target.name, scenario.name, plan.code, plan.probability, plan.seed, Verdict.UNKNOWN, (), 1, limit_s, reason
    )
    raise Hung(trial)


def _attempt(target: Target, scenario: Scenario, plan: Plan | None, patience_s: float, keep: Path | None) -> Trial:
    with tempfile.TemporaryDirectory(prefix="mqbridge-teeth-") as folder:
        told = Path(folder) / "strikes.jsonl"
        histories = keep or Path(folder) / "histories"
        seed = plan.seed if plan is not None else 0
        with target:
            if plan is None:
                result, _ = run_scenario(scenario, target, patience_s=patience_s, seed=seed, keep=histories)
            else:
                with in_force(replace(plan, told=told)):
                    result, _ = run_scenario(scenario, target, patience_s=patience_s, seed=seed, keep=histories)
        trial = _trial(target, result, plan, len(strikes_told(told)))
        if trial.code == EVERY:
            trial = replace(trial, anomalies=tuple(dict.fromkeys(strike["code"] for strike in strikes_told(told))))
        return trial


def _trial(target: Target, result: ScenarioResult, plan: Plan | None, strikes: int) -> Trial:
    return Trial(
        target=target.name,
        scenario=result.scenario,
        code=plan.code if plan is not None else UNBROKEN,
        probability=plan.probability if plan is not None else 1.0,
        seed=plan.seed if plan is not None else 0,
        verdict=result.verdict.value,
        anomalies=result.anomalies,
        strikes=strikes,
        seconds=round(result.seconds, 3),
        reason=result.reason[:LONGEST_REASON],
    )


def trials(
    make: Callable[[], Sequence[Target]],
    scenarios: Sequence[Scenario],
    saboteurs: Sequence[Saboteur],
    *,
    wanted: Callable[[Scenario, Saboteur], bool] = lambda _scenario, _saboteur: True,
    probability: float = 1.0,
    seed: int = 0,
    patience_s: float,
    known: Iterable[Trial] = (),
    keep: Path | None = None,
) -> Iterator[Trial]:
    """Each scenario without a saboteur, and, if it holds then, with each of them that is wanted and has an opportunity
    in it. `make` makes targets that are not started; a scenario runs on the first of them that is asked to run it. What
    is `known` is not run again."""
    done = {trial.key: trial for trial in known}

    def run(scenario: Scenario, plan: Plan | None) -> Generator[Trial, None, Trial]:
        code, chance, number = (plan.code, plan.probability, plan.seed) if plan is not None else (UNBROKEN, 1.0, 0)
        target = _asked(make(), scenario)
        assert target is not None, "looked at before"
        key = (target.name, scenario.name, code, chance, number)
        if key not in done:
            done[key] = attempt(target, scenario, plan, patience_s, keep)
            yield done[key]
        return done[key]

    for scenario in scenarios:
        target = _asked(make(), scenario)
        chosen = [saboteur for saboteur in saboteurs if wanted(scenario, saboteur)]
        if target is None or not chosen:
            continue
        unbroken = yield from run(scenario, None)
        if not Verdict(unbroken.verdict).green:
            continue
        chosen = [saboteur for saboteur in chosen if not saboteur.only or saboteur.only == target.engine]
        if len(chosen) > WORTH_SCOUTING:
            scouted = yield from run(scenario, Plan(EVERY))
            if Verdict(scouted.verdict).green:
                chosen = [saboteur for saboteur in chosen if saboteur.code in scouted.anomalies]
        for saboteur in chosen:
            for number in range(seed, seed + (SEEDS if probability < 1 else 1)):
                trial = yield from run(scenario, Plan(saboteur.code, probability, number))
                if trial.strikes:
                    break


def _asked(targets: Sequence[Target], scenario: Scenario) -> Target | None:
    return next((target for target in targets if asked(scenario, target, Report())), None)


def write(trial: Trial, file: Path) -> None:
    """One more line."""
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(trial)) + "\n")


def read(file: Path) -> list[Trial]:
    """All that was written; nothing if there is no file yet."""
    if not file.exists():
        return []
    rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    return [Trial(**{**row, "anomalies": tuple(row["anomalies"])}) for row in rows]


class Matrix:
    """What the runs of one target, at one probability, add up to."""

    def __init__(self, runs: Iterable[Trial]) -> None:
        every = list(runs)
        self.unbroken = {trial.scenario: trial for trial in every if trial.code == UNBROKEN}
        self.broken = [trial for trial in every if trial.code != UNBROKEN and trial.code in SABOTEURS]
        self.scenarios = list(dict.fromkeys(trial.scenario for trial in every))
        self.codes = [code for code in SABOTEURS if any(trial.code == code for trial in self.broken)]

    def fate(self, code: str, scenario: str) -> Fate | None:
        """The strongest word of the runs of a cell; None if it was not run."""
        found = {trial.fate for trial in self.broken if trial.code == code and trial.scenario == scenario}
        return next((fate for fate in Fate if fate in found), None)

    def killers(self, code: str) -> list[str]:
        """The scenarios that kill a saboteur."""
        return [scenario for scenario in self.scenarios if self.fate(code, scenario) is Fate.KILLED]

    def killed(self, scenario: str) -> list[str]:
        """The saboteurs that a scenario kills."""
        return [code for code in self.codes if self.fate(code, scenario) is Fate.KILLED]

    def alive(self) -> list[str]:
        """The saboteurs that no scenario kills."""
        return [code for code in self.codes if not self.killers(code)]

    def toothless(self) -> list[str]:
        """The scenarios that kill none, those that fail by themselves among them."""
        return [scenario for scenario in self.scenarios if not self.killed(scenario)]
