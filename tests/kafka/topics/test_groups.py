"""Groups on a real broker: who holds what, what is committed, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition

import mqbridge as mq
from mqbridge import spi
from mqbridge.testing import wait_until
from tests.kafka.topics.raw import Raw, collect, fresh

Mode = Literal["cooperative", "eager", "server"]


class Party:
    """A consumer on a thread of its own, which acks what it gets."""

    def __init__(self, bus: mq.Bus, topic: mq.Topic[bytes], group: str, **options: Any) -> None:
        self.got: list[tuple[int, int]] = []
        self.told: list[tuple[str, tuple[Any, ...]]] = []
        self._stop = threading.Event()
        self.consumer = bus.consumer(topic, group=group, start=mq.EARLIEST, **options)
        for what in ("assigned", "revoked", "lost"):
            getattr(self.consumer, f"on_{what}")(lambda places, what=what: self.told.append((what, places)))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for delivery in self.consumer.poll(timeout=0.05):
                self.got.append((delivery.partition or 0, delivery.offset or 0))
                delivery.ack()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def held(self) -> set[int]:
        return {partition for _, partition in self.consumer.assignment()}


@contextmanager
def parties(*made: Callable[[], Party]) -> Iterator[list[Party]]:
    found: list[Party] = []
    try:
        yield found
    finally:
        for party in found:
            party.stop()
            party.consumer.close()


@pytest.mark.parametrize("mode", ["cooperative", "eager", "server"])
def test_two_members_share_and_nothing_is_processed_twice(bus: mq.Bus, raw: Raw, mode: Mode) -> None:
    """Two members hold disjoint, complete halves; over the moves each record is processed once, all is committed."""
    topic, group = raw.topic(partitions=4), fresh("g")
    sent = [0] * 4

    def send(rounds: int) -> None:
        for partition in range(4):
            raw.produce(topic.name, [b"x"] * rounds, partition=partition)
            sent[partition] += rounds

    send(50)
    with parties() as found:
        a = Party(bus, topic, group, rebalance=mode)
        found.append(a)
        wait_until(lambda: len(a.got) == 200)
        b = Party(bus, topic, group, rebalance=mode)
        found.append(b)
        send(20)
        wait_until(lambda: len(a.held()) == len(b.held()) == 2, 20.0)
        assert a.held() | b.held() == {0, 1, 2, 3}
        if mode != "eager":
            [revoked] = [places for what, places in a.told if what == "revoked"]
            assert {partition for _, partition in revoked} == b.held()
        send(20)
        wait_until(lambda: len(a.got) + len(b.got) >= sum(sent))
        assert not [told for told in (*a.told, *b.told) if told[0] == "lost"]
    got = sorted(a.got + b.got)
    assert got == [(partition, offset) for partition in range(4) for offset in range(sent[partition])]
    assert raw.committed(group) == {(topic.name, partition): sent[partition] for partition in range(4)}


def test_a_revoke_commits_what_the_application_settles_while_it_drains(bus: mq.Bus, raw: Raw) -> None:
    """Deliveries that are out when a partition moves may still be settled, and the next owner begins after them."""
    topic, group = raw.topic(partitions=2), fresh("g")
    for partition in range(2):
        raw.produce(topic.name, [b"x"] * 3, partition=partition)
    with bus.consumer(topic, group=group, start=mq.EARLIEST, drain_timeout_s=20.0) as first:
        out = collect(first, 6)
        revoked: list[Any] = []
        first.on_revoked(revoked.append)
        with parties() as found:
            second = Party(bus, topic, group)
            found.append(second)
            wait_until(lambda: first.poll(timeout=0.02) or revoked)
            assert second.got == []
            for delivery in out:
                delivery.ack()
            wait_until(lambda: first.poll(timeout=0.02) or second.held(), 15.0)
            [moved] = second.held()
            raw.produce(topic.name, [b"y"], partition=moved)
            wait_until(lambda: first.poll(timeout=0.02) or second.got)
            assert second.got == [(moved, 3)]


def member(bus: mq.Bus, topic: mq.Topic[bytes], group: str, **changes: Any) -> spi.TopicSubscription:
    given: dict[str, Any] = {
        "start": spi.Start("earliest"),
        "isolation": "read_committed",
        "rebalance": "cooperative",
        "instance_id": None,
        "session_timeout_s": 6.0,
        "max_poll_interval_s": 60.0,
        "on_gap": "fail",
    }
    spec = spi.TopicSubscriptionSpec((topic,), group, **{**given, **changes})
    return bus._connection.subscribe(spec, lambda: None)


def first_event(subscription: spi.TopicSubscription, kind: type[Any]) -> Any:
    def look() -> Any:
        subscription.take(0)
        return next((event for event in subscription.events() if isinstance(event, kind)), None)

    return wait_until(look, 20.0)


def closed(subscription: spi.TopicSubscription) -> None:
    ended = threading.Event()
    subscription.close(lambda _result, _error: ended.set())
    assert ended.wait(20)


def test_a_commit_of_a_stale_lease_is_refused(bus: mq.Bus, raw: Raw) -> None:
    """A lease that is not current is refused by name and changes nothing; the current one beside it is committed."""
    topic, group = raw.topic(partitions=2), fresh("g")
    subscription = member(bus, topic, group)
    assigned = first_event(subscription, spi.Assigned).partitions
    lease = assigned[topic.name, 0][0]
    answers: list[Any] = []
    offsets = {(topic.name, 0): (lease, 7), (topic.name, 1): (assigned[topic.name, 1][0] - 1000, 7)}
    subscription.commit(offsets, lambda refused, error: answers.append((refused, error)))
    wait_until(lambda: answers)
    assert answers == [(((topic.name, 1),), None)]
    assert raw.committed(group) == {(topic.name, 0): 7, (topic.name, 1): 0}
    closed(subscription)


def test_a_member_that_the_group_removed_cannot_commit(bus: mq.Bus, raw: Raw) -> None:
    """With the same instance id another member takes the place; the old one's commits are refused, and it is Fenced."""
    topic, group = raw.topic(), fresh("g")
    old = member(bus, topic, group, instance_id="i")
    lease = first_event(old, spi.Assigned).partitions[topic.name, 0][0]
    new = member(bus, topic, group, instance_id="i")
    first_event(new, spi.Assigned)
    answers: list[Any] = []
    old.commit({(topic.name, 0): (lease, 5)}, lambda refused, error: answers.append((refused, error)))
    fatal = first_event(old, spi.Fatal)
    assert isinstance(fatal.error, mq.Fenced)
    wait_until(lambda: answers)
    assert answers[0][0] == ((topic.name, 0),)
    assert raw.committed(group) == {(topic.name, 0): 0}
    closed(old)
    closed(new)


def test_a_silent_application_leaves_and_comes_back(bus: mq.Bus, raw: Raw) -> None:
    """Not polled for max_poll_interval_s the member leaves, says so as Lost, and joins again at the next poll."""
    topic, group = raw.topic(), fresh("g")
    subscription = member(bus, topic, group, max_poll_interval_s=0.4)
    first = first_event(subscription, spi.Assigned).partitions[topic.name, 0]
    lost = wait_until(lambda: [event for event in subscription.events() if isinstance(event, spi.Lost)])
    assert "max_poll_interval_s=0.4" in lost[0].reason
    second = first_event(subscription, spi.Assigned).partitions[topic.name, 0]
    assert second[0] > first[0]
    closed(subscription)


def test_a_slow_application_does_not_stop_the_group(bus: mq.Bus, raw: Raw) -> None:
    """While one member's store is full and it takes nothing, a second one joins and gets its share."""
    topic, group = raw.topic(partitions=2), fresh("g")
    for partition in range(2):
        raw.produce(topic.name, [b"x" * 10] * 12_000, partition=partition)
    slow = member(bus, topic, group)
    first_event(slow, spi.Assigned)
    quick = member(bus, topic, group)

    def moved() -> Any:
        for event in slow.events():
            if isinstance(event, spi.Revoking):
                event.done()
        slow.take(0)
        return next((event for event in quick.events() if isinstance(event, spi.Assigned) and event.partitions), None)

    assert len(wait_until(moved, 20.0).partitions) == 1
    closed(slow)
    closed(quick)


def test_paused_partitions_give_nothing_and_lose_nothing(bus: mq.Bus, raw: Raw) -> None:
    """A paused partition is kept back while others go on, over a seek too; resumed, it goes on where it was."""
    topic, group = raw.topic(partitions=2), fresh("g")
    with bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(20)
        consumer.pause([(topic.name, 0)])
        for partition in range(2):
            raw.produce(topic.name, [b"%d" % n for n in range(5)], partition=partition)
        got = collect(consumer, 5)
        assert {delivery.partition for delivery in got} == {1}
        consumer.seek(topic, 1, 3)
        again = collect(consumer, 2)
        assert [(d.partition, d.offset) for d in again] == [(1, 3), (1, 4)]
        consumer.resume()
        rest = collect(consumer, 5)
        assert [(d.partition, d.offset) for d in rest] == [(0, n) for n in range(5)]


def test_read_committed_hides_what_was_aborted(bus: mq.Bus, raw: Raw) -> None:
    """Records of aborted transactions are not delivered; markers leave gaps; the commit is after the last record."""
    topic, group = raw.topic(), fresh("g")
    raw.transact(topic.name, [b"a", b"b"], commit=True)
    raw.transact(topic.name, [b"never"], commit=False)
    raw.produce(topic.name, [b"c"])
    with bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        got = collect(consumer, 3)
        assert [(d.offset, d.raw) for d in got] == [(0, b"a"), (1, b"b"), (5, b"c")]
        for delivery in got:
            delivery.ack()
        consumer.commit()
    assert raw.committed(group) == {(topic.name, 0): 6}
    with bus.consumer(topic, group=fresh("g"), start=mq.EARLIEST, isolation="read_uncommitted") as consumer:
        assert [d.raw for d in collect(consumer, 4)] == [b"a", b"b", b"never", b"c"]


def test_a_deleted_topic_ends_its_consumers(bus: mq.Bus, raw: Raw) -> None:
    """Who consumes a topic that is deleted hears NotFound, and the topic stays deleted."""
    topic = raw.topic()
    with bus.consumer(topic, group=fresh("g"), start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(20)
        raw.admin.delete_topics([topic.name])[topic.name].result(20)
        with pytest.raises(mq.NotFound, match=topic.name):
            wait_until(lambda: consumer.poll(timeout=0.2), 20.0)
    assert topic.name not in raw.names()


def test_the_clients_consumer_is_at_hand(bus: mq.Bus, raw: Raw) -> None:
    """run_on_client gives the client's Consumer on the thread that owns it; another type is refused."""
    with bus.consumer(raw.topic(), group=fresh("g"), start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(20)
        assert len(consumer.run_on_client(Consumer, lambda native: native.assignment())) == 1
        with pytest.raises(mq.InvalidSpec):
            consumer.run_on_client(dict, len)


def test_offsets_cannot_be_set_under_a_member(bus: mq.Bus, raw: Raw) -> None:
    """The broker refuses to set offsets of a group with members; that refusal is Rejected, and nothing changes."""
    topic, group = raw.topic(), fresh("g")
    subscription = member(bus, topic, group)
    first_event(subscription, spi.Assigned)
    answers: list[Any] = []
    bus._connection.admin.commit_offsets(group, topic, {0: 5}, lambda _result, error: answers.append(error))
    wait_until(lambda: answers)
    assert isinstance(answers[0], mq.Rejected)
    assert raw.committed(group) == {(topic.name, 0): 0}
    closed(subscription)
    place = ConsumerGroupTopicPartitions(group, [TopicPartition(topic.name, 0, 5)])

    def set_now() -> bool:
        try:
            found = raw.admin.alter_consumer_group_offsets([place])[group].result(20)
        except KafkaException:
            return False
        return all(place.error is None for place in found.topic_partitions)

    wait_until(set_now)
