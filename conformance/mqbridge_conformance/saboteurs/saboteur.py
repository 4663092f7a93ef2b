"""What a saboteur is: a code, a name, what it breaks, and the anomaly by which it is to be found.

The rule: a saboteur breaks one promise and keeps all others, is the same on every engine, and is named for the anomaly
that the right checker finds, or the right check of a scenario. What it changes is one decorator of the SPI.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mqbridge as mq
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


@dataclass(frozen=True, slots=True)
class Pieces:
    """What stands in the place of what; the engine's own where it is None. `request` changes what a connection is asked
    to be, `sender` what a sender is."""

    sender: Callable[[spi.SenderSpec, Strikes], spi.SenderSpec] | None = None
    channel: type[PassingChannel] | None = None
    topic: type[PassingTopicSubscription] | None = None
    queue: type[PassingQueueSubscription] | None = None
    replay: type[PassingReplay] | None = None
    admin: type[PassingAdmin] | None = None
    request: Callable[[spi.ConnectRequest, Strikes], spi.ConnectRequest] | None = None
    connection: type[PassingConnection] | None = None


@dataclass(frozen=True, slots=True)
class Saboteur:
    """`anomalies`: finding one of them kills it, and nothing else does. `area` is what it breaks: sending, groups,
    reading, queues, ... `needs`: what an engine must claim, or there is nothing of it to break."""

    code: str
    name: str
    area: str
    anomalies: tuple[str, ...]
    pieces: Pieces
    needs: tuple[mq.Capability, ...] = ()
