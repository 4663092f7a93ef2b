"""Offsets that the log has lost, where a member was to read on: `on_gap` says what to do.

The rule of this room: nothing is skipped unasked. Where the log begins and ends is asked once in a turn; while no
broker says it, the partition waits, and the member goes on with the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from mqbridge.errors import ConnectionLost, OffsetLost, OperationTimeout
from mqbridge.spi import Gap, TopicPartition
from mqbridge_kafka.errors import ENGINE
from mqbridge_kafka.holding import Holdings
from mqbridge_kafka.member_client import MemberClient
from mqbridge_kafka.settings import log
from mqbridge_kafka.starting import Starting


class LostOffsets:
    """Those of one member. On the thread that owns its client, outside its callbacks."""

    def __init__(
        self,
        group: str,
        on_gap: Literal["fail", "earliest", "latest"],
        holdings: Holdings,
        starting: Starting,
        say: Callable[[Gap], None],
    ) -> None:
        self._group = group
        self._on_gap = on_gap
        self._holdings = holdings
        self._starting = starting
        self._say = say
        self._places: dict[TopicPartition, None] = {}

    def found(self, place: TopicPartition, client: MemberClient) -> None:
        """The log does not have the next offset of this one any more."""
        self._places[place] = None
        self.look(client)

    def forget(self) -> None:
        """Nothing is ours any more."""
        self._places.clear()

    def look(self, client: MemberClient) -> None:
        """Decide where they go on; those for which no broker says it, the next time."""
        for place in tuple(self._places):
            try:
                self._go_on(place, client)
            except (ConnectionLost, OperationTimeout) as error:
                log.info("group %s: where %s/%d goes on is not known yet: %s", self._group, *place, error)
            else:
                del self._places[place]

    def _go_on(self, place: TopicPartition, client: MemberClient) -> None:
        held = self._holdings.get(place)
        if held is None or held.moving:
            return
        wanted, lease = held.position, held.lease
        first, end = self._starting.edges((client.physical(place), place[1]))
        if self._on_gap == "fail":
            self._holdings.stop(place)
            self._say(Gap(_offset_lost(self._group, place, wanted, first, end)))
            return
        target = first if self._on_gap == "earliest" else end
        log.warning("group %s: %s/%d goes from %d to %d, on_gap=%s", self._group, *place, wanted, target, self._on_gap)
        if self._holdings.skip(place, lease, target):
            client.skip(place, target)


def _offset_lost(group: str, place: TopicPartition, wanted: int, first: int, end: int) -> OffsetLost:
    name, partition = place
    return OffsetLost(
        f"group {group}: offset {wanted} of topic:{name}/{partition} is not there any more; the log has {first} to "
        f"{end}. Nothing was skipped: seek() to where it shall go on, or say on_gap='earliest' or 'latest'.",
        engine=ENGINE,
        topic=name,
        partition=partition,
        committed=wanted,
        start=first,
    )
