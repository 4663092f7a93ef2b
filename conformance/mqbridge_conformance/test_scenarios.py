"""The scenarios as tests; `plugin` says on which targets."""

from __future__ import annotations

from collections.abc import Callable

from mqbridge_conformance.plugin import Conformance
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.targets import Target


def test_scenario(
    mq_conformance: Conformance,
    mq_target: Target,
    mq_scenario: Scenario,
    record_property: Callable[[str, object], None],
) -> None:
    """What the scenario says, on this target."""
    result = mq_conformance.judge(mq_target, mq_scenario)
    record_property("mq_verdict", result.verdict.value)
    assert result.verdict.green, f"{result.verdict}: {result.reason}"
