"""A run, or several, as one page: what each engine of each version claims and showed, and all that was run.

The rule: one file that needs no other and no network. Each cell of a matrix leads to what was run for it, and each
failure to its reason and its timeline. Everything is from documents, so what the page says the JSON says too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqbridge_conformance.report.document import NOT_RUN, Document, RunRow
from mqbridge_conformance.report.page_cells import chip
from mqbridge_conformance.report.page_claims import claim_details, claims_matrix
from mqbridge_conformance.report.page_results import failures, result_details, results_matrix
from mqbridge_conformance.report.style import SCRIPT, STYLE
from mqbridge_conformance.results import Verdict
from mqbridge_conformance.timelines.markup import Markup, tag

__all__ = ["page"]

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The browser itself holds the page to the rule."""


def page(runs: Sequence[Document]) -> str:
    """The page of these runs, each with columns of its own."""
    title, not_green = "mqbridge conformance", failures(runs)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    body = tag(
        "body",
        tag("h1", title),
        *(_facts(run, number if len(runs) > 1 else None) for number, run in enumerate(runs, 1)),
        _contents(not_green is not None),
        _filters(),
        not_green,
        tag("h2", "Capabilities", id="capabilities"),
        tag("p", "What each engine claims, and the worst of the runs that speak for it.", class_="faint"),
        claims_matrix(runs),
        tag("h2", "Scenarios", id="scenarios"),
        tag("p", "What was run, and on what. A repeated scenario shows its worst run.", class_="faint"),
        results_matrix(runs),
        tag("h2", "Claims", id="claims"),
        tag("p", "How each capability is had, what that costs, and when it holds.", class_="faint"),
        claim_details(runs),
        tag("h2", "Runs", id="runs"),
        tag("p", "What each run exercised, and how to have it again.", class_="faint"),
        result_details(runs),
        tag("script", Markup(SCRIPT)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _facts(run: Document, number: int | None) -> Markup:
    """How it was run and on what, and how many results there are of each verdict."""
    row: RunRow = run["run"]
    facts = {
        "run": f"{row['began']}, level {row['level']}, seed {row['seed']}",
        "with": f"mqbridge {row['mqbridge']}, Python {row['python']}, {row['platform']}",
    }
    for target in run["targets"]:
        versions = ", ".join(f"{name} {at}" for name, at in target["versions"].items())
        facts[target["name"]] = versions or ("it could not be used" if target["unusable"] else "no version told")
    verdicts = [(verdict.value, row["verdicts"].get(verdict, 0)) for verdict in reversed(Verdict)]
    counts = [(NOT_RUN, len(run["not_run"])), *verdicts]
    return tag(
        "section",
        tag("h3", f"Run {number}") if number else None,
        tag("p", *(tag("span", chip(name), f" {count}") for name, count in counts if count), class_="counts"),
        tag("dl", *([tag("dt", name), tag("dd", text)] for name, text in facts.items()), class_="facts"),
    )


def _contents(not_green: bool) -> Markup:
    names = (*(("not-green",) if not_green else ()), "capabilities", "scenarios", "claims", "runs")
    return tag("nav", *(tag("a", name.replace("-", " ").capitalize(), href=f"#{name}") for name in names))


def _filters() -> Markup:
    """Shown by the script that makes them work."""
    boxes = [
        tag("label", tag("input", type="checkbox", value=value, checked=True), f" {name}")
        for value, name in [*((verdict, verdict.value) for verdict in Verdict), ("none", "none of these")]
    ]
    search = tag("input", type="search", placeholder="a word of a row", aria_label="show rows with these words")
    return tag("div", search, *boxes, class_="filters", hidden=True)
