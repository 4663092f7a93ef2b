"""Offsets that the log has lost, where a member was to read on: `on_gap` says what to do.

The rule of this room: nothing is skipped unasked. Where the log begins and ends is asked once in a turn; while no
broker says it, the partition waits, and the member goes on with the others. What is known to be lost is one offset of
one lease: where the member has another by then, nothing is decided for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
        self._places: dict[TopicPartition, tuple[int, int, bool]] = {}
        """With the lease and the position that were lost, and whether the log was cut and written anew before it."""

    def found(self, place: TopicPartition, cut: bool = False) -> None:
        """The log does not have the next offset of this one any more; `cut`: or has other records before it."""
        held = self._holdings.get(place)
        if held is not None and not held.moving:
            self._places[place] = held.lease, held.position, cut

    def drop(self, places: Iterable[TopicPartition]) -> None:
        """These are not ours any more, or the application has chosen where they go on."""
        for place in tuple(places):
            self._places.pop(place, None)

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
        lease, wanted, cut = self._places[place]
        held = self._holdings.get(place)
        if held is None or held.moving or (held.lease, held.position) != (lease, wanted):
            return
        first, end = self._starting.edges((client.physical(place), place[1]))
        if first <= wanted <= end and not cut:
            target = wanted  # it is there: the client was told so of a place before a seek, or by a broker behind
        elif self._on_gap == "fail":
            if self._holdings.stop(place, lease):
                self._say(Gap(_offset_lost(self._group, place, wanted, first, end)))
            return
        else:
            target = first if self._on_gap == "earliest" else end
        if self._holdings.skip(place, lease, target):
            text = "group %s: %s/%d, lost at %d, goes on at %d, on_gap=%s"
            log.warning(text, self._group, *place, wanted, target, self._on_gap)
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
