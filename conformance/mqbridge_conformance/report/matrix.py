"""Scenarios by targets, as text and as Markdown.

The rule: a cell shows the worst of its runs, and what qualifies it is a numbered note, never left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from mqbridge_conformance.results import Report, ScenarioResult, Verdict, worst
from mqbridge_conformance.timelines import Shown, timeline

__all__ = ["Notes", "as_markdown", "as_text", "line", "summary"]


class Notes:
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
    notes, targets = Notes(), report.targets()
    rows = [["scenario", *targets]]
    for scenario in report.scenarios():
        row = [scenario]
        for target in targets:
            runs = report.cell(scenario, target)
            row.append(_cell(runs, notes) if runs else report.why_not(scenario, target))
        rows.append(row)
    return rows, notes.texts


def _cell(runs: Sequence[ScenarioResult], notes: Notes) -> str:
    verdict = worst(result.verdict for result in runs)
    times = f" x{len(runs)}" if len(runs) > 1 else ""
    qualified = [text for result in runs for text in result.notes]
    return f"{verdict}{times}{notes.marks(qualified)}"


def summary(report: Report) -> str:
    """How many results of each verdict, the worst first."""
    counts = {verdict: sum(r.verdict is verdict for r in report.results) for verdict in reversed(Verdict)}
    told = [f"{len(report.not_run)} NOT RUN"] if report.not_run else []
    told += [f"{number} {verdict}" for verdict, number in counts.items() if number]
    return ", ".join(told) or "nothing ran"


def as_text(report: Report) -> str:
    """For a terminal: aligned columns, then what is not green, then the notes."""
    rows, notes = _rows(report)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for (target, reason), number in report.left_out().items():
        lines += ["", f"NOT RUN on {target}: {number} of them ({reason})"]
    for target, reason in report.unusable.items():
        number = sum(not result.began for result in report.results if result.target == target)
        lines += ["", f"UNKNOWN on {target}: {number} of them, for it could not be used: {reason}"]
    for result in report.results:
        if not result.verdict.green and (result.began or result.target not in report.unusable):
            lines += ["", f"{result.verdict} {result.scenario} on {result.target}: {result.reason}"]
            lines += [f"    exercised: {_counts(result)}"]
            lines += [f"    again: --scenario {result.scenario} --seed {result.seed}"]
            lines += [f"    history: {result.history}"] if result.history else []
            lines += [text for shown in result.shown for text in _timeline(shown)]
    lines += ["", *(f"[{number}] {text}" for number, text in enumerate(notes, 1))] if notes else []
    return "\n".join([*lines, "", summary(report)])


def _timeline(shown: Shown) -> list[str]:
    finding = shown.finding
    found = f"{finding.anomaly} at {finding.where}: {finding.text}" if finding.witness else "what was done last:"
    return ["", f"    {found}", *(f"      {text}" for text in timeline(finding.witness, shown.around).splitlines())]


def _counts(result: ScenarioResult) -> str:
    return ", ".join(f"{number} {name}" for name, number in result.evidence.items()) or "nothing"


def as_markdown(report: Report) -> str:
    """For a document: one table, titles included, then the notes."""
    rows, notes = _rows(report)
    titles = report.scenarios()
    lines = [line(["scenario", "what it shows", *rows[0][1:]]), line(["---"] * (len(rows[0]) + 1))]
    lines += [line([row[0], titles[row[0]], *row[1:]]) for row in rows[1:]]
    lines += ["", *(f"- [{number}] {text}" for number, text in enumerate(notes, 1))] if notes else []
    return "\n".join([*lines, ""])


def line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
