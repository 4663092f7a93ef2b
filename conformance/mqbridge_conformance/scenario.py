"""What a behaviour is: a name, what it needs, what must have been exercised, and one body for every engine.

The rule: the body says what must be seen and never which engine it runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from mqbridge import Capability

if TYPE_CHECKING:
    from mqbridge_conformance.env import Env

__all__ = ["GUARANTEES", "Body", "Guarantee", "Refusal", "Run", "Scenario", "at_each", "scenario"]

Body = Callable[["Env"], None]
Refusal = Callable[["Env", Sequence[Capability]], None]
Run: TypeAlias = Literal["quick", "full"]
"""The shortest run that a scenario is part of; a full one has the quick ones too."""


Guarantee: TypeAlias = Literal["at-most-once", "at-least-once", "effectively-once", "transactional"]
GUARANTEES: Final[tuple[Guarantee, ...]] = ("at-most-once", "at-least-once", "effectively-once", "transactional")
"""What a program asks for, from the weakest to the strongest."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`needs`: without one of them the scenario's refusal is proven in its place. `proves`: those it speaks for.

    `exercises`: counters that must not be zero at the end, else the verdict is UNKNOWN. `refusal` proves that
    the capabilities that are not there are refused; None is the table of `refusals`. `legal`: anomalies that
    this run may show, each with the reason: they are counted and shown. `guarantee` is what the program under test
    asks for. `fault`: it is about a fault, so one whose fault had no effect is UNKNOWN. `level`: what
    takes long, or takes a broker of its own, is ``full``. `processes`: it is about what happens to a process, so a
    target whose other parties are threads is not asked. `own_broker`: it stops the broker or breaks the way to it, so a
    target that shares its broker with others is not asked. `users`: it makes users of the broker, so a target that is
    somebody else's broker is not asked. `cluster`, `disk`: it needs several nodes, or a disk that it may fill, so a
    target without is not asked.
    """

    name: str
    title: str
    body: Body
    needs: tuple[Capability, ...]
    proves: tuple[Capability, ...]
    exercises: tuple[str, ...]
    refusal: Refusal | None = None
    legal: Mapping[str, str] = field(default_factory=dict)
    guarantee: Guarantee = "at-least-once"
    fault: bool = False
    level: Run = "quick"
    processes: bool = False
    own_broker: bool = False
    users: bool = False
    cluster: bool = False
    disk: bool = False


def scenario(
    name: str,
    title: str,
    *,
    needs: tuple[Capability, ...] = (),
    proves: tuple[Capability, ...] | None = None,
    exercises: tuple[str, ...] = (),
    refusal: Refusal | None = None,
    legal: Mapping[str, str] | None = None,
    guarantee: Guarantee = "at-least-once",
    fault: bool = False,
    level: Run = "quick",
    processes: bool = False,
    own_broker: bool = False,
    users: bool = False,
    cluster: bool = False,
    disk: bool = False,
) -> Callable[[Body], Scenario]:
    """Make a scenario of its body. `proves` is what it needs, unless it is said."""

    def make(body: Body) -> Scenario:
        spoken_for = needs if proves is None else proves
        counters = ("checks", *exercises)
        return Scenario(
            *(name, title, body, needs, spoken_for, counters, refusal, legal or {}),
            *(guarantee, fault, level, processes, own_broker, users, cluster, disk),
        )

    return make


def at_each(of: Scenario, *guarantees: Guarantee) -> tuple[Scenario, ...]:
    """The scenario once at each of these guarantees: its body finds its own in `Env.guarantee`, its name ends in it."""
    return tuple(
        replace(
            of,
            name=f"{of.name}-{guarantee}",
            title=f"{of.title} ({guarantee.replace('-', ' ')})",
            guarantee=guarantee,
        )
        for guarantee in guarantees
    )
