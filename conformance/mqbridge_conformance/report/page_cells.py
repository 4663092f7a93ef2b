"""The small parts of the page: chips, anchors, the columns of its matrices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mqbridge_conformance.report.document import Document, ResultRow
from mqbridge_conformance.results import Verdict, worst
from mqbridge_conformance.timelines.markup import Child, Markup, tag

__all__ = [
    "Column",
    "chip",
    "claim_columns",
    "counted",
    "head",
    "result_anchor",
    "target_columns",
    "worst_of",
]


class Column(NamedTuple):
    """A column of a matrix: in which run, of which name there, of which engine, and what stands above it."""

    run: int
    name: str
    engine: str
    title: str
    version: str


def chip(verdict: str | None, silence: str = "") -> Markup:
    """A verdict by its name, or what is said where there is none; colour only repeats it."""
    return tag("span", verdict or silence, class_=f"chip {(verdict or 'none').lower().replace(' ', '-')}")


def head(first: str, columns: Sequence[Column]) -> Markup:
    cells = [tag("th", column.title, tag("small", column.version, class_="faint"), scope="col") for column in columns]
    return tag("thead", tag("tr", tag("th", first, scope="col"), *cells))


def claim_columns(runs: Sequence[Document]) -> list[Column]:
    """One for each engine of one version in one run."""
    return _arranged(
        Column(number, name, row["engine"], row["engine"], row["version"])
        for number, run in enumerate(runs)
        for name, row in {row["column"]: row for row in run["claims"]}.items()
    )


def target_columns(runs: Sequence[Document]) -> list[Column]:
    """One for each target in one run."""
    return _arranged(
        Column(number, at["name"], at["engine"], at["name"], at["versions"].get(at["engine"], ""))
        for number, run in enumerate(runs)
        for at in run["targets"]
    )


def _arranged(given: Iterable[Column]) -> list[Column]:
    """What is to be compared stands side by side: the runs of one engine. Two that would look the same say which run
    they are of."""
    columns = list(given)
    engines = list(dict.fromkeys(column.engine for column in columns))
    titles = list(dict.fromkeys(column.title for column in columns))
    columns.sort(key=lambda column: (engines.index(column.engine), titles.index(column.title), column.run))
    looks = [(column.title, column.version) for column in columns]
    return [
        column._replace(version=f"{column.version} (run {column.run + 1})".strip()) if looks.count(look) > 1 else column
        for column, look in zip(columns, looks, strict=True)
    ]


def result_anchor(run: int, place: int) -> str:
    """The id of a result's details: its place in its run."""
    return f"run-{run + 1}-{place + 1}"


def worst_of(rows: Sequence[ResultRow]) -> Verdict:
    return worst(Verdict(row["verdict"]) for row in rows)


def counted(counts: dict[str, int]) -> Child:
    """Names and numbers, as a list in a line."""
    return ", ".join(f"{number} {name}" for name, number in counts.items()) or "nothing"
