"""The observer of RabbitMQ tells what raw clients put there, and says so where it cannot tell."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest

from mqbridge_conformance.brokers.servers import Management
from mqbridge_conformance.observers import Counts, Letter, Record
from mqbridge_conformance.observers.rabbitmq import RabbitMQObserver

QUORUM = {"x-queue-type": "quorum"}


class Raw:
    """RabbitMQ without the library and without the observer."""

    def __init__(self, url: str) -> None:
        self.token = secrets.token_hex(4)
        self.management = Management(url)
        self.connection = pika.BlockingConnection(pika.URLParameters(url.partition("?")[0] + "%2F"))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self._made: list[tuple[str, str]] = []

    def queue(self, name: str, **arguments: Any) -> str:
        self.channel.queue_declare(name, durable=True, arguments={**QUORUM, **arguments})
        self._made.append(("queue", name))
        return name

    def exchange(self, name: str) -> str:
        self.channel.exchange_declare(name, "direct", durable=True)
        self._made.append(("exchange", name))
        return name

    def topic(self, name: str, partitions: int) -> str:
        self.exchange(f"{name}.mqt")
        for partition in range(partitions):
            self.queue(f"{name}.mqt-{partition}", **{"x-queue-type": "stream"})
            self.channel.queue_bind(f"{name}.mqt-{partition}", f"{name}.mqt", str(partition))
        return name

    def send(self, queue: str, body: bytes = b"", **fields: Any) -> None:
        self.channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2, **fields))

    def close(self) -> None:
        for kind, name in self._made:
            getattr(self.channel, f"{kind}_delete")(name)
        self.connection.close()


@pytest.fixture
def raw(rabbitmq_url: str) -> Iterator[Raw]:
    raw = Raw(rabbitmq_url)
    yield raw
    raw.close()


@pytest.fixture
def observer(rabbitmq_url: str) -> RabbitMQObserver:
    return RabbitMQObserver(rabbitmq_url)


def _until(look: Callable[[], object], wanted: object) -> None:
    give_up_s = time.monotonic() + 15
    pause = threading.Event()
    while (found := look()) != wanted:
        assert time.monotonic() < give_up_s, f"still {found}, where {wanted} is due"
        pause.wait(0.05)


def test_what_is_derived_is_shown_as_what_it_is_part_of(raw: Raw, observer: RabbitMQObserver) -> None:
    """Streams as their topic, token queues as their group, also where names have dots; a queue by its own name."""
    topic = raw.topic(f"t.opic-{raw.token}", 3)
    queue, exchange = raw.queue(f"queue-{raw.token}"), raw.exchange(f"exchange-{raw.token}")
    raw.queue(f"a.group-{raw.token}:{topic}.mqg-0")
    names = observer.names()
    assert names.topics[topic] == 3
    assert [name for name in names.queues if raw.token in name] == [queue]
    assert [name for name in names.exchanges if raw.token in name] == [exchange]
    assert [name for name in names.groups if raw.token in name] == [f"a.group-{raw.token}"]
    assert not [name for name in names.exchanges if name == "" or name.startswith("amq.")]


def test_records_of_streams_are_told_as_they_lie_there(raw: Raw, observer: RabbitMQObserver) -> None:
    """All of them, by partition and offset, with what AMQP has no field for; a foreign producer's too."""
    topic = raw.topic(f"records-{raw.token}", 2)
    packed = b"".join(len(item).to_bytes(4, "big") + item for item in (b"a", b"1", b"", b"\xff", b"a", b"2"))
    library = {"mqbridge-key": b"", "mqbridge-null": True, "mqbridge-timestamp-ms": 1234, "mqbridge-headers": packed}
    raw.send(f"{topic}.mqt-0", headers={**library, "a": b"2", "": b"\xff"}, message_id="id", timestamp=1)
    raw.send(f"{topic}.mqt-1", b"foreign", headers={"number": 7, "text": "t"}, timestamp=3)
    for number in range(20):
        raw.send(f"{topic}.mqt-1", b"%d" % number)
    found = observer.records(topic)
    assert found[:2] == [
        Record(0, 0, b"", None, (("a", b"1"), ("", b"\xff"), ("a", b"2")), 1234, "id"),
        Record(1, 0, None, b"foreign", (("number", b"7"), ("text", b"t")), 3000, None),
    ]
    assert [(record.offset, record.value) for record in found[2:]] == [(n + 1, b"%d" % n) for n in range(20)]


def test_a_long_stream_is_read_to_its_end(raw: Raw, observer: RabbitMQObserver) -> None:
    """More messages than one window of credit holds."""
    topic = raw.topic(f"long-{raw.token}", 1)
    unconfirmed = raw.connection.channel()
    for number in range(3000):
        unconfirmed.basic_publish("", f"{topic}.mqt-0", b"%d" % number)
    raw.send(f"{topic}.mqt-0", b"last")
    _until(lambda: len(observer.records(topic)), 3001)


def test_what_is_ready_and_what_is_with_a_consumer(raw: Raw, observer: RabbitMQObserver) -> None:
    """Ready at once, unsettled when the management API has heard of it; what is delayed cannot be told."""
    queue = raw.queue(f"counts-{raw.token}")
    for _ in range(3):
        raw.send(queue)
    assert observer.counts(queue).ready == 3
    taker = raw.connection.channel()
    taker.basic_get(queue)
    _until(lambda: observer.counts(queue), Counts(2, 1, None))
    assert observer.held(queue) == 3
    assert observer.messages(queue) is None
    taker.close()
    _until(lambda: observer.counts(queue), Counts(3, 0, None))


def test_dead_letters_are_given_back_as_they_were(raw: Raw, observer: RabbitMQObserver) -> None:
    """Those of that queue, in their order; looked at twice they count no attempt more."""
    letters = raw.queue(f"origin-{raw.token}.dlq")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": letters}
    origin = raw.queue(f"origin-{raw.token}", **arguments)
    facts = {"reason": "max-attempts", "queue": origin, "attempts": "3", "at-ms": "5", "error": "why"}
    headers = {f"mqbridge-death-{fact}": value for fact, value in facts.items()}
    raw.send(letters, b"copied", headers={**headers, "own": b"1", "mqbridge-timestamp-ms": 9})
    raw.send(letters, b"not of this queue")
    raw.send(origin, b"by the broker", headers={"mqbridge-timestamp-ms": 10})
    method, _, _ = raw.channel.basic_get(origin)
    raw.channel.basic_reject(method.delivery_tag, requeue=False)
    _until(lambda: observer.counts(letters).ready, 3)
    wanted = [
        Letter(None, b"copied", (("own", b"1"),), 9, None, "max-attempts", f"queue:{origin}", 3, "why"),
        Letter(None, b"by the broker", (), 10, None, "rejected", f"queue:{origin}", 1, None),
    ]
    assert observer.letters(origin) == wanted
    assert observer.letters(origin) == wanted
    assert observer.letters(f"{origin}-missing") == []
    _, first, _ = raw.channel.basic_get(letters, auto_ack=True)
    assert first.headers.get("x-delivery-count", 0) == 0


def test_committed_is_the_newest_token(raw: Raw, observer: RabbitMQObserver) -> None:
    """By epoch and number, not by place; the tokens are still there afterwards, and probes are none."""
    topic, group = raw.topic(f"tokens-{raw.token}", 2), f"group-{raw.token}"
    tokens = raw.queue(f"{group}:{topic}.mqg-1", **{"x-single-active-consumer": True, "x-delivery-limit": -1})
    for epoch, sequence, offset in ((2, 1, 40), (1, 9, 99)):
        raw.send(tokens, json.dumps({"v": 1, "epoch": epoch, "seq": sequence, "offset": offset}).encode())
    raw.send(tokens, json.dumps({"v": 1, "probe": 1, "member": "m"}).encode())
    for _ in range(2):
        assert observer.committed(group) == {f"{topic}/1": 40}
    assert observer.committed(f"{group}-missing") == {}
    member = raw.connection.channel()
    member.basic_consume(tokens, lambda *_: None)
    assert observer.committed(group) is None, "while a member has them nobody else can tell"
    member.close()


def test_a_snapshot_tells_one_more_message_and_one_more_binding(raw: Raw, observer: RabbitMQObserver) -> None:
    """What a refused call must not change."""
    queue, exchange = raw.queue(f"snapshot-{raw.token}"), raw.exchange(f"snapshot-{raw.token}")
    before = observer.snapshot()
    assert observer.snapshot() == before
    raw.channel.queue_bind(queue, exchange, "key")
    bound = observer.snapshot()
    assert bound != before
    raw.send(queue)
    assert observer.snapshot() != bound


def test_the_broker_tells_its_version(observer: RabbitMQObserver) -> None:
    """And the client its own."""
    found = observer.versions()
    assert set(found) == {"rabbitmq", "pika"}
    assert int(found["rabbitmq"].partition(".")[0]) >= 4
