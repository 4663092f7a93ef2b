"""What a run found.

The rule: there is no skip. A behaviour holds, is emulated, is refused (and the refusal was seen), is refused for now,
does not hold, or nobody can tell; and what was exercised is counted, so that a scenario that exercised nothing cannot
be green.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mqbridge import Capability, Level, Support

if TYPE_CHECKING:
    from mqbridge_conformance.timelines import Shown

__all__ = ["CannotTell", "CheckFailed", "Claims", "Evidence", "LeftOut", "Report", "ScenarioResult", "Verdict", "worst"]


class Verdict(enum.StrEnum):
    """One cell of the matrix."""

    PASS = "PASS"
    PASS_EMULATED = "PASS-EMULATED"
    """It holds, by a construction of the library and not by the engine itself."""
    REFUSED_PROVEN = "REFUSED-PROVEN"
    """The call raises `Unsupported`, and seen from outside nothing changed."""
    PENDING = "PENDING"
    """The same, for what is claimed for later: not a final word."""
    UNKNOWN = "UNKNOWN"
    """It could not be found out: nothing was exercised, or nobody could look. Never green."""
    FAIL = "FAIL"

    @property
    def green(self) -> bool:
        return self not in (Verdict.UNKNOWN, Verdict.FAIL)


_SEVERITY = list(Verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The one that counts of several runs; none at all is UNKNOWN."""
    return max(verdicts, key=_SEVERITY.index, default=Verdict.UNKNOWN)


class CheckFailed(AssertionError):
    """The engine did not do what it claims: the verdict is FAIL. `anomaly` is its name in the catalogue, if it has
    one."""

    def __init__(self, text: str, anomaly: str = "") -> None:
        super().__init__(text)
        self.anomaly = anomaly


class CannotTell(Exception):
    """The run could not find out, for a reason that is not the engine's: the verdict is UNKNOWN."""


class Evidence:
    """What a scenario exercised, as counts, and how, as notes."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.notes: list[str] = []

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def missing(self, required: Sequence[str]) -> list[str]:
        """Those counters that stayed at zero."""
        return [name for name in required if not self.counts.get(name)]


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """One scenario on one target. `reason` says why it is not PASS; `proves` are the capabilities it speaks for; `seed`
    is what its chance was made of."""

    scenario: str
    title: str
    target: str
    engine: str
    verdict: Verdict
    seconds: float
    reason: str = ""
    evidence: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    proves: tuple[Capability, ...] = ()
    anomalies: tuple[str, ...] = ()
    """What was found and is an error, by the names of the catalogue."""
    counted: Mapping[str, int] = field(default_factory=dict)
    """What was found and is legal here: how often."""
    shown: tuple[Shown, ...] = ()
    """The first errors, with what lies around them; or what came before a failure that no checker found."""
    faults: tuple[str, ...] = ()
    """What each fault did, in words."""
    history: str = ""
    """Where its history was kept."""
    seed: int = 0

    @property
    def began(self) -> bool:
        """Was anything done for it? Not where its target could not be used."""
        return bool(self.evidence)


Claims = Mapping[Capability, Support]


class LeftOut(NamedTuple):
    """A scenario that a target was asked to run, and why nobody could begin."""

    scenario: str
    title: str
    target: str
    engine: str
    reason: str


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(slots=True)
class Report:
    """All results of a run; and of each target that was reached what it claims, and the versions of what it is made of:
    its engine's under the engine's name, then those of its clients."""

    results: list[ScenarioResult] = field(default_factory=list)
    claims: dict[str, Claims] = field(default_factory=dict)
    versions: dict[str, Mapping[str, str]] = field(default_factory=dict)
    unasked: dict[tuple[str, str], str] = field(default_factory=dict)
    """(scenario, target) -> why it was not asked to run: never a pass, and shown as such."""
    not_run: list[LeftOut] = field(default_factory=list)
    """What was left out for want of a broker: neither passed nor failed, and no run with some of it is green."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Target -> why it could not be used; what it did not run is UNKNOWN."""
    level: str = "quick"
    seed: int = 0
    began: dt.datetime = field(default_factory=_now)

    def add(self, result: ScenarioResult, claims: Claims | None) -> None:
        self.results.append(result)
        if claims is not None:
            self.claims[result.target] = claims

    @property
    def green(self) -> bool:
        ran = bool(self.results) and not self.not_run
        return ran and all(result.verdict.green for result in self.results)

    def targets(self) -> dict[str, str]:
        """Name -> engine, in the order in which they ran; then those that did not."""
        ran = {result.target: result.engine for result in self.results}
        return ran | {one.target: one.engine for one in self.not_run}

    def scenarios(self) -> dict[str, str]:
        """Name -> title, in the order in which they ran; then those that did not."""
        ran = {result.scenario: result.title for result in self.results}
        return ran | {one.scenario: one.title for one in self.not_run}

    def left_out(self) -> dict[tuple[str, str], int]:
        """(target, reason) -> how many scenarios were not run there for that reason."""
        found: dict[tuple[str, str], int] = {}
        for one in self.not_run:
            found[one.target, one.reason] = found.get((one.target, one.reason), 0) + 1
        return found

    def why_not(self, scenario: str, target: str) -> str:
        """What stands in a cell without a run."""
        if any((one.scenario, one.target) == (scenario, target) for one in self.not_run):
            return "NOT RUN"
        return self.unasked.get((scenario, target), "not run")

    def cell(self, scenario: str, target: str) -> list[ScenarioResult]:
        """The runs of one scenario on one target: several if it was repeated."""
        return [r for r in self.results if r.scenario == scenario and r.target == target]


def refused(claims: Claims, needs: Iterable[Capability]) -> list[Capability]:
    return [capability for capability in needs if claims[capability].level is Level.UNSUPPORTED]


def emulated(claims: Claims, needs: Iterable[Capability]) -> list[Capability]:
    return [capability for capability in needs if claims[capability].level is Level.EMULATED]
