"""Histories of real runs, kept: every later checker must still say of them what was said when they were understood.

Those named after a setting are the bad halves of proofs on real brokers, those named after a saboteur are runs of it on
the native engine, `kafka-confirmed-and-lost` is a loss that the suite found (a first batch refused, the next one taken,
and both called delivered by librdkafka; cut down to the partition), the others runs that were green. A checker that
says something new of one has learnt something or has gone wrong: look at the history, and change ``expected.json`` only
if it was the first.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mqbridge_conformance.checkers import Outcome, judge
from mqbridge_conformance.history import load

KEPT = Path(__file__).parent.parent / "histories"
EXPECTED: dict[str, dict[str, Any]] = json.loads((KEPT / "expected.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_kept_history_is_judged_as_before(name: str) -> None:
    """The same anomalies, as often, errors and legal ones apart; and the same checkers that cannot tell."""
    judgements = judge(load(KEPT / f"{name}.jsonl"))
    findings = [finding for judgement in judgements for finding in judgement.findings]
    unknown = [judgement.checker for judgement in judgements if judgement.outcome is Outcome.UNKNOWN]
    errors = Counter(finding.anomaly for finding in findings if not finding.legal)
    legal = Counter(finding.anomaly for finding in findings if finding.legal)
    assert {"errors": dict(errors), "legal": dict(legal), "unknown": unknown} == EXPECTED[name]


def test_every_kept_history_is_expected_to_say_something() -> None:
    """None lies there that nobody judges."""
    assert {path.stem for path in KEPT.glob("*.jsonl")} == set(EXPECTED)
