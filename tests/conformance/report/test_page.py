"""The page: one file, all of the run in it, every link with an end."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mqbridge import Capability as Cap
from mqbridge_conformance.checkers import Finding
from mqbridge_conformance.report import Document, document, page
from mqbridge_conformance.report.document import ResultRow
from mqbridge_conformance.results import LeftOut, Report, ScenarioResult, Verdict
from mqbridge_conformance.timelines import what_to_show
from tests.conformance.report.made import result
from tests.conformance.timelines.made import TOPIC, lost


class Parsed(HTMLParser):
    """Elements that are open when another begins, ids, links, and the text of each element with an id."""

    VOID = ("meta", "input", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append(tag)
        self.attributes += attrs
        if (name := known.get("id")) is not None:
            self.ids.append(name)
            self.texts[name] = ""
        if tag == "a":
            self.links.append(known.get("href") or "")
        if tag not in self.VOID:
            self._open.append((tag, known.get("id")))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        for _, name in self._open:
            if name is not None:
                self.texts[name] += data


@pytest.fixture
def found(report: Report) -> Document:
    """A report with a failure that has a timeline, and texts that would break a careless page."""
    history, witness = lost()
    finding = Finding("lost-write", f"{TOPIC}/2", "p1#3 is <not> there", witness)
    shown = what_to_show(history, [finding])
    failed = result("three", "folder", Verdict.FAIL, notes=("note <b>",), proves=Cap.SEEK)
    report.results.append(
        replace(
            failed,
            title="About <three> & more",
            reason="it is 'gone' </script>",
            anomalies=("lost-write",),
            counted={"duplicate": 2},
            faults=("kill -9 of the broker: 1 send failed",),
            shown=shown,
            history="/tmp/h.jsonl",
            seed=99,
        )
    )
    return document(report)


def test_every_link_has_an_end_and_every_name_is_there_once(found: Document) -> None:
    """Well formed, whatever the texts are, for one run and for two."""
    for runs in ([found], [found, found]):
        parsed = Parsed(page(runs))
        assert len(parsed.ids) == len(set(parsed.ids))
        assert {link.removeprefix("#") for link in parsed.links} <= set(parsed.ids)
        assert all(link.startswith("#") for link in parsed.links)


def test_the_page_needs_nothing_but_itself(found: Document) -> None:
    """No address, no file, no font, and a policy by which the browser would refuse them."""
    text = page([found])
    parsed = Parsed(text)
    assert not {"link", "img", "iframe", "object", "base"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name in ("src", "srcset", "action", "onclick", "onload")]
    assert not re.findall(r"url\(|@import|https?:", text)
    assert "default-src &#x27;none&#x27;" in text


def test_texts_of_others_are_texts(found: Document) -> None:
    """A reason with a tag in it is shown with the tag in it."""
    text = page([found])
    assert "<b>" not in text
    assert text.count("</script>") == 1
    assert "it is 'gone' </script>" in Parsed(text).texts["run-1-5"]


def test_each_cell_leads_to_what_was_run(found: Document) -> None:
    """The capability to its claim, the claim to its runs, the scenario to the worst of its runs."""
    text = page([found])
    parsed = Parsed(text)
    assert "#claim-1-GROUPS" in parsed.links
    claim = parsed.texts["claim-1-GROUPS"]
    assert "FAIL" in claim
    assert "one on memory" in claim
    assert "one on folder" in claim
    scenarios = text[text.index('id="scenarios"') : text.index('id="claims"')]
    cells = re.findall(r'href="#([^"]*)"', scenarios)
    assert cells == ["run-1-1", "run-1-3", "run-1-4", "run-1-5"], "one on folder failed the second time"
    assert "not in this run" in parsed.texts["claim-1-PRIORITY"]


def test_a_failure_has_all_that_is_known_of_it(found: Document) -> None:
    """Open at once: reason, evidence, anomalies, seed, history, the picture and the same as text."""
    text = page([found])
    told = Parsed(text).texts["run-1-5"]
    for words in (
        "About <three> & more",
        "2 checks",
        "1 send failed",
        "lost-write",
        "2 duplicate",
        "note <b>",
        "SEEK",
        "--scenario three --seed 99",
        "/tmp/h.jsonl",
        "p1#3 is <not> there",
        "send p1#3 key customer-1 orders/2@3",
    ):
        assert words in told, words
    failed = text[text.index('<details id="run-1-5"') :]
    assert re.match(r'<details id="run-1-5" open ', failed)
    assert '<svg class="timeline"' in failed


def test_what_is_green_is_closed_and_what_is_not_comes_first(found: Document) -> None:
    """Whoever opens the page sees what to look at; without failures there is no such section."""
    text = page([found])
    assert re.search(r'<details id="run-1-1" data-verdicts="PASS">', text)
    assert text.index('id="not-green"') < text.index('id="capabilities"')
    green: list[ResultRow] = [row for row in found["results"] if row["verdict"] == "PASS"]
    assert "What is not green" not in page([{**found, "results": green}])


def test_the_run_is_told_at_the_top(found: Document) -> None:
    """Level, seed, moment, versions, and how many of each verdict, the worst first."""
    text = page([found])
    top = text[text.index("<body>") : text.index('id="not-green"')]
    plain = re.sub(r"<[^>]*>", " ", top)
    assert "level full, seed 7" in plain
    assert "native 1.0, client 2" in plain
    assert re.findall(r"(FAIL|PENDING|PASS)\s+(\d)", plain) == [("FAIL", "2"), ("PENDING", "1"), ("PASS", "2")]


def test_several_runs_stand_side_by_side(report: Report) -> None:
    """An engine's versions next to each other; two that look the same say of which run they are."""
    first = document(report)
    report.versions["memory"] = report.versions["folder"] = {"native": "2.0"}
    report.results.append(ScenarioResult("x", "X", "other", "other", Verdict.PASS, 0.1))
    report.claims["other"] = report.claims["memory"]
    heads = re.findall(r'<th scope="col">([^<]*)<small class="faint">([^<]*)</small>', page([first, document(report)]))
    assert heads[:3] == [("native", "1.0"), ("native", "2.0"), ("other", "")]
    assert heads[3:] == [("memory", "1.0"), ("memory", "2.0"), ("folder", "1.0"), ("folder", "2.0"), ("other", "")]
    third = document(report)
    memory, folder, other = third["targets"]
    third["targets"] = [memory, {**other, "name": "between"}, folder]
    titles = re.findall(r'<th scope="col">([^<]*)<small class="faint">', page([third, first]))
    assert titles[-5:] == ["memory", "memory", "folder", "folder", "between"]
    again = re.findall(r'<small class="faint">([^<]*)</small>', page([first, first]))
    assert again[:2] == ["1.0 (run 1)", "1.0 (run 2)"]


def test_filters_are_shown_by_the_script_that_makes_them_work(found: Document) -> None:
    """Without JavaScript there is nothing that does nothing; every row has what it is filtered by."""
    text = page([found])
    assert re.search(r'<div class="filters" hidden>', text)
    rows = re.findall(r'data-verdicts="([^"]*)"', text)
    assert len(rows) == len(Cap) + 3 + len(found["results"])
    known = set(re.findall(r'type="checkbox" value="([^"]*)"', text))
    assert {verdict for row in rows for verdict in row.split()} <= known
    assert known == {*(verdict.value for verdict in Verdict), "none"}


def test_a_scenario_that_did_not_run_on_a_target_says_so(found: Document) -> None:
    """An empty cell would look like nothing to see."""
    assert "<td><small>not run</small></td>" in page([found])
    found["unasked"] = [{"scenario": "two", "target": "folder", "reason": "needs processes"}]
    assert "<td><small>needs processes</small></td>" in page([found])


def test_what_was_not_run_and_who_could_not_be_used_come_first(report: Report) -> None:
    """Each once, however many scenarios they are, and in the cells."""
    report.not_run += [LeftOut(name, f"About {name}", "kafka", "kafka", "no Docker") for name in ("one", "three")]
    report.unusable["away"] = "nobody answers"
    report.results += [replace(result(name, "away", Verdict.UNKNOWN), evidence={}) for name in ("one", "two")]
    text = page([document(report)])
    first = re.sub(r"<[^>]*>", "", text[text.index('id="not-green"') : text.index('id="capabilities"')])
    assert "NOT RUN 2 scenarios on kafka: no Docker" in first
    assert "UNKNOWN 2 scenarios on away, which could not be used: nobody answers" in first
    assert "one on away" not in first
    assert text.count('<td><span class="chip not-run">NOT RUN</span></td>') == 2
    assert "2 scenarios" in page([document(report), document(report)])
