"""The registry: what Kafka has no place for, in one compacted topic of one partition.

The rule of this room: the topic's order is the order of events, for everybody. One thread a connection reads it from
its beginning, without a group, and goes on reading, so that a new binding is seen by other connections as soon as it
is fetched, within `SEEN_S`. Whoever needs the present (`fresh`) asks for the end first and waits until it is read.
Nothing is started, and no topic is made, before queues or exchanges are used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import NewTopic

from mqbridge.errors import NotFound, OperationTimeout
from mqbridge.spi import Completion
from mqbridge_kafka.asking import LATEST, insist, make_topic, offsets_at, partitions_of
from mqbridge_kafka.catalogue import Catalogue, Record, encode
from mqbridge_kafka.cut_off import NOT_YET, REPLACED, Lifeline, let_go
from mqbridge_kafka.errors import ENGINE, translate
from mqbridge_kafka.letters import Letter
from mqbridge_kafka.naming import REGISTRY
from mqbridge_kafka.settings import log
from mqbridge_kafka.watching import never_destroy

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

SEEN_S: Final = 1.0
"""Within this time a change is seen by every open sender. Mostly it takes milliseconds: the fetch waits for it."""
POLL_S: Final = 0.25
FRESH_S: Final = 20.0
BATCH: Final = 1000
_GONE: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_ID)
_PLACE: Final = (REGISTRY, 0)


class Registry:
    """The connection's view of the registry. Thread-safe; `fresh` and `put` block the calling thread."""

    def __init__(self, connection: KafkaConnection) -> None:
        self.catalogue = Catalogue()
        self._connection = connection
        self._moved = threading.Condition()
        self._next = 0
        self._consumer: Consumer | None = None
        self._closed = False

    def fresh(self) -> Catalogue:
        """The catalogue with everything in it that was written before this call."""
        end = self._end()
        if end is None:
            return self.catalogue  # no registry, no queue
        deadline_s = time.monotonic() + FRESH_S
        with self._moved:
            self._start()
            while self._next < end and not self._closed:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise OperationTimeout(
                        f"the registry of queues and exchanges ({REGISTRY}) was not read to its end within {FRESH_S:g} "
                        "s. Nothing was applied; try again.",
                        outcome="not_applied",
                        engine=ENGINE,
                    )
                self._moved.wait(left_s)
        return self.catalogue

    def put(self, changes: Sequence[tuple[str, Record | None]]) -> Catalogue:
        """Write records (None deletes), confirmed, and read them back; the result is the state after them."""
        self._ensure()
        now_ms = self._connection.clock.wall_ms()
        letters = [Letter(REGISTRY, encode(record), key.encode(), [], now_ms) for key, record in changes]
        for error in self._connection.courier.deliver(letters, "writing to the registry of queues and exchanges"):
            if error is not None:
                raise error
        return self.fresh()

    def _ensure(self) -> None:
        if self._consumer is None:
            topic = NewTopic(REGISTRY, 1, -1, config={"cleanup.policy": "compact"})
            what = "making the registry of queues and exchanges"
            make_topic(self._connection.watch, topic, what, lambda: self._closed, FRESH_S)

    def _end(self) -> int | None:
        """The offset after the last record; None if there is no registry."""
        client = self._connection.watch.client
        what = f"looking at the registry of queues and exchanges (topic {REGISTRY})"

        def ask() -> int | None:
            if self._consumer is None:
                try:
                    partitions_of(client, [REGISTRY])
                except KafkaException as error:
                    if isinstance(translate(error, what), NotFound):
                        return None
                    raise
            return offsets_at(self._connection.watch, {_PLACE: LATEST})[_PLACE]

        return insist(ask, what, lambda: self._closed, FRESH_S)

    # --- the reading thread

    def _start(self) -> None:
        if self._consumer is not None or self._closed:
            return
        # As a number: "from the beginning" is looked up by the client half a second later. A log that begins later than
        # at 0 is found by the reset.
        self._consumer = self._reader(0)
        self._connection.parts[self] = None
        held = [self._consumer]
        threading.Thread(target=self._run, args=(held,), name="mqbridge-kafka-registry", daemon=True).start()

    def _reader(self, offset: int) -> Consumer:
        config = self._connection.config("registry") | {
            "group.id": REGISTRY,  # the client wants one; no group is joined and nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            "error_cb": self._on_error,
        }
        consumer = Consumer(config)
        consumer.assign([TopicPartition(*_PLACE, offset)])
        return consumer

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._connection.watch.trouble(error.str())

    def _run(self, held: list[Consumer]) -> None:
        """`held` is the client, in a list so that nothing else here keeps one that is let go."""
        lifeline = Lifeline(partial(self._connection.config, "probe"))
        while not self._closed:
            first = held[0].poll(POLL_S)  # `consume` would wait for the batch to be full
            if first is None:
                if lifeline.cut_off(held[0], REGISTRY) and self._replace(held):
                    lifeline.heard()
                continue
            lifeline.heard()
            if not self._take([first, *held[0].consume(BATCH, 0)]):
                break
        held[0].close()

    def _replace(self, held: list[Consumer]) -> bool:
        """False if no new one can be made: the old one stays, until the next look."""
        try:
            made = self._reader(self._next)
        except KafkaException as error:
            log.warning("reading %s: %s: %s", REGISTRY, NOT_YET, error)
            return False
        log.warning("reading %s: %s", REGISTRY, REPLACED)
        old = held.copy()
        with self._moved:
            self._consumer = held[0] = made
        let_go(old)
        return True

    def _take(self, messages: Sequence[Message]) -> bool:
        """Apply what was read; False if the registry is gone."""
        end = self._next
        for message in messages:
            error = message.error()
            if error is None:
                self.catalogue.apply((message.key() or b"").decode(errors="replace"), message.value())
                end = (message.offset() or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                end = max(end, message.offset() or 0)
            elif error.code() in _GONE:
                self._forget()
                return False
            else:
                log.warning("reading %s: %s", REGISTRY, error)
        with self._moved:
            self._next = end
            self._moved.notify_all()
        return True

    def _forget(self) -> None:
        """Somebody deleted the topic: there are no queues any more, and the next one begins a new registry."""
        log.warning("%s was deleted, and with it all that was known of queues and exchanges", REGISTRY)
        with self._moved:
            self.catalogue.clear()
            self._consumer = None
            self._next = 0
            self._moved.notify_all()

    def close(self, done: Completion[None]) -> None:
        """The thread ends by itself, soon."""
        with self._moved:
            self._closed = True
            self._moved.notify_all()
        self._connection.parts.pop(self, None)
        done(None, None)

    def abandon(self) -> None:
        self._closed = True
        if self._consumer is not None:
            never_destroy(self._consumer)
