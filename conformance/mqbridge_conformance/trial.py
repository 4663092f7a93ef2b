"""What a history adds to the result of the scenario that made it.

The rule: a checker's error is a failure whatever the body saw, what a checker cannot tell is never green, and what it
finds and the claims allow is counted and shown. The history of what is not green is kept.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from mqbridge_conformance.checkers import Finding, Outcome, judge
from mqbridge_conformance.history import History
from mqbridge_conformance.results import ScenarioResult, Verdict

__all__ = ["with_history"]

SHOWN = 3
"""Findings whose sentence and timeline are shown."""


def with_history(result: ScenarioResult, history: History, keep: Path | None) -> ScenarioResult:
    """The result, with what the checkers say. The history is saved in `keep`, or, if it is not green, in a folder for
    temporary files."""
    judgements = judge(history)
    errors = [finding for judgement in judgements for finding in judgement.errors]
    unknown = [f"{found.checker}: {found.reason}" for found in judgements if found.outcome is Outcome.UNKNOWN]
    verdict, reason = result.verdict, result.reason
    if errors:
        verdict = Verdict.FAIL
        reason = "; ".join([*([reason] if reason else []), *map(_sentence, errors[:SHOWN])])
        if len(errors) > SHOWN:
            reason += f"; and {len(errors) - SHOWN} more"
    elif unknown and verdict.green:
        verdict, reason = Verdict.UNKNOWN, "; ".join(unknown)
    judged = replace(
        result,
        verdict=verdict,
        reason=reason,
        evidence=dict(sorted({**result.evidence, "events": len(history)}.items())),
        anomalies=tuple(dict.fromkeys([*result.anomalies, *(finding.anomaly for finding in errors)])),
        counted=dict(sorted(Counter(f.anomaly for j in judgements for f in j.findings if f.legal).items())),
    )
    if keep is None and judged.verdict.green:
        return judged
    return replace(judged, history=str(_kept(judged, history, keep)))


def _sentence(finding: Finding) -> str:
    return f"{finding.anomaly} at {finding.where}: {finding.text}"


def _kept(result: ScenarioResult, history: History, keep: Path | None) -> Path:
    folder = keep or Path(tempfile.gettempdir()) / "mqbridge-conformance"
    folder.mkdir(parents=True, exist_ok=True)
    place = "".join(letter if letter.isalnum() else "-" for letter in f"{result.target}-{result.scenario}")
    path = folder / f"{place}-{result.seed}.jsonl"
    history.save(path)
    return path
