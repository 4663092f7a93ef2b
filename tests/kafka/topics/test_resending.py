"""Messages that are given again, and when not: without a client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from mqbridge_kafka import outlet
from mqbridge_kafka.errors import RULES, SUPPOSED
from mqbridge_kafka.resending import Resending

Report = Callable[[KafkaError | None, Any], None]


class Client:
    """Takes as many messages as it has room for, and keeps their reports."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.given: list[tuple[bytes, Report]] = []
        self.refusal: Exception = BufferError()

    def produce(self, _topic: str, value: bytes, _key: None, _partition: int, told: Report, **_more: Any) -> None:
        if not self.room:
            raise self.refusal
        self.room -= 1
        self.given.append((value, told))

    def report(self, error: KafkaError | None) -> None:
        """Of all that it has."""
        given, self.given = self.given, []
        for _, told in given:
            told(error, None)
            self.room += 1

    @property
    def values(self) -> list[bytes]:
        return [value for value, _ in self.given]


def sent(client: Client, values: list[bytes], resend_s: float = 60.0) -> tuple[Resending, dict[bytes, object]]:
    """What was sent, and how it ended."""
    ended: dict[bytes, object] = {}
    resending = Resending(resend_s, lambda error, _message: error)
    resending.write = client.produce
    for value in values:
        resending.produce("t", value, None, on_delivery=lambda error, _, value=value: ended.update({value: error}))
    return resending, ended


def test_what_finds_no_room_is_given_at_the_next_look() -> None:
    """In its order; nothing ends for want of room."""
    client = Client(3)
    resending, ended = sent(client, [b"1", b"2", b"3"])
    client.report(SUPPOSED)
    client.room = 1
    resending.send_again()
    assert (client.values, ended) == ([b"1"], {})
    client.room = 2
    resending.send_again()
    assert client.values == [b"1", b"2", b"3"]
    client.report(None)
    assert ended == {b"1": None, b"2": None, b"3": None}


def test_nothing_is_given_again_while_the_old_producer_is_emptied() -> None:
    client = Client(1)
    resending, ended = sent(client, [b"1"])
    resending.purging = True
    client.report(KafkaError(KafkaError._PURGE_QUEUE))
    resending.send_again()
    assert (client.values, ended) == ([], {})
    resending.purging = False
    resending.send_again()
    assert client.values == [b"1"]


def test_nothing_is_given_again_after_the_end() -> None:
    """Neither what waits nor what ends then; each is told."""
    client = Client(2)
    resending, ended = sent(client, [b"1", b"2"])
    (_, first), _ = client.given
    first(SUPPOSED, None)
    resending.end()
    client.report(SUPPOSED)
    resending.send_again()
    assert client.values == []
    first_error = ended[b"1"]
    assert isinstance(first_error, KafkaError)
    assert first_error.code() == KafkaError._PURGE_INFLIGHT
    assert ended[b"2"] is SUPPOSED


def test_after_its_time_it_ends() -> None:
    client = Client(1)
    resending, ended = sent(client, [b"1"], resend_s=0.0)
    client.report(SUPPOSED)
    resending.send_again()
    assert (client.values, ended) == ([], {b"1": SUPPOSED})


@pytest.mark.parametrize("code", [KafkaError._UNKNOWN_TOPIC, KafkaError._FATAL, KafkaError._PURGE_QUEUE])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_given_again_never_ends_as_not_written(code: int, at_once: bool) -> None:
    """Whether the client refuses it or says so later, and whatever it says: the first time it may have been written."""
    client = Client(1)
    resending, ended = sent(client, [b"1"])
    client.report(SUPPOSED)
    if at_once:
        client.room, client.refusal = 0, KafkaException(KafkaError(code))
    resending.send_again()
    client.report(KafkaError(code))
    error = ended[b"1"]
    assert isinstance(error, KafkaError)
    assert RULES[error.code()].outcome == "unknown"
    assert error.code() not in outlet._ENDED, "then the outlet would say that nothing was ever sent"
    assert KafkaError(code).str() in error.str()
