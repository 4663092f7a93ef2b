"""Where a member of a group begins: the four rules of `start`.

The rule of this room: nothing is skipped unasked, and nothing begins twice. What is committed stands. Where a group has
committed nothing for a topic, `start` is resolved for all its partitions at once and committed before anybody reads:
before joining, if the group is empty (the broker refuses it otherwise), else by the member that is assigned some of
them. A partition without a commit, of a topic that has commits, was added later and begins at its beginning. An offset
that the log has lost is found by reading (lost_offsets.py).

Others may commit between a look and a commit, and Kafka has no commit under a condition. So each try looks once more
and leaves what has a commit by then. What remains is the time of one round trip: a member that joins, reads, commits
and leaves within it has its commit replaced by the start.

What is asked when, and asked again, is in placing.py: here each question is asked once, and waits for a few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from mqbridge.errors import OperationTimeout
from mqbridge.spi import Start, TopicPartition
from mqbridge_kafka.asking import (
    EARLIEST,
    LATEST,
    TRY_S,
    at_time,
    insist,
    offsets_by,
    partitions_of,
)
from mqbridge_kafka.errors import ENGINE

T = TypeVar("T")

ALONE_S: Final = 1.0
"""How long one question waits for a coordinator before what the client says is listened to; it is asked again."""

HAS_MEMBERS: Final = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.REBALANCE_IN_PROGRESS,
)
"""What the broker says to a commit from outside while a group has members."""


class Starting:
    """The start of one member; asked by the thread that owns its client, outside its callbacks.

    The member's own consumer is asked for what the group has committed. All else `reader` is asked, another client.
    """

    def __init__(
        self,
        group: str,
        names: tuple[str, ...],
        start: Start,
        given_up: Callable[[], bool],
        reader: Callable[[], Consumer],
    ) -> None:
        self._group = group
        self.names = names
        self._start = start
        self._given_up = given_up
        self._reader = reader

    def committed(self, consumer: Consumer, alone: bool = False) -> dict[TopicPartition, int]:
        """What the group has committed of these topics, all partitions. `alone`: not joined yet, and nobody polls."""
        counts = self.counts(self.names)
        places = [Place(name, number) for name, count in counts.items() for number in range(count)]

        def look() -> list[Place]:
            found = ask_committed(consumer, places) if alone else consumer.committed(places, timeout=TRY_S)
            for place in found:
                if place.error is not None:
                    raise KafkaException(place.error)
            return found

        found = self._ask(look, f"asking what group {self._group} has committed")
        return {(place.topic, place.partition): place.offset for place in found if place.offset >= 0}

    def counts(self, names: Iterable[str]) -> dict[str, int]:
        """How many partitions these topics have."""
        wanted = list(names)
        return self._ask(lambda: partitions_of(self._reader(), wanted), f"looking at {', '.join(wanted)}")

    def first(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Their beginnings."""
        return self._offsets(dict.fromkeys(places, EARLIEST))

    def edges(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Their first offsets and their ends, in two questions."""
        wanted = list(places)
        first = self._offsets(dict.fromkeys(wanted, EARLIEST))
        end = self._offsets(dict.fromkeys(wanted, LATEST))
        return {place: (first[place], end[place]) for place in wanted}

    def _offsets(self, specs: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        if not specs:
            return {}
        return self._ask(lambda: offsets_by(self._reader(), specs), f"asking for offsets for group {self._group}")

    def _ask(self, ask: Callable[[], T], what: str) -> T:
        """Once: who has other things to do meanwhile asks again."""
        if self._given_up():
            raise OperationTimeout(
                f"{what}: the consumer is being closed. Nothing was applied.", outcome="not_applied", engine=ENGINE
            )
        return insist(ask, what, self._given_up, 0.0)

    def resolve(self, names: Iterable[str]) -> dict[TopicPartition, int]:
        """`start` as offsets, for all partitions of these topics."""
        wanted = list(names)
        if not wanted:
            return {}
        places = [(name, number) for name, count in self.counts(wanted).items() for number in range(count)]
        start = self._start
        if start.kind == "at":
            unnamed = {place: EARLIEST for place in places if place[1] not in start.offsets}
            chosen = {place: start.offsets[place[1]] for place in places if place not in unnamed}
            return chosen | self._offsets(unnamed)
        if start.kind == "since":
            found = self._offsets(dict.fromkeys(places, at_time(start.timestamp_ms or 0)))
            after = [place for place, offset in found.items() if offset < 0]
            return found | self._offsets(dict.fromkeys(after, LATEST))
        edge = EARLIEST if start.kind == "earliest" else LATEST
        return self._offsets(dict.fromkeys(places, edge))


def to_begin(
    resolved: Mapping[TopicPartition, int], found: Mapping[TopicPartition, int], own: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """What is to be committed of a resolved start: of a topic that nobody has begun, all partitions, those of other
    members too, or they would take theirs for added ones; of one that another member has begun meanwhile, only our own
    that it left out."""
    begun = {name for name, _ in found}
    ours = set(own)
    return {
        place: offset
        for place, offset in resolved.items()
        if place not in found and (place[0] not in begun or place in ours)
    }


def ask_committed(consumer: Consumer, places: list[Place]) -> list[Place]:
    """A client that is denied the group finds no coordinator and says so once, to who polls; the question itself is
    only told that it took too long."""
    try:
        return consumer.committed(places, timeout=ALONE_S)
    except KafkaException as error:
        said = consumer.poll(0)
        why = None if said is None else said.error()
        if why is None:
            raise
        raise KafkaException(why) from error


def commit_now(consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit and wait for it."""
    places = [Place(name, number, offset) for (name, number), offset in offsets.items()]
    for place in consumer.commit(offsets=places, asynchronous=False):
        if place.error is not None:
            raise KafkaException(place.error)
