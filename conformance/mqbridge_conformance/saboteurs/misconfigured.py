"""Adapters as they are set up wrongly in the field: each setting is one that a broker or its client offers.

The rule: nothing here is broken; the engine does what it was told, and what it was told loses or repeats messages. So
these are no saboteurs of the kill matrix but the bad halves of `proofs`, whose good halves are the adapter as it is.
The product refuses most of them, or never asks for them; they live in the suite alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import (
    Message,
    PassingAdmin,
    PassingChannel,
    PassingQueueSubscription,
    PassingTopicSubscription,
)
from mqbridge_conformance.saboteurs.saboteur import Pieces, Saboteur
from mqbridge_conformance.saboteurs.strikes import Strikes

__all__ = ["MISCONFIGURED"]

NEVER_S: Final = 24 * 3600.0


def acked_by_the_leader_alone(spec: spi.SenderSpec, strikes: Strikes) -> spi.SenderSpec:
    """B01: ``acks=1``, for every sender."""
    strikes.struck("sender")
    return replace(spec, acks="leader", idempotent=None)


class CommitsBeforeProcessing(PassingTopicSubscription):
    """B02: what was fetched is committed when it is handed over, as ``enable.auto.commit`` with the client's own offset
    store comes to do; what the application settles adds nothing."""

    def prepare(self) -> None:
        self.handed: dict[spi.TopicPartition, tuple[int, int]] = {}

    def block(self, block: spi.Block) -> spi.Block | None:
        place = (block.destination.name, block.partition or 0)
        self.handed[place] = (block.lease, block.next_offset)
        self.strikes.struck(f"topic:{place[0]}/{place[1]}", committed=block.next_offset)
        self.inner.commit({place: self.handed[place]}, lambda _refused, _error: None)
        return block

    def commit(
        self,
        offsets: Mapping[spi.TopicPartition, tuple[int, int]],
        done: spi.Completion[tuple[spi.TopicPartition, ...]],
    ) -> None:
        self.inner.commit({place: self.handed.get(place, at) for place, at in offsets.items()}, done)


class ReadsUncommitted(PassingTopicSubscription):
    """B03: ``isolation.level=read_uncommitted``, whatever was asked for."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        self.strikes.struck("member")
        return replace(spec, isolation="read_uncommitted")


class DeadLettersAtMostOnce(PassingAdmin):
    """B04: a quorum queue without ``x-dead-letter-strategy=at-least-once``, RabbitMQ's default: what goes with it is
    ``x-overflow=drop-head``."""

    def create_queue(self, queue: mq.Queue[Any], done: spi.Completion[mq.Queue[Any]]) -> None:
        if queue.dead_letter is None:
            self.inner.create_queue(queue, done)
            return

        def made(found: mq.Queue[Any] | None, error: mq.MqbridgeError | None) -> None:
            done(None, error)  # what stands there is not what was asked for, and nobody is told

        self.strikes.struck(queue)
        self.inner.create_queue(_other(queue, overflow="drop-head"), made)


class AcksOnDelivery(PassingQueueSubscription):
    """B05: ``auto_ack``: the broker forgets a message when it has handed it out."""

    def specified(self, spec: spi.QueueSubscriptionSpec) -> spi.QueueSubscriptionSpec:
        self.strikes.struck(spec.queue)
        return replace(spec, before=True)

    def settle(self, verbs: Any, done: spi.Completion[tuple[int, ...]]) -> None:
        done((), None)


class StallsWithoutBound(PassingTopicSubscription):
    """B06: ``max.poll.interval.ms`` of a day: a member that does not poll keeps what it has."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        self.strikes.struck("member")
        return replace(spec, max_poll_interval_s=NEVER_S)


class SendsWithoutKey(PassingChannel):
    """B07: the producer gives no key, so records that belong together lie in several partitions."""

    def prepare(self) -> None:
        self.sent = 0

    def partitioner(self, given: spi.Partitioner | None) -> spi.Partitioner | None:
        def in_turn(_topic: str, _key: bytes | None, _value: bytes | None, partitions: int) -> int:
            self.sent += 1
            return self.sent % partitions

        return in_turn

    def take(self, message: Message) -> int:
        self.strikes.struck(self.destination)
        return self.put(message._replace(key=None))


def _other(queue: mq.Queue[Any], **changes: Any) -> mq.Queue[Any]:
    fields = {name: getattr(queue, name) for name in (*queue.fields, "physical_name")}
    return mq.Queue(queue.name, **{**fields, **changes})


_ALL: Final = (
    Saboteur("B01", "acks-1", "sending", ("lost-write",), Pieces(sender=acked_by_the_leader_alone)),
    Saboteur(
        "B02",
        "auto-commit-before-processing",
        "groups",
        ("unseen", "handover-gap"),
        Pieces(topic=CommitsBeforeProcessing),
    ),
    Saboteur("B03", "read-uncommitted", "reading", ("G1a",), Pieces(topic=ReadsUncommitted)),
    Saboteur("B04", "at-most-once-dead-letters", "queues", ("dlq-lost", "lost"), Pieces(admin=DeadLettersAtMostOnce)),
    Saboteur("B05", "auto-ack", "queues", ("lost", "missing-redelivery"), Pieces(queue=AcksOnDelivery)),
    Saboteur("B06", "unbounded-poll-stall", "groups", ("starvation", "unseen"), Pieces(topic=StallsWithoutBound)),
    Saboteur("B07", "unkeyed-payments", "sending", ("key-order",), Pieces(channel=SendsWithoutKey)),
)

MISCONFIGURED: Final[dict[str, Saboteur]] = {variant.code: variant for variant in _ALL}
