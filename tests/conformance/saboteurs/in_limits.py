"""Broken limits of the native engine: time to live, delay, priority, length, expiry, one consumer at a time.

The rule: see `in_engine`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mqbridge.native.core.queues import limits, queue
from mqbridge.native.core.queues.consumers import Consumers
from mqbridge.native.core.queues.queue import Queue
from mqbridge.native.core.queues.settling import Settlement
from tests.conformance.saboteurs.breaking import Row, around


def _time_changed(factor: float) -> Any:
    def change(read: Any, batch: Any, first: int, wall_ms: int, ttl_ms: int | None, top: int) -> Any:
        messages = read(batch, first, wall_ms, ttl_ms, top)
        for message in messages:
            if message.expires_ms:
                message.expires_ms = wall_ms + int((message.expires_ms - wall_ms) * factor)
        return messages

    return change


def _not_delayed(read: Any, *args: Any) -> Any:
    messages = read(*args)
    for message in messages:
        message.due_ms = 0
    return messages


def _half_delayed(read: Any, batch: Any, first: int, wall_ms: int, *rest: Any) -> Any:
    messages = read(batch, first, wall_ms, *rest)
    for message in messages:
        if message.due_ms:
            message.due_ms = wall_ms + (message.due_ms - wall_ms) // 2
    return messages


def _back_at_once(returns: Any, self: Settlement, tag: int, message: Any, failures: int, _s: float, **how: Any) -> Any:
    return returns(self, tag, message, failures, 0.0, **how)


def _one_priority(read: Any, *args: Any) -> Any:
    messages = read(*args)
    for message in messages:
        message.priority = 0
    return messages


def _first_waiting_told(to_tell: Any, self: Consumers, ready: int, now_s: float) -> Any:
    for consumer in self:
        consumer.priority = 0
    return to_tell(self, ready, now_s)


def _all_fit(fitting: Any, batch: Any, spec: Any, held: int, held_bytes: int) -> Any:
    return range(batch.count), []


def _one_more_fits(fitting: Any, batch: Any, spec: Any, held: int, held_bytes: int) -> Any:
    return fitting(batch, spec, held - 1, held_bytes - 1000)


def _early_full(fitting: Any, batch: Any, spec: Any, held: int, held_bytes: int) -> Any:
    return fitting(batch, spec, held + 1, held_bytes)


def _newest_dropped(drop_head: Any, self: Queue, portion: Any, now: Any, path: Any) -> Any:
    """It says that it took what it has no room for."""
    return None if self._held()[0] >= (self.spec.max_length or 0) else drop_head(self, portion, now, path)


def _idle_in_use(idle: Any, self: Queue, now: Any) -> bool:
    expires_s = self.spec.expires_s
    return expires_s is not None and now.mono_s - self._used_at >= expires_s


def _expires_early(init: Any, self: Queue, name: str, spec: Any, *rest: Any) -> None:
    init(self, name, replace(spec, expires_s=spec.expires_s and spec.expires_s / 10), *rest)


def _all_may_take(may_take: Any, self: Consumers, consumer: Any, wanted: int, ready: int, now_s: float) -> int:
    self._single_active = False
    return int(may_take(self, consumer, wanted, ready, now_s))


SABOTEURS: list[Row] = [
    ("message-ttl", "expires early", around(queue, "messages_of", _time_changed(0.1)), "memory", "died within 0.5 s"),
    (
        "message-ttl",
        "forgets the time",
        around(queue, "messages_of", _time_changed(100)),
        "memory",
        "what is shown after its time",
    ),
    ("delayed-send", "does not delay", around(queue, "messages_of", _not_delayed), "memory", "while two are delayed"),
    ("delayed-send", "halves delays", around(queue, "messages_of", _half_delayed), "memory", "a delay of 0.2 s ended"),
    (
        "delayed-retry",
        "gives back at once",
        around(Settlement, "_returns", _back_at_once),
        "memory",
        "a delay of 0.4 s ended|comes back after retry|what is not delayed",
    ),
    ("priority", "has one priority", around(queue, "messages_of", _one_priority), "memory", "by priority, then by age"),
    (
        "priority",
        "serves who comes first",
        around(Consumers, "to_tell", _first_waiting_told),
        "memory",
        "while the first has room",
    ),
    ("length-limit-rejects", "takes all", around(limits, "fitting", _all_fit), "memory", "and 4 is its limit"),
    (
        "length-limit-rejects",
        "takes one more",
        around(limits, "fitting", _one_more_fits),
        "memory",
        "takes 5, and 4 is its limit",
    ),
    ("length-limit-rejects", "is full early", around(limits, "fitting", _early_full), "memory", "is full with 3 of 4"),
    (
        "length-limit-drops",
        "drops the newest",
        around(Queue, "_drop_head", _newest_dropped),
        "memory",
        "the newest, in order",
    ),
    ("queue-expiry", "deletes one in use", around(Queue, "idle", _idle_in_use), "memory", "with a consumer|NotFound"),
    ("queue-expiry", "deletes early", around(Queue, "__init__", _expires_early), "memory", "gone before its time"),
    (
        "single-active-consumer",
        "serves all",
        around(Consumers, "may_take", _all_may_take),
        "memory",
        "waits behind the active one",
    ),
]
