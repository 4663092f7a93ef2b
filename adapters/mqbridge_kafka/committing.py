"""A member's commits: one under way at a time, what comes meanwhile goes together in the next.

The rule of this room: a commit of a lease that is not current is refused here; one that the group refuses because a
rebalance overtook it is sent again under the new generation as long as the lease is still ours, and only then is it the
member's word that counts: refused. What was sent and not answered is neither: whether it was applied is not known, and
that its lease has ended since does not say it. All on the thread that owns the client.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from mqbridge.errors import MqbridgeError, Outcome
from mqbridge.spi import Completion, TopicPartition
from mqbridge_kafka.errors import meaning_of, native_error, translate

Offsets: TypeAlias = Mapping[TopicPartition, tuple[int, int]]
Refused: TypeAlias = tuple[TopicPartition, ...]

GONE: Final = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,
    }
)
"""The group does not know this member any more."""
OVERTAKEN: Final = frozenset(
    {KafkaError.ILLEGAL_GENERATION, KafkaError.STALE_MEMBER_EPOCH, KafkaError.REBALANCE_IN_PROGRESS}
)
"""A rebalance came in between; partitions that a member keeps are committed under the next generation."""
AGAIN_S: Final = 0.05
INSIST_S: Final = 5.0
TRY_S: Final = 2.0
"""How long a look for a commit waits, before a partition is given up."""


class Commits:
    """What is to be committed. `lease_of` says what is current, `native` turns a partition into the client's names."""

    def __init__(
        self,
        what: str,
        lease_of: Callable[[TopicPartition], int | None],
        native: Callable[[TopicPartition], str],
    ) -> None:
        self._what = what
        self._lease_of = lease_of
        self._native = native
        self._waiting: list[tuple[Offsets, Completion[Refused]]] = []
        self._flight: list[tuple[Offsets, Completion[Refused]]] = []
        self._sent: dict[tuple[str, int], int] = {}
        self._included: set[tuple[TopicPartition, int]] = set()
        self._unheard: set[tuple[TopicPartition, int]] = set()
        """What went with a commit whose answer is not waited for any more."""
        self._taking = threading.Lock()
        """Each is answered once."""
        self._again_at_s: float | None = None
        self._since_s = 0.0

    def add(self, offsets: Offsets, done: Completion[Refused]) -> None:
        """To be committed with the next `send`."""
        self._waiting.append((offsets, done))

    def send(self, consumer: Consumer) -> None:
        """Commit what waits, unless a commit is under way."""
        if self._flight:
            if self._again_at_s is None or time.monotonic() < self._again_at_s:
                return
            self._again_at_s = None
        elif self._waiting:
            self._flight, self._waiting = self._waiting, []
            self._since_s = time.monotonic()
        else:
            return
        places = self._current(self._flight)
        if not places:
            self._finish({})
            return
        self._sent = {(place.topic, place.partition): place.offset for place in places}
        try:
            consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            self._answered(native_error(error), ())

    @property
    def waiting(self) -> bool:
        """Is there something that was not sent yet?"""
        return bool(self._waiting)

    def send_now(self, consumer: Consumer) -> None:
        """Commit what waits, and look whether it is there: before partitions are given up, within the client's
        callback, where its answers are not heard. What is under way goes with it. What is not seen there in time is
        answered after the callback, and refused then if the group did not take it: the lease has ended.

        A commit that is waited for would be waited for without an end (`rd_kafka_commit`: RD_POLL_INFINITE)."""
        self._flight, self._waiting = [*self._flight, *self._waiting], []
        self._again_at_s = None
        if self._sent:
            self._unheard |= self._included
        self._sent = {}
        if not self._flight:
            return
        places = self._current(self._flight)
        if not places:
            self._finish({})
            return
        self._since_s = time.monotonic()
        self._sent = {(place.topic, place.partition): place.offset for place in places}
        try:
            consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            self._answered(native_error(error), ())
            return
        try:
            found = consumer.committed(places, timeout=TRY_S)
        except KafkaException:
            return  # `on_commit` says what became of it
        if self._sent == {(place.topic, place.partition): place.offset for place in found if place.error is None}:
            self._answered(None, found)

    def on_commit(self, error: KafkaError | None, places: Sequence[Place]) -> None:
        """The client's callback. What was seen to be there is answered by then."""
        if self._sent and self._sent == {(place.topic, place.partition): place.offset for place in places}:
            self._answered(error, places)

    def abort(self, why: Callable[[Outcome], MqbridgeError]) -> None:
        """There will be no answer: the member ends, or its client. What was not sent was not applied. While the client
        is being closed, any thread."""
        flight = self._take_flight()
        waiting, self._waiting = self._waiting, []
        became: Outcome = "unknown" if self._sent or self._unheard else "not_applied"
        self._sent, self._unheard, self._again_at_s = {}, set(), None
        for _offsets, done in flight:
            done(None, why(became))
        for _offsets, done in waiting:
            done(None, why("not_applied"))

    def _take_flight(self) -> list[tuple[Offsets, Completion[Refused]]]:
        with self._taking:
            flight, self._flight = self._flight, []
        return flight

    def _current(self, flight: Sequence[tuple[Offsets, Completion[Refused]]]) -> list[Place]:
        merged: dict[TopicPartition, int] = {}
        self._included = set()
        for offsets, _done in flight:
            for place, (lease, offset) in offsets.items():
                if self._lease_of(place) == lease:
                    self._included.add((place, lease))
                    merged[place] = offset
        return [Place(self._native(place), place[1], offset) for place, offset in merged.items()]

    def _answered(self, error: KafkaError | None, places: Sequence[Place]) -> None:
        self._sent = {}
        failures: dict[tuple[str, int], KafkaError] = {}
        for place in places:
            if place.error is not None and place.error.code() != KafkaError._NO_OFFSET:
                failures[place.topic, place.partition] = place.error
        if error is not None and not failures and error.code() != KafkaError._NO_OFFSET:
            failures = dict.fromkeys(self._names(), error)
        overtaken = any(failure.code() in OVERTAKEN for failure in failures.values())
        if overtaken and time.monotonic() - self._since_s < INSIST_S:
            self._again_at_s = time.monotonic() + AGAIN_S
            return
        self._finish(failures)

    def _names(self) -> set[tuple[str, int]]:
        return {(self._native(place), place[1]) for offsets, _done in self._flight for place in offsets}

    def _finish(self, failures: Mapping[tuple[str, int], KafkaError]) -> None:
        flight = self._take_flight()
        unheard, self._unheard = self._unheard, set()
        for offsets, done in flight:
            refused: list[TopicPartition] = []
            trouble: KafkaError | None = None
            for place, (lease, _offset) in offsets.items():
                failure = failures.get((self._native(place), place[1]))
                if (place, lease) not in self._included:
                    if (place, lease) in unheard:
                        trouble = KafkaError(KafkaError._TIMED_OUT)
                    else:
                        refused.append(place)
                elif failure is None:
                    continue
                elif self._refuses(failure, place, lease):
                    refused.append(place)
                else:
                    trouble = failure
            if trouble is not None:
                done(None, translate(trouble, self._what))
            else:
                done(tuple(refused), None)

    def _refuses(self, failure: KafkaError, place: TopicPartition, lease: int) -> bool:
        """Does it say that the lease has ended, so that nothing was committed? What may be tried again under the same
        lease is no refusal."""
        if meaning_of(failure) in GONE or failure.code() == KafkaError.ILLEGAL_GENERATION:
            return True
        return failure.code() in OVERTAKEN and self._lease_of(place) != lease
