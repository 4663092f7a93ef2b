"""Saboteurs of sending: what is appended, in which order, and what is told of it.

The rule: each is a channel that does one thing wrong; what the program sees of it is a receipt that says all is well.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import Message, PassingChannel

if TYPE_CHECKING:
    from mqbridge_conformance.saboteurs.strikes import Strikes

__all__ = [
    "AcksBeforeAppend",
    "AppendsTwice",
    "ChoosesByChance",
    "ConfirmsUnroutable",
    "DropsAfterAck",
    "DropsOnRoll",
    "MovesKeys",
    "ReportsFailure",
    "ReusesOffsets",
    "SendsOneAfterAnother",
    "SwapsRecords",
    "TakesAnyPartition",
    "asks_for_more",
    "resends_blindly",
    "takes_without_end",
]

LATE_S: Final = 0.2
"""What is held back is appended after this time, if nothing else lets it go before."""
SEGMENT_RECORDS: Final = 8
"""So many records of a channel count as a segment, since an engine does not show its own."""

_channels = itertools.count()


class _HoldsBack(PassingChannel):
    """One that keeps messages back for a while."""

    def let_go(self) -> None:
        """Append what is held, as far as there is room. Under the lock."""

    def let_go_later(self) -> None:
        """Let go after a while, whatever the program does."""
        timer = threading.Timer(LATE_S, self.let_go_now)
        timer.daemon = True
        timer.start()

    def let_go_now(self) -> None:
        with self.lock:
            self.let_go()
        self.inner.seal()

    def closing(self) -> None:
        self.let_go_now()


class SwapsRecords(_HoldsBack):
    """M01: a record changes places with the next one of its key; on a queue, a message with the next."""

    def prepare(self) -> None:
        self.held: tuple[int, Message] | None = None
        self.pairs: dict[int, dict[int, int | None]] = {}

    def take(self, message: Message) -> int:
        if self.held is None:
            if not self.strikes.draw():
                return self.put(message)
            self.held = self.number(), message
            self.let_go_later()
            return self.held[0]
        other, earlier = self.held
        if self.destination.kind == "topic" and message.key != earlier.key:
            return self.put(message)
        # Known before they are appended, for their reports may come at once.
        pair: dict[int, int | None] = {}
        self.pairs[self._next] = self.pairs[other] = pair
        number = self.put(message)
        if number == spi.FULL:
            del self.pairs[self._next], self.pairs[other]
        else:
            self.let_go()
        return number

    def let_go(self) -> None:
        if self.held is not None and self.put_as(*self.held):
            self.held = None

    def seal(self) -> None:
        self.let_go_now()

    def confirm(self, number: int, partition: int | None, offset: int | None) -> None:
        pair = self.pairs.pop(number, None)
        if pair is not None:
            pair[number] = partition
            if len(pair) == 2 and len(set(pair.values())) == 1:  # else nobody could tell which came first
                self.strikes.struck(self.destination, numbers=sorted(pair))
        super().confirm(number, partition, offset)


class DropsAfterAck(PassingChannel):
    """M02: a message is confirmed and dropped. Where offsets are told, it is told the one that the next record of its
    key gets."""

    def prepare(self) -> None:
        self.keys: dict[int, bytes | None] = {}
        self.places: dict[bytes | None, tuple[int | None, int | None]] = {}

    def take(self, message: Message) -> int:
        if not self.drops(message):
            self.keys[self._next] = message.key
            return self.put(message)
        number = self.number()
        partition, offset = self.places.get(message.key, (None, None))
        self.outer.confirmed(number, 1, partition, None if offset is None else offset + 1)
        return number

    def drops(self, message: Message) -> bool:
        return self.strikes.here(self.destination, value=message.value)

    def confirm(self, number: int, partition: int | None, offset: int | None) -> None:
        self.places[self.keys.pop(number)] = (partition, offset)
        super().confirm(number, partition, offset)


class DropsOnRoll(DropsAfterAck):
    """M06: the record with which a new segment begins is confirmed and dropped."""

    def drops(self, message: Message) -> bool:
        return self._next % SEGMENT_RECORDS == SEGMENT_RECORDS - 1 and super().drops(message)


class AcksBeforeAppend(_HoldsBack):
    """M03: a message is confirmed at once and appended a while later, however that ends."""

    def prepare(self) -> None:
        self.late: deque[Message] = deque()

    def take(self, message: Message) -> int:
        if not self.strikes.here(self.destination, value=message.value):
            self.let_go()  # order is kept
            return spi.FULL if self.late else self.put(message)
        number = self.number()
        if not self.late:
            self.let_go_later()
        self.late.append(message)
        self.outer.confirmed(number, 1, None, None)
        return number

    def let_go(self) -> None:
        while self.late and self.put_as(None, self.late[0]):
            self.late.popleft()
        if self.late:
            self.let_go_later()


class AppendsTwice(PassingChannel):
    """M05: a message is appended twice, as by a retry whose first attempt had been applied."""

    def take(self, message: Message) -> int:
        number = self.put(message)
        if number != spi.FULL and self.strikes.draw() and self.put_as(None, message):
            self.strikes.struck(self.destination, value=message.value)
        return number


class ReusesOffsets(PassingChannel):
    """M07: a channel that is opened onto a log with records counts on from the last one's offset, not from the next,
    as after a restart that forgot the end."""

    def prepare(self) -> None:
        self.shift: dict[int, int] = {}

    def confirm(self, number: int, partition: int | None, offset: int | None) -> None:
        if partition is not None and offset is not None:
            if partition not in self.shift:
                self.shift[partition] = int(offset > 0 and self.strikes.here(self.destination, partition=partition))
            offset -= self.shift[partition]
        super().confirm(number, partition, offset)


class ReportsFailure(PassingChannel):
    """M40: a message that was applied is reported as certainly not applied."""

    def confirm(self, number: int, partition: int | None, offset: int | None) -> None:
        if self.strikes.here(self.destination, partition=partition, offset=offset):
            self.fail(number, mq.Rejected(f"{self.destination} did not take the message; nothing was applied"))
        else:
            super().confirm(number, partition, offset)


class MovesKeys(PassingChannel):
    """M25: each producer puts a key into another partition, as by a hash that is seeded anew."""

    def partitioner(self, given: spi.Partitioner | None) -> spi.Partitioner | None:
        salt = os.getpid() + next(_channels)

        def moved(topic: str, key: bytes | None, value: bytes | None, partitions: int) -> int:
            place = given(topic, key, value, partitions) if given is not None else 0
            if key is None or partitions < 2 or not self.strikes.here(self.destination, key=key):
                return place
            return (place + 1 + salt % (partitions - 1)) % partitions

        return None if given is None else moved


class ChoosesByChance(PassingChannel):
    """S57: a partitioner is not asked."""

    def partitioner(self, given: spi.Partitioner | None) -> spi.Partitioner | None:
        chance = random.Random(next(_channels))

        def chosen(topic: str, key: bytes | None, value: bytes | None, partitions: int) -> int:
            assert given is not None
            if partitions < 2 or not self.strikes.here(self.destination):
                return given(topic, key, value, partitions)
            return chance.randrange(partitions)

        return None if given is None else chosen


class TakesAnyPartition(PassingChannel):
    """S58: a partition that a topic does not have is counted round to one that it has."""

    def partitioner(self, given: spi.Partitioner | None) -> spi.Partitioner | None:
        def taken(topic: str, key: bytes | None, value: bytes | None, partitions: int) -> int:
            assert given is not None
            place = given(topic, key, value, partitions)
            there = isinstance(place, int) and 0 <= place < partitions
            return int(place) % partitions if not there and self.strikes.here(self.destination) else place

        return None if given is None else taken


class SendsOneAfterAnother(PassingChannel):
    """S67: a message is not taken before the one before it is reported."""

    def prepare(self) -> None:
        self.waited_for: int | None = None

    def take(self, message: Message) -> int:
        if self.waited_for is not None:
            return spi.FULL
        taken, struck = spi.FULL, self.strikes.here(self.destination)
        self.waited_for = self._next if struck else None
        try:
            taken = self.put(message)
        finally:
            if taken == spi.FULL:
                self.waited_for = None
        if struck:
            self.inner.seal()
        return taken

    def confirm(self, number: int, partition: int | None, offset: int | None) -> None:
        self._answered(number)
        super().confirm(number, partition, offset)

    def fail(self, number: int, error: mq.MqbridgeError) -> None:
        self._answered(number)
        super().fail(number, error)

    def _answered(self, number: int) -> None:
        if number == self.waited_for:
            self.waited_for = None
            self.outer.room()


class ConfirmsUnroutable(PassingChannel):
    """S04: a message that no queue gets is confirmed."""

    def fail(self, number: int, error: mq.MqbridgeError) -> None:
        if isinstance(error, mq.Unroutable) and self.strikes.here(self.destination):
            self.confirm(number, None, None)
        else:
            super().fail(number, error)


def takes_without_end(spec: spi.SenderSpec, strikes: Strikes) -> spi.SenderSpec:
    """S09: a sender takes a thousand times what it was told to take at most."""
    if strikes.here("a producer", max_in_flight_bytes=spec.max_in_flight_bytes):
        return replace(spec, max_in_flight_bytes=spec.max_in_flight_bytes * 1000)
    return spec


def asks_for_more(spec: spi.SenderSpec, strikes: Strikes) -> spi.SenderSpec:
    """S55: a sender asks for all replicas, whatever it was told to ask for."""
    if spec.acks != "all" and strikes.here("a producer", acks=spec.acks):
        return replace(spec, acks="all")
    return spec


def resends_blindly(spec: spi.SenderSpec, strikes: Strikes) -> spi.SenderSpec:
    """S80: a sender that was to be idempotent numbers nothing, and sends again what has no answer."""
    if spec.idempotent and strikes.here("a producer", idempotent=True):
        return replace(spec, idempotent=False, on_unknown="resend")
    return spec
