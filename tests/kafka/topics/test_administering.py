"""Administering topics and groups of a real broker, looked at from outside."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

import mqbridge as mq
from mqbridge_conformance.brokers.settings import KAFKA_RETENTION_MS
from mqbridge_kafka import administering, asking
from mqbridge_kafka.naming import topic_of
from mqbridge_kafka.watching import Watch
from tests.kafka.topics.raw import Raw, fresh


def settings(raw: Raw, name: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    found = raw.admin.describe_configs([resource])[resource].result(20)
    return {key: entry.value for key, entry in found.items()}


def test_what_is_specified_is_what_stands_there(bus: mq.Bus, raw: Raw) -> None:
    """A specification reaches the broker's settings, reads back as itself, and what differs is a Mismatch by field."""
    topic = mq.Topic(
        fresh(),
        partitions=3,
        replication=1,
        min_insync=1,
        cleanup="compact",
        retention=mq.Retention(max_age_s=3600.5, max_bytes=1 << 20),
    )
    bus.admin.ensure(topic)
    config = settings(raw, topic.name)
    assert (config["cleanup.policy"], config["retention.ms"], config["retention.bytes"]) == (
        "compact",
        "3600500",
        "1048576",
    )
    bus.admin.ensure(topic)
    found = bus.admin.describe(topic)
    assert mq.topology.diff(topic, found.topic) == ()  # type: ignore[union-attr]
    with pytest.raises(mq.Mismatch) as mismatch:
        bus.admin.ensure(mq.Topic(topic.name, partitions=4, retention=mq.Retention(max_age_s=60)))
    assert mismatch.value.differences == (("partitions", 4, 3), ("retention.max_age_s", 60, 3600.5))


def test_a_bare_topic_takes_the_brokers_defaults(bus: mq.Bus, raw: Raw) -> None:
    """What a specification leaves open is the broker's default, and describe() says which."""
    topic = mq.Topic(fresh())
    bus.admin.ensure(topic)
    assert settings(raw, topic.name)["retention.ms"] == str(KAFKA_RETENTION_MS)
    found = bus.admin.describe(topic).topic  # type: ignore[union-attr]
    assert (found.partitions, found.replication, found.cleanup) == (1, 1, "delete")
    assert found.retention == mq.Retention(max_age_s=KAFKA_RETENTION_MS / 1000)
    bus.admin.ensure(found)


def test_a_topic_that_was_deleted_is_gone_when_delete_returns(bus: mq.Bus, raw: Raw) -> None:
    """After delete() nobody sees it, a second one is NotFound, and it can be made anew at once."""
    topic = mq.Topic(fresh(), partitions=2)
    bus.admin.ensure(topic)
    assert topic in bus.admin.list_topics()
    bus.admin.delete(topic)
    assert topic.name not in raw.names()
    assert topic not in bus.admin.list_topics()
    with pytest.raises(mq.NotFound):
        bus.admin.delete(topic)
    bus.admin.ensure(topic)
    with bus.producer() as producer:
        assert producer.send(topic, b"x").result(20).offset == 0


def test_impossible_specifications_are_refused_by_the_broker(bus: mq.Bus) -> None:
    """More replicas than brokers, or a partition count that shrinks, is Rejected, and nothing is made."""
    topic = mq.Topic(fresh(), replication=7)
    with pytest.raises(mq.Rejected, match="replication"):
        bus.admin.ensure(topic)
    with pytest.raises(mq.NotFound):
        bus.admin.describe(topic)
    grown = mq.Topic(fresh(), partitions=2)
    bus.admin.ensure(grown)
    with pytest.raises(mq.Rejected):
        bus.admin.add_partitions(grown, 1)


def test_offsets_by_edge_and_by_time(bus: mq.Bus, raw: Raw) -> None:
    """Start, end and last stable offset are the broker's; a time finds the first record from then on, or None."""
    topic = raw.topic()
    now = dt.datetime.now(dt.UTC)
    with bus.producer() as producer:
        for ago in (3, 2, 1):
            producer.send(topic, b"x", timestamp=now - dt.timedelta(hours=ago))
    assert bus.admin.offset_at(topic, now - dt.timedelta(hours=2.5)) == {0: 1}
    assert bus.admin.offset_at(topic, now) == {0: None}
    bus.admin.delete_records(topic, {0: 2})
    found = bus.admin.offsets(topic)[0]
    assert (found.start, found.end, found.high_watermark, found.last_stable) == (2, 3, 3, 3)
    with pytest.raises(mq.Rejected):
        bus.admin.delete_records(topic, {0: 9})
    with pytest.raises(mq.InvalidSpec, match="partition 4"):
        bus.admin.delete_records(topic, {4: 0})


def test_groups_are_described_reset_and_deleted(bus: mq.Bus, raw: Raw) -> None:
    """Members, assignment and lag are shown while it runs; empty, it can be reset and deleted; unknown is NotFound."""
    topic, group = raw.topic(partitions=2), fresh("g")
    raw.produce(topic.name, [b"x"] * 5)
    with pytest.raises(mq.NotFound):
        bus.admin.describe_group(group)
    with bus.consumer(topic, group=group, start=mq.EARLIEST, instance_id="i-1") as consumer:
        consumer.wait_assigned(20)
        found = bus.admin.describe_group(group)
        [member] = found.members
        assert (found.state, found.protocol, member.instance_id) == ("stable", "cooperative", "i-1")
        assert member.assignment == ((topic.name, 0), (topic.name, 1))
        assert found.lag_messages == {(topic.name, 0): 5, (topic.name, 1): 0}
        with pytest.raises(mq.Rejected):
            bus.admin.delete_group(group)
        with pytest.raises(mq.Rejected):
            bus.admin.reset_offsets(group, topic, mq.LATEST, dry_run=False)
    plain = fresh("g")
    with bus.consumer(topic, group=plain, start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(20)
    bus.admin.reset_offsets(plain, topic, mq.LATEST, dry_run=False)
    assert raw.committed(plain) == {(topic.name, 0): 5, (topic.name, 1): 0}
    assert plain in {summary.group for summary in bus.admin.list_groups()}
    bus.admin.delete_group(plain)
    with pytest.raises(mq.NotFound):
        bus.admin.describe_group(plain)


def test_names_of_others_can_be_reached(bus: mq.Bus, raw: Raw) -> None:
    """A physical name goes past the derived ones; the topic is called by its portable name everywhere."""
    physical = "_" + fresh()
    topic = mq.Topic(fresh(), partitions=1, physical_name=physical)
    bus.admin.ensure(topic)
    group = fresh("g")
    with bus.producer() as producer:
        producer.send(topic, b"x").result(20)
    assert [message.value() for message in raw.records(physical)] == [b"x"]
    with bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        [delivery] = consumer.poll(timeout=20)
        delivery.ack()
        consumer.commit()
        assert consumer.committed() == {(topic.name, 0): 1}
        assert consumer.lag() == {(topic.name, 0): 0}
    bus.admin.delete(topic)


def test_health_tells_what_a_person_asks(bus: mq.Bus) -> None:
    """Health names the brokers, the versions and what is wrong, each problem with advice."""
    found = bus.admin.health()
    assert found["engine"] == "kafka"
    assert len(found["brokers"]) == 1
    assert all({"what", "advice"} == set(problem) for problem in found["problems"])


@pytest.mark.parametrize("what", ["topic", "queue"])
def test_ensure_returns_when_leaders_serve(bus: mq.Bus, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A leader that is named and does not serve yet is waited for: what is sent right after finds it."""
    refusals = [
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError._TIMED_OUT,
    ]
    left, answering = list(refusals), asking.offsets_at
    made: Any = mq.Topic(fresh(), partitions=2) if what == "topic" else mq.Queue(fresh("q"), dead_letter=None)

    def refusing(watch: Watch, specs: Any, *isolation: str) -> Any:
        if left and any(topic_of(made) == name for name, _ in specs):
            raise KafkaException(KafkaError(left.pop()))
        return answering(watch, specs, *isolation)

    monkeypatch.setattr(asking, "offsets_at", refusing)
    bus.admin.ensure(made)
    assert left == []


def test_ensure_tells_that_leaders_never_serve(bus: mq.Bus, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the end it says that the topic was made."""
    topic: mq.Topic[bytes] = mq.Topic(fresh(), partitions=1)
    monkeypatch.setattr(administering, "SHOWN_S", 0.2)
    monkeypatch.setattr(administering, "serves", lambda _watch, _name: False)
    with pytest.raises(mq.OperationTimeout, match="not all leaders of it serve") as caught:
        bus.admin.ensure(topic)
    assert caught.value.outcome == "applied"
    assert topic.name in raw.names()
