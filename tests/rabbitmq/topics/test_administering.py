"""Making, describing and removing topics; looking at groups and moving them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mqbridge as mq
from mqbridge_rabbitmq.token_keeping import ARGUMENTS
from mqbridge_rabbitmq.tokens import Token, encode
from tests.rabbitmq.topics import raw

MakeTopic = Callable[..., mq.Topic[bytes]]


@pytest.fixture
def name(rabbit: mq.Bus) -> Iterator[str]:
    name = f"t-{secrets.token_hex(4)}"
    yield name
    try:
        rabbit.admin.delete(mq.Topic(name))
    except mq.NotFound:
        return


def bindings(url: str, name: str) -> dict[str, str]:
    path = f"/api/exchanges/{raw.vhost(url)}/{name}.mqt/bindings/source"
    return {binding["routing_key"]: binding["destination"] for binding in raw.api(url, path)}


def arguments(url: str, stream: str) -> dict[str, object]:
    found = raw.api(url, f"/api/queues/{raw.vhost(url)}/{stream}")["arguments"]
    assert isinstance(found, dict)
    return found


def test_a_topic_is_a_super_stream(rabbit: mq.Bus, rabbitmq_url: str, name: str) -> None:
    """A direct exchange, a stream a partition bound by its number, retention as RabbitMQ's own arguments."""
    topic = mq.Topic(name, partitions=3, retention=mq.Retention(max_age_s=3600, max_bytes=1_000_000))
    rabbit.admin.ensure(topic)
    rabbit.admin.ensure(topic)
    assert bindings(rabbitmq_url, name) == {str(n): f"{name}.mqt-{n}" for n in range(3)}
    found = arguments(rabbitmq_url, f"{name}.mqt-2")
    assert (found["x-queue-type"], found["x-max-age"]) == ("stream", "3600s")
    assert (found["x-max-length-bytes"], found["x-stream-max-segment-size-bytes"]) == (1_000_000, 250_000)
    described = rabbit.admin.describe(mq.Topic(name))
    assert isinstance(described, mq.spi.TopicDescription)
    assert (described.topic.partitions, described.topic.retention) == (3, topic.retention)
    assert name in [listed.name for listed in rabbit.admin.list_topics()]


@pytest.mark.parametrize(
    "other", [{"partitions": 2}, {"partitions": 5}, {"partitions": 3, "retention": mq.Retention(max_age_s=60)}]
)
def test_what_differs_is_a_mismatch_and_leaves_nothing(
    rabbit: mq.Bus, rabbitmq_url: str, name: str, other: dict[str, Any]
) -> None:
    """Fewer, more, another retention: refused field by field, and not one stream more than before."""
    rabbit.admin.ensure(mq.Topic(name, partitions=3))
    with pytest.raises(mq.Mismatch) as refused:
        rabbit.admin.ensure(mq.Topic(name, **other))
    assert refused.value.differences[0][0].split(".")[0] in other
    assert len(bindings(rabbitmq_url, name)) == 3
    queues = raw.api(rabbitmq_url, f"/api/queues/{raw.vhost(rabbitmq_url)}?disable_stats=true&enable_queue_totals=true")
    assert sum(queue["name"].startswith(f"{name}.mqt-") for queue in queues) == 3


@pytest.mark.parametrize("numbers", [(4, 4), (4, 6)])
def test_two_programs_make_it_at_once(
    rabbit: mq.Bus, rabbitmq_url: str, name: str, numbers: tuple[int, int]
) -> None:
    """The same specification: both succeed. Different ones: one wins whole, the other hears of a mismatch."""
    outcomes: list[object] = []
    barrier = threading.Barrier(2)

    def ensure(partitions: int) -> None:
        with mq.connect(rabbitmq_url) as bus:
            barrier.wait(10)
            try:
                bus.admin.ensure(mq.Topic(name, partitions=partitions))
            except mq.Mismatch:
                outcomes.append("mismatch")
            else:
                outcomes.append(partitions)

    threads = [threading.Thread(target=ensure, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    if numbers[0] == numbers[1]:
        assert outcomes == [4, 4]
        assert len(bindings(rabbitmq_url, name)) == 4
    else:
        winner = next(outcome for outcome in outcomes if outcome != "mismatch")
        assert sorted(map(str, outcomes)) == sorted([str(winner), "mismatch"])
        assert len(bindings(rabbitmq_url, name)) == winner


def test_ensure_mends_what_a_crash_left_undone(rabbit: mq.Bus, rabbitmq_url: str, name: str) -> None:
    """The exchange and a part of the streams: nobody can send, and the next ensure completes it."""
    topic = mq.Topic(name, partitions=4)
    rabbit.admin.ensure(topic)
    with raw.channel(rabbitmq_url) as ch:
        for number in (1, 2, 3):
            ch.queue_delete(f"{name}.mqt-{number}")
    rabbit.admin.ensure(topic)
    assert len(bindings(rabbitmq_url, name)) == 4
    with raw.channel(rabbitmq_url) as ch:
        for number in range(4):
            ch.queue_delete(f"{name}.mqt-{number}")
    with rabbit.producer() as producer, pytest.raises(mq.NotFound, match="ensure"):
        producer.send(topic, b"x")
    rabbit.admin.ensure(topic)
    with rabbit.producer() as producer:
        producer.send(topic, b"x").result(10)


def test_it_grows_and_never_shrinks(rabbit: mq.Bus, rabbitmq_url: str, name: str) -> None:
    """Added streams are like the first; fewer is refused with nothing changed."""
    rabbit.admin.ensure(mq.Topic(name, partitions=2, retention=mq.Retention(max_age_s=7200)))
    rabbit.admin.add_partitions(mq.Topic(name), 4)
    assert len(bindings(rabbitmq_url, name)) == 4
    assert arguments(rabbitmq_url, f"{name}.mqt-3")["x-max-age"] == "7200s"
    with pytest.raises(mq.InvalidSpec):
        rabbit.admin.add_partitions(mq.Topic(name), 3)
    rabbit.admin.ensure(mq.Topic(name, partitions=4))


def test_delete_takes_everything_of_it(rabbit: mq.Bus, rabbitmq_url: str, name: str, group: str) -> None:
    """Exchange, streams and the groups' tokens; twice is NotFound; a queue of that name is another thing."""
    topic, queue = mq.Topic(name, partitions=2), mq.Queue(name, dead_letter=None)
    rabbit.admin.ensure(topic, queue)
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(10)
    rabbit.admin.delete(topic)
    left = [found["name"] for found in raw.api(rabbitmq_url, f"/api/queues/{raw.vhost(rabbitmq_url)}")]
    assert [found for found in left if name in found] == [name]
    rabbit.admin.delete(queue)
    with pytest.raises(mq.NotFound):
        rabbit.admin.delete(topic)
    with pytest.raises(mq.NotFound):
        rabbit.admin.describe(topic)


def test_a_deletion_that_was_interrupted_goes_on(rabbit: mq.Bus, rabbitmq_url: str, name: str) -> None:
    """The exchange goes first; a topic without it is still there as long as it has a stream."""
    topic = mq.Topic(name, partitions=2)
    rabbit.admin.ensure(topic)
    with raw.channel(rabbitmq_url) as channel:
        channel.exchange_delete(f"{name}.mqt")
    rabbit.admin.delete(topic)
    left = [found["name"] for found in raw.api(rabbitmq_url, f"/api/queues/{raw.vhost(rabbitmq_url)}")]
    assert [found for found in left if name in found] == []
    with pytest.raises(mq.NotFound):
        rabbit.admin.delete(topic)


def test_what_streams_cannot_do_is_refused(rabbit: mq.Bus, make_topic: MakeTopic) -> None:
    """Each refusal names the capability, before anything is done."""
    topic = make_topic()
    with pytest.raises(mq.Unsupported):
        rabbit.admin.delete_records(topic, {0: 1})
    with pytest.raises(mq.Unsupported):
        rabbit.admin.ensure(mq.Topic("compacted", cleanup="compact"))
    with pytest.raises(mq.Unsupported):
        rabbit.producer(acks="leader")
    with pytest.raises(mq.Unsupported):
        rabbit.consumer(topic, group="g", start=mq.EARLIEST, rebalance="server")


def test_groups_are_listed_moved_and_forgotten(rabbit: mq.Bus, make_topic: MakeTopic, group: str) -> None:
    """Lag is end minus committed; a reset is refused while somebody consumes, and is where the next one begins."""
    topic = make_topic(partitions=2)
    with rabbit.producer(partitioner=lambda *_: 1) as producer:
        producer.send_many(topic, [b"%d" % number for number in range(10)])
    with pytest.raises(mq.NotFound):
        rabbit.admin.describe_group(group)
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        got = consumer.poll(4, timeout=10)
        for delivery in got:
            delivery.ack()
        consumer.commit(10)
        assert consumer.lag() == {(topic.name, 0): 0, (topic.name, 1): 10 - len(got)}
        with pytest.raises(mq.Rejected):
            rabbit.admin.reset_offsets(group, topic, to=mq.EARLIEST, dry_run=False)
    summary = next(found for found in rabbit.admin.list_groups() if found.group == group)
    assert (summary.state, summary.members) == ("Empty", 0)
    plan = rabbit.admin.reset_offsets(group, topic, to=mq.At({1: 8}), dry_run=False)
    assert (plan.before, plan.after) == ({0: 0, 1: len(got)}, {0: 0, 1: 8})
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        assert [d.offset for d in consumer.poll(10, timeout=10)] == [8, 9]
    rabbit.admin.delete_group(group)
    with pytest.raises(mq.NotFound):
        rabbit.admin.describe_group(group)


def test_a_group_of_another_make_can_be_looked_at_and_deleted(
    rabbit: mq.Bus, rabbitmq_url: str, name: str, group: str
) -> None:
    """The broker changes the arguments of no queue, so a member is refused, and what the error advises is true."""
    topic = mq.Topic(name, partitions=1)
    rabbit.admin.ensure(topic)
    with rabbit.producer() as producer:
        producer.send_many(topic, [b"x"] * 5)
    with raw.channel(rabbitmq_url) as ch:
        queue = f"{group}:{name}.mqg-0"
        older = {key: value for key, value in ARGUMENTS.items() if key != "x-consumer-disconnected-timeout"}
        ch.queue_declare(queue, durable=True, arguments=older)
        ch.basic_publish("", queue, encode(Token(1, 0, 3, 1, "older")), mandatory=True)
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        with pytest.raises(mq.Mismatch, match="delete_group") as refusal:
            consumer.wait_assigned(10)
    assert "x-consumer-disconnected-timeout" in str(refusal.value)
    committed = rabbit.admin.describe_group(group).committed
    assert committed == {(name, 0): 3}
    rabbit.admin.delete_group(group)
    with pytest.raises(mq.NotFound):
        rabbit.admin.describe_group(group)
    rabbit.admin.reset_offsets(group, topic, to=mq.At({0: committed[name, 0]}), dry_run=False)
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        assert [delivery.offset for delivery in consumer.poll(2, timeout=10)] == [3, 4]


def test_topics_work_without_the_management_api(rabbitmq_url: str, name: str, group: str) -> None:
    """Making, sending, consuming, growing and removing need AMQP alone; listing says how to enable the API."""
    url = rabbitmq_url.split("?")[0] + "?management=http://127.0.0.1:9"
    topic = mq.Topic(name, partitions=2)
    with mq.connect(url) as bus:
        bus.admin.ensure(topic)
        bus.admin.ensure(topic)
        with pytest.raises(mq.Mismatch):
            bus.admin.ensure(mq.Topic(name, partitions=3))
        bus.admin.add_partitions(topic, 3)
        with bus.producer(partitioner=lambda *_: 2) as producer:
            producer.send(topic, b"x").result(10)
        with bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
            assert [d.partition for d in consumer.poll(timeout=10)] == [2]
        with pytest.raises(mq.Unreachable, match="rabbitmq-plugins enable"):
            bus.admin.list_topics()
        bus.admin.delete(topic)


def test_a_super_stream_of_others_is_a_topic_with_a_physical_name(rabbit: mq.Bus, rabbitmq_url: str, name: str) -> None:
    """Made with raw pika as RabbitMQ's own tools make it: sent to, replayed, and listed."""
    topic: mq.Topic[bytes] = mq.Topic("invoices", physical_name=name)
    with raw.channel(rabbitmq_url) as ch:
        ch.exchange_declare(name, "direct", durable=True, arguments={"x-super-stream": True})
        for number in range(2):
            ch.queue_declare(f"{name}-{number}", durable=True, arguments={"x-queue-type": "stream"})
            ch.queue_bind(f"{name}-{number}", name, str(number), {"x-stream-partition-order": number})
    with rabbit.producer(partitioner=lambda *_: 1) as producer:
        producer.send(topic, b"x").result(10)
    assert raw.read(rabbitmq_url, f"{name}-1", 1)[0][2] == b"x"
    assert [d.partition for d in rabbit.replay(topic, mq.EARLIEST)] == [1]
    listed = next(found for found in rabbit.admin.list_topics() if found.physical_name == name)
    assert (listed.name, listed.partitions) == (name, 2)
    rabbit.admin.delete(topic)
