"""What a consumer of a queue holds, and what its members are told to do with it. The rule: values alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from confluent_kafka import Message

from mqbridge.errors import MqbridgeError
from mqbridge.spi import Completion
from mqbridge_kafka.letters import Arrived
from mqbridge_kafka.verdicts import Verb

if TYPE_CHECKING:
    from mqbridge_kafka.pulling import Puller

GIVE_BACK_S: Final = 5.0
"""So long a message may be held unseen; then other consumers get it, uncounted, from the tail."""


@dataclass(slots=True, eq=False)
class Held:
    """One acquired record. `until_s` is when its lock ends for us."""

    token: int
    puller: Puller
    message: Message
    arrival: Arrived
    acquired_s: float
    until_s: float
    shown: bool = False


@dataclass(slots=True, eq=False)
class Settlement:
    """One call of `settle`: how many of its orders are open, what was refused, and what failed."""

    done: Completion[tuple[int, ...]]
    open: int = 0
    refused: list[int] = field(default_factory=list)
    failed: dict[int, MqbridgeError] = field(default_factory=dict)


@dataclass(slots=True)
class Order:
    """What a puller is told to do with one record."""

    held: Held
    verb: Verb
    text: str | None = None
    settlement: Settlement | None = None
