"""What only Kafka claims is proven by scenarios that fail on a Kafka with one promise broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqbridge_conformance.results import Verdict
from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.saboteurs import Plan, in_force, strikes_told
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import RealBroker, RealCluster, Target

SCENARIOS = {scenario.name: scenario for scenario in ALL}
PATIENCE_S, CLUSTER_PATIENCE_S = 8.0, 60.0


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
    with RealBroker("kafka", kafka_url) as target:
        _fails(target, name, code, anomaly, tmp_path, PATIENCE_S)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_broken_promise_is_found_on_three_nodes(kafka_url: str, tmp_path: Path) -> None:
    """Who is told too early that all have it, and who is not told that the leader has it."""
    with RealCluster("kafka") as target:
        for code, anomaly in (("B01", "confirmed-early"), ("S55", "acks-ignored")):
            _fails(target, "min-insync", code, anomaly, tmp_path / code, CLUSTER_PATIENCE_S)
        result, _ = run_scenario(SCENARIOS["min-insync"], target)
    assert result.verdict is Verdict.PASS, f"{result.verdict} {result.reason}"


def _fails(target: Target, name: str, code: str, anomaly: str, folder: Path, patience_s: float) -> None:
    folder.mkdir(exist_ok=True)
    told = folder / "strikes.jsonl"
    with in_force(Plan(code, told=told)):
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=patience_s)
    assert strikes_told(told), "it never struck"
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert anomaly in result.anomalies, f"{result.anomalies}: {result.reason}"
