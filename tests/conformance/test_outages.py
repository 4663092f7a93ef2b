"""Scenarios about faults of the broker, of the way to it and of handlers say nothing when their fault did nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mqbridge_conformance.brokers.links import Dropping, Proxy
from mqbridge_conformance.brokers.native_host import NativeHost
from mqbridge_conformance.brokers.servers import Broker
from mqbridge_conformance.faults import disks, handlers, processes
from mqbridge_conformance.faults.fault import inject
from mqbridge_conformance.results import ScenarioResult, Verdict
from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.saboteurs import Plan, in_force, strikes_told
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import NativeClient, NativeMemory, RealBroker

SCENARIOS = {scenario.name: scenario for scenario in ALL}
PATIENCE_S = 3.0
"""Traffic between processes has four times that."""
LITTLE_S = 1.0
KAFKA_PATIENCE_S = 20.0


def run(name: str) -> ScenarioResult:
    with NativeClient(own=True) as target:
        return run_scenario(SCENARIOS[name], target, patience_s=PATIENCE_S)[0]


def test_without_a_lost_answer_nothing_is_said_of_idempotence(
    kafka_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UNKNOWN: the producer was not tried."""
    assert kafka_broker.link is not None
    no_link_faults(monkeypatch)
    with RealBroker("kafka", own=True) as target:
        result, _ = run_scenario(SCENARIOS["idempotent-lost-answers"], target, patience_s=PATIENCE_S)
    assert result.verdict is Verdict.UNKNOWN, f"{result.verdict} {result.reason}"
    assert "nothing came within" in result.reason


def test_a_member_that_hangs_for_ever_and_keeps_its_partition_is_found(tmp_path: Path) -> None:
    """The hang is there whether or not the engine takes note of it: that nobody takes over is a failure."""
    with NativeMemory() as target, in_force(Plan("S66", told=tmp_path / "told")):
        result, _ = run_scenario(SCENARIOS["hung-handler"], target, patience_s=PATIENCE_S)
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"


def test_a_broker_that_confirms_what_it_has_no_room_for_is_found(tmp_path: Path) -> None:
    """The disk is full whether or not the engine says so."""
    with NativeClient(own=True) as target, in_force(Plan("M03", told=tmp_path / "told")):
        result, _ = run_scenario(SCENARIOS["disk-full"], target, patience_s=PATIENCE_S)
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"


@pytest.mark.parametrize("name", ["stopped-member-fenced", "topic-cut-long"])
def test_a_silent_member_that_keeps_its_partition_is_found(name: str, tmp_path: Path) -> None:
    """It stood still, or nothing passed, whether or not the engine takes note of it: nobody took over."""
    with NativeClient(own=True) as target, in_force(Plan("S76", told=tmp_path / "told")):
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=PATIENCE_S)
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"


@pytest.mark.parametrize("name", ["hung-handler", "slow-handler", "stalled-member-fenced"])
def test_its_own_limits_are_no_part_of_the_patience(name: str) -> None:
    """A sound engine passes with little of it, so that with as little a broken one does not fail for want of time."""
    with NativeMemory() as target:
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=LITTLE_S)
    assert result.verdict is Verdict.PASS, f"{result.verdict} {result.reason}"


def test_a_producer_that_resends_blindly_is_not_idempotent(kafka_broker: Broker, tmp_path: Path) -> None:
    """On the one engine that has idempotent producers now: without numbers there are doubles."""
    assert kafka_broker.link is not None
    with RealBroker("kafka", own=True) as target, in_force(Plan("S80", told=tmp_path / "told")):
        result, _ = run_scenario(SCENARIOS["idempotent-lost-answers"], target, patience_s=KAFKA_PATIENCE_S)
    assert strikes_told(tmp_path / "told"), "it never struck"
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert "duplicate" in result.anomalies, f"{result.anomalies}: {result.reason}"


def nothing(*_: Any, **__: Any) -> None:
    """A fault that is not there."""


def no_broker_faults(patch: pytest.MonkeyPatch) -> None:
    for how in ("kill", "pause", "unpause"):
        patch.setattr(NativeHost, how, nothing)


def no_link_faults(patch: pytest.MonkeyPatch) -> None:
    for how in ("cut", "stall", "delay"):
        patch.setattr(Proxy, how, nothing)
    patch.setattr(Proxy, "drop", lambda _self, way, names, times, met: Dropping(way, names, times, met))


def no_stopping(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(processes, "inject", lambda recorder, what, at, *_, **more: inject(recorder, what, at, nothing))


def no_disk_faults(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disks, "inject", lambda recorder, what, at, *_, **more: inject(recorder, what, at, nothing))


def no_hanging(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(handlers, "inject", lambda recorder, what, at, *_, **more: inject(recorder, what, at, nothing))


@pytest.mark.parametrize(
    ("name", "disarm"),
    [
        ("broker-killed", no_broker_faults),
        ("broker-paused", no_broker_faults),
        ("cut-short", no_link_faults),
        ("queue-cut-long", no_link_faults),
        ("topic-cut-long", no_link_faults),
        ("added-latency", no_link_faults),
        ("lost-answers-told", no_link_faults),
        ("lost-answers-resent", no_link_faults),
        ("disk-full", no_disk_faults),
        ("hung-handler", no_hanging),
        ("stopped-member-fenced", no_stopping),
    ],
)
def test_a_fault_that_did_nothing_proves_nothing(
    name: str, disarm: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """UNKNOWN, whether the body was content or missed what the fault should have brought."""
    disarm(monkeypatch)
    result = run(name)
    assert result.verdict is Verdict.UNKNOWN, f"{result.verdict} {result.reason}"
