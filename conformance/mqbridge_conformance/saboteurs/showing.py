"""A kill matrix as text for a terminal and as Markdown for the suite's README.

The rule: what survived is shown as plainly as what died.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqbridge_conformance.results import Verdict
from mqbridge_conformance.saboteurs.catalogue import SABOTEURS
from mqbridge_conformance.saboteurs.matrix import Fate, Matrix, Trial

__all__ = ["as_markdown", "as_text", "line"]

SIGNS: Final = {Fate.KILLED: "●", Fate.NOTICED: "○", Fate.SURVIVED: "–", Fate.UNKNOWN: "?", Fate.IDLE: " "}
LEGEND: Final = (
    "● killed: the scenario fails with the anomaly that the saboteur is named for. ○ the scenario fails, by another "
    "check. – the saboteur struck and the scenario does not look at that. ? "
    "it struck, and nobody could tell. Blank: it had no opportunity to strike."
)


def line(trial: Trial) -> str:
    """One run, for whoever watches."""
    found = ", ".join(trial.anomalies) or trial.reason[:100]
    what = trial.verdict if trial.code not in SABOTEURS else trial.fate.value
    return f"{trial.code:4} {trial.scenario}: {what} ({trial.strikes} strikes, {trial.seconds:.1f} s) {found}"


def as_text(matrix: Matrix, *, toothless: bool = True) -> str:
    """Who was killed by what, what survived, and, if that was asked, which scenarios kill none."""
    lines = []
    for code in matrix.codes:
        killers = matrix.killers(code)
        lines.append(f"{code:4} {SABOTEURS[code].name}: {', '.join(killers) if killers else _why_alive(matrix, code)}")
    failing = [name for name, trial in matrix.unbroken.items() if not Verdict(trial.verdict).green]
    for title, names in (
        ("not killed", matrix.alive()),
        *([("scenarios that kill none", matrix.toothless())] if toothless else []),
        ("scenarios that fail without a saboteur", failing),
    ):
        lines.append(f"{title}: {', '.join(names) or 'none'}")
    return "\n".join(lines)


def _why_alive(matrix: Matrix, code: str) -> str:
    fates = {scenario: matrix.fate(code, scenario) for scenario in matrix.scenarios}
    told = [
        f"{fate.value} by {', '.join(name for name, found in fates.items() if found is fate)}"
        for fate in (Fate.NOTICED, Fate.SURVIVED, Fate.UNKNOWN)
        if fate in fates.values()
    ]
    if not told:
        told = ["no opportunity anywhere" if Fate.IDLE in fates.values() else "it was run with none of these scenarios"]
    return f"ALIVE: {'; '.join(told)}"


def as_markdown(matrix: Matrix) -> str:
    """Two tables: the saboteurs, and scenario by saboteur."""
    heads = ["saboteur", "what it does", "found as", "killed by"]
    rows = []
    for code in matrix.codes:
        saboteur, killers = SABOTEURS[code], matrix.killers(code)
        shown = f"{len(killers)}: {', '.join(killers[:3])}{', ...' if len(killers) > 3 else ''}"
        rows.append([code, saboteur.name, ", ".join(saboteur.anomalies), shown if killers else "**none**"])
    cells = [
        [scenario, *(SIGNS.get(matrix.fate(code, scenario) or Fate.IDLE, " ") for code in matrix.codes)]
        for scenario in matrix.scenarios
    ]
    return "\n\n".join([_table(heads, rows), LEGEND, _table(["scenario", *matrix.codes], cells)])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))
