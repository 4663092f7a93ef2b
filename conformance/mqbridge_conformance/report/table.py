"""The table of capabilities by engines, in Markdown, for the README.

The rule: a claim without a scenario says so, and what qualifies a claim is a numbered note, never left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqbridge import Capability
from mqbridge_conformance import scenarios
from mqbridge_conformance.report.document import ClaimRow, Document
from mqbridge_conformance.report.matrix import Notes, line
from mqbridge_conformance.results import Verdict, worst

__all__ = ["SLICE", "capability_table", "level_of", "unspoken"]

SLICE: Final = (
    Capability.ORDER_PER_KEY,
    Capability.GROUPS,
    Capability.REPLAY_BY_OFFSET,
    Capability.WORK_SHARING,
    Capability.RELEASE_UNCOUNTED,
    Capability.MAX_ATTEMPTS,
    Capability.DEAD_LETTER,
    Capability.PREFETCH,
    Capability.SEVERAL_PROCESSES,
    Capability.TOPIC_DEAD_LETTER,
    Capability.TRANSACTIONS,
    Capability.COMPACTION,
    Capability.TLS,
)
"""A dozen rows of every kind, for the top of a README."""
NOT_QUICK: Final = "not in a quick run"
NOT_HERE: Final = "not in this run"
NONE_YET: Final = "no scenario yet"
_NAMED: Final = 3
"""Scenarios that a cell names; the JSON and the page have all of them."""


def capability_table(runs: Sequence[Document], capabilities: Sequence[Capability] = tuple(Capability)) -> str:
    """Capability by engine: what is claimed, and the verdict of the scenarios that speak for it, in all runs together.

    What qualifies a claim (how it is emulated, what that costs, when it holds, what to use instead) is a numbered note
    below the table.
    """
    rows = _joined(runs)
    columns = list(dict.fromkeys(column for column, _ in rows))
    notes = Notes()
    lines = [line(["capability", *columns]), line(["---"] * (len(columns) + 1))]
    for capability in capabilities:
        lines.append(line([capability, *(_cell(runs, rows[column, capability], notes) for column in columns)]))
    lines += ["", *(f"- [{number}] {text}" for number, text in enumerate(notes.texts, 1))] if notes.texts else []
    return "\n".join([*lines, ""])


def level_of(row: ClaimRow) -> str:
    """As people are told it."""
    return "later" if row["later"] else {"unsupported": "refused"}.get(row["level"], row["level"])


def _cell(runs: Sequence[Document], row: ClaimRow, notes: Notes) -> str:
    said = [row["how"]] if row["level"] != "direct" and row["how"] else []
    said += [f"costs: {row['cost']}"] if row["cost"] else []
    said += [row["conditions"]] if row["conditions"] else []
    said += [f"instead: {row['instead']}"] if row["instead"] else []
    mark = f" {notes.marks(['; '.join(said)])}" if said else ""
    return f"{level_of(row)}{mark}: {_seen(row) or unspoken(runs, row['capability'])}"


def _joined(runs: Sequence[Document]) -> dict[tuple[str, str], ClaimRow]:
    """Of one engine and version what all runs say: all scenarios, and the worst verdict; the claim as first told."""
    found: dict[tuple[str, str], ClaimRow] = {}
    for row in (row for run in runs for row in run["claims"]):
        first = found.setdefault((row["column"], row["capability"]), row)
        if first is not row:
            verdicts = [Verdict(one["verdict"]) for one in (first, row) if one["verdict"] is not None]
            first = {**first, "scenarios": list(dict.fromkeys([*first["scenarios"], *row["scenarios"]]))}
            found[row["column"], row["capability"]] = {**first, "verdict": worst(verdicts) if verdicts else None}
    return found


def unspoken(runs: Sequence[Document], capability: str) -> str:
    """What is said of a claim that nothing spoke for: is there a scenario that would, and why did it not?"""
    levels = {scenario.level for scenario in scenarios.ALL if capability in scenario.proves}
    if not levels:
        return NONE_YET
    quick = any(run["run"]["level"] == "quick" for run in runs)
    return NOT_QUICK if quick and "quick" not in levels else NOT_HERE


def _seen(row: ClaimRow) -> str:
    if row["verdict"] is None:
        return ""
    named, more = row["scenarios"][:_NAMED], len(row["scenarios"]) - _NAMED
    return f"{row['verdict']} ({', '.join(named)}{f' and {more} more' if more > 0 else ''})"
