"""What was run: the matrix of scenarios by targets, what is not green, and each run with its evidence and timelines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mqbridge_conformance.report.document import NOT_RUN, Document, FindingRow, ResultRow, events_of
from mqbridge_conformance.report.page_cells import chip, counted, head, result_anchor, target_columns, worst_of
from mqbridge_conformance.results import Verdict
from mqbridge_conformance.timelines.markup import Child, Markup, tag
from mqbridge_conformance.timelines.picture import LEGEND, picture
from mqbridge_conformance.timelines.text import timeline

__all__ = ["failures", "result_details", "results_matrix"]

_PROOF: Final = "Ringed and bold: what proves it. Dotted: the way of a message. The times are true, the distances not."
_LAST: Final = "The last events before everything was taken down. The times are true, the distances not."


def results_matrix(runs: Sequence[Document]) -> Markup:
    columns = target_columns(runs)
    titles = {row["scenario"]: row["title"] for run in runs for row in (*run["results"], *run["not_run"])}
    rows: list[Markup] = []
    for scenario, title in titles.items():
        cells = [_found(runs[column.run], scenario, column.name) for column in columns]
        verdicts = dict.fromkeys(row["verdict"] for cell in cells for _, row in cell)
        name = tag("th", tag("code", scenario), tag("small", title, class_="faint"), scope="row")
        tds = [
            _cell(column.run, cell) if cell else tag("td", _why_not(runs[column.run], scenario, column.name))
            for column, cell in zip(columns, cells, strict=True)
        ]
        rows.append(tag("tr", name, *tds, data_verdicts=" ".join(verdicts) or "none"))
    return tag("div", tag("table", head("scenario", columns), tag("tbody", *rows)), class_="scroll")


def _found(run: Document, scenario: str, target: str) -> list[tuple[int, ResultRow]]:
    """The runs of one cell, each with its place."""
    return [
        (place, row)
        for place, row in enumerate(run["results"])
        if (row["scenario"], row["target"]) == (scenario, target)
    ]


def _why_not(run: Document, scenario: str, target: str) -> Markup:
    if any((row["scenario"], row["target"]) == (scenario, target) for row in run["not_run"]):
        return chip(NOT_RUN)
    reasons = (row["reason"] for row in run["unasked"] if (row["scenario"], row["target"]) == (scenario, target))
    return tag("small", next(reasons, "not run"))


def _cell(run: int, found: Sequence[tuple[int, ResultRow]]) -> Markup:
    verdict = worst_of([row for _, row in found])
    place = next(place for place, row in found if row["verdict"] == verdict)
    link = tag("a", chip(verdict), href=f"#{result_anchor(run, place)}")
    seconds = sum(row["seconds"] for _, row in found)
    return tag("td", link, tag("small", f"{seconds:.1f} s" + (f", {len(found)} runs" if len(found) > 1 else "")))


def failures(runs: Sequence[Document]) -> Markup | None:
    """All that is not green, first, each with a link; a target of which nothing could be run is one line."""
    items = [item for number, run in enumerate(runs) for item in _left_out(run, number, runs)]
    items += [
        tag("li", chip(row["verdict"]), " ", tag("a", where, href=f"#{anchor}"), ": ", _first(row["reason"]))
        for number, run in enumerate(runs)
        for place, row in enumerate(run["results"])
        if not (Verdict(row["verdict"]).green or _never_began(run, row))
        for anchor, where in [(result_anchor(number, place), _where(row, number, runs))]
    ]
    if not items:
        return None
    return tag("section", tag("h2", "What is not green", id="not-green"), tag("ul", *items, class_="list"))


def _left_out(run: Document, number: int, runs: Sequence[Document]) -> Iterator[Markup]:
    of_run = f", run {number + 1}" if len(runs) > 1 else ""
    for target, reason in dict.fromkeys((row["target"], row["reason"]) for row in run["not_run"]):
        count = sum((row["target"], row["reason"]) == (target, reason) for row in run["not_run"])
        yield tag("li", chip(NOT_RUN), f" {_scenarios(count)} on {target}{of_run}: {reason}")
    for at in run["targets"]:
        if at["unusable"]:
            count = sum(row["target"] == at["name"] and _never_began(run, row) for row in run["results"])
            where = f" {_scenarios(count)} on {at['name']}{of_run}, which could not be used: "
            yield tag("li", chip(Verdict.UNKNOWN), where, _first(at["unusable"]))


def _scenarios(count: int) -> str:
    return f"{count} scenario{'' if count == 1 else 's'}"


def _never_began(run: Document, row: ResultRow) -> bool:
    return not row["evidence"] and any(at["name"] == row["target"] and at["unusable"] for at in run["targets"])


def _first(reason: str) -> str:
    return reason if len(reason) <= 240 else f"{reason[:240]}…"


def result_details(runs: Sequence[Document]) -> Markup:
    return tag(
        "div",
        *(
            _details(row, _where(row, number, runs), result_anchor(number, place))
            for number, run in enumerate(runs)
            for place, row in enumerate(run["results"])
        ),
    )


def _where(row: ResultRow, run: int, runs: Sequence[Document]) -> str:
    return f"{row['scenario']} on {row['target']}" + (f", run {run + 1}" if len(runs) > 1 else "")


def _details(row: ResultRow, where: str, anchor: str) -> Markup:
    green = Verdict(row["verdict"]).green
    return tag(
        "details",
        tag(
            "summary",
            chip(row["verdict"]),
            tag("strong", where),
            tag("span", f"{row['seconds']:.1f} s", class_="faint"),
        ),
        tag("div", tag("p", row["title"]), _reason(row), _facts(row), *map(_finding, row["findings"])),
        id=anchor,
        open=not green,
        class_=None if green else "bad",
        data_verdicts=row["verdict"],
    )


def _reason(row: ResultRow) -> Markup | None:
    return tag("p", row["reason"], class_="reason") if row["reason"] else None


def _facts(row: ResultRow) -> Markup:
    facts: dict[str, Child] = {
        "exercised": counted(row["evidence"]),
        "anomalies": ", ".join(row["anomalies"]),
        "legal here": counted(row["counted"]) if row["counted"] else "",
        "faults": "; ".join(row["faults"]),
        "notes": "; ".join(row["notes"]),
        "speaks for": tag("code", ", ".join(row["proves"])) if row["proves"] else "",
        "again": tag("code", f"--scenario {row['scenario']} --seed {row['seed']}"),
        "history": tag("code", row["history"]) if row["history"] else "",
    }
    return tag("dl", *([tag("dt", name), tag("dd", told)] for name, told in facts.items() if told), class_="facts")


def _finding(finding: FindingRow) -> Markup:
    """Its sentence, its picture, and the same as text."""
    witness, around = events_of(finding["witness"]), events_of(finding["around"])
    name = f"{finding['anomaly'] or 'failure'} at {finding['where']}" if finding["where"] else "What was done last"
    return tag(
        "figure",
        tag("h3", name),
        tag("p", finding["text"], class_="reason") if witness else None,
        tag("div", picture(witness, around, title=f"{name}: {finding['text']}"), class_="scroll"),
        tag("figcaption", f"{LEGEND}. {_PROOF if witness else _LAST}"),
        tag("details", tag("summary", "the same as text"), tag("div", tag("pre", timeline(witness, around)))),
    )
