"""The table of capabilities by engines."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import pytest

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance import scenarios
from mqbridge_conformance.report import SLICE, capability_table, document
from mqbridge_conformance.results import Report, Verdict
from mqbridge_conformance.runner import run
from mqbridge_conformance.scenario import Run
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import targets_for
from tests.conformance.report.made import result


def test_the_capability_table_joins_claims_and_proofs(report: Report) -> None:
    """A claim that failed says so, a refusal for later is pending, a claim nobody spoke for says why."""
    lines = capability_table([document(report)]).splitlines()
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("|")}
    assert rows["GROUPS"] == "| GROUPS | direct: FAIL (one) |"
    assert re.fullmatch(r"\| COMPACTION \| later \[\d+\]: PENDING \(two\) \|", rows["COMPACTION"])
    note = re.fullmatch(r"\| TOPIC_DEAD_LETTER \| emulated \[(\d+)\]: not in this run \|", rows["TOPIC_DEAD_LETTER"])
    assert note is not None
    (said,) = [line for line in lines if line.startswith(f"- [{note[1]}] ")]
    assert "costs: one send; a crash may duplicate" in said
    assert rows["PRIORITY"] == "| PRIORITY | direct: not in this run |"
    assert re.fullmatch(r"\| TLS \| refused \[\d+\]: not in this run \|", rows["TLS"])
    assert len(rows) == len(Cap) + 2


def test_why_nothing_spoke_for_a_claim_is_told(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no scenario; or a quick run has none, whatever was chosen in it; or it was left out, or refused."""

    def cell() -> str:
        return capability_table([document(report)], [Cap.PRIORITY]).splitlines()[2]

    def speaks(*levels: Run) -> None:
        of_it = [replace(ALL[0], proves=(Cap.PRIORITY,), level=level) for level in levels]
        monkeypatch.setattr(scenarios, "ALL", (*of_it, replace(ALL[0], proves=(Cap.GROUPS,))))

    told: dict[tuple[Run, ...], tuple[str, str]] = {
        (): ("no scenario yet", "no scenario yet"),
        ("full",): ("not in this run", "not in a quick run"),
        ("full", "quick"): ("not in this run", "not in this run"),
    }
    for levels, (in_full, in_quick) in told.items():
        speaks(*levels)
        report.level = "full"
        assert cell() == f"| PRIORITY | direct: {in_full} |"
        report.level = "quick"
        assert cell() == f"| PRIORITY | direct: {in_quick} |"


def test_a_whole_run_on_one_target_makes_a_table_without_failures() -> None:
    """From a real run: refusals are proven by the scenario that asks for all of them."""
    real = run(targets_for("memory"), [s for s in ALL if s.name in ("round-trip", "refusals")])
    assert real.green
    table = capability_table([document(real)])
    (tls,) = re.findall(r"\| TLS \| refused \[(\d+)\]: REFUSED-PROVEN \(refusals\) \|", table)
    assert f"- [{tls}] nothing leaves the machine; instead: the folder's permissions" in table
    assert re.search(r"\| TRANSACTIONS \| later \[\d+\]: PENDING \(refusals\) \|", table)
    assert "| NULL_VALUE | direct: PASS (round-trip) |" in table
    assert "FAIL" not in table
    lines = capability_table([document(real)], SLICE).splitlines()
    assert len([line for line in lines if line.startswith("|")]) == len(SLICE) + 2


def test_several_processes_are_shown_only_where_there_were_some() -> None:
    """Threads in one process prove nothing of that, though the scenario passes."""
    sharing = [scenario for scenario in ALL if scenario.name == "competing-consumers"]
    for target, proof in (("memory", "not in this run"), ("folder", "PASS (competing-consumers)")):
        table = capability_table([document(run(targets_for(target), sharing))], [mq.Capability.SEVERAL_PROCESSES])
        assert f"| SEVERAL_PROCESSES | direct [1]: {proof} |" in table
        assert "- [1] one machine, a local disk" in table


def test_many_scenarios_are_counted_and_not_all_named(report: Report) -> None:
    """A cell stays a cell; the page has their names."""
    report.results = [result(f"s{number}", "memory", Verdict.PASS) for number in range(5)]
    assert "| GROUPS | direct: PASS (s0, s1, s2 and 2 more) |" in capability_table([document(report)]).splitlines()


def test_several_runs_speak_together(report: Report) -> None:
    """What one run has no word of another one may have; of one cell all scenarios, and the worst verdict."""
    quick, more = copy.copy(report), copy.copy(report)
    quick.level = "quick"
    quick.results = [result("one", "memory", Verdict.PASS)]
    more.results = [result("two", "memory", Verdict.FAIL), result("one", "memory", Verdict.PASS)]
    (row,) = [row for row in capability_table([document(quick), document(more)]).splitlines() if "| GROUPS |" in row]
    assert row == "| GROUPS | direct: FAIL (one, two) |"
    silent = capability_table([document(quick), document(more)], [Cap.RETENTION_BY_SIZE])
    assert "| RETENTION_BY_SIZE | direct: not in a quick run |" in silent
