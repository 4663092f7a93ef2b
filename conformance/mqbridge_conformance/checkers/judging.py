"""What a checker is, and what it says.

The rule: a checker is a pure function of a history and of what the engine claims. It says `valid`, `invalid` or
`unknown`, and unknown is never green. What it finds it names by the names of the catalogue, tells in a sentence, and
shows by the fewest events that prove it; what is found and legal under the claims is counted and told too, never left
out. It reports only what the history proves: where an event is missing that would excuse a finding, there is none.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mqbridge_conformance.history import Event, History

__all__ = ["Checker", "Finding", "Judge", "Judgement", "Outcome", "Profile"]


class Outcome(enum.StrEnum):
    """Three values: what nobody could tell is neither."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One anomaly. `legal` says why it is none under the claims; empty if it is an error. `witness` are the events that
    prove it, in order; `where` is a place such as ``topic:orders/2`` or ``queue:emails``, with the group where it
    matters."""

    anomaly: str
    where: str
    text: str
    witness: tuple[Event, ...]
    legal: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one checker says. `looked_at` counts what it had to look at: all zero is vacuous, and the runner decides
    whether that may be."""

    checker: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    looked_at: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    """Why it is unknown."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those that are not legal."""
        return tuple(finding for finding in self.findings if not finding.legal)

    @property
    def counts(self) -> dict[str, int]:
        """Findings by anomaly, legal ones included."""
        counts: dict[str, int] = {}
        for finding in self.findings:
            counts[finding.anomaly] = counts.get(finding.anomaly, 0) + 1
        return counts


@dataclass(frozen=True, slots=True)
class Profile:
    """What is promised: the levels that the engine claims, and what this run has reasons to allow.

    `claims`: capability -> ``direct``, ``emulated`` or ``unsupported``. `legal`: anomaly -> why this run may show it.
    `guarantee`: ``at-most-once``, ``at-least-once``, ``effectively-once`` or ``transactional``: what the program under
    test asked for.
    """

    engine: str = ""
    claims: Mapping[str, str] = field(default_factory=dict)
    legal: Mapping[str, str] = field(default_factory=dict)
    guarantee: str = "at-least-once"

    @classmethod
    def of(cls, history: History) -> Profile:
        """As the run itself says."""
        header: Mapping[str, Any] = history.header
        return cls(
            engine=header.get("engine", ""),
            claims=header.get("claims", {}),
            legal=header.get("legal", {}),
            guarantee=header.get("guarantee", "at-least-once"),
        )

    def has(self, capability: str) -> bool:
        """Is it claimed, directly or emulated?"""
        return self.claims.get(capability, "unsupported") != "unsupported"


Checker: TypeAlias = Callable[[History, Profile], Judgement]


class Judge:
    """Collects what a checker finds, and makes its judgement."""

    def __init__(self, checker: str, profile: Profile) -> None:
        self._checker = checker
        self._profile = profile
        self._findings: list[Finding] = []
        self._unknown: list[str] = []
        self.looked_at: dict[str, int] = {}

    def count(self, what: str, number: int = 1) -> None:
        """What was looked at."""
        self.looked_at[what] = self.looked_at.get(what, 0) + number

    def find(self, anomaly: str, where: str, text: str, witness: Sequence[Event], legal: str = "") -> None:
        """An anomaly; `legal` says why the claims allow it, if they do. What the run allows is legal too."""
        allowed = legal or self._profile.legal.get(anomaly, "")
        self._findings.append(Finding(anomaly, where, text, tuple(witness), allowed))

    def cannot_tell(self, reason: str) -> None:
        """Something that had to be known is not in the history."""
        self._unknown.append(reason)

    def judgement(self) -> Judgement:
        """Invalid if one finding is not legal, else unknown if something could not be told, else valid."""
        errors = any(not finding.legal for finding in self._findings)
        outcome = Outcome.INVALID if errors else Outcome.UNKNOWN if self._unknown else Outcome.VALID
        return Judgement(
            self._checker, outcome, tuple(self._findings), dict(self.looked_at), "; ".join(self._unknown)
        )
