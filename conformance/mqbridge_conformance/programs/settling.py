"""A program that takes some messages of a topic, settles those that it is told to, and holds the rest.

The rule: see `workers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import mqbridge as mq
from mqbridge_conformance.parties import Link
from mqbridge_conformance.programs.traffic import position

__all__ = ["take"]

POLL_S: Final = 0.05


def take(link: Link, url: str, topic: str, take: int, ack: Sequence[int], options: Mapping[str, Any]) -> None:
    """Take `take` messages as a member of a group, ack those that came at the places `ack`, in that order; say
    ``held``, with the offsets of all; then wait for the end, whatever it is.

    With ``ack="explicit"`` in `options` what was acked is certain when that is said.
    """
    given = {**options, "start": position(options.get("start", "earliest"))}
    with link.connect(url) as bus, bus.consumer(mq.Topic(topic), **given) as consumer:
        held: list[mq.Delivery[bytes]] = []
        while len(held) < take:
            held += consumer.poll(take - len(held), timeout=POLL_S)
            link.check()
        for place in ack:
            held[place].ack()
        if ack:
            consumer.commit(30)
        link.emit("held", offsets=[one.offset for one in held])
        link.wait("end")
