"""What a behaviour is: a name, what it needs, what must have been exercised, and one body for every engine.

The rule: the body says what must be seen and never which engine it runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mqbridge import Capability

if TYPE_CHECKING:
    from mqbridge_conformance.env import Env

__all__ = ["Body", "Refusal", "Scenario", "scenario"]

Body = Callable[["Env"], None]
Refusal = Callable[["Env", Sequence[Capability]], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`needs`: without one of them the scenario's refusal is proven in its place. `proves`: those it speaks for.

    `exercises`: counters that must not be zero at the end, else the verdict is UNKNOWN. `refusal` proves that
    the capabilities that are not there are refused; None is the table of `refusals`.
    """

    name: str
    title: str
    body: Body
    needs: tuple[Capability, ...]
    proves: tuple[Capability, ...]
    exercises: tuple[str, ...]
    refusal: Refusal | None = None


def scenario(
    name: str,
    title: str,
    *,
    needs: tuple[Capability, ...] = (),
    proves: tuple[Capability, ...] | None = None,
    exercises: tuple[str, ...] = (),
    refusal: Refusal | None = None,
) -> Callable[[Body], Scenario]:
    """Make a scenario of its body. `proves` is what it needs, unless it is said."""

    def make(body: Body) -> Scenario:
        spoken_for = needs if proves is None else proves
        return Scenario(name, title, body, needs, spoken_for, ("checks", *exercises), refusal)

    return make
