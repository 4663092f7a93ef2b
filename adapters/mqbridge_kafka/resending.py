"""Messages that are sent again: on_unknown="resend", when a producer of the client is replaced by another, or when the
client only supposes that it has written one (`errors.SUPPOSED`).

The rule of this room: each message is kept until it has ended, with the number it was given under, since the client
gives no headers back; what the old producer was purged of goes to the new one in the order of those numbers, before
anything else (as far as there is room). It may be in the log already, then it is there twice: to a producer, old or
new, it is another message. So however it ends after that, unless confirmed, nobody knows whether it was written. Who
does not send again does not come through here.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message

from mqbridge_kafka.errors import SUPPOSED

PURGED: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
_Letter: TypeAlias = tuple[str, bytes | None, bytes | None, int, int, Any]


class _Waiting(NamedTuple):
    number: int
    until_s: float
    letter: _Letter
    on_delivery: Callable[..., None]


def _unsure(error: KafkaError) -> KafkaError:
    """How a message ends that was given a second time: the first time it may have been written, whatever this says."""
    return KafkaError(KafkaError._PURGE_INFLIGHT, f"sent again, since it was not known to be written: {error.str()}")


class Resending:
    """In front of one producer after another. `write` gives a message to the present one."""

    def __init__(self, resend_s: float, became: Callable[[KafkaError | None, Message], KafkaError | None]) -> None:
        self.write: Callable[..., None]
        self.purging = False
        self._ended = False
        self._resend_s = resend_s
        self._became = became
        self._numbers = itertools.count()
        self._left: list[_Waiting] = []

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
        until_s = time.monotonic() + self._resend_s
        self._give(_Waiting(next(self._numbers), until_s, letter, on_delivery), again=False)

    def _give(self, one: _Waiting, again: bool) -> None:
        topic, value, key, partition, timestamp, headers = one.letter
        told = partial(self._told, one, again)
        self.write(topic, value, key, partition, told, timestamp=timestamp, headers=headers)

    def _told(self, one: _Waiting, again: bool, error: KafkaError | None, message: Message) -> None:
        error = self._became(error, message)
        lost = error is SUPPOSED or (error is not None and self.purging and error.code() in PURGED)
        if lost and not self._ended and time.monotonic() < one.until_s:
            self._left.append(one)
        else:
            one.on_delivery(_unsure(error) if again and error is not None else error, message)

    def send_again(self) -> None:
        """Give to the present producer what was lost, as it was given the first time; what finds no room waits for the
        next call. Called after each look at what came: within the client's own call the message that is reported still
        takes its room."""
        if self.purging:
            return
        left, self._left = sorted(self._left, key=lambda one: one.number), []
        for place, one in enumerate(left):
            try:
                if self._ended or time.monotonic() >= one.until_s:
                    one.on_delivery(KafkaError(KafkaError._PURGE_INFLIGHT), None)
                else:
                    self._give(one, again=True)
            except BufferError:
                self._left = left[place:] + self._left
                return
            except KafkaException as error:
                one.on_delivery(_unsure(error.args[0]), None)

    def end(self) -> None:
        """Give nothing again from now on."""
        self._ended = True
