"""The matrix of capabilities by engines, and what each claim says."""

from __future__ import annotations

from collections.abc import Sequence

from mqbridge_conformance.report.document import ClaimRow, Document
from mqbridge_conformance.report.page_cells import Column, chip, claim_columns, head, result_anchor
from mqbridge_conformance.report.table import level_of, unspoken
from mqbridge_conformance.timelines.markup import Markup, tag

__all__ = ["claim_details", "claims_matrix"]


def claims_matrix(runs: Sequence[Document]) -> Markup:
    columns = claim_columns(runs)
    rows = [_row(capability, columns, runs) for capability in _capabilities(runs)]
    return tag("div", tag("table", head("capability", columns), tag("tbody", *rows)), class_="scroll")


def _capabilities(runs: Sequence[Document]) -> list[str]:
    return list(dict.fromkeys(row["capability"] for run in runs for row in run["claims"]))


def _claim(runs: Sequence[Document], column: Column, capability: str) -> ClaimRow | None:
    rows = runs[column.run]["claims"]
    return next((row for row in rows if (row["column"], row["capability"]) == (column.name, capability)), None)


def _row(capability: str, columns: Sequence[Column], runs: Sequence[Document]) -> Markup:
    cells: list[Markup] = []
    verdicts: dict[str, None] = {}
    for number, column in enumerate(columns):
        row = _claim(runs, column, capability)
        if row is None:
            cells.append(tag("td", "not run"))
            continue
        verdicts[row["verdict"] or "none"] = None
        anchor = f"#{_anchor(number, capability)}"
        seen = tag("a", chip(row["verdict"], unspoken([runs[column.run]], capability)), href=anchor)
        cells.append(tag("td", seen, tag("small", level_of(row))))
    name = tag("th", tag("code", capability), scope="row")
    return tag("tr", name, *cells, data_verdicts=" ".join(verdicts))


def _anchor(column: int, capability: str) -> str:
    return f"claim-{column + 1}-{capability}"


def claim_details(runs: Sequence[Document]) -> Markup:
    """Each capability, with all that its engines say of it, and the runs that speak for it."""
    columns = claim_columns(runs)
    blocks: list[Markup] = []
    for capability in _capabilities(runs):
        found = [(n, column, _claim(runs, column, capability)) for n, column in enumerate(columns)]
        told = [_told(n, column, row, runs) for n, column, row in found if row is not None]
        blocks.append(tag("details", tag("summary", tag("code", capability)), tag("div", *told)))
    return tag("div", *blocks)


def _told(number: int, column: Column, row: ClaimRow, runs: Sequence[Document]) -> Markup:
    facts = {name: row[name] for name in ("how", "cost", "conditions", "instead")}
    seen = chip(row["verdict"], unspoken([runs[column.run]], row["capability"]))
    return tag(
        "section",
        tag("h3", f"{column.title} {column.version}".strip(), " ", seen, f" {level_of(row)}"),
        tag("dl", *([tag("dt", name), tag("dd", text)] for name, text in facts.items() if text), class_="facts"),
        tag("p", "shown by: ", *_proofs(column, row, runs)) if row["scenarios"] else None,
        id=_anchor(number, row["capability"]),
    )


def _proofs(column: Column, row: ClaimRow, runs: Sequence[Document]) -> list[Markup]:
    """A link to each run that speaks for it."""
    return [
        tag("a", f"{found['scenario']} on {found['target']} ", href=f"#{result_anchor(column.run, place)}")
        for place, found in enumerate(runs[column.run]["results"])
        if found["target"] in row["targets"] and found["scenario"] in row["scenarios"]
    ]
