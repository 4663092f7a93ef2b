"""A real broker that stops, or freezes, while a program is connected: nothing hangs, each call says how it ended, and
all goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_conformance.brokers.servers import Broker
from tests.bad_input.brokers import Source, failure, fresh

ANSWER_S = 1.0
ENDLESS_S = 30.0
"""What takes longer has no end of its own: no measure."""
"""How long the calls of these tests may wait for an answer."""


@pytest.fixture(params=["kafka_broker", "rabbitmq_broker"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """One that may be stopped."""
    found: Broker = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def sources(broker: Broker) -> Iterator[tuple[mq.Topic[bytes], mq.Queue[bytes]]]:
    topic, queue = mq.Topic(fresh("t"), partitions=2), mq.Queue(fresh("q"))
    with mq.connect(broker.url) as bus:
        bus.admin.ensure(topic, queue)
    yield topic, queue
    with mq.connect(broker.url) as bus:
        for one in (topic, queue, mq.Queue(f"{queue.name}.dlq")):
            bus.admin.delete(one)


def _consumer(bus: mq.Bus, source: Source) -> Any:
    if isinstance(source, mq.Topic):
        # Away for longer than this, a member comes back as a new one, and Kafka waits so long for the old one.
        return bus.consumer(source, group=fresh("group"), start=mq.EARLIEST, session_timeout_s=2.0)
    return bus.consumer(source)


def _eat(consumer: Any, seen: set[bytes]) -> set[bytes]:
    for delivery in consumer.poll(500, timeout=0.2):
        seen.add(delivery.raw)
        delivery.ack()
    return seen


def _eat_all(consumer: Any, seen: set[bytes], wanted: set[bytes]) -> None:
    wait_until(lambda: wanted <= _eat(consumer, seen), 60)


def _warm(
    bus: mq.Bus, producer: mq.Producer, sources: tuple[mq.Topic[bytes], mq.Queue[bytes]]
) -> tuple[dict[Source, Any], dict[Source, set[bytes]]]:
    """A consumer for each source, which has received and settled a first message; all that takes long for a first time
    is done."""
    consumers: dict[Source, Any] = {}
    seen: dict[Source, set[bytes]] = {}
    for source in sources:
        wait_until(lambda source=source: source in consumers or _made(consumers, bus, source), 30)  # type: ignore[misc]
        seen[source] = set()
        wait_until(lambda source=source: producer.send(source, b"before").exception(10) is None, 30)  # type: ignore[misc]
        _eat_all(consumers[source], seen[source], {b"before"})
        consumers[source].commit()
    return consumers, seen


def _made(consumers: dict[Source, Any], bus: mq.Bus, source: Source) -> bool:
    """Whether a consumer came about within the short timeout of the bus."""
    try:
        consumers[source] = _consumer(bus, source)
    except mq.OperationTimeout:
        return False
    return True


def _goes_on(producer: mq.Producer, source: Source, consumer: Any, seen: set[bytes]) -> None:
    wait_until(lambda: producer.send(source, b"after").exception(10) is None, 30)
    _eat_all(consumer, seen, {b"after"})


def _close(producer: mq.Producer, consumers: dict[Source, Any]) -> None:
    """What was settled too late is told when a consumer closes, and comes again: no loss."""
    producer.close()
    for consumer in consumers.values():
        try:
            consumer.close()
        except (mq.LeaseLost, mq.ConnectionLost):
            continue


@pytest.mark.timeout(120)
def test_a_broker_that_is_down_for_a_while(broker: Broker, sources: tuple[mq.Topic[bytes], mq.Queue[bytes]]) -> None:
    """What is sent, asked or opened meanwhile ends by its timeout and says what became of it; a poll gives no error;
    once it is up again the same producer and consumers go on, and nothing that was confirmed is missing."""
    topic, _ = sources
    states: list[str] = []
    with mq.connect(broker.url, operation_timeout_s=ANSWER_S) as bus:
        bus.on_state(lambda state, _why: states.append(state))
        producer = bus.producer(delivery_timeout_s=ANSWER_S)
        consumers, seen = _warm(bus, producer, sources)
        receipts = {source: [producer.send(source, b"%d" % number) for number in range(50)] for source in sources}
        broker.halt()
        try:
            wait_until(lambda: bus.state == "reconnecting", 20)
            for source in sources:
                error = _within(ENDLESS_S, lambda source=source: failure(lambda: producer.send(source, b"late")))  # type: ignore[misc]
                assert isinstance(error, mq.OperationTimeout | mq.ConnectionLost), repr(error)
                assert error.retryable
                assert ("may have been applied" if error.outcome == "unknown" else "Nothing was ") in str(error)
            for call in (lambda: bus.admin.describe(topic), lambda: _consumer(bus, topic)):
                error = _within(ENDLESS_S, lambda call=call: failure(call))  # type: ignore[misc]
                assert isinstance(error, mq.OperationTimeout | mq.ConnectionLost), repr(error)
                assert error.outcome == "not_applied", str(error)
                assert "try again" in str(error)
            for source in sources:
                _within(ENDLESS_S, lambda source=source: _eat(consumers[source], seen[source]))  # type: ignore[misc]
            assert isinstance(failure(lambda: mq.connect(broker.url)), mq.Unreachable)
        finally:
            broker.start()
        for source in sources:
            _goes_on(producer, source, consumers[source], seen[source])
            outcomes = [receipt.exception(ENDLESS_S) for receipt in receipts[source]]
            confirmed = {b"%d" % number for number, error in enumerate(outcomes) if error is None}
            _eat_all(consumers[source], seen[source], confirmed)
            for error in outcomes:
                assert error is None or (isinstance(error, mq.OperationTimeout | mq.ConnectionLost)), repr(error)
        wait_until(lambda: bus.state == "connected", 20)
        wait_until(lambda: states[-1:] == ["connected"] and "reconnecting" in states, 5)
        _close(producer, consumers)


@pytest.mark.timeout(120)
def test_a_frozen_broker(broker: Broker, sources: tuple[mq.Topic[bytes], mq.Queue[bytes]]) -> None:
    """Nothing answers: a send ends by its delivery timeout as unknown, a poll in its time with nothing, administering,
    opening and connecting by their timeouts, each with its error; after the thaw all of them go on as they are."""
    topic, _ = sources
    made = mq.Topic(fresh("made"))
    with mq.connect(broker.url, operation_timeout_s=ANSWER_S) as bus:
        producer = bus.producer(delivery_timeout_s=ANSWER_S)
        consumers, seen = _warm(bus, producer, sources)
        broker.pause()
        try:
            receipts = [producer.send(source, b"frozen") for source in sources]
            for consumer in consumers.values():
                _within(ENDLESS_S, lambda consumer=consumer: _nothing(consumer.poll(10, timeout=0.3)))  # type: ignore[misc]
            calls: list[tuple[str, Callable[[], Any], str]] = [
                ("looking", lambda: bus.admin.describe(topic), "not_applied"),
                ("listing", bus.admin.list_topics, "not_applied"),
                ("making", lambda: bus.admin.ensure(made), "unknown"),
                ("opening", lambda: producer.send(mq.Queue(fresh("none")), b"x"), "not_applied"),
                ("consuming", lambda: _consumer(bus, topic), "not_applied"),
            ]
            for what, call, outcome in calls:
                error = _within(ENDLESS_S, lambda call=call: failure(call))  # type: ignore[misc]
                assert type(error) is mq.OperationTimeout, f"{what}: {error!r}"
                assert error.outcome == outcome, f"{what}: {error}"
                assert error.retryable
                assert "try again" in str(error)
            error = _within(ENDLESS_S, lambda: failure(lambda: mq.connect(broker.url, connect_timeout_s=ANSWER_S)))
            assert type(error) is mq.Unreachable
            for receipt in receipts:
                error = receipt.exception(ENDLESS_S)
                assert type(error) is mq.OperationTimeout
                assert error.outcome == "unknown"
                assert "may have been applied" in str(error)
                assert "duplicate" in str(error)
        finally:
            broker.unpause()
        for source in sources:
            _goes_on(producer, source, consumers[source], seen[source])
            assert seen[source] <= {b"before", b"frozen", b"after"}
        wait_until(lambda: failure(lambda: bus.admin.ensure(made)) is None, 30)
        bus.admin.delete(made)
        wait_until(lambda: bus.state == "connected", 20)
        _close(producer, consumers)


def _nothing(deliveries: list[Any]) -> None:
    assert deliveries == []


def _within(limit_s: float, call: Callable[[], Any]) -> Any:
    begun_s = time.monotonic()
    result = call()
    assert time.monotonic() - begun_s < limit_s
    return result
