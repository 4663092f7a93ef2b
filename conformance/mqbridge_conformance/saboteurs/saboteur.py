"""What a saboteur is: a code, a name, what it breaks, and the anomaly by which it is to be found.

The rule: a saboteur breaks one promise and keeps all others, is the same on every engine, and is named for the anomaly
that the right checker finds. What it changes is one decorator of the SPI, or, where the subject exists inside the
native engine only, a patch of that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import (
    PassingAdmin,
    PassingChannel,
    PassingConnection,
    PassingQueueSubscription,
    PassingReplay,
    PassingTopicSubscription,
)
from mqbridge_conformance.saboteurs.strikes import Strikes

__all__ = ["Pieces", "Saboteur"]

Patch: TypeAlias = Callable[[Strikes], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Pieces:
    """What stands in the place of what; the engine's own where it is None. `request` changes what a connection is asked
    to be, `sender` what a sender is. `patch` is in force as long as a connection is open."""

    sender: Callable[[spi.SenderSpec, Strikes], spi.SenderSpec] | None = None
    channel: type[PassingChannel] | None = None
    topic: type[PassingTopicSubscription] | None = None
    queue: type[PassingQueueSubscription] | None = None
    replay: type[PassingReplay] | None = None
    admin: type[PassingAdmin] | None = None
    request: Callable[[spi.ConnectRequest, Strikes], spi.ConnectRequest] | None = None
    connection: type[PassingConnection] | None = None
    patch: Patch | None = None


@dataclass(frozen=True, slots=True)
class Saboteur:
    """`anomalies`: finding one of them kills it. `area` is what it breaks: sending, groups, reading, queues, ...
    `words`: where no checker has a name for it, a pattern of what the right check says. `only`: the engine inside which
    its subject is, if it is not every one's."""

    code: str
    name: str
    area: str
    anomalies: tuple[str, ...]
    pieces: Pieces
    words: str = ""
    only: str = ""
