"""The scenarios as tests; `plugin` says on which targets."""

from __future__ import annotations

import pytest

from mqbridge_conformance.plugin import Conformance
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.targets import Target


def test_scenario(
    mq_conformance: Conformance,
    mq_target: Target,
    mq_scenario: Scenario,
    request: pytest.FixtureRequest,
) -> None:
    """What the scenario says, on this target."""
    result = mq_conformance.judge(mq_target, mq_scenario)
    # Not by record_property, which warns where JUnit XML is written in the form that CI servers read.
    request.node.user_properties.append(("mq_verdict", result.verdict.value))
    assert result.verdict.green, f"{result.verdict}: {result.reason}"
