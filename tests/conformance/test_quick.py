"""Every engine does what it claims: the native one in its three arrangements, Kafka and RabbitMQ, beside each other.

Most of a run is waiting, so the engines run at the same time, as `mqbridge conformance run` has them, and each test is
the result of one scenario on one target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mqbridge_conformance.beside import beside
from mqbridge_conformance.results import Report, ScenarioResult
from mqbridge_conformance.runner import asked
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.scenarios import at_level
from mqbridge_conformance.targets import RealBroker, Target, targets_for

pytestmark = pytest.mark.timeout(600)  # a hang, and not the turn that a test waits for
NATIVE = ("memory", "folder", "client")
BROKERS = {"kafka_url": "kafka", "rabbitmq_url": "rabbitmq"}
"""The fixture that gives the URL, by which a test without a broker is told as NOT RUN."""
CASES = [
    (where, scenario)
    for where in (*NATIVE, *BROKERS)
    for scenario in at_level("quick")
    if where in BROKERS or asked(scenario, targets_for(where)[0], Report())
]
Results = Callable[[str, Scenario], ScenarioResult]


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[Results]:
    """The result of a scenario on a target, waited for if it is still under way; what nobody selected is not run."""
    selected = [item for item in request.session.items if getattr(item, "function", None) is test_quick]
    chosen: list[dict[str, Any]] = [item.callspec.params for item in selected if isinstance(item, pytest.Function)]
    scenarios: list[Scenario] = list({case["scenario"].name: case["scenario"] for case in chosen}.values())
    targets = {where: _target(where, request) for where in dict.fromkeys(case["where"] for case in chosen)}
    running = beside(Report(), list(targets.values()), scenarios)
    found: dict[tuple[str, str], ScenarioResult] = {}

    def result(where: str, scenario: Scenario) -> ScenarioResult:
        wanted = targets[where].name, scenario.name
        while wanted not in found:
            told = next(running, None)
            assert told is not None, f"{scenario.name} was not run on {where}"
            found[told.target, told.scenario] = told
        return found[wanted]

    yield result
    running.close()


def _target(where: str, request: pytest.FixtureRequest) -> Target:
    if where in BROKERS:
        return RealBroker(BROKERS[where], request.getfixturevalue(where))
    (target,) = targets_for(where)
    return target


@pytest.mark.parametrize(("where", "scenario"), CASES, ids=lambda value: getattr(value, "name", value))
def test_quick(where: str, scenario: Scenario, results: Results) -> None:
    """The scenario holds, or its refusal was seen to change nothing, and it exercised what it is about."""
    result = results(where, scenario)
    assert result.verdict.green, f"{result.verdict}: {result.reason}; exercised: {result.evidence}"
    others = {name for name in ("processes", "threads") if result.evidence.get(name)}
    if where == "memory":
        assert others <= {"threads"}
        return
    assert others <= {"processes"}, "other parties of an engine with processes are processes"
    if where in NATIVE:
        assert "processes" in others or not {"kills", "parties_with_messages"} & set(scenario.exercises)
