"""Administering: idempotent making, honest differences, refusals before anything is destroyed."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.admin import Change
from mqbridge.errors import ConfigurationError, InvalidSpec, Mismatch, NotFound, Rejected
from mqbridge.testing import VirtualClock, embedded

TWO = mq.Topic("two", partitions=2)
WORK = mq.Queue("work", max_attempts=1)
EVENTS = mq.Exchange("events", type="topic", alternate=mq.Exchange("rest", type="fanout"))
SPECS: list[Any] = [
    mq.Binding(EVENTS, WORK, key="orders.#"),
    mq.Binding(mq.Exchange("by-header", type="headers"), WORK, headers={"a": "1", "b": None}, match="any"),
    mq.Exchange("by-header", type="headers"),
    WORK,
    TWO,
    EVENTS,
]


def send(bus: mq.Bus, destination: Any, count: int, **options: Any) -> None:
    with bus.producer(partitioner="round_robin") as producer:
        for number in range(count):
            producer.send(destination, b"%d" % number, **options)


def test_ensure_in_any_order_and_again(bus: mq.Bus) -> None:
    """Bindings before their ends, queues before their dead-letter queues: ensure() sorts it out, and repeats."""
    bus.admin.ensure(*SPECS)
    bus.admin.ensure(*SPECS)
    assert {queue.name for queue in bus.admin.list_queues()} == {"work", "work.dlq"}
    assert {exchange.name for exchange in bus.admin.list_exchanges()} >= {"events", "rest", "by-header"}
    assert [topic.name for topic in bus.admin.list_topics()] == ["two"]


def test_plan_says_what_ensure_would_do_and_does_nothing(bus: mq.Bus) -> None:
    """Before: create. After: keep, bindings with headers included. Different: the differences."""
    assert {change.action for change in bus.admin.plan(*SPECS)} == {"create"}
    assert bus.admin.list_topics() == []
    bus.admin.ensure(*SPECS)
    assert {change.action for change in bus.admin.plan(*SPECS)} == {"keep"}
    other = mq.Topic("two", partitions=5)
    assert bus.admin.plan(other) == [Change("mismatch", other, (("partitions", 5, 2),))]


def test_what_is_no_specification_is_refused(bus: mq.Bus) -> None:
    """Text is not guessed at: neither by ensure nor, in silence, by plan."""
    for call in (bus.admin.ensure, bus.admin.plan):
        with pytest.raises(InvalidSpec):
            call("topic:two")  # type: ignore[arg-type]


def test_mismatch_changes_nothing(bus: mq.Bus) -> None:
    """What exists differently stays as it is."""
    bus.admin.ensure(WORK)
    with pytest.raises(Mismatch) as caught:
        bus.admin.ensure(mq.Queue("work", max_attempts=9, max_length=3))
    assert {field for field, _, _ in caught.value.differences} == {"max_attempts", "max_length"}
    bus.admin.ensure(WORK)


def test_ensure_from_many_threads(bus: mq.Bus) -> None:
    """Several programs that start at once all succeed."""
    failures: list[Exception] = []

    def ensure() -> None:
        try:
            bus.admin.ensure(*SPECS)
        except mq.MqbridgeError as error:
            failures.append(error)

    threads = [threading.Thread(target=ensure) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert failures == []


@pytest.mark.parametrize("thing", [mq.Topic("none"), mq.Queue("none"), mq.Exchange("none")])
def test_missing_is_not_found(bus: mq.Bus, thing: Any) -> None:
    """describe and delete of what is not there say so."""
    for call in (bus.admin.describe, bus.admin.delete):
        with pytest.raises(NotFound):
            call(thing)


def test_a_name_of_another_kind_is_not_touched(bus: mq.Bus) -> None:
    """purge(Topic("x")) must not purge the queue x, nor offsets(Queue("x")) show the topic's."""
    topic, queue = mq.Topic("x"), mq.Queue("x")
    bus.admin.ensure(topic, queue)
    send(bus, queue, 3)
    wrong: list[Any] = [
        lambda: bus.admin.purge(topic),  # type: ignore[arg-type]
        lambda: bus.admin.depth(topic),  # type: ignore[arg-type]
        lambda: bus.admin.dead_letters(topic),  # type: ignore[arg-type]
        lambda: bus.admin.redrive(topic),  # type: ignore[arg-type]
        lambda: bus.admin.offsets(queue),  # type: ignore[arg-type]
        lambda: bus.admin.offset_at(queue, dt.datetime.now(dt.UTC)),  # type: ignore[arg-type]
        lambda: bus.admin.delete_records(queue, {0: 0}),  # type: ignore[arg-type]
        lambda: bus.admin.add_partitions(queue, 3),  # type: ignore[arg-type]
        lambda: bus.admin.reset_offsets("g", queue, mq.EARLIEST),  # type: ignore[arg-type]
        lambda: bus.admin.delete("queue:x"),  # type: ignore[arg-type]
    ]
    for call in wrong:
        with pytest.raises(InvalidSpec):
            call()
    assert bus.admin.depth(queue) == 3


def test_offsets_and_delete_records(bus: mq.Bus) -> None:
    """The start moves to what is given; reading begins there; beyond the end is refused for all partitions."""
    bus.admin.ensure(TWO)
    send(bus, TWO, 20)
    with pytest.raises(ConfigurationError):
        bus.admin.delete_records(TWO, {0: 4, 1: 11})
    bus.admin.delete_records(TWO, {0: 4})
    offsets = bus.admin.offsets(TWO)
    assert {p: (known.start, known.end) for p, known in offsets.items()} == {0: (4, 10), 1: (0, 10)}
    assert len(list(bus.replay(TWO, mq.EARLIEST))) == 16


def test_offset_at() -> None:
    """The first offset at or after a moment, None where there is none."""
    clock = VirtualClock()
    with embedded(clock) as bus:
        bus.admin.ensure(TWO)
        send(bus, TWO, 4)
        clock.advance(10)
        send(bus, TWO, 1)
        moment = dt.datetime.fromtimestamp(clock.wall_ms() / 1000, dt.UTC)
        found = bus.admin.offset_at(TWO, moment)
        assert sorted(found.values(), key=lambda at: (at is None, at)) == [2, None]
        assert bus.admin.offset_at(TWO, moment - dt.timedelta(seconds=10)) == {0: 0, 1: 0}
        with pytest.raises(ConfigurationError, match="time zone"):
            bus.admin.offset_at(TWO, dt.datetime(2026, 1, 1))


def test_add_partitions(bus: mq.Bus) -> None:
    """It grows, never shrinks; a group reads the new partition from its beginning."""
    bus.admin.ensure(TWO)
    with bus.consumer(TWO, group="g", start=mq.LATEST) as consumer:
        consumer.wait_assigned(5)
        bus.admin.add_partitions(TWO, 3)
        with bus.producer(partitioner=lambda *_: 2) as producer:
            producer.send(TWO, b"new").result(5)
        assert [delivery.raw for delivery in consumer.poll(timeout=5)] == [b"new"]
    with pytest.raises(ConfigurationError):
        bus.admin.add_partitions(TWO, 2)


def test_reset_offsets_is_dry_by_default_and_refused_while_active(bus: mq.Bus) -> None:
    """The plan says before and after; applied it moves the group, to any position; a running group is left alone."""
    bus.admin.ensure(TWO)
    send(bus, TWO, 10)
    with bus.consumer(TWO, group="g", start=mq.EARLIEST) as consumer:
        for delivery in [*consumer.poll(), *consumer.poll()]:
            delivery.ack()
        consumer.commit()
        with pytest.raises(Rejected, match="1 members"):
            bus.admin.reset_offsets("g", TWO, mq.EARLIEST, dry_run=False)
    plan = bus.admin.reset_offsets("g", TWO, mq.EARLIEST)
    assert (plan.before, plan.after, plan.applied) == ({0: 5, 1: 5}, {0: 0, 1: 0}, False)
    assert bus.admin.describe_group("g").committed == {("two", 0): 5, ("two", 1): 5}
    assert bus.admin.reset_offsets("g", TWO, mq.At({1: 2}), dry_run=False).applied
    assert bus.admin.describe_group("g").committed == {("two", 0): 0, ("two", 1): 2}
    assert bus.admin.reset_offsets("g", TWO, mq.LATEST, dry_run=False).after == {0: 5, 1: 5}
    assert bus.admin.reset_offsets("new", TWO, mq.EARLIEST).before == {0: None, 1: None}
    with pytest.raises(InvalidSpec, match="partition 9"):
        bus.admin.reset_offsets("g", TWO, mq.At({9: 0}))
    with pytest.raises(InvalidSpec):
        bus.admin.reset_offsets("g", TWO, "earliest")  # type: ignore[arg-type]


def test_groups(bus: mq.Bus) -> None:
    """Listed, described with members, assignment and lag; forgotten only when nobody uses them."""
    bus.admin.ensure(TWO)
    send(bus, TWO, 6)
    with bus.consumer(TWO, group="g", start=mq.EARLIEST, instance_id="me") as consumer:
        consumer.wait_assigned(5)
        described = bus.admin.describe_group("g")
        assert [member.instance_id for member in described.members] == ["me"]
        assert described.members[0].assignment == (("two", 0), ("two", 1))
        assert described.lag_messages == {("two", 0): 3, ("two", 1): 3}
        assert described.state == "stable"
        with pytest.raises(Rejected):
            bus.admin.delete_group("g")
    with bus.consumer(TWO, group="h", start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(5)
    assert [group.group for group in bus.admin.list_groups()] == ["g", "h"]
    bus.admin.delete_group("h")
    with pytest.raises(NotFound):
        bus.admin.describe_group("h")


def test_dead_letters_are_seen_and_driven_back(bus: mq.Bus) -> None:
    """Browsing takes nothing; redrive moves those named, then the rest, attempts counted anew and ids kept."""
    bus.admin.ensure(WORK)
    send(bus, WORK, 4, headers={"h": b"1"}, key="k")
    with bus.consumer(WORK) as consumer:
        ids = {}
        for delivery in consumer.poll():
            ids[delivery.raw] = delivery.message_id
            delivery.retry(error="bad")
        consumer.commit()
    seen = bus.admin.dead_letters(WORK)
    assert seen == bus.admin.dead_letters(WORK)
    assert {letter.value: letter.message_id for letter in seen} == ids
    assert {(letter.key, letter.headers["h"], letter.death.error if letter.death else None) for letter in seen} == {
        (b"k", b"1", "bad")
    }
    assert len(bus.admin.dead_letters(WORK, max_messages=2)) == 2
    assert bus.admin.redrive(WORK, tokens=[seen[1].token]) == 1
    assert bus.admin.depth(WORK) == 1
    assert bus.admin.redrive(WORK) == 3
    with bus.consumer(WORK) as consumer:
        again = consumer.poll()
        assert {delivery.raw: delivery.message_id for delivery in again} == ids
        assert {delivery.attempt for delivery in again} == {1}
        assert {delivery.death for delivery in again} == {None}
    with pytest.raises(NotFound, match="no dead-letter queue"):
        bus.admin.dead_letters(mq.Queue("work.dlq"))


def test_purge_leaves_what_is_out(bus: mq.Bus) -> None:
    """Messages that are with a consumer are not purged, and can be settled."""
    bus.admin.ensure(WORK)
    send(bus, WORK, 5)
    with bus.consumer(WORK, prefetch=2) as consumer:
        got = consumer.poll()
        assert bus.admin.purge(WORK) == 3
        for delivery in got:
            delivery.ack()
        consumer.commit()
    assert bus.admin.depth(WORK) == 0


def test_bind_and_unbind_repeat(bus: mq.Bus) -> None:
    """Binding what is bound and unbinding what is not are no errors; routing follows."""
    bus.admin.ensure(WORK, EVENTS)
    binding = mq.Binding(EVENTS, WORK, key="a.*")
    with bus.producer() as producer:
        for _ in range(2):
            bus.admin.bind(binding)
        producer.send(EVENTS, b"x", routing_key="a.b").result(5)
        assert bus.admin.depth(WORK) == 1
        for _ in range(2):
            bus.admin.unbind(binding)
        with pytest.raises(mq.Unroutable):
            producer.send(EVENTS, b"x", routing_key="a.b").result(5)


def test_health(bus: mq.Bus) -> None:
    """Facts for a person, the engine among them."""
    assert bus.admin.health()["engine"] == "native"


def test_an_open_producer_learns_of_added_partitions(bus: mq.Bus) -> None:
    """After one more answer, a producer that was open places a key where a new one places it."""
    grown = mq.Topic("grown", partitions=1)
    bus.admin.ensure(grown)
    with bus.producer() as old:
        assert old.send(grown, b"x", key="customer-1").result(5).partition == 0
        bus.admin.add_partitions(grown, 8)
        old.send(grown, b"x", key="customer-1").result(5)
        with bus.producer() as new:
            for number in range(20):
                places = {p.send(grown, b"x", key=f"customer-{number}").result(5).partition for p in (old, new)}
                assert len(places) == 1
