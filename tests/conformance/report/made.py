"""Results made by hand."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.results import ScenarioResult, Verdict

__all__ = ["result"]


def result(
    scenario: str, target: str, verdict: Verdict, *, notes: tuple[str, ...] = (), proves: Cap = Cap.GROUPS
) -> ScenarioResult:
    why, counts = f"because {verdict}", {"checks": 2}
    return ScenarioResult(scenario, f"About {scenario}", target, "native", verdict, 0.1, why, counts, notes, (proves,))
