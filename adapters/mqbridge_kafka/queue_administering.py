"""Administering queues and exchanges.

The rule of this room: the registry says what is there, and a topic without its record is no queue. Steps are in the
order in which a crash between two of them leaves something that the same call mends: a queue's group and topic are made
before its record, and its topic goes before its record does.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from mqbridge.capabilities import Capability
from mqbridge.errors import InvalidSpec, NotFound, Unsupported
from mqbridge.spi import Completion, ExchangeDescription, QueueDescription, StoredMessage
from mqbridge.topology import Binding, Destination, Exchange, Queue
from mqbridge_kafka import catalogue as cat
from mqbridge_kafka.aside import aside
from mqbridge_kafka.asking import EARLIEST, LATEST, SHOWN_S, answer, insist, make_topic, offsets_at, partitions_of
from mqbridge_kafka.errors import ENGINE, translate
from mqbridge_kafka.naming import share_group_of, topic_of
from mqbridge_kafka.queue_records import not_there
from mqbridge_kafka.queue_sending import stored
from mqbridge_kafka.redriving import Redrive
from mqbridge_kafka.share_client import configure_group

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

PARTITIONS: Final = 1
"""Of a queue's topic. A share group gives each member some of the partitions, so with more of them a message could wait
for a busy consumer while another is idle."""
KEPT: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
"""Of a queue's topic: nothing leaves it by age or size. Kafka measures age by the records' timestamps, which are the
senders'; and a message that waits must not vanish. What is settled stays on the disk until a purge."""


class QueueAdmin:
    """The part of the SPI's Admin that is about queues and exchanges."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection

    @property
    def _client(self) -> AdminClient:
        return self._connection.watch.client

    # --- making

    def create_queue(self, queue: Queue[Any], done: Completion[Queue[Any]]) -> None:
        def steps() -> Queue[Any] | None:
            registry = self._connection.registry
            topic = topic_of(queue)
            found = registry.fresh().queue(queue.name)
            if found is None or not self._is_there(found["topic"]):
                group = share_group_of(queue)
                configure_group(self._client, group)
                self._make_topic(topic if found is None else found["topic"], queue)
            if found is not None:
                return cat.read_queue(queue.name, found)
            record = cat.queue_record(queue, secrets.token_hex(8))
            stands = registry.put([(cat.QUEUE + queue.name, record)]).queue(queue.name)
            return None if self._won(cat.QUEUE + queue.name, record, stands) else _read_queue(queue, stands)

        aside(f"creating {queue}", done, steps)

    def create_exchange(self, exchange: Exchange, done: Completion[Exchange]) -> None:
        def steps() -> Exchange | None:
            registry = self._connection.registry
            found = registry.fresh().exchange(exchange.name)
            if found is not None:
                return cat.read_exchange(exchange.name, found)
            record = cat.exchange_record(exchange, secrets.token_hex(8))
            stands = registry.put([(cat.EXCHANGE + exchange.name, record)]).exchange(exchange.name)
            if self._won(cat.EXCHANGE + exchange.name, record, stands) or stands is None:
                return None
            return cat.read_exchange(exchange.name, stands)

        aside(f"creating {exchange}", done, steps)

    def _won(self, key: str, record: cat.Record, stands: cat.Record | None) -> bool:
        """Whether ours is the record that stands. If another creator was first, his is written again after ours, so
        that compaction keeps his."""
        if stands is None or stands["born"] == record["born"]:
            return True
        self._connection.registry.put([(key, stands)])
        return False

    def _make_topic(self, topic: str, queue: Queue[Any]) -> None:
        new = NewTopic(topic, PARTITIONS, -1, config=dict(KEPT))
        make_topic(self._connection.watch, new, f"creating {queue}", lambda: False, SHOWN_S)

    def _is_there(self, topic: str) -> bool:
        return self._partitions(topic) is not None

    def _partitions(self, topic: str) -> int | None:
        """How many partitions a topic has; None if it is not there."""

        def ask() -> int | None:
            try:
                return partitions_of(self._client, [topic])[topic]
            except KafkaException as error:
                if isinstance(translate(error, "looking"), NotFound):
                    return None
                raise

        return insist(ask, f"looking at topic {topic}", lambda: False)

    def delete(self, destination: Destination, done: Completion[None]) -> None:
        if isinstance(destination, Queue):
            aside(f"deleting {destination}", done, lambda: self._delete_queue(destination))
        else:
            aside(f"deleting {destination}", done, lambda: self._delete_exchange(destination))

    def _delete_queue(self, queue: Queue[Any]) -> None:
        registry = self._connection.registry
        state = registry.fresh()
        record = state.queue(queue.name)
        if record is None:
            raise not_there(queue)
        try:
            answer(self._client.delete_topics([record["topic"]])[record["topic"]])
        except KafkaException as error:
            if not isinstance(translate(error, "deleting"), NotFound):
                raise
        keys = [cat.QUEUE + queue.name, *state.keys_at("queue", queue.name)]
        registry.put([(key, None) for key in keys])

    def _delete_exchange(self, exchange: Destination) -> None:
        registry = self._connection.registry
        state = registry.fresh()
        if state.exchange(exchange.name) is None:
            raise not_there(exchange)
        keys = [cat.EXCHANGE + exchange.name, *state.keys_at("exchange", exchange.name)]
        registry.put([(key, None) for key in keys])

    # --- looking

    def list_queues(self, done: Completion[Sequence[Queue[Any]]]) -> None:
        def steps() -> Sequence[Queue[Any]]:
            found = self._connection.registry.fresh().queues
            return [cat.read_queue(name, record) for name, record in sorted(found.items())]

        aside("listing queues", done, steps)

    def list_exchanges(self, done: Completion[Sequence[Exchange]]) -> None:
        def steps() -> Sequence[Exchange]:
            found = self._connection.registry.fresh().exchanges
            return [cat.read_exchange(name, record) for name, record in sorted(found.items())]

        aside("listing exchanges", done, steps)

    def describe_queue(self, queue: Queue[Any], done: Completion[QueueDescription]) -> None:
        def steps() -> QueueDescription:
            record = stored(self._connection, queue, self._connection.registry.fresh())
            return QueueDescription(cat.read_queue(queue.name, record), None, None, None, None)

        aside(f"describing {queue}", done, steps)

    def describe_exchange(self, exchange: Exchange, done: Completion[ExchangeDescription]) -> None:
        def steps() -> ExchangeDescription:
            state = self._connection.registry.fresh()
            record = state.exchange(exchange.name)
            if record is None:
                raise not_there(exchange)
            found = cat.read_exchange(exchange.name, record)
            return ExchangeDescription(found, state.bindings_of(found))

        aside(f"describing {exchange}", done, steps)

    # --- bindings

    def bind(self, binding: Binding, done: Completion[None]) -> None:
        def steps() -> None:
            registry = self._connection.registry
            state = registry.fresh()
            source, end = self._ends(state, binding)
            try:
                cat.check_binding(Binding(cat.read_exchange(binding.exchange.name, source), *_rest(binding)))
            except ValueError as error:
                raise InvalidSpec(f"{error} Nothing was bound.", field="key", engine=ENGINE) from None
            record = cat.binding_record(binding, source["born"], end["born"])
            key = cat.binding_key(binding)
            if state.bindings.get(key) != record:
                registry.put([(key, record)])

        aside(f"binding {binding.exchange}", done, steps)

    def unbind(self, binding: Binding, done: Completion[None]) -> None:
        def steps() -> None:
            registry = self._connection.registry
            state = registry.fresh()
            if state.exchange(binding.exchange.name) is None:
                raise not_there(binding.exchange)
            key = cat.binding_key(binding)
            if key in state.bindings:
                registry.put([(key, None)])

        aside(f"unbinding {binding.exchange}", done, steps)

    def _ends(self, state: cat.Catalogue, binding: Binding) -> tuple[cat.Record, cat.Record]:
        source = state.exchange(binding.exchange.name)
        if source is None:
            raise not_there(binding.exchange)
        find = state.queue if isinstance(binding.destination, Queue) else state.exchange
        end = find(binding.destination.name)
        if end is None:
            raise not_there(binding.destination)
        return source, end

    # --- messages

    def purge(self, queue: Queue[Any], done: Completion[int]) -> None:
        """Move the start of the queue's log to its end. The result counts the records that left the log."""

        def steps() -> int:
            record = stored(self._connection, queue, self._connection.registry.fresh())
            topic = record["topic"]
            partitions = range(self._partitions(topic) or 0)
            what = f"purging {queue}"
            ends = insist(
                lambda: offsets_at(self._connection.watch, {(topic, p): LATEST for p in partitions}),
                what,
                lambda: False,
            )
            starts = insist(
                lambda: offsets_at(self._connection.watch, {(topic, p): EARLIEST for p in partitions}),
                what,
                lambda: False,
            )
            before = [TopicPartition(topic, p, end) for (_, p), end in ends.items() if end > starts[topic, p]]
            if before:
                for future in self._client.delete_records(before).values():
                    answer(future)
            return sum(end - starts[place] for place, end in ends.items())

        aside(f"purging {queue}", done, steps)

    def browse(self, queue: Queue[Any], max_messages: int, done: Completion[Sequence[StoredMessage]]) -> None:
        done(None, self._connection.capabilities.refusal(Capability.BROWSE_DEAD_LETTERS, f"looking into {queue}"))

    def move(
        self,
        queue: Queue[Any],
        tokens: Sequence[int] | None,
        to: Queue[Any] | None,
        max_messages: int,
        done: Completion[int],
    ) -> None:
        """Take messages as a consumer of the queue, write each where it goes, then acknowledge it."""
        if tokens is not None:
            refusal = Unsupported(
                f"moving single messages out of {queue}: a share group gives no way to take a message by name. Nothing "
                "was moved; move all of them, or consume the queue and send what you choose.",
                capability="REDRIVE",
                engine=ENGINE,
                instead="redrive() without tokens",
            )
            done(None, refusal)
            return

        def steps() -> int:
            state = self._connection.registry.fresh()
            record = stored(self._connection, queue, state)
            target = None if to is None else stored(self._connection, to, state)["topic"]
            if target == record["topic"]:
                raise InvalidSpec(f"{queue} cannot be moved to itself. Nothing was moved.", field="to", engine=ENGINE)
            return Redrive(self._connection, queue, record["topic"], target, state).run(max_messages)

        aside(f"moving the messages of {queue}", done, steps)


def _read_queue(queue: Queue[Any], record: cat.Record | None) -> Queue[Any] | None:
    return None if record is None else cat.read_queue(queue.name, record)


def _rest(binding: Binding) -> tuple[Any, ...]:
    return binding.destination, binding.key, binding.headers, binding.match
