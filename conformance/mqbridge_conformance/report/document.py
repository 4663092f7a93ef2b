"""A run as data: what the JSON is, and what the page and the comparison are made from.

The rule: the form is stable. A field is added without a new `SCHEMA`; one that goes or changes its meaning makes a new
number, and a number that is not known is refused. The types below are its documentation. All is of plain JSON values,
so nothing that a run found is only in one of its shapes.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict, cast

import mqbridge as mq
from mqbridge_conformance.history import Event
from mqbridge_conformance.history.events import pack_event, unpack_event
from mqbridge_conformance.report.capabilities import columns, proof_of
from mqbridge_conformance.results import Report, ScenarioResult, Verdict
from mqbridge_conformance.timelines import Shown

__all__ = [
    "NOT_RUN",
    "SCHEMA",
    "ClaimRow",
    "Document",
    "FindingRow",
    "NotRunRow",
    "ResultRow",
    "RunRow",
    "TargetRow",
    "document",
    "events_of",
    "to_json",
]

SCHEMA: Final = 1
NOT_RUN: Final = "NOT RUN"
"""What stands in the place of a verdict where nobody could begin."""


class RunRow(TypedDict):
    """How it was run. `began` is ISO 8601, in UTC; `verdicts` counts the results of each verdict."""

    began: str
    level: str
    seed: int
    green: bool
    verdicts: dict[str, int]
    mqbridge: str
    python: str
    platform: str


class TargetRow(TypedDict):
    """One broker in one arrangement. `versions`: the engine's own under the engine's name, then its clients'; empty
    where nobody could tell. `unusable` says why it could not be used; empty where it could."""

    name: str
    engine: str
    versions: dict[str, str]
    unusable: str


class ClaimRow(TypedDict):
    """One capability of one engine of one version. `column` names engine and version; `level` is ``direct``,
    ``emulated`` or ``unsupported``; `later` is a refusal that is not final. `verdict` is the worst of those `scenarios`
    that speak for it, None where none does."""

    column: str
    engine: str
    version: str
    targets: list[str]
    capability: str
    level: str
    later: bool
    how: str
    cost: str
    conditions: str
    instead: str
    verdict: str | None
    scenarios: list[str]


class FindingRow(TypedDict):
    """One of the first errors: its anomaly's name, the place, a sentence; the events that prove it, and those that lie
    around it, each as a line of a history has it. A failure that no checker found has no witness, and what came last
    around it."""

    anomaly: str
    where: str
    text: str
    witness: list[dict[str, Any]]
    around: list[dict[str, Any]]


class ResultRow(TypedDict):
    """One run of one scenario on one target; `seed` repeats its chance. `anomalies` are errors, by the names of the
    catalogue; `counted` is what was found and is legal there, how often. `faults` says of each fault whether it had an
    effect. `history` is the file that was kept of it, on the machine that ran it; empty for none."""

    scenario: str
    title: str
    target: str
    engine: str
    verdict: str
    reason: str
    seconds: float
    seed: int
    evidence: dict[str, int]
    notes: list[str]
    proves: list[str]
    anomalies: list[str]
    counted: dict[str, int]
    faults: list[str]
    findings: list[FindingRow]
    history: str


class UnaskedRow(TypedDict):
    """What a target was not asked to run, and why: neither a pass nor a failure."""

    scenario: str
    target: str
    reason: str


class NotRunRow(TypedDict):
    """What was to be run and was left out, for want of a broker for instance: a run with some of it is not green."""

    scenario: str
    title: str
    target: str
    engine: str
    reason: str


class Document(TypedDict):
    """All of it."""

    schema: int
    run: RunRow
    targets: list[TargetRow]
    claims: list[ClaimRow]
    results: list[ResultRow]
    unasked: list[UnaskedRow]
    not_run: list[NotRunRow]


def document(report: Report) -> Document:
    """The run as data."""
    return {
        "schema": SCHEMA,
        "run": _run(report),
        "targets": [
            {
                "name": name,
                "engine": engine,
                "versions": dict(report.versions.get(name, {})),
                "unusable": report.unusable.get(name, ""),
            }
            for name, engine in report.targets().items()
        ],
        "claims": _claims(report),
        "results": [_result(result) for result in report.results],
        "unasked": [
            {"scenario": scenario, "target": target, "reason": reason}
            for (scenario, target), reason in report.unasked.items()
        ],
        "not_run": [cast(NotRunRow, one._asdict()) for one in report.not_run],
    }


def _run(report: Report) -> RunRow:
    counts = {verdict.value: sum(r.verdict is verdict for r in report.results) for verdict in Verdict}
    return {
        "began": report.began.isoformat(timespec="seconds"),
        "level": report.level,
        "seed": report.seed,
        "green": report.green,
        "verdicts": {verdict: number for verdict, number in counts.items() if number},
        "mqbridge": mq.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
    }


def _claims(report: Report) -> list[ClaimRow]:
    rows: list[ClaimRow] = []
    for name, column in columns(report).items():
        for capability in mq.Capability:
            support, verdict, scenarios = proof_of(report, column, capability)
            rows.append(
                {
                    "column": name,
                    "engine": column.engine,
                    "version": column.version,
                    "targets": list(column.targets),
                    "capability": capability.value,
                    "level": support.level.value,
                    "later": support.later,
                    "how": support.how,
                    "cost": support.cost,
                    "conditions": support.conditions,
                    "instead": support.instead,
                    "verdict": None if verdict is None else verdict.value,
                    "scenarios": list(scenarios),
                }
            )
    return rows


def _result(result: ScenarioResult) -> ResultRow:
    return {
        "scenario": result.scenario,
        "title": result.title,
        "target": result.target,
        "engine": result.engine,
        "verdict": result.verdict.value,
        "reason": result.reason,
        "seconds": round(result.seconds, 3),
        "seed": result.seed,
        "evidence": dict(result.evidence),
        "notes": list(result.notes),
        "proves": [capability.value for capability in result.proves],
        "anomalies": list(result.anomalies),
        "counted": dict(result.counted),
        "faults": list(result.faults),
        "findings": [_finding(shown) for shown in result.shown],
        "history": result.history,
    }


def _finding(shown: Shown) -> FindingRow:
    finding = shown.finding
    return {
        "anomaly": finding.anomaly,
        "where": finding.where,
        "text": finding.text,
        "witness": [json.loads(pack_event(event)) for event in finding.witness],
        "around": [json.loads(pack_event(event)) for event in shown.around],
    }


def events_of(rows: Sequence[Mapping[str, Any]]) -> list[Event]:
    """The events of a witness or of what lies around one."""
    return [unpack_event(json.dumps(row)) for row in rows]


def to_json(found: Document) -> str:
    """As a file holds it: plain ASCII, for a reason may tell of text that no encoding has."""
    return json.dumps(found, indent=1) + "\n"
