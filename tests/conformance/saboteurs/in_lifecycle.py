"""A broken portable layer: promises of closing, of stopping and of being bounded that are not kept.

The rule: see `in_engine`.
"""

from __future__ import annotations

from typing import Any

from mqbridge.native.sending import TopicChannel
from mqbridge.producer import Producer
from mqbridge.queue_consumer import QueueConsumer
from tests.conformance.saboteurs.breaking import Row, around


def _nothing(original: Any, *args: Any, **options: Any) -> None:
    return


def _marks_forgotten(close: Any, self: QueueConsumer[Any], timeout: float = 30.0) -> None:
    """What was settled and not yet told is given back."""
    for page in self._pages:
        page.told[:] = b"\x01" * len(page.told)
    close(self, timeout)


def _released_is_settled(release: Any, self: QueueConsumer[Any], delivery: Any, delay_s: float) -> None:
    """What a run has not begun when it stops is acked."""
    delivery.ack()


def _unbounded(append: Any, self: TopicChannel, *record: Any) -> Any:
    self._max_in_flight = 1 << 40
    return append(self, *record)


def _one_at_a_time(send: Any, self: Producer, *message: Any, **options: Any) -> Any:
    receipt = send(self, *message, **options)
    receipt.exception(10.0)
    return receipt


SABOTEURS: list[Row] = [
    (
        "close-flushes",
        "forgets at its end what was settled",
        around(QueueConsumer, "close", _marks_forgotten),
        "memory",
        "after the consumer was closed",
    ),
    (
        "unseen-failures",
        "keeps failures to itself",
        around(Producer, "_raise_unobserved", _nothing),
        "memory",
        "with failures unseen: no error",
    ),
    (
        "close-from-another-thread",
        "does not close",
        around(QueueConsumer, "close", _nothing),
        "memory",
        "after its consumer was closed",
    ),
    (
        "run-drains",
        "settles what it has not begun",
        around(QueueConsumer, "_release", _released_is_settled),
        "memory",
        "the queue after run.. was stopped",
    ),
    ("back-pressure", "has no bound", around(TopicChannel, "append", _unbounded), "memory", "messages wait in 50000"),
    (
        "confirmed-in-a-pipeline",
        "sends one after another",
        around(Producer, "send", _one_at_a_time),
        "memory",
        "each send waits for the one before",
    ),
]
