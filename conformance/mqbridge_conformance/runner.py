"""Judging: one scenario on one target gives one result, and a run gives a report.

The rule: what was not seen is not green. A check that failed, an error that the body did not expect, and what a checker
finds in the history is FAIL; a counter that stayed at zero, or an arrangement that could not be made, is UNKNOWN; what
is left behind is FAIL.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import mqbridge as mq
from mqbridge_conformance.env import Env
from mqbridge_conformance.history import load
from mqbridge_conformance.refusals import prove_refusals
from mqbridge_conformance.results import (
    CannotTell,
    CheckFailed,
    Claims,
    Evidence,
    LeftOut,
    Report,
    ScenarioResult,
    Verdict,
    emulated,
    refused,
)
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.targets import Target
from mqbridge_conformance.trial import with_history

__all__ = ["any_seed", "asked", "leave_out", "results", "run", "run_scenario", "said", "unusable"]

PATIENCE_S = 75.0
"""What comes comes at once; this bounds what does not. It is longer than a Kafka queue's lock of a record, 60 s: what a
killed consumer held was once seen not to come back within 30 s."""


def run(
    targets: Sequence[Target],
    scenarios: Sequence[Scenario],
    *,
    repeat: int = 1,
    seed: int | None = None,
    keep: Path | None = None,
    patience_s: float = PATIENCE_S,
    tell: Callable[[ScenarioResult], None] = lambda _: None,
) -> Report:
    """Run every scenario `repeat` times on every target; `tell` hears each result. Every run counts: none is a
    rerun. `seed` is that of the first runs, the next ones have the next numbers; see `run_scenario` for it and for
    `keep`."""
    report = Report(seed=any_seed() if seed is None else seed)
    for result in results(report, targets, scenarios, repeat=repeat, keep=keep, patience_s=patience_s):
        tell(result)
    return report


def results(
    report: Report,
    targets: Sequence[Target],
    scenarios: Sequence[Scenario],
    *,
    repeat: int = 1,
    seed: int | None = None,
    keep: Path | None = None,
    patience_s: float = PATIENCE_S,
) -> Generator[ScenarioResult, None, None]:
    """The same, result by result, each in the report when it comes: for those that may want no more. `seed` is the
    report's unless it is said."""
    first = report.seed if seed is None else seed
    for target in targets:
        ran: set[str] = set()
        wanted = [scenario for scenario in scenarios if asked(scenario, target, report)]
        try:
            with target:
                report.versions[target.name] = target.versions()
                for scenario in wanted:
                    for chosen in range(first, first + repeat):
                        result, claims = run_scenario(scenario, target, patience_s=patience_s, seed=chosen, keep=keep)
                        report.add(result, claims)
                        ran.add(scenario.name)
                        yield result
        except (CannotTell, CheckFailed, mq.MqbridgeError) as error:
            report.unusable[target.name] = said(error)
            for scenario in wanted:
                if scenario.name not in ran:
                    report.add(unusable(scenario, target, said(error)), None)
                    yield report.results[-1]


def any_seed() -> int:
    """One that nobody chose."""
    return random.SystemRandom().randrange(1 << 31)


def asked(scenario: Scenario, target: Target, report: Report) -> bool:
    """Is the target asked to run it? Where it is not, the report has the reason."""
    if scenario.processes and target.threads:
        report.unasked[scenario.name, target.name] = "needs processes"
        return False
    alone = target.alone() if scenario.own_broker else target
    if alone is None:
        report.unasked[scenario.name, target.name] = "needs a broker of its own"
        return False
    if scenario.users and target.foreign:
        report.unasked[scenario.name, target.name] = "needs users of its own"
        return False
    if scenario.cluster and not target.nodes:
        report.unasked[scenario.name, target.name] = "needs nodes that may be stopped"
        return False
    if scenario.disk and not alone.disk:
        report.unasked[scenario.name, target.name] = "needs a disk that may be filled"
        return False
    return True


def leave_out(report: Report, target: Target, scenario: Scenario, why: str) -> None:
    """Put into the report that it was not run, unless it was, or was not asked for."""
    if asked(scenario, target, report) and not report.cell(scenario.name, target.name):
        report.not_run.append(LeftOut(scenario.name, scenario.title, target.name, target.engine, why))


def unusable(scenario: Scenario, target: Target, why: str) -> ScenarioResult:
    """What a scenario gives on a target that could not be started."""
    reason = f"the target could not be used: {why}"
    return _result(scenario, target, Verdict.UNKNOWN, reason, Evidence(), 0.0)


def run_scenario(
    scenario: Scenario,
    target: Target,
    *,
    patience_s: float = PATIENCE_S,
    seed: int | None = None,
    keep: Path | None = None,
) -> tuple[ScenarioResult, mq.Capabilities | None]:
    """One run, and the claims of the engine it met. `seed` is for all chance in it; made up if it is not given, and
    told. A scenario that stops its broker runs beside the target, on one like it (`Target.alone`). The history is kept
    in the folder `keep`; without one it is kept only if it is not green, in a temporary folder that the result names.
    """
    chosen = any_seed() if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="mqbridge-history-") as folder, contextlib.ExitStack() as last_first:
        alone = target.alone() if scenario.own_broker else None
        try:
            used = target if alone is None or alone is target else last_first.enter_context(alone)
        except (CannotTell, CheckFailed, mq.MqbridgeError) as error:
            return unusable(scenario, target, said(error)), None
        result, claims = _run(scenario, used, Path(folder), patience_s, chosen)
        return with_history(result, scenario, load(Path(folder)), keep), claims


def _run(
    scenario: Scenario, target: Target, folder: Path, patience_s: float, seed: int
) -> tuple[ScenarioResult, mq.Capabilities | None]:
    began_s = time.monotonic()
    evidence, claims, anomaly = Evidence(), None, ""
    try:
        env = Env(target, scenario, folder, patience_s, seed)
        evidence, claims = env.evidence, env.bus.capabilities
    except (CannotTell, CheckFailed, mq.MqbridgeError) as error:
        verdict, reason = Verdict.UNKNOWN, f"the scenario could not begin: {said(error)}"
    else:
        try:
            verdict, reason, anomaly = _judge(scenario, env)
        except BaseException:  # interrupted: its parties and connections do not outlive it
            _closed(env)
            raise
        left = _finish(env)
        if left and verdict.green:
            verdict, reason = Verdict.FAIL, left
        elif left:
            evidence.note(left)
        if env.blind and verdict.green:
            verdict, reason = Verdict.UNKNOWN, "; ".join(env.blind)
    seconds = time.monotonic() - began_s
    return _result(scenario, target, verdict, reason, evidence, seconds, claims, anomaly, seed), claims


def _judge(scenario: Scenario, env: Env) -> tuple[Verdict, str, str]:
    """Verdict, reason, and the name of the anomaly that the body found."""
    claims = env.bus.capabilities
    absent = refused(claims, scenario.needs)
    try:
        if absent:
            (scenario.refusal or prove_refusals)(env, absent)
        else:
            scenario.body(env)
    except CannotTell as error:
        return Verdict.UNKNOWN, str(error), ""
    except CheckFailed as error:
        return Verdict.FAIL, str(error), error.anomaly
    except Exception as error:  # noqa: BLE001 - whatever it is, it was not expected of the engine, and it is told
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Verdict.FAIL, f"{said(error)} (at {where.name}, line {where.lineno} of {where.filename})", ""
    if absent:
        reason = "; ".join(f"{capability}: {claims[capability].how}" for capability in absent)
        later = any(claims[capability].later for capability in absent)
        return (Verdict.PENDING if later else Verdict.REFUSED_PROVEN), f"refused: {reason}", ""
    missing = env.evidence.missing(scenario.exercises)
    if missing:
        return Verdict.UNKNOWN, f"nothing was exercised of: {', '.join(missing)}", ""
    return (Verdict.PASS_EMULATED if emulated(claims, scenario.needs) else Verdict.PASS), "", ""


def _finish(env: Env) -> str:
    """Tidy up; what was left behind, as a sentence."""
    left = _closed(env)
    try:
        if not left:
            env.wait_for(env.observer.names, env.before, "what exists after the scenario")
    except (CannotTell, CheckFailed, mq.MqbridgeError) as error:
        left = said(error)
    return f"something was left behind: {left}" if left else ""


def _closed(env: Env) -> str:
    """Close it; what went wrong, as a sentence."""
    try:
        env.close()
    except (CannotTell, CheckFailed, mq.MqbridgeError) as error:
        return said(error)
    return ""


def said(error: BaseException) -> str:
    """An error in a sentence, with its notes."""
    notes = "; ".join(getattr(error, "__notes__", ()))
    return f"{type(error).__name__}: {error}" + (f" ({notes})" if notes else "")


def _spoken_for(scenario: Scenario, claims: Claims | None) -> list[mq.Capability]:
    """A body leaves out what is refused; where it did not run at all, only what was refused was seen."""
    if claims is None:
        return list(scenario.proves)
    absent = refused(claims, scenario.proves)
    if refused(claims, scenario.needs):
        return absent
    return [capability for capability in scenario.proves if capability not in absent]


def _result(
    scenario: Scenario,
    target: Target,
    verdict: Verdict,
    reason: str,
    evidence: Evidence,
    seconds: float,
    claims: Claims | None = None,
    anomaly: str = "",
    seed: int = 0,
) -> ScenarioResult:
    # Where other parties were threads, nothing was shown of several processes.
    alone = not evidence.counts.get("processes")
    proves = tuple(c for c in _spoken_for(scenario, claims) if not (alone and c is mq.Capability.SEVERAL_PROCESSES))
    return ScenarioResult(
        scenario=scenario.name,
        title=scenario.title,
        target=target.name,
        engine=target.engine,
        verdict=verdict,
        seconds=seconds,
        reason=reason,
        evidence=dict(sorted(evidence.counts.items())),
        notes=tuple(evidence.notes),
        proves=proves,
        anomalies=(anomaly,) if anomaly else (),
        seed=seed,
    )
