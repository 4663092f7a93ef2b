"""Saboteurs of administration: what is made, removed and moved, and what is said of it.

The rule: each answers as if it had done what it was asked for, or lies in one figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import PassingAdmin, PassingChannel

__all__ = [
    "AddsNoPartitions",
    "BindsNothing",
    "BindsWider",
    "CountsOneMore",
    "CreatesByLooking",
    "CreatesBySending",
    "DeletesNoRecords",
    "DeletesNothing",
    "DeletesOneMore",
    "FindsLater",
    "HidesMismatches",
    "KeepsBindings",
    "KeepsGroups",
    "LagsLess",
    "PurgesNothing",
    "RedrivesNothing",
    "RejectsWhatIsMissing",
    "ResetsNothing",
]

T = TypeVar("T")


def _changed(done: spi.Completion[T], change: Callable[[T], T]) -> spi.Completion[T]:
    """A completion whose result is another one."""

    def complete(result: T | None, error: mq.MqbridgeError | None) -> None:
        done(None if result is None else change(result), error)

    return complete


class CreatesByLooking(PassingAdmin):
    """S35: a topic that is looked at is made, as a Kafka broker may do that is asked for its metadata."""

    def describe_topic(self, topic: mq.Topic[Any], done: spi.Completion[spi.TopicDescription]) -> None:
        def described(found: spi.TopicDescription | None, error: mq.MqbridgeError | None) -> None:
            if isinstance(error, mq.NotFound) and self.strikes.here(topic):
                self.inner.create_topic(topic, lambda _made, _error: self.inner.describe_topic(topic, done))
            else:
                done(found, error)

        self.inner.describe_topic(topic, described)


class CreatesBySending(PassingChannel):
    """S36: a topic that is sent to is made."""

    def opening(self, then: Callable[[], None]) -> None:
        def described(_found: spi.TopicDescription | None, error: mq.MqbridgeError | None) -> None:
            if isinstance(error, mq.NotFound) and self.strikes.here(self.destination):
                self.connection.admin.create_topic(self.destination, lambda _made, _error: then())
            else:
                then()

        if self.destination.kind == "topic":
            self.connection.admin.describe_topic(self.destination, described)
        else:
            then()


class HidesMismatches(PassingAdmin):
    """S37: what exists and is specified otherwise passes for what was asked for."""

    def create_topic(self, topic: mq.Topic[Any], done: spi.Completion[mq.Topic[Any]]) -> None:
        self.inner.create_topic(topic, self._hide(topic, done))

    def create_queue(self, queue: mq.Queue[Any], done: spi.Completion[mq.Queue[Any]]) -> None:
        self.inner.create_queue(queue, self._hide(queue, done))

    def create_exchange(self, exchange: mq.Exchange, done: spi.Completion[mq.Exchange]) -> None:
        self.inner.create_exchange(exchange, self._hide(exchange, done))

    def _hide(self, wanted: Any, done: spi.Completion[Any]) -> spi.Completion[Any]:
        return _changed(done, lambda found: wanted if self.strikes.here(wanted) else found)


class RejectsWhatIsMissing(PassingAdmin):
    """S42: what does not exist is refused with another error than `NotFound`."""

    def describe_topic(self, topic: mq.Topic[Any], done: spi.Completion[spi.TopicDescription]) -> None:
        self.inner.describe_topic(topic, self._other(topic, done))

    def describe_queue(self, queue: mq.Queue[Any], done: spi.Completion[spi.QueueDescription]) -> None:
        self.inner.describe_queue(queue, self._other(queue, done))

    def _other(self, asked: Any, done: spi.Completion[T]) -> spi.Completion[T]:
        def complete(result: T | None, error: mq.MqbridgeError | None) -> None:
            if isinstance(error, mq.NotFound) and self.strikes.here(asked):
                error = mq.Rejected(f"{asked} cannot be had")
            done(result, error)

        return complete


class PurgesNothing(PassingAdmin):
    """S39: a purge says how much there was, and drops nothing."""

    def purge(self, queue: mq.Queue[Any], done: spi.Completion[int]) -> None:
        if not self.strikes.here(queue):
            self.inner.purge(queue, done)
            return

        def described(found: spi.QueueDescription | None, error: mq.MqbridgeError | None) -> None:
            done(None if found is None else found.ready or 0, error)

        self.inner.describe_queue(queue, described)


class CountsOneMore(PassingAdmin):
    """S40: a queue is said to have one message more than it has."""

    def describe_queue(self, queue: mq.Queue[Any], done: spi.Completion[spi.QueueDescription]) -> None:
        def more(found: spi.QueueDescription) -> spi.QueueDescription:
            wrong = found.ready is not None and self.strikes.here(queue, ready=found.ready)
            return replace(found, ready=(found.ready or 0) + 1) if wrong else found

        self.inner.describe_queue(queue, _changed(done, more))


class RedrivesNothing(PassingAdmin):
    """S41: a redrive says that it moved something, and moved nothing."""

    def move(
        self,
        queue: mq.Queue[Any],
        tokens: Sequence[int] | None,
        to: mq.Queue[Any] | None,
        max_messages: int,
        done: spi.Completion[int],
    ) -> None:
        if not self.strikes.here(queue):
            self.inner.move(queue, tokens, to, max_messages, done)
        elif tokens is not None:
            done(len(tokens), None)
        else:

            def browsed(found: Sequence[spi.StoredMessage] | None, error: mq.MqbridgeError | None) -> None:
                done(None if found is None else len(found), error)

            self.inner.browse(queue, max_messages, browsed)


class DeletesNothing(PassingAdmin):
    """S43: what is deleted stays."""

    def delete(self, destination: Any, done: spi.Completion[None]) -> None:
        if self.strikes.here(destination):
            done(None, None)
        else:
            self.inner.delete(destination, done)


class KeepsGroups(PassingAdmin):
    """S75: a group that is deleted stays, with what it committed."""

    def delete_group(self, group: str, done: spi.Completion[None]) -> None:
        if self.strikes.here(f"group {group}"):
            done(None, None)
        else:
            self.inner.delete_group(group, done)


class AddsNoPartitions(PassingAdmin):
    """S44: partitions are not added."""

    def add_partitions(self, topic: mq.Topic[Any], partitions: int, done: spi.Completion[None]) -> None:
        if self.strikes.here(topic, partitions=partitions):
            done(None, None)
        else:
            self.inner.add_partitions(topic, partitions, done)


class LagsLess(PassingAdmin):
    """S45: a group that is behind is said to be one message less behind."""

    def describe_group(self, group: str, done: spi.Completion[spi.GroupDescription]) -> None:
        def less(found: spi.GroupDescription) -> spi.GroupDescription:
            lags = {
                place: lag - 1 if lag and self.strikes.here(f"group {group}", lag_messages=lag) else lag
                for place, lag in found.lag_messages.items()
            }
            return replace(found, lag_messages=lags)

        self.inner.describe_group(group, _changed(done, less))


class ResetsNothing(PassingAdmin):
    """S46: the offsets of a group are not reset."""

    def commit_offsets(
        self, group: str, topic: mq.Topic[Any], offsets: Mapping[int, int], done: spi.Completion[None]
    ) -> None:
        if self.strikes.here(f"group {group}", topic=str(topic)):
            done(None, None)
        else:
            self.inner.commit_offsets(group, topic, offsets, done)


class DeletesNoRecords(PassingAdmin):
    """S47: records that are deleted stay."""

    def delete_records(self, topic: mq.Topic[Any], before: Mapping[int, int], done: spi.Completion[None]) -> None:
        if self.strikes.here(topic):
            done(None, None)
        else:
            self.inner.delete_records(topic, before, done)


class DeletesOneMore(PassingAdmin):
    """S69: one record more than asked for is deleted, where there is one."""

    def delete_records(self, topic: mq.Topic[Any], before: Mapping[int, int], done: spi.Completion[None]) -> None:
        def described(found: spi.TopicDescription | None, _error: mq.MqbridgeError | None) -> None:
            there = found.partitions if found is not None else {}
            more = {
                partition: offset + int(there[partition].end > offset and self.strikes.here(topic))
                for partition, offset in before.items()
                if partition in there
            }
            self.inner.delete_records(topic, {**before, **more}, done)

        self.inner.describe_topic(topic, described)


class FindsLater(PassingAdmin):
    """S51: the first offset of a time is said to be the one after it."""

    def offset_at(
        self, topic: mq.Topic[Any], timestamp_ms: int, done: spi.Completion[Mapping[int, int | None]]
    ) -> None:
        def later(found: Mapping[int, int | None]) -> Mapping[int, int | None]:
            return {
                partition: None if at is None else at + int(self.strikes.here(f"{topic}/{partition}", offset=at))
                for partition, at in found.items()
            }

        self.inner.offset_at(topic, timestamp_ms, _changed(done, later))


class BindsWider(PassingAdmin):
    """S48: a binding takes more than it says: any number of words for one, any of its headers for all."""

    def bind(self, binding: mq.Binding, done: spi.Completion[None]) -> None:
        wider = replace(
            binding,
            key=binding.key.replace("*", "#"),
            match="any" if binding.match == "all" and len(binding.headers or {}) > 1 else binding.match,
        )
        self.inner.bind(wider if wider != binding and self.strikes.here(binding.exchange) else binding, done)


class BindsNothing(PassingAdmin):
    """S49: a binding is not made."""

    def bind(self, binding: mq.Binding, done: spi.Completion[None]) -> None:
        if self.strikes.here(binding.exchange, key=binding.key):
            done(None, None)
        else:
            self.inner.bind(binding, done)


class KeepsBindings(PassingAdmin):
    """S50: a binding that is removed stays."""

    def unbind(self, binding: mq.Binding, done: spi.Completion[None]) -> None:
        if self.strikes.here(binding.exchange, key=binding.key):
            done(None, None)
        else:
            self.inner.unbind(binding, done)
