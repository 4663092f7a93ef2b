"""The engines of real brokers do what they claim, as clients that are not mqbridge see it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.scenarios import at_level
from mqbridge_conformance.targets import RealBroker, Target


@pytest.fixture(scope="module")
def kafka(kafka_url: str) -> Iterator[Target]:
    with RealBroker("kafka", kafka_url) as target:
        yield target


@pytest.fixture(scope="module")
def rabbitmq(rabbitmq_url: str) -> Iterator[Target]:
    with RealBroker("rabbitmq", rabbitmq_url) as target:
        yield target


def _green(target: Target, scenario: Scenario) -> None:
    result, _ = run_scenario(scenario, target)
    assert result.verdict.green, f"{result.verdict}: {result.reason}; exercised: {dict(result.evidence)}"
    assert not result.evidence.get("threads"), "other parties of a real broker are processes"


@pytest.mark.parametrize("scenario", at_level("quick"), ids=lambda scenario: scenario.name)
def test_kafka(kafka: Target, scenario: Scenario) -> None:
    """The scenario holds, or its refusal was seen to change nothing."""
    _green(kafka, scenario)


@pytest.mark.parametrize("scenario", at_level("quick"), ids=lambda scenario: scenario.name)
def test_rabbitmq(rabbitmq: Target, scenario: Scenario) -> None:
    """The scenario holds, or its refusal was seen to change nothing."""
    _green(rabbitmq, scenario)
