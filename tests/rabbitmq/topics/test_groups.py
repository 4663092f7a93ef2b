"""Groups on streams in one process: the rules of `start`, one member, commits, seek, pause, gaps."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_rabbitmq import groups
from mqbridge_rabbitmq.errands import Scratch
from tests.rabbitmq.topics import raw

MakeTopic = Callable[..., mq.Topic[bytes]]


def send(bus: mq.Bus, topic: mq.Topic[bytes], numbers: range, partition: int = 0) -> None:
    with bus.producer(partitioner=lambda *_: partition) as producer:
        for number in numbers:
            producer.send(topic, b"%d" % number)


def receive(consumer: mq.TopicConsumer[bytes], count: int, within_s: float = 15.0) -> list[mq.Delivery[bytes]]:
    got: list[mq.Delivery[bytes]] = []
    until_s = time.monotonic() + within_s
    while len(got) < count and time.monotonic() < until_s:
        got += consumer.poll(count - len(got), timeout=0.5)
    assert len(got) == count, f"{len(got)} of {count} came: {[d.raw for d in got]}"
    return got


def values(deliveries: list[mq.Delivery[bytes]]) -> list[int]:
    return [int(d.raw or b"-1") for d in deliveries]


def ack_all(consumer: mq.TopicConsumer[bytes], deliveries: list[mq.Delivery[bytes]]) -> None:
    for delivery in deliveries:
        delivery.ack()
    consumer.commit(10)


def nothing_for_ever(consumer: mq.TopicConsumer[bytes]) -> None:
    """Polls until it raises; a delivery is a failure."""
    while True:
        assert consumer.poll(timeout=0.5) == []


def test_start_counts_only_where_nothing_is_committed(
    rabbit: mq.Bus, rabbitmq_url: str, make_topic: MakeTopic, group: str
) -> None:
    """The committed offset wins over every start; the token in the queue, read by raw pika, says the same."""
    topic = make_topic()
    send(rabbit, topic, range(10))
    for start, wanted in ((mq.EARLIEST, range(3)), (mq.LATEST, range(3, 6)), (mq.At({0: 0}), range(6, 8))):
        with rabbit.consumer(topic, group=group, start=start) as consumer:
            got = receive(consumer, len(wanted))
            assert values(got) == list(wanted)
            ack_all(consumer, got)
    [token] = raw.tokens(rabbitmq_url, f"{group}:{topic.name}.mqg-0")
    assert (token["offset"], token["epoch"]) == (8, 3)
    assert rabbit.admin.describe_group(group).committed == {(topic.name, 0): 8}


def test_what_a_member_that_just_left_committed_is_told(
    rabbit: mq.Bus, make_topic: MakeTopic, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its consumer was still counted when the group was looked at, and nobody is there to answer any more."""
    topic = make_topic()
    send(rabbit, topic, range(3))
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        ack_all(consumer, receive(consumer, 3))
    look = groups._consumers
    looked: list[str] = []

    async def late(scratch: Scratch, queue: str) -> int:
        looked.append(queue)
        return 1 if len(looked) == 1 else await look(scratch, queue)

    monkeypatch.setattr(groups, "_consumers", late)
    described = rabbit.admin.describe_group(group)
    assert described.committed == {(topic.name, 0): 3}
    assert not described.members
    assert len(looked) == 2


def test_a_resolved_start_is_committed_before_the_first_delivery(
    rabbit: mq.Bus, rabbitmq_url: str, make_topic: MakeTopic, group: str
) -> None:
    """LATEST, and the member dies before it commits anything: its successor skips nothing of what came between."""
    topic = make_topic(partitions=2)
    send(rabbit, topic, range(4))
    with rabbit.consumer(topic, group=group, start=mq.LATEST) as consumer:
        consumer.wait_assigned(10)
    assert [raw.tokens(rabbitmq_url, f"{group}:{topic.name}.mqg-{p}")[0]["offset"] for p in (0, 1)] == [4, 0]
    send(rabbit, topic, range(4, 7))
    with rabbit.consumer(topic, group=group, start=mq.LATEST) as consumer:
        assert values(receive(consumer, 3)) == [4, 5, 6]


def test_the_kinds_of_start(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """At an offset, since a time, and EARLIEST on an empty partition."""
    topic = make_topic(partitions=2)
    base = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    with rabbit.producer(partitioner=lambda *_: 0) as producer:
        for number in range(10):
            producer.send(topic, b"%d" % number, timestamp=base + dt.timedelta(milliseconds=number))
    for name, start, first in (
        ("at", mq.At({0: 7}), 7),
        ("since", mq.Since(base + dt.timedelta(milliseconds=4)), 4),
        ("earliest", mq.EARLIEST, 0),
    ):
        with rabbit.consumer(topic, group=f"{group}-{name}", start=start) as consumer:
            assert values(receive(consumer, 10 - first)) == list(range(first, 10))


def test_an_added_partition_from_its_beginning(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """Whether it was added between two members or under one; a group that starts at LATEST skips nothing of it."""
    topic = make_topic()
    send(rabbit, topic, range(2))
    with rabbit.consumer(topic, group=group, start=mq.LATEST) as consumer:
        consumer.wait_assigned(10)
    rabbit.admin.add_partitions(topic, 2)
    send(rabbit, topic, range(20, 25), partition=1)
    with rabbit.consumer(topic, group=group, start=mq.LATEST) as consumer:
        got = receive(consumer, 5)
        assert values(got) == [20, 21, 22, 23, 24]
        rabbit.admin.add_partitions(topic, 4)
        send(rabbit, topic, range(30, 33), partition=3)
        got += receive(consumer, 3)
        assert values(got)[5:] == [30, 31, 32]
        ack_all(consumer, got)
        assert consumer.committed() == {(topic.name, p): n for p, n in enumerate((2, 5, 0, 3))}


def test_a_second_member_is_silent_then_refused(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """It receives nothing while it waits, says what to use instead, and the first one is not disturbed."""
    topic = make_topic(partitions=2)
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as first:
        first.wait_assigned(10)
        with rabbit.consumer(topic, group=group, start=mq.EARLIEST, session_timeout_s=1.0) as second:
            send(rabbit, topic, range(5))
            with pytest.raises(mq.Unsupported, match="Queue") as refused:
                nothing_for_ever(second)
        assert refused.value.capability == "GROUPS"
        got = receive(first, 5)
        assert values(got) == list(range(5))
        ack_all(first, got)


@pytest.mark.parametrize("by", ["start", "seek"])
def test_beyond_the_end_is_refused(rabbit: mq.Bus, make_topic: MakeTopic, group: str, by: str) -> None:
    """As by the other engines: a stream would wait there, and leave out what comes before that offset."""
    topic = make_topic()
    send(rabbit, topic, range(5))
    start = mq.At({0: 20}) if by == "start" else mq.EARLIEST
    with rabbit.consumer(topic, group=group, start=start) as consumer:
        if by == "seek":
            receive(consumer, 5)
            consumer.seek(topic, 0, 20)
        with pytest.raises(mq.ConfigurationError, match="5 at most"):
            nothing_for_ever(consumer)
    with rabbit.consumer(topic, group=f"{group}-2", start=mq.At({0: 5})) as consumer:
        consumer.wait_assigned(10)
        send(rabbit, topic, range(5, 7))
        assert values(receive(consumer, 2)) == [5, 6]


def test_a_standby_takes_over_from_one_that_leaves(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """No longer than it takes to close: the successor begins at what was committed."""
    topic = make_topic(partitions=3)
    send(rabbit, topic, range(10))
    first = rabbit.consumer(topic, group=group, start=mq.EARLIEST)
    got = receive(first, 10)
    for delivery in got[:4]:
        delivery.ack()
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST, session_timeout_s=10) as second:
        second.poll(timeout=0.1)
        first.close()
        began_s = time.monotonic()
        assert values(receive(second, 6)) == [4, 5, 6, 7, 8, 9]
        assert time.monotonic() - began_s < 5


def test_two_groups_each_see_everything(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """Names with dots: group a.b on topic c is not group a on topic b.c."""
    topic = make_topic()
    send(rabbit, topic, range(5))
    with (
        rabbit.consumer(topic, group=group, start=mq.EARLIEST) as one,
        rabbit.consumer(topic, group=f"{group}.x", start=mq.EARLIEST) as two,
    ):
        assert values(receive(one, 5)) == values(receive(two, 5)) == list(range(5))


def test_seek_both_ways(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """What was fetched is dropped; the next delivery is the one asked for; a commit after it may go back."""
    topic = make_topic()
    send(rabbit, topic, range(100))
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        ack_all(consumer, receive(consumer, 50))
        consumer.seek(topic, 0, 10)
        got = receive(consumer, 3)
        assert values(got) == [10, 11, 12]
        consumer.seek(topic, 0, 90)
        assert values(receive(consumer, 10)) == list(range(90, 100))
        consumer.seek(topic, 0, 20)
        got = receive(consumer, 1)
        ack_all(consumer, got)
        assert consumer.committed() == {(topic.name, 0): 21}


def test_pause_keeps_the_rest_coming(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """A paused partition gives nothing, the other does; resumed, it goes on without a hole."""
    topic = make_topic(partitions=2)
    send(rabbit, topic, range(5))
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(10)
        consumer.pause([(topic.name, 0)])
        send(rabbit, topic, range(10, 1010), partition=1)
        assert values(receive(consumer, 1000)) == list(range(10, 1010))
        consumer.resume()
        assert values(receive(consumer, 5)) == list(range(5))


def test_commits_are_written_as_they_come(
    rabbit: mq.Bus, rabbitmq_url: str, make_topic: MakeTopic, group: str
) -> None:
    """Many commits, one token left: what was proved is in the queue, and what is older is not."""
    topic = make_topic()
    send(rabbit, topic, range(30))
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        for delivery in receive(consumer, 30):
            delivery.ack()
            consumer.commit(10)
    [token] = raw.tokens(rabbitmq_url, f"{group}:{topic.name}.mqg-0")
    assert (token["offset"], token["seq"]) == (30, 30)


@pytest.mark.parametrize("on_gap", ["fail", "earliest", "latest"])
def test_a_gap_is_told(rabbit: mq.Bus, rabbitmq_url: str, make_topic: MakeTopic, group: str, on_gap: Any) -> None:
    """Retention took what was committed: OffsetLost with the facts, or on from where the application says."""
    topic = make_topic(retention=mq.Retention(max_bytes=400_000))
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(10)
    with rabbit.producer() as producer:
        for _ in range(40):
            producer.send_many(topic, [b"x" * 5000] * 20).result(30)
    truncated = wait_until(lambda: _truncated(rabbit, topic), 20)
    assert truncated is not None
    start, end = truncated
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST, on_gap=on_gap) as consumer:
        if on_gap == "fail":
            with pytest.raises(mq.OffsetLost) as lost:
                receive(consumer, 1)
            facts = {name: getattr(lost.value, name) for name in ("topic", "partition", "committed")}
            assert facts == {"topic": topic.name, "partition": 0, "committed": 0}
            assert lost.value.__dict__["start"] >= start
            consumer.seek(topic, 0, start)
            assert (receive(consumer, 1)[0].offset or 0) >= start
        elif on_gap == "earliest":
            assert (receive(consumer, 1)[0].offset or 0) >= start  # retention may have gone on
        else:
            consumer.wait_assigned(10)
            send(rabbit, topic, range(1))
            [new] = receive(consumer, 1)
            assert (new.raw, (new.offset or 0) >= end) == (b"0", True)  # the broker's own chunks take offsets too


def _truncated(bus: mq.Bus, topic: mq.Topic[bytes]) -> tuple[int, int] | None:
    offsets = bus.admin.offsets(topic)[0]
    return (offsets.start, offsets.end) if offsets.start > 0 else None


def test_a_stream_that_was_made_anew_hides_nothing(
    rabbit: mq.Bus, rabbitmq_url: str, make_topic: MakeTopic, group: str
) -> None:
    """A committed offset behind the end is no place to wait at: what is sent would be passed over in silence."""
    topic = make_topic()
    send(rabbit, topic, range(10))
    with rabbit.consumer(topic, group=group, start=mq.LATEST) as consumer:
        consumer.wait_assigned(10)
    stream = f"{topic.name}.mqt-0"
    with raw.channel(rabbitmq_url) as ch:
        ch.queue_delete(stream)
        ch.queue_declare(stream, durable=True, arguments={"x-queue-type": "stream"})
        ch.queue_bind(stream, f"{topic.name}.mqt", "0")
    with rabbit.consumer(topic, group=group, start=mq.LATEST) as consumer, pytest.raises(mq.OffsetLost):
        receive(consumer, 1)


def test_one_that_is_not_polled_gives_its_partitions_up(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """After max_poll_interval_s another may have them; when it is polled again, it joins again and is refused."""
    topic = make_topic()
    send(rabbit, topic, range(3))
    first = rabbit.consumer(
        topic, group=group, start=mq.EARLIEST, max_poll_interval_s=1.0, session_timeout_s=1.0, settle_interval_s=60
    )
    got = receive(first, 3)
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as second:
        assert values(receive(second, 3)) == [0, 1, 2]
        with pytest.raises(mq.LeaseLost):
            ack_all(first, got)
        with pytest.raises(mq.Unsupported):
            nothing_for_ever(first)
    first.close()


def test_its_topic_is_deleted_under_it(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """NotFound, and the committed offset goes with the topic: one that is made later begins anew."""
    topic = make_topic()
    send(rabbit, topic, range(3))
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        ack_all(consumer, receive(consumer, 3))
        rabbit.admin.delete(topic)
        with pytest.raises(mq.NotFound):
            receive(consumer, 1)
    rabbit.admin.ensure(topic)
    send(rabbit, topic, range(1))
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        assert values(receive(consumer, 1)) == [0]


def test_several_topics_in_one_consumer(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """All partitions of all of them, assigned at once."""
    one, two = make_topic(partitions=2), make_topic()
    send(rabbit, one, range(3), partition=1)
    send(rabbit, two, range(10, 13))
    with rabbit.consumer([one, two], group=group, start=mq.EARLIEST) as consumer:
        assert set(consumer.wait_assigned(10)) == {(one.name, 0), (one.name, 1), (two.name, 0)}
        got = receive(consumer, 6)
        assert sorted(values(got)) == [0, 1, 2, 10, 11, 12]
        ack_all(consumer, got)
        assert consumer.committed() == {(one.name, 0): 0, (one.name, 1): 3, (two.name, 0): 3}
