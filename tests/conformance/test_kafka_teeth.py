"""What only Kafka claims is proven by scenarios that fail on a Kafka with one promise broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqbridge_conformance.results import Verdict
from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.saboteurs import Plan, in_force, strikes_told
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import RealBroker

SCENARIOS = {scenario.name: scenario for scenario in ALL}
PATIENCE_S = 8.0


@pytest.mark.parametrize(
    ("name", "code", "anomaly"),
    [
        ("acks-leader", "M02", "lost-write"),
        ("acks-leader", "M01", "nonmonotonic-send"),
        ("acks-none", "S55", "acks-ignored"),
        ("read-committed", "B03", "G1a"),
        ("compaction", "M02", "lost-write"),
    ],
)
def test_a_broken_promise_is_found(name: str, code: str, anomaly: str, kafka_url: str, tmp_path: Path) -> None:
    """The verdict is FAIL, by the anomaly that the saboteur is named for."""
    told = tmp_path / "strikes.jsonl"
    with RealBroker("kafka", kafka_url) as target, in_force(Plan(code, told=told)):
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=PATIENCE_S)
    assert strikes_told(told), "it never struck"
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert anomaly in result.anomalies, f"{result.anomalies}: {result.reason}"
