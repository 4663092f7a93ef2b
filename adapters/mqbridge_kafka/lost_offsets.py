"""Offsets that the log has lost, where a member was to read on: `on_gap` says what to do.

The rule of this room: nothing is skipped unasked. Where the log begins and ends is asked for all of them at once; while
no broker says it, they wait, and the member goes on with the others: it has as much time as a try took. What is known
to be lost is one offset of one lease: where the member has another by then, nothing is decided for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, Literal

from mqbridge.errors import ConnectionLost, OffsetLost, OperationTimeout
from mqbridge.spi import Gap, TopicPartition
from mqbridge_kafka.errors import ENGINE
from mqbridge_kafka.holding import Holdings
from mqbridge_kafka.member_client import MemberClient
from mqbridge_kafka.settings import log
from mqbridge_kafka.starting import Starting

AGAIN_S: Final = 0.05
"""Between two tries, at least."""


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
        self._again_at_s = 0.0

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
        """Decide where they go on; while no broker says it, the next time."""
        for place in tuple(self._places):
            if not self._is_still(place):
                del self._places[place]
        begun_s = time.monotonic()
        if not self._places or begun_s < self._again_at_s:
            return
        names = {(client.physical(place), place[1]): place for place in self._places}
        try:
            edges = self._starting.edges(names)
        except (ConnectionLost, OperationTimeout) as error:
            log.info("group %s: where %d partitions go on is not known yet: %s", self._group, len(names), error)
            return
        finally:
            ended_s = time.monotonic()
            self._again_at_s = ended_s + max(AGAIN_S, ended_s - begun_s)
        for name, place in names.items():
            self._go_on(place, client, *edges[name])

    def _is_still(self, place: TopicPartition) -> bool:
        """Is it ours as it was, and where it was?"""
        lease, wanted, _cut = self._places[place]
        held = self._holdings.get(place)
        return held is not None and not held.moving and (held.lease, held.position) == (lease, wanted)

    def _go_on(self, place: TopicPartition, client: MemberClient, first: int, end: int) -> None:
        lease, wanted, cut = self._places.pop(place)
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
