"""A short run of kills; ``mqbridge conformance kills`` is the long one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mqbridge_conformance.kills import KillReport, run
from mqbridge_conformance.kills.judging import judge_handled, judge_log, lines_of


@pytest.mark.timeout(180)
def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    """Killed at random moments, host and workers lose no confirmed message, reuse no offset and keep the order."""
    report = run(20, seed=20, folder=tmp_path)
    assert report.violations == []
    assert report.kills == 20
    assert report.host_kills > 0
    assert report.confirmed_topic > 0
    assert report.confirmed_queue > 0
    assert report.handled_topic >= report.confirmed_topic


def judged(*lines: dict[str, object]) -> list[str]:
    report = KillReport(seed=0)
    log = {(0, 0): "p 1", (0, 1): "p 2"}
    written = [{"who": "w", **line} for line in lines]
    waiting = judge_log(written, log, report)
    judge_handled(written, log, waiting, report)
    return report.violations


HANDLED = [
    {"f": "handled", "kind": "t", "v": "p 1", "part": 0, "off": 0, "lease": 1},
    {"f": "handled", "kind": "t", "v": "p 2", "part": 0, "off": 1, "lease": 1},
]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([{"f": "confirmed", "kind": "t", "p": "p", "n": 3, "part": 0, "off": 2}, *HANDLED], "where None is read"),
        ([{"f": "confirmed", "kind": "t", "p": "p", "n": 9, "part": 0, "off": 1}, *HANDLED], "where 'p 2' is read"),
        ([*HANDLED[:1]], "unhandled"),
        ([HANDLED[1], HANDLED[0]], "after 1"),
        ([{"f": "confirmed", "kind": "q", "p": "p", "n": 5}, *HANDLED], "never handled"),
    ],
)
def test_the_judge_bites(lines: list[dict[str, object]], named: str) -> None:
    """A lost record, a reused offset, a skipped record, a step back and a lost queue message are each found."""
    (found,) = judged(*lines)
    assert named in found


def test_the_judge_is_silent_when_all_is_well() -> None:
    """What was promised and held raises no violation."""
    assert judged({"f": "confirmed", "kind": "t", "p": "p", "n": 1, "part": 0, "off": 0}, *HANDLED) == []


def test_a_torn_line_of_a_killed_process_is_left_out(tmp_path: Path) -> None:
    """The last line of a diary, cut by the kill, is not read as a fact."""
    (tmp_path / "x-1.jsonl").write_bytes(json.dumps({"f": "open"}).encode() + b'\n{"f": "confir')
    assert [line["f"] for line in lines_of(tmp_path)] == ["open"]
