"""The scenarios of security fail on a broker that lets everybody in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mqbridge_conformance.brokers.secured import RabbitMQSite, Site
from mqbridge_conformance.results import Verdict
from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.saboteurs import Plan, in_force, strikes_told
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import RealBroker

SCENARIOS = {scenario.name: scenario for scenario in ALL}


class _Open(RabbitMQSite):
    """Whoever comes is the super user, and any authority is believed."""

    def user(self, *rights: str) -> str:
        return self.url

    @contextlib.contextmanager
    def tls(self, folder: Path) -> Iterator[str]:
        with super().tls(folder) as url:
            yield f"{url}&verify=no"


@pytest.mark.parametrize("name", ["permissions", "tls"])
def test_a_broker_that_lets_everybody_in_fails(name: str, rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of what it did."""

    def opened(self: RealBroker) -> Site:
        return _Open(self.url)

    monkeypatch.setattr(RealBroker, "secured", opened)
    with RealBroker("rabbitmq") as target:
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=5)
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert "let-in" in result.anomalies, result.reason


@pytest.mark.parametrize("name", ["passwords", "permissions"])
def test_who_is_taken_for_the_first_one_is_let_in(name: str, rabbitmq_url: str, tmp_path: Path) -> None:
    """S52 has its subject where there are users, and dies there."""
    told = tmp_path / "strikes.jsonl"
    with RealBroker("rabbitmq") as target, in_force(Plan("S52", told=told)):
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=5)
    assert strikes_told(told), "it never struck"
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert "let-in" in result.anomalies, result.reason
