"""Broken queues of the native engine, for the families of queues, settlement and dead letters.

The rule: see `in_engine`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mqbridge as mq
from mqbridge.admin import Admin
from mqbridge.native import sending
from mqbridge.native.core.queues import room
from mqbridge.native.core.queues.deadletter import REJECTED, DeadLetters
from mqbridge.native.core.queues.queue import Queue
from mqbridge.native.core.queues.records import READY
from mqbridge.native.core.queues.settling import Settlement
from mqbridge.native.core.topics.groups import GroupRoom
from mqbridge.native.queue_client import QueueClient
from mqbridge.queue_consumer import QueueConsumer
from tests.conformance.saboteurs.breaking import Row, around
from tests.conformance.saboteurs.in_engine import commits_past_the_gap

ROOM = 50


# --- queues


def _two_swapped(build: Any, records: list[Any], wall_ms: int) -> Any:
    if len(records) > 1:
        first, second = records[0], records[1]
        records[:2] = [(first[0], *second[1:]), (second[0], *first[1:])]
    return build(records, wall_ms)


def _what_is_too_much_is_dropped(place: Any, self: Queue, messages: list[Any]) -> None:
    place(self, messages[: max(0, ROOM - self._count)])


def _deletes_nothing(delete: Any, self: Admin, destination: Any) -> None:
    self.describe(destination)  # what is not there is still told


def _every_other_stays(purge: Any, self: Queue) -> int:
    """It says that all went."""
    kept = [*self._ready][::2]
    number = int(purge(self))
    for message in kept:
        message.state = READY
    self._place(kept)
    return number


def _what_is_out_goes_too(purge: Any, self: Queue) -> int:
    for consumer in self.consumers:
        self._out_count -= len(consumer.unsettled)
        self._count -= len(consumer.unsettled)
        consumer.unsettled.clear()
    return int(purge(self))


def _all_counted(depth: Any, self: Admin, queue: mq.Queue[Any]) -> int:
    described: Any = self.describe(queue)
    return int(depth(self, queue)) + int(described.unsettled or 0)


def _given_to_whoever_asks(take: Any, self: Queue, consumer: Any, *rest: Any) -> Any:
    """What another consumer holds comes back as soon as somebody finds nothing."""
    for other in self.consumers:
        if other is not consumer and other.unsettled and not self._ready.count:
            plan = Settlement(other.unsettled, self.spec, 0)
            plan.give_up(counted=True)
            for item in plan.returned:
                self._give_back(item)
            self._done(plan)
    return take(self, consumer, *rest)


# --- settlement


def _second_verb_taken(take: Any, self: QueueConsumer[Any], delivery: Any, verb: Any) -> None:
    delivery._page.marks[delivery._index] = 0
    take(self, delivery, verb)


def _loss_not_told(lose: Any, self: QueueConsumer[Any], reason: str) -> None:
    """A consumer that closes does not tell its deliveries."""
    self._pages.clear()
    lose(self, reason)


def _closing_counted(detach: Any, self: Queue, gone: Any, now: Any, *, counted: bool) -> None:
    detach(self, gone, now, counted=True)


def _gone_with_its_consumer(give_up: Any, self: Settlement, *, counted: bool) -> None:
    self._unsettled.clear()


def _failures_forgotten(give_up: Any, self: Settlement, *, counted: bool) -> None:
    for message in self._unsettled.values():
        message.failures = 0
    give_up(self, counted=counted)


# --- dead letters


def _always_rejected(deliver: Any, self: DeadLetters, origin: str, target: Any, deaths: Any, *rest: Any) -> Any:
    return deliver(self, origin, target, [death._replace(reason=REJECTED) for death in deaths], *rest)


def _refused_letters_forgotten(deliver: Any, self: DeadLetters, *args: Any, **options: Any) -> dict[int, Any]:
    deliver(self, *args, **options)
    return {}


def _redriven_twice(redriven: Any, messages: Any, make_batch: Any) -> Any:
    return redriven([message for message in messages for _ in range(2)], make_batch)


def _redriven_without_headers(redriven: Any, messages: Any, make_batch: Any) -> Any:
    batch = redriven(messages, make_batch)
    return make_batch(batch.keys, batch.values, None, batch.timestamps_ms)


def _failure_given_back(other: Any, self: Settlement, item: Any, verb: Any, tag: int, message: Any) -> None:
    """What fails is tried for ever."""
    retried = verb == "retry"
    other(self, ["release", tag, 0.0] if retried else item, "release" if retried else verb, tag, message)


# --- delivery


def _not_settled_before(taken: Any, self: QueueClient, *rest: Any) -> None:
    self._spec = replace(self._spec, before=False)
    taken(self, *rest)


def _nothing_committed(write: Any, self: GroupRoom, name: str, offsets: Any, *rest: Any) -> None:
    return


SABOTEURS: list[Row] = [
    ("queue-specified", "deletes nothing", around(Admin, "delete", _deletes_nothing), "memory", "when it is deleted"),
    ("order-in-queue", "swaps two", around(sending, "build_batch", _two_swapped), "memory", "waited, in order: found"),
    (
        "burst-then-drain",
        "drops what is too much for it",
        around(Queue, "_place", _what_is_too_much_is_dropped),
        "memory",
        "the queue after a burst",
    ),
    ("purge", "keeps every other one", around(Queue, "purge", _every_other_stays), "memory", "after it was purged"),
    ("purge", "drops what is out", around(Queue, "purge", _what_is_out_goes_too), "memory", "after it was purged"),
    ("depth", "counts what is out", around(Admin, "depth", _all_counted), "memory", "the depth while some are out"),
    (
        "long-handler",
        "gives a message to whoever asks",
        around(Queue, "take", _given_to_whoever_asks),
        "memory",
        "another gets what is being handled",
    ),
    (
        "double-settle",
        "takes a second verb",
        around(QueueConsumer, "_take", _second_verb_taken),
        "memory",
        "after ack: no error",
    ),
    (
        "lease-lost",
        "does not tell of a loss",
        around(QueueConsumer, "_lose", _loss_not_told),
        "memory",
        "after the consumer was closed: no error",
    ),
    (
        "lease-lost",
        "counts being closed as a failure",
        around(Queue, "detach", _closing_counted),
        "memory",
        "the attempt after a consumer was closed",
    ),
    (
        "lease-lost",
        "drops what a closed consumer held",
        around(Settlement, "give_up", _gone_with_its_consumer),
        "memory",
        "gave back: 0 of 4",
    ),
    (
        "attempts-counted",
        "forgets failures in a crash",
        around(Settlement, "give_up", _failures_forgotten),
        "memory",
        "the attempt number: found [12] where 4",
    ),
    (
        "queue-under-kill-at-most-once",
        "shows what it has not settled",
        around(QueueClient, "_taken", _not_settled_before),
        "memory",
        "redelivery-after-settle.*EOS-dup",
    ),
    *(
        (
            f"queue-under-kill-{guarantee}",
            "drops what a dead consumer held",
            around(Settlement, "give_up", _gone_with_its_consumer),
            "memory",
            "messages without an effect",
        )
        for guarantee in ("at-least-once", "effectively-once")
    ),
    (
        "topic-under-kill-at-most-once",
        "commits nothing",
        around(GroupRoom, "_write_offsets", _nothing_committed),
        "memory",
        "two effects at most once",
    ),
    *(
        (f"topic-under-kill-{guarantee}", "commits past a gap", commits_past_the_gap, "memory", "does not come again")
        for guarantee in ("at-least-once", "effectively-once")
    ),
    (
        "dead-letter-reasons",
        "always says rejected",
        around(DeadLetters, "deliver", _always_rejected),
        "memory",
        "the dead letters of queue:.*-failing",
    ),
    ("redrive", "moves letters twice", around(room, "redriven", _redriven_twice), "memory", "redriven: value, id"),
    (
        "redrive",
        "loses headers on the way",
        around(room, "redriven", _redriven_without_headers),
        "memory",
        "redriven: value, id",
    ),
    (
        "poison-message",
        "tries a failure for ever",
        around(Settlement, "_other", _failure_given_back),
        "memory",
        "attempts of the poison",
    ),
    (
        "dead-letter-queue-full",
        "forgets letters that were refused",
        around(DeadLetters, "deliver", _refused_letters_forgotten),
        "memory",
        "dead letter 1 of 3 did not come",
    ),
]
