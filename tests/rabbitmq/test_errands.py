"""Errands of several steps, against a scripted channel."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pika import exceptions as amqp

from mqbridge.errors import MqbridgeError
from mqbridge_rabbitmq.errands import Errand, Scratch

LOST = amqp.StreamLostError("reset")
REFUSED = amqp.ChannelClosedByBroker(403, "ACCESS_REFUSED")


class Channel:
    """Opens at once; answers as many methods as the test says, and closes over the next one."""

    def __init__(self, answers: int, native: BaseException) -> None:
        self.is_open = True
        self.connection = SimpleNamespace(is_open=True)
        self.consumer_tags: list[str] = []
        self._cancelled: set[str] = set()
        self._answers = answers
        self._native = native

    def add_on_close_callback(self, fn: Callable[[Any, BaseException], None]) -> None:
        self._closed = fn

    def exchange_declare(self, *_words: Any, callback: Callable[[Any], None], **_more: Any) -> None:
        if self._answers:
            self._answers -= 1
            callback(SimpleNamespace(method=None))
        else:
            self.is_open = False
            self._closed(self, self._native)

    queue_delete = exchange_declare

    def close(self) -> None:
        self.is_open = False


def interrupted(outcome: Any, answers: int, native: BaseException) -> MqbridgeError:
    """Look, then delete twice; the end comes behind `answers` answers."""
    channel = Channel(answers, native)

    class Connection:
        is_open = True

        def channel(self, on_open_callback: Callable[[Any], None]) -> Channel:
            loop.append(lambda: on_open_callback(channel))
            return channel

    loop: list[Callable[[], None]] = []
    ended: list[MqbridgeError | None] = []
    connection: Any = Connection()
    scratch = Scratch(connection, "deleting topic:t", outcome)

    async def work() -> None:
        await scratch.declare_exchange("t.mqt")
        await scratch.delete_queue("t.mqt-0")
        await scratch.delete_queue("t.mqt-1")

    none: Any = None
    Errand(none, "deleting topic:t", work(), lambda _result, error: ended.append(error), None)
    loop.pop()()
    (error,) = ended
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("answers", "native", "outcome"),
    [
        (0, LOST, "not_applied"),  # it was looking
        (1, LOST, "unknown"),
        (2, LOST, "unknown"),
        (0, REFUSED, "not_applied"),
        (1, REFUSED, "not_applied"),  # the first change, refused
        (2, REFUSED, "unknown"),  # one was made before
    ],
)
def test_a_change_that_was_interrupted_does_not_claim_that_nothing_was_changed(
    answers: int, native: BaseException, outcome: str
) -> None:
    """Else it is submitted again by itself, and meets its own work."""
    assert interrupted("unknown", answers, native).outcome == outcome


def test_a_look_that_was_interrupted_changed_nothing() -> None:
    """It may be repeated at will."""
    assert interrupted("not_applied", 0, LOST).outcome == "not_applied"
