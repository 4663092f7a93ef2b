"""Showing a report: scenarios by targets, as text, Markdown and JSON; and capabilities by engines, for the README.

The rule: a cell shows the worst of its runs, and what qualifies it is a numbered note, never left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from mqbridge import Capability, Level, Support
from mqbridge_conformance.results import Report, ScenarioResult, Verdict, worst

__all__ = ["SLICE", "as_json", "as_markdown", "as_text", "capability_table", "summary"]

_LEVELS = {Level.DIRECT: "direct", Level.EMULATED: "emulated", Level.UNSUPPORTED: "refused"}


class _Notes:
    """Numbers for notes, in the order in which they are first needed."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def marks(self, texts: Sequence[str]) -> str:
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
        return "".join(f"[{number}]" for number in sorted({self.texts.index(text) + 1 for text in texts}))


def _rows(report: Report) -> tuple[list[list[str]], list[str]]:
    """The cells with a head row, and the notes."""
    notes, targets = _Notes(), report.targets()
    rows = [["scenario", *targets]]
    for scenario in report.scenarios():
        row = [scenario]
        for target in targets:
            runs = report.cell(scenario, target)
            row.append(_cell(runs, notes))
        rows.append(row)
    return rows, notes.texts


def _cell(runs: Sequence[ScenarioResult], notes: _Notes) -> str:
    if not runs:
        return "not run"
    verdict = worst(result.verdict for result in runs)
    times = f" x{len(runs)}" if len(runs) > 1 else ""
    qualified = [text for result in runs for text in result.notes]
    return f"{verdict}{times}{notes.marks(qualified)}"


def summary(report: Report) -> str:
    """How many results of each verdict, the worst first."""
    counts = {verdict: sum(r.verdict is verdict for r in report.results) for verdict in reversed(Verdict)}
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number) or "nothing ran"


def as_text(report: Report) -> str:
    """For a terminal: aligned columns, then what is not green, then the notes."""
    rows, notes = _rows(report)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for result in report.results:
        if not result.verdict.green:
            lines += ["", f"{result.verdict} {result.scenario} on {result.target}: {result.reason}"]
            lines += [f"    exercised: {_counts(result)}"]
    lines += ["", *(f"[{number}] {text}" for number, text in enumerate(notes, 1))] if notes else []
    return "\n".join([*lines, "", summary(report)])


def _counts(result: ScenarioResult) -> str:
    return ", ".join(f"{number} {name}" for name, number in result.evidence.items()) or "nothing"


def as_markdown(report: Report) -> str:
    """For a document: one table, titles included, then the notes."""
    rows, notes = _rows(report)
    titles = report.scenarios()
    lines = [_line(["scenario", "what it shows", *rows[0][1:]]), _line(["---"] * (len(rows[0]) + 1))]
    lines += [_line([row[0], titles[row[0]], *row[1:]]) for row in rows[1:]]
    lines += ["", *(f"- [{number}] {text}" for number, text in enumerate(notes, 1))] if notes else []
    return "\n".join([*lines, ""])


def as_json(report: Report) -> str:
    """For a program: every run with its evidence, and the claims."""
    claims = {
        engine: {
            capability.value: {"level": support.level.value, "how": support.how, "later": support.later}
            for capability, support in found.items()
        }
        for engine, found in report.claims.items()
    }
    runs = [result.as_dict() for result in report.results]
    return json.dumps({"green": report.green, "results": runs, "claims": claims}, indent=2)


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


def capability_table(report: Report, capabilities: Sequence[Capability] = tuple(Capability)) -> str:
    """Capability by engine, in Markdown: what is claimed, and the verdict of the scenarios that speak for it.

    A claim without a scenario says so; a refusal is spoken for by the scenario that asks for every refused capability.
    What qualifies a claim (how it is emulated, what that costs, when it holds, what to use instead) is a numbered note
    below the table.
    """
    engines, notes = list(report.claims), _Notes()
    lines = [_line(["capability", *engines]), _line(["---"] * (len(engines) + 1))]
    for capability in capabilities:
        lines.append(_line([capability.value, *(_claim(report, engine, capability, notes) for engine in engines)]))
    lines += ["", *(f"- [{number}] {text}" for number, text in enumerate(notes.texts, 1))] if notes.texts else []
    return "\n".join([*lines, ""])


def _claim(report: Report, engine: str, capability: Capability, notes: _Notes) -> str:
    support = report.claims[engine][capability]
    level = "later" if support.later else _LEVELS[support.level]
    said = [support.how] if support.level is not Level.DIRECT and support.how else []
    said += [f"costs: {support.cost}"] if support.cost else []
    said += [support.conditions] if support.conditions else []
    said += [f"instead: {support.instead}"] if support.instead else []
    mark = f" {notes.marks(['; '.join(said)])}" if said else ""
    return f"{level}{mark}: {_proof(report, engine, capability, support)}"


def _proof(report: Report, engine: str, capability: Capability, support: Support) -> str:
    runs = report.proofs(engine, capability)
    if support.level is Level.UNSUPPORTED:
        runs += [r for r in report.results if r.engine == engine and r.scenario == "refusals"]
        green = Verdict.PENDING if support.later else Verdict.REFUSED_PROVEN
    else:
        green = Verdict.PASS_EMULATED if support.level is Level.EMULATED else Verdict.PASS
    if not runs:
        return "no scenario yet"
    found = worst(result.verdict for result in runs)
    names = ", ".join(dict.fromkeys(result.scenario for result in runs))
    return f"{green if found.green else found} ({names})"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
