"""What a history adds to the result of the scenario that made it.

The rule: a checker's error is a failure whatever the body saw, what a checker cannot tell is never green, and what it
finds and the claims allow is counted and shown. A scenario that is about a fault says nothing if no fault of it had an
effect: it is no pass, and what its body missed then proves nothing either. The history of what is not green is kept.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mqbridge_conformance.checkers import Finding, Judgement, Outcome, judge
from mqbridge_conformance.faults import effects
from mqbridge_conformance.history import History
from mqbridge_conformance.results import ScenarioResult, Verdict
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.timelines import before_the_end, what_to_show

__all__ = ["with_history"]


def with_history(result: ScenarioResult, scenario: Scenario, history: History, keep: Path | None) -> ScenarioResult:
    """The result, with what the checkers say. The history is saved in `keep`, or, if it is not green, in a folder for
    temporary files."""
    judgements = judge(history)
    errors = [finding for judgement in judgements for finding in judgement.errors]
    unknown = _untold(judgements)
    faults = effects(history)
    verdict, reason = result.verdict, result.reason
    passes = verdict in (Verdict.PASS, Verdict.PASS_EMULATED)
    without_effect = scenario.fault and not any(fault.had_effect for fault in faults)
    if without_effect and passes:
        told = "; ".join(fault.text for fault in faults)
        unknown.append(told or "it is about a fault, and there was none")
    elif without_effect and faults and verdict is Verdict.FAIL and not errors:
        verdict, reason = Verdict.UNKNOWN, f"{'; '.join(fault.text for fault in faults)}; and then: {reason}"
    shown = what_to_show(history, errors)
    if errors:
        verdict = Verdict.FAIL
        reason = "; ".join([*([reason] if reason else []), *(_sentence(one.finding) for one in shown)])
        if len(errors) > len(shown):
            reason += f"; and {len(errors) - len(shown)} more"
    elif unknown and verdict.green:
        verdict, reason = Verdict.UNKNOWN, "; ".join(unknown)
    judged = replace(
        result,
        verdict=verdict,
        reason=reason,
        evidence=dict(sorted({**result.evidence, "events": len(history)}.items())),
        anomalies=tuple(dict.fromkeys([*result.anomalies, *(finding.anomaly for finding in errors)])),
        faults=tuple(fault.text for fault in faults),
        counted=dict(sorted(Counter(f.anomaly for j in judgements for f in j.findings if f.legal).items())),
    )
    if not judged.verdict.green:
        anomaly = next(iter(judged.anomalies), "")
        judged = replace(judged, shown=shown or before_the_end(history, Finding(anomaly, "", judged.reason, ())))
    elif keep is None:
        return judged
    return replace(judged, history=str(_kept(judged, history, keep)))


def _untold(judgements: Sequence[Judgement]) -> list[str]:
    """Why checkers could not tell; what several say once, with all their names."""
    reasons: dict[str, list[str]] = {}
    for judgement in judgements:
        if judgement.outcome is Outcome.UNKNOWN:
            reasons.setdefault(judgement.reason, []).append(judgement.checker)
    return [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _sentence(finding: Finding) -> str:
    return f"{finding.anomaly} at {finding.where}: {finding.text}"


def _kept(result: ScenarioResult, history: History, keep: Path | None) -> Path:
    folder = keep or Path(tempfile.gettempdir()) / "mqbridge-conformance"
    folder.mkdir(parents=True, exist_ok=True)
    place = "".join(letter if letter.isalnum() else "-" for letter in f"{result.target}-{result.scenario}")
    path = folder / f"{place}-{result.seed}.jsonl"
    history.save(path)
    return path
