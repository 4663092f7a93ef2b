"""Administering queues; what is asked of topics, exchanges and groups is refused, or there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mqbridge import spi
from mqbridge.errors import NotFound, Unsupported
from mqbridge.topology import Binding, Destination, Exchange, Queue, Topic
from mqbridge_example import broker as kept
from mqbridge_example.clients import missing

__all__ = ["ExampleAdmin"]


def _refused(what: str, capability: str) -> Unsupported:
    text = f"{what}: this broker has queues and nothing else. Nothing was done."
    return Unsupported(text, capability=capability, engine="example", instead="native:")


class ExampleAdmin:
    """The SPI's Admin."""

    def __init__(self, broker: kept.Broker) -> None:
        self._broker = broker

    # --- queues

    def create_queue(self, queue: Queue[Any], done: spi.Completion[Queue[Any]]) -> None:
        dead_letter = None if queue.dead_letter is None else queue.dead_letter.name
        found = self._broker.declare(queue.name, queue.max_attempts, dead_letter)
        done(None if found is None else self._spec(found), None)

    def _spec(self, queue: kept.Queue) -> Queue[Any]:
        dead_letter = None if queue.dead_letter is None else self._known(queue.dead_letter)
        return Queue(queue.name, max_attempts=queue.max_attempts, dead_letter=dead_letter)

    def _known(self, name: str) -> Queue[Any]:
        try:
            return self._spec(self._broker.queue(name))
        except KeyError:
            return Queue(name, dead_letter=None)

    def list_queues(self, done: spi.Completion[Sequence[Queue[Any]]]) -> None:
        done([self._known(name) for name in self._broker.names()], None)

    def describe_queue(self, queue: Queue[Any], done: spi.Completion[spi.QueueDescription]) -> None:
        try:
            found = self._broker.queue(queue.name)
        except KeyError:
            done(None, missing(queue))
            return
        ready, out = self._broker.counts(queue.name)
        done(spi.QueueDescription(self._spec(found), ready, out, 0, len(found.consumers)), None)

    def purge(self, queue: Queue[Any], done: spi.Completion[int]) -> None:
        try:
            done(self._broker.purge(queue.name), None)
        except KeyError:
            done(None, missing(queue))

    def browse(self, queue: Queue[Any], max_messages: int, done: spi.Completion[Sequence[spi.StoredMessage]]) -> None:
        try:
            found = self._broker.messages(queue.name)[:max_messages]
        except KeyError:
            done(None, missing(queue))
            return
        ids = [(("mqbridge-id", message.message_id.encode()),) for message in found]
        stored = [
            spi.StoredMessage(one.token, one.value, one.key, one.headers + named, one.timestamp_ms)
            for one, named in zip(found, ids, strict=True)
        ]
        done(stored, None)

    def move(
        self,
        queue: Queue[Any],
        tokens: Sequence[int] | None,
        to: Queue[Any] | None,
        max_messages: int,
        done: spi.Completion[int],
    ) -> None:
        done(None, _refused("moving messages", "REDRIVE"))

    def delete(self, destination: Destination, done: spi.Completion[None]) -> None:
        try:
            if not isinstance(destination, Queue):
                raise KeyError
            self._broker.delete(destination.name)
        except KeyError:
            done(None, missing(destination))
        else:
            done(None, None)

    def health(self, done: spi.Completion[Mapping[str, Any]]) -> None:
        done({"engine": "example", "queues": len(self._broker.names())}, None)

    # --- what there is none of

    def create_topic(self, topic: Topic[Any], done: spi.Completion[Topic[Any]]) -> None:
        done(None, _refused(f"making {topic}", "ORDER_PER_PARTITION"))

    def create_exchange(self, exchange: Exchange, done: spi.Completion[Exchange]) -> None:
        done(None, _refused(f"making {exchange}", "ROUTE_DIRECT"))

    def list_topics(self, done: spi.Completion[Sequence[Topic[Any]]]) -> None:
        done([], None)

    def list_exchanges(self, done: spi.Completion[Sequence[Exchange]]) -> None:
        done([], None)

    def list_groups(self, done: spi.Completion[Sequence[spi.GroupSummary]]) -> None:
        done([], None)

    def describe_topic(self, topic: Topic[Any], done: spi.Completion[spi.TopicDescription]) -> None:
        done(None, missing(topic))

    def describe_exchange(self, exchange: Exchange, done: spi.Completion[spi.ExchangeDescription]) -> None:
        done(None, missing(exchange))

    def describe_group(self, group: str, done: spi.Completion[spi.GroupDescription]) -> None:
        done(None, NotFound(f"there is no group {group}", engine="example"))

    def delete_group(self, group: str, done: spi.Completion[None]) -> None:
        done(None, NotFound(f"there is no group {group}", engine="example"))

    def bind(self, binding: Binding, done: spi.Completion[None]) -> None:
        done(None, missing(binding.exchange))

    def unbind(self, binding: Binding, done: spi.Completion[None]) -> None:
        done(None, missing(binding.exchange))

    def add_partitions(self, topic: Topic[Any], partitions: int, done: spi.Completion[None]) -> None:
        done(None, missing(topic))

    def offset_at(self, topic: Topic[Any], timestamp_ms: int, done: spi.Completion[Mapping[int, int | None]]) -> None:
        done(None, missing(topic))

    def delete_records(self, topic: Topic[Any], before: Mapping[int, int], done: spi.Completion[None]) -> None:
        done(None, missing(topic))

    def commit_offsets(
        self, group: str, topic: Topic[Any], offsets: Mapping[int, int], done: spi.Completion[None]
    ) -> None:
        done(None, missing(topic))
