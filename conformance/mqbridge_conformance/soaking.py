"""Running the scenarios again and again, each round with a new seed, until something is wrong or it is enough.

The rule: what is not green ends it at once, with its history kept: nothing else begins, and what is under way on other
engines is left out; and how long is asked for, never assumed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mqbridge_conformance.beside import beside
from mqbridge_conformance.results import Report, ScenarioResult
from mqbridge_conformance.runner import PATIENCE_S
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.targets import Target

__all__ = ["Enough", "soak"]


@dataclass(frozen=True, slots=True)
class Enough:
    """Whichever comes first: so many rounds, or so many seconds, after which no other scenario begins."""

    rounds: int | None = None
    seconds: float | None = None


def soak(
    report: Report,
    targets: Sequence[Target],
    scenarios: Sequence[Scenario],
    enough: Enough,
    *,
    keep: Path | None = None,
    patience_s: float = PATIENCE_S,
    tell: Callable[[ScenarioResult], None] = lambda _: None,
    tell_round: Callable[[int, int], None] = lambda _number, _seed: None,
) -> int:
    """Fill the report, and say how many rounds began. Its seed is the first round's, the next rounds have the next
    numbers; `tell_round` hears the number of each, from 1 on, and its seed, before it begins."""
    end_s = None if enough.seconds is None else time.monotonic() + enough.seconds
    number = 0
    while number != enough.rounds and not _past(end_s):
        seed = report.seed + number
        number += 1
        tell_round(number, seed)
        a_round = beside(report, targets, scenarios, seed=seed, keep=keep, patience_s=patience_s)
        with contextlib.closing(a_round):  # which stops the target in the middle of it too
            for result in a_round:
                tell(result)
                if not result.verdict.green or _past(end_s):
                    return number
    return number


def _past(end_s: float | None) -> bool:
    return end_s is not None and time.monotonic() >= end_s
