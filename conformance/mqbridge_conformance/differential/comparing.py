"""Two transcripts of one script, compared step by step.

The rule: what is different is a failure, unless it is in the list of what may be: each entry has the claim that an
engine does not make, the reason, and hides exactly what depends on it, on both sides. How often each was needed is
told.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mqbridge import Capability as Cap
from mqbridge import Level
from mqbridge_conformance.differential.performing import Transcript
from mqbridge_conformance.differential.scripts import Script

__all__ = ["LEGITIMATE", "Comparison", "Difference", "Legitimate", "compare"]


@dataclass(frozen=True, slots=True)
class Legitimate:
    """What may be different where one of the engines does not claim `without` (or claims it only as an emulation, with
    `emulated`): `hide` takes it out of what was seen at a step, in place."""

    name: str
    without: Cap
    reason: str
    hide: Callable[[str, dict[str, Any]], None]
    emulated: bool = False

    def applies(self, transcript: Transcript) -> bool:
        level = transcript.claims[self.without].level
        return level is Level.UNSUPPORTED or (self.emulated and level is Level.EMULATED)


def _no_offsets(do: str, seen: dict[str, Any]) -> None:
    if do == "send":
        seen["ends"] = [end[:2] if end[0] == "confirmed" else end for end in seen["ends"]]


def _no_order(do: str, seen: dict[str, Any]) -> None:
    if do == "take":
        seen["first"].sort()
    if do == "drain":
        seen["shown"].sort(key=lambda told: told[0])


LEGITIMATE: Final = (
    Legitimate("offsets of sends", Cap.SEND_OFFSET, "confirmations carry no offset", _no_offsets),
    Legitimate("order of a queue", Cap.ORDER_IN_QUEUE, "a queue there promises no order", _no_order),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """At one step, two engines were seen to do different things."""

    number: int
    step: str
    seen: Mapping[str, Any]

    def __str__(self) -> str:
        both = "; ".join(f"{engine}: {value}" for engine, value in self.seen.items())
        return f"step {self.number}, {self.step}: {both}"


@dataclass(slots=True)
class Comparison:
    """`legitimate` counts the steps at which an entry of the list was needed; `compared` and `left_out` are steps."""

    differences: list[Difference] = field(default_factory=list)
    legitimate: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    left_out: int = 0


def compare(script: Script, first: Transcript, second: Transcript) -> Comparison:
    """Both must have seen every step; a run that ended early is one difference at the step where it did."""
    found = Comparison()
    engines = (
        (first.engine, second.engine) if first.engine != second.engine else (first.engine, f"{second.engine}, again")
    )
    for number, step in enumerate(script.steps):
        seen = [transcript.seen[number] if number < len(transcript.seen) else "ended" for transcript in (first, second)]
        if seen == [None, None]:
            found.left_out += 1
            continue
        found.compared += 1
        hidden = copy.deepcopy(seen)
        for entry in LEGITIMATE:
            if hidden[0] == hidden[1]:
                break
            if entry.applies(first) or entry.applies(second):
                before = copy.deepcopy(hidden)
                for one in hidden:
                    if isinstance(one, dict) and "error" not in one:
                        entry.hide(step.do, one)
                if hidden != before:
                    found.legitimate[entry.name] += 1
        if hidden[0] != hidden[1]:
            found.differences.append(Difference(number, str(step), dict(zip(engines, seen, strict=True))))
        if "ended" in seen:
            break
    return found
