"""The partitions that a group has given to a member, until it is known where they begin.

The rule of this room: nothing is asked within the client's callbacks, and each call here ends after a few questions
at most. The member hears "not yet" and goes on with what it has: it reads its other partitions, commits, gives
partitions up, and ends when it is closed. What could not be found out is asked again for as long as the partitions are
its own, so brokers that are away and a rebalance that overtakes a commit delay a partition, and never lose it. What is
asked and what is committed, starting.py says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from mqbridge.errors import ConnectionLost, OperationTimeout
from mqbridge.spi import TopicPartition
from mqbridge_kafka.committing import GONE, OVERTAKEN
from mqbridge_kafka.errors import meaning_of, translate
from mqbridge_kafka.settings import log
from mqbridge_kafka.starting import HAS_MEMBERS, Starting, to_begin

T = TypeVar("T")

AGAIN_S: Final = 0.05
"""Between two tries, at least: the member has as much time for everything else as a try took."""
LOOK_S: Final = 0.05
"""How long one look for the answer to a commit takes, before joining."""


class Placing:
    """Where the partitions of one member begin. All on the thread that owns its client; names are the client's."""

    def __init__(self, group: str, starting: Starting) -> None:
        self._group = group
        self._starting = starting
        self.waiting: dict[TopicPartition, None] = {}
        self._resolved: dict[TopicPartition, int] = {}
        """`start` as offsets: found once, however often its commit has to be tried."""
        self._begun: dict[TopicPartition, int] = {}
        """What of it the group has taken."""
        self._sent: dict[TopicPartition, int] = {}
        """A commit without an answer. Nothing begins meanwhile: sent again by the client, it might come after a commit
        of what was read."""
        self._refused: KafkaError | None = None
        self._again_at_s = 0.0
        self._said = ""

    def add(self, places: Iterable[TopicPartition]) -> None:
        """These are ours now."""
        if not self.waiting:
            self._forget()
        self.waiting.update(dict.fromkeys(places))

    def drop(self, places: Iterable[TopicPartition]) -> None:
        """These are not ours any more."""
        for place in tuple(places):
            self.waiting.pop(place, None)

    def reset(self) -> None:
        """The client is another one: nothing is ours, and nothing that was sent will be answered."""
        self.waiting.clear()
        self._sent = {}
        self._forget()

    def before_joining(self, consumer: Consumer) -> bool:
        """Commit the start of topics that the group has no commit for, unless it has members: not subscribed yet, the
        consumer commits from outside, which the broker takes for an empty group only. False: not yet, ask again."""
        if self._sent:
            consumer.poll(LOOK_S)
            return False
        refused, self._refused = self._refused, None
        if refused is not None and refused.code() in HAS_MEMBERS:
            return True
        return self._try(lambda: self._begin_all(consumer, refused)) is True

    def positions(self, consumer: Consumer) -> dict[TopicPartition, int]:
        """Where those that wait begin, all of them, which ends their waiting; empty if there are none or it is not
        known yet. What had to be resolved for them is committed by then."""
        if not self.waiting or self._sent:
            return {}
        refused, self._refused = self._refused, None
        if refused is not None and meaning_of(refused) in (*GONE, *OVERTAKEN):
            log.info("group %s: a rebalance overtook the commit of its start: %s", self._group, refused.str())
            refused = None
        found = self._try(lambda: self._look(consumer, refused))
        if found:
            self.waiting.clear()
        return found or {}

    def on_commit(self, error: KafkaError | None, places: Sequence[Place]) -> None:
        """The client's callback, for every commit of this member."""
        if not self._sent or self._sent != {(place.topic, place.partition): place.offset for place in places}:
            return
        sent, self._sent = self._sent, {}
        self._refused = next((place.error for place in places if place.error is not None), error)
        if self._refused is None:
            self._begun |= sent

    # --- one try

    def _begin_all(self, consumer: Consumer, refused: KafkaError | None) -> bool:
        """True if there is nothing to commit any more."""
        self._raise(refused)
        found = self._found(consumer, alone=True)
        if self._resolve(self._starting.names, found):
            found = self._found(consumer, alone=True)
        missing = to_begin(self._resolved, found, self._resolved)
        self._send(consumer, missing)
        return not missing

    def _look(self, consumer: Consumer, refused: KafkaError | None) -> dict[TopicPartition, int]:
        """Where all that wait begin; empty if something had to be committed first."""
        self._raise(refused)
        found = self._found(consumer)
        lacking = [place for place in self.waiting if place not in found]
        if self._resolve({name for name, _ in lacking}, found):
            found = self._found(consumer)
        missing = to_begin(self._resolved, found, lacking)
        if missing:
            self._send(consumer, missing)
            return {}
        found |= self._starting.first([place for place in lacking if place not in found])  # they were added later
        return {place: found[place] for place in self.waiting}

    def _found(self, consumer: Consumer, alone: bool = False) -> dict[TopicPartition, int]:
        return self._begun | self._starting.committed(consumer, alone)

    def _resolve(self, names: Iterable[str], found: Mapping[TopicPartition, int]) -> bool:
        """Resolve the start of those of the topics that nobody has begun; true if that took a while."""
        known = {name for name, _ in (*found, *self._resolved)}
        bare = sorted(set(names) - known)
        self._resolved |= self._starting.resolve(bare)
        return bool(bare)

    def _send(self, consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit these; `on_commit` hears the answer."""
        if not offsets:
            return
        places = [Place(name, number, offset) for (name, number), offset in offsets.items()]
        try:
            consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            raise translate(error, self._committing, outcome="not_applied") from error
        self._sent = dict(offsets)

    def _raise(self, refused: KafkaError | None) -> None:
        if refused is not None:
            raise translate(refused, self._committing, outcome="not_applied")

    @property
    def _committing(self) -> str:
        return f"committing where group {self._group} starts"

    def _try(self, look: Callable[[], T]) -> T | None:
        """What `look` finds; None while the brokers do not say, and between two tries."""
        begun_s = time.monotonic()
        if begun_s < self._again_at_s:
            return None
        try:
            return look()
        except (ConnectionLost, OperationTimeout) as error:
            ended_s = time.monotonic()
            self._again_at_s = ended_s + max(AGAIN_S, ended_s - begun_s)
            if str(error) != self._said:
                self._said = str(error)
                log.warning("group %s: where its partitions begin is not known yet: %s", self._group, error)
            return None

    def _forget(self) -> None:
        self._resolved, self._begun, self._refused, self._said = {}, {}, None, ""
