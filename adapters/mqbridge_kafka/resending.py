"""Messages that are sent again: on_unknown="resend", when a producer of the client is replaced by another, or when the
client only supposes that it has written one (`errors.SUPPOSED`).

The rule of this room: each message is kept until it has ended, with the number it was given under, since the client
gives no headers back; what the old producer was purged of goes to the new one in the order of those numbers, before
anything else. It may be in the log already, then it is there twice: to a producer, old or new, it is another message.
Who does not send again does not come through here.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message

from mqbridge_kafka.errors import SUPPOSED

PURGED: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
_TOO_LATE: Final = KafkaException(KafkaError(KafkaError._PURGE_QUEUE))


class Resending:
    """In front of one producer after another. `write` gives a message to the present one."""

    def __init__(self, resend_s: float, became: Callable[[KafkaError | None, Message], KafkaError | None]) -> None:
        self.write: Callable[..., None]
        self.purging = False
        self._ended = False
        self._resend_s = resend_s
        self._became = became
        self._numbers = itertools.count()
        self._left: list[tuple[int, float, tuple[Any, ...], Callable[..., None]]] = []

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int = -1,
        on_delivery: Callable[..., None] = lambda _error, _message: None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        """In place of the producer's own."""
        letter = (topic, value, key, partition, timestamp, headers)
        self._give(next(self._numbers), time.monotonic() + self._resend_s, letter, on_delivery)

    def _give(self, number: int, until_s: float, letter: tuple[Any, ...], on_delivery: Callable[..., None]) -> None:
        topic, value, key, partition, timestamp, headers = letter
        told = partial(self._told, number, until_s, letter, on_delivery)
        self.write(topic, value, key, partition, told, timestamp=timestamp, headers=headers)

    def _told(
        self,
        number: int,
        until_s: float,
        letter: tuple[Any, ...],
        on_delivery: Callable[..., None],
        error: KafkaError | None,
        message: Message,
    ) -> None:
        error = self._became(error, message)
        again = error is SUPPOSED or (error is not None and self.purging and error.code() in PURGED)
        if again and not self._ended and time.monotonic() < until_s:
            self._left.append((number, until_s, letter, on_delivery))
        else:
            on_delivery(error, message)

    def send_again(self) -> None:
        """Give to the present producer what was told to end without being written, as it was given the first time; what
        finds no room waits for the next call, and what it refuses ends as purged. Called after each look at what came:
        within the client's own call the message that is reported still takes its room."""
        if self.purging:
            return
        left, self._left = sorted(self._left, key=lambda one: one[0]), []
        for place, (number, until_s, letter, on_delivery) in enumerate(left):
            try:
                if self._ended or time.monotonic() >= until_s:
                    raise _TOO_LATE
                self._give(number, until_s, letter, on_delivery)
            except BufferError:
                self._left = left[place:] + self._left
                return
            except KafkaException:
                on_delivery(_TOO_LATE.args[0], None)

    def end(self) -> None:
        """Give nothing again from now on."""
        self._ended = True
