"""The native engine does what it claims: in memory, in a folder hosted here, and as client of another process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mqbridge_conformance.results import Verdict
from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import Target, targets_for


@pytest.fixture(scope="module", params=["memory", "folder", "client"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Each is started once for all scenarios, which therefore must not disturb each other."""
    (found,) = targets_for(request.param)
    with found:
        yield found


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_native(target: Target, scenario: Scenario) -> None:
    """The scenario holds, directly, and exercised what it is about."""
    result, _ = run_scenario(scenario, target)
    assert result.verdict is Verdict.PASS, f"{result.reason}; exercised: {dict(result.evidence)}"
    others = {name for name in ("processes", "threads") if result.evidence.get(name)}
    if target.name == "native, memory":
        assert others <= {"threads"}
    else:
        assert others <= {"processes"}
        assert "processes" in others or not {"kills", "parties_with_messages"} & set(scenario.exercises)
