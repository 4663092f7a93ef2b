"""When a saboteur strikes, and who is told of it.

The rule: every opportunity is counted, and every strike is told where it happens, so that a run in which the saboteur
never struck is not taken for one that it survived. Chance is a seeded generator and nothing else. A rare saboteur
strikes within its first few opportunities, for one that never struck would show nothing.
"""

from __future__ import annotations

import json
import os
import random
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mqbridge_conformance.history import Recorder, identify

__all__ = ["EARLY", "EVERY", "Draws", "Plan", "Scout", "Strikes", "strikes_told"]

EVERY: Final = "*"
"""In the place of a saboteur's code: all of them, and none strikes; who would have had an opportunity is told."""

EARLY: Final = 8
"""A rare saboteur strikes for the first time at one of so many opportunities."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which saboteur, how often, by which chance, and the file where strikes are told."""

    code: str
    probability: float = 1.0
    seed: int = 0
    told: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Plan:
        """``M02``, ``M02:p=0.01:seed=7``. Errors: `ValueError`."""
        code, *options = text.split(":")
        plan = cls(code)
        for option in options:
            name, _, value = option.partition("=")
            try:
                if name == "p":
                    plan = replace(plan, probability=float(value))
                elif name == "seed":
                    plan = replace(plan, seed=int(value))
                else:
                    raise ValueError(f"there is no {name!r}")
            except ValueError as error:
                form = "a saboteur is CODE:p=PROBABILITY:seed=NUMBER"
                raise ValueError(f"{text!r}: {form}, and {option!r} is not of that: {error}") from error
        if not code or not 0 < plan.probability <= 1:
            raise ValueError(f"{text!r}: a saboteur has a code, and a probability above 0 and of at most 1")
        return plan

    def __str__(self) -> str:
        return f"{self.code}:p={self.probability:g}:seed={self.seed}"


class Draws:
    """The opportunities of one process, in order. Thread-safe."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.opportunities = 0
        self._lock = threading.Lock()
        self._random = random.Random(plan.seed)
        self._first = self._random.randrange(EARLY) if plan.probability < 1 else 0

    def draw(self) -> bool:
        """One opportunity: is it taken?"""
        with self._lock:
            number, self.opportunities = self.opportunities, self.opportunities + 1
            chance = self._random.random()
        return number == self._first or (number > self._first and chance < self.plan.probability)


class Scout(Draws):
    """Takes no opportunity, and tells that there was one, once."""

    def draw(self) -> bool:
        with self._lock:
            number, self.opportunities = self.opportunities, self.opportunities + 1
        if not number:
            _tell(self.plan, {"code": self.plan.code})
        return False


class Strikes:
    """The draws of a process, as one connection uses them."""

    def __init__(self, draws: Draws, recorder: Recorder | None = None) -> None:
        self.draws = draws
        self._recorder = recorder
        self.draw = draws.draw

    def here(self, where: object, **facts: Any) -> bool:
        """One opportunity; one that is taken is a strike."""
        struck = self.draw()
        if struck:
            self.struck(where, **facts)
        return struck

    def struck(self, where: object, **facts: Any) -> None:
        """Tell a strike that was drawn before; `where` is a destination or a place."""
        plan = self.draws.plan
        told = {"code": plan.code, "where": str(where), **{name: _plain(fact) for name, fact in facts.items()}}
        _tell(plan, told)
        if self._recorder is not None:
            self._recorder.write("ok", "sabotage", more=told)


def _tell(plan: Plan, told: dict[str, Any]) -> None:
    if plan.told is None:
        return
    # One write to a file opened for appending: processes do not mix their lines, and SIGKILL cuts none.
    file = os.open(plan.told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, json.dumps(told).encode() + b"\n")
    finally:
        os.close(file)


def _plain(fact: Any) -> Any:
    return identify(fact) if isinstance(fact, bytes) else fact


def strikes_told(file: Path) -> list[dict[str, Any]]:
    """The strikes of all processes, in the order in which they were told."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]
