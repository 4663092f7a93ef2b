"""The kill matrix: every saboteur against every scenario, and what became of each of them.

The rule: a saboteur is killed by a scenario that fails with the anomaly it is named for, and by nothing else; a run in
which it never struck says nothing, neither for it nor for the scenario; and a scenario that fails without any saboteur
proves nothing with one. Every run is kept, one line each, and none is made twice.
"""

from __future__ import annotations

import enum
import json
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, get_type_hints

import mqbridge as mq
from mqbridge_conformance.history import load
from mqbridge_conformance.places import append_line
from mqbridge_conformance.results import CannotTell, Report, ScenarioResult, Verdict, refused
from mqbridge_conformance.runner import asked, run_scenario
from mqbridge_conformance.saboteurs.catalogue import SABOTEURS
from mqbridge_conformance.saboteurs.saboteur import Saboteur
from mqbridge_conformance.saboteurs.strikes import EVERY, Plan, strikes_told
from mqbridge_conformance.saboteurs.wrapping import in_force
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.targets import Target

__all__ = ["UNBROKEN", "Fate", "Hung", "Matrix", "Trial", "asked_of", "attempt", "read", "resume", "trials", "write"]

UNBROKEN: Final = "-"
"""In the place of a saboteur's code: the scenario as it is. In that of `EVERY` its anomalies are the codes of those
that had an opportunity."""
TRIES: Final = 3
"""A rare saboteur is tried with so many seeds, until one run kills it."""
LONGEST_REASON: Final = 400
HANG_S: Final = 60.0
"""A run that has not ended so long after its patience is over ten times hangs."""
WORTH_SCOUTING: Final = 5
"""For more saboteurs than that a run that finds out who has an opportunity costs less than it saves."""


_BEGINS: Final = b'{"target": '
"""How each line of a results file does."""


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
    operations: int = 0
    """What the programs under test have begun: sends, polls, verbs, commits, ..."""
    absent: tuple[str, ...] = ()
    """What the engine does not claim; told by the run without a saboteur."""

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
        named = not set(SABOTEURS[self.code].anomalies).isdisjoint(self.anomalies)
        return Fate.KILLED if named else Fate.NOTICED


class Hung(Exception):
    """A scenario that waits without end for what a broken engine never gives: its own defect. It cannot be ended, so
    nothing more can be run in this process; `trial` says what there is to say."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial.reason)
        self.trial = trial


def attempt(target: Target, scenario: Scenario, plan: Plan | None, patience_s: float, keep: Path | None) -> Trial:
    """One run on a target that is started for it; without a saboteur it has the patience of any run, for a control must
    not fail for want of it. Histories are kept in `keep`, or not at all. `Hung` if it does not end."""
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
                result, claims = run_scenario(scenario, target, seed=seed, keep=histories)
            else:
                with in_force(replace(plan, told=told)):
                    result, claims = run_scenario(scenario, target, patience_s=patience_s, seed=seed, keep=histories)
        trial = _trial(target, result, plan, len(strikes_told(told)))
        if trial.code == EVERY:
            return replace(trial, anomalies=tuple(dict.fromkeys(strike["code"] for strike in strikes_told(told))))
        if trial.code == UNBROKEN:
            absent = refused(claims, mq.Capability) if claims is not None else []
            return replace(trial, absent=tuple(capability.value for capability in absent))
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
        operations=_operations(result),
    )


def _operations(result: ScenarioResult) -> int:
    if not result.history:
        return 0  # it could not begin
    return sum(event.kind == "invoke" for event in load(Path(result.history)))


def trials(
    make: Callable[[], Sequence[Target]],
    scenarios: Sequence[Scenario],
    saboteurs: Sequence[Saboteur],
    *,
    wanted: Callable[[Scenario, Saboteur], bool] = lambda _scenario, _saboteur: True,
    probability: float = 1.0,
    seed: int = 0,
    tries: int = TRIES,
    patience_s: float,
    known: Iterable[Trial] = (),
    keep: Path | None = None,
) -> Iterator[Trial]:
    """Each scenario without a saboteur, and, if it holds then, with each of them that is wanted and has an opportunity
    in it, and what that needs. `make` makes targets that are not started; a scenario runs on the first of them that is
    asked to run it. A broken run waits for what must happen as long as the whole scenario took unbroken, and
    `patience_s` more. A rare one has `tries` runs, with one seed after another, until it is killed. What is `known` is
    not run again."""
    done = {trial.key: trial for trial in known}

    def run(scenario: Scenario, plan: Plan | None, unbroken_s: float = 0.0) -> Generator[Trial, None, Trial]:
        code, chance, number = (plan.code, plan.probability, plan.seed) if plan is not None else (UNBROKEN, 1.0, 0)
        target = _asked(make(), scenario)
        assert target is not None, "looked at before"
        key = (target.name, scenario.name, code, chance, number)
        if key not in done:
            done[key] = attempt(target, scenario, plan, patience_s + unbroken_s, keep)
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
        chosen = [saboteur for saboteur in chosen if not lacks(saboteur, unbroken)]
        if len(chosen) > WORTH_SCOUTING:
            scouted = yield from run(scenario, Plan(EVERY), unbroken.seconds)
            if Verdict(scouted.verdict).green:
                chosen = [saboteur for saboteur in chosen if saboteur.code in scouted.anomalies]
        for saboteur in chosen:
            for number in range(seed, seed + (tries if probability < 1 else 1)):
                trial = yield from run(scenario, Plan(saboteur.code, probability, number), unbroken.seconds)
                if trial.fate is Fate.KILLED:
                    break


def lacks(saboteur: Saboteur, unbroken: Trial) -> bool:
    """Does it need what that engine does not claim?"""
    return not {capability.value for capability in saboteur.needs}.isdisjoint(unbroken.absent)


def asked_of(make: Callable[[], Sequence[Target]], scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Those that one of the targets is asked to run."""
    return [scenario for scenario in scenarios if _asked(make(), scenario) is not None]


def _asked(targets: Sequence[Target], scenario: Scenario) -> Target | None:
    return next((target for target in targets if asked(scenario, target, Report())), None)


def write(trial: Trial, file: Path) -> None:
    """One more line."""
    append_line(file, asdict(trial))


def resume(file: Path) -> list[Trial]:
    """What `read` gives; a last line that was cut short by a kill is taken away, so that the next one can follow.
    Errors: those of `read`."""
    found = read(file)
    if file.exists():
        whole = file.read_bytes().rpartition(b"\n")
        with file.open("r+b") as lines:
            lines.truncate(len(whole[0] + whole[1]))
    return found


def read(file: Path) -> list[Trial]:
    """All that was written, without a last line that was cut short; nothing if there is no file yet. Errors:
    `ValueError` with the first line that is none of `write`."""
    if not file.exists():
        return []
    *lines, torn = file.read_bytes().split(b"\n")
    if not (torn.startswith(_BEGINS) or _BEGINS.startswith(torn)):
        lines.append(torn)
    return [_trial_of(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]


def _trial_of(line: bytes, where: str) -> Trial:
    try:
        found = Trial(**json.loads(line, object_hook=_with_tuples))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: that is no run of a saboteur: {error}") from error
    wrong = [name for name, kind in get_type_hints(Trial).items() if not _is(getattr(found, name), kind)]
    if wrong or found.verdict not in list(Verdict):
        raise ValueError(f"{where}: that is no run of a saboteur: {', '.join(wrong) or 'verdict'} cannot be so")
    return found


def _is(value: object, kind: object) -> bool:
    if kind is float:
        return type(value) in (int, float)
    if kind in (int, str):
        return type(value) is kind
    return isinstance(value, tuple) and all(isinstance(each, str) for each in value)


def _with_tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


class Matrix:
    """What the runs of one target, at one probability, add up to: of the scenarios and the saboteurs that were asked
    for, run or not, but for saboteurs that need what the engine does not claim."""

    def __init__(self, runs: Iterable[Trial], scenarios: Iterable[Scenario], saboteurs: Iterable[Saboteur]) -> None:
        every = list(runs)
        self.scenarios = [scenario.name for scenario in scenarios]
        self.unbroken = {trial.scenario: trial for trial in every if trial.code == UNBROKEN}
        self._scouted = {
            trial.scenario: trial.anomalies for trial in every if trial.code == EVERY and Verdict(trial.verdict).green
        }
        told = list(self.unbroken.values())
        self.codes = [one.code for one in saboteurs if not any(lacks(one, trial) for trial in told)]
        self.broken = [trial for trial in every if trial.code in self.codes and trial.scenario in self.scenarios]

    def fate(self, code: str, scenario: str) -> Fate | None:
        """The strongest word of the runs of a cell; None if it was not run, and nobody knows of an opportunity."""
        found = {trial.fate for trial in self.broken if trial.code == code and trial.scenario == scenario}
        if not found and code not in self._scouted.get(scenario, (code,)):
            return Fate.IDLE
        return next((fate for fate in Fate if fate in found), None)

    def killers(self, code: str) -> list[str]:
        """The scenarios that kill a saboteur."""
        return [scenario for scenario in self.scenarios if self.fate(code, scenario) is Fate.KILLED]

    def killed(self, scenario: str) -> list[str]:
        """The saboteurs that a scenario kills."""
        return [code for code in self.codes if self.fate(code, scenario) is Fate.KILLED]

    def alive(self) -> list[str]:
        """The saboteurs that no scenario kills, those that never had an opportunity among them."""
        return [code for code in self.codes if not self.killers(code)]

    def toothless(self) -> list[str]:
        """The scenarios that kill none, those that fail by themselves or were not run among them, but not those that
        the engine refuses: of them nothing was run that could be broken."""
        return [scenario for scenario in self.scenarios if not self.killed(scenario) and not self._refused(scenario)]

    def _refused(self, scenario: str) -> bool:
        unbroken = self.unbroken.get(scenario)
        return unbroken is not None and unbroken.verdict in (Verdict.REFUSED_PROVEN, Verdict.PENDING)
