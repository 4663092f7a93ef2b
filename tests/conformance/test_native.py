"""The native engine does what it claims: in memory, in a folder hosted here, and as client of another process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mqbridge_conformance.results import Report
from mqbridge_conformance.runner import asked, run_scenario
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.scenarios import at_level
from mqbridge_conformance.targets import Target, targets_for

TARGETS = ("memory", "folder", "client")
CASES = [
    (name, scenario)
    for name in TARGETS
    for scenario in at_level("quick")
    if asked(scenario, targets_for(name)[0], Report())
]


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Each is started once for all scenarios, which therefore must not disturb each other."""
    (found,) = targets_for(request.param)
    with found:
        yield found


@pytest.mark.parametrize(
    ("target", "scenario"), CASES, indirect=["target"], ids=lambda value: getattr(value, "name", value)
)
def test_native(target: Target, scenario: Scenario) -> None:
    """The scenario holds, or its refusal was seen to change nothing, and it exercised what it is about."""
    result, _ = run_scenario(scenario, target)
    assert result.verdict.green, f"{result.verdict}: {result.reason}; exercised: {dict(result.evidence)}"
    others = {name for name in ("processes", "threads") if result.evidence.get(name)}
    if target.name == "native, memory":
        assert others <= {"threads"}
    else:
        assert others <= {"processes"}
        assert "processes" in others or not {"kills", "parties_with_messages"} & set(scenario.exercises)
