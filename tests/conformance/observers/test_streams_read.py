"""Reading a stream of RabbitMQ to its end, where the broker says late what is there: without a broker."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from mqbridge_conformance.observers.rabbitmq import _stream


class Late:
    """A connection with one channel. What a consumer is given comes only when the stream's process has had its turn,
    which the next consumer is sure to wait for; the count of messages is an old one."""

    def __init__(self, bodies: list[bytes], prefetch: int, count: int = 0) -> None:
        self.bodies = bodies
        self.credit = self.prefetch = prefetch
        self.count = count
        self.given = 0
        self.consumers: list[Callable[..., None]] = []
        self.turns = 0
        self.waiting: list[tuple[Any, ...]] = []

    def channel(self) -> Late:
        return self

    def basic_qos(self, prefetch_count: int) -> None:
        pass

    def basic_consume(self, _name: str, take: Callable[..., None], arguments: dict[str, Any]) -> str:
        self.consumers.append(take)
        if arguments["x-stream-offset"] == "last":
            self.turns += 1
        return str(len(self.consumers))

    def basic_cancel(self, tag: str) -> None:
        assert tag == str(len(self.consumers))
        self.consumers.pop()

    def queue_declare(self, _name: str, *, passive: bool) -> Any:
        assert passive
        while self.turns and self.credit and self.given < len(self.bodies):
            properties = SimpleNamespace(headers={"x-stream-offset": self.given})
            self.given += 1
            self.credit -= 1
            self.waiting.append((SimpleNamespace(delivery_tag=self.given), properties, self.bodies[self.given - 1]))
        return SimpleNamespace(method=SimpleNamespace(message_count=self.count))

    def process_data_events(self, _seconds: float) -> None:
        waiting, self.waiting = self.waiting, []
        for method, properties, body in waiting:
            self.consumers[0](self, method, properties, body)

    def basic_ack(self, tag: int, *, multiple: bool) -> None:
        assert (tag, multiple) == (self.given, True)
        self.credit = self.prefetch

    def close(self) -> None:
        pass


def read(late: Any) -> list[bytes]:
    return [body for _, body in _stream(late, "s")]


def test_all_of_a_stream_is_seen_whatever_its_count_says() -> None:
    """In one go, or in several for want of credit."""
    bodies = [b"%d" % number for number in range(7)]
    assert read(Late(bodies, prefetch=1000)) == bodies
    assert read(Late(bodies, prefetch=3)) == bodies


def test_an_empty_stream_ends() -> None:
    assert read(Late([], prefetch=1000)) == []
