"""The observer of Kafka tells what raw clients put there, and says so where it cannot tell."""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import (
    AcknowledgeType,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    Producer,
    ShareConsumer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from mqbridge_conformance.brokers import settings
from mqbridge_conformance.brokers.provided import url_in_environment
from mqbridge_conformance.observers import Counts, Letter, Record
from mqbridge_conformance.observers.kafka import KafkaObserver
from mqbridge_conformance.observers.kafka_wire import ShareState, _Reader, _release, _state
from mqbridge_conformance.results import CannotTell


class Raw:
    """Kafka without the library and without the observer."""

    def __init__(self, url: str) -> None:
        self.base: dict[str, Any] = {"bootstrap.servers": url.removeprefix("kafka://"), "log_level": 0}
        self.admin = AdminClient(self.base)
        self.token = secrets.token_hex(4)

    def topic(self, name: str, partitions: int = 1) -> str:
        self.admin.create_topics([NewTopic(name, partitions, 1)])[name].result(10)
        give_up_s = time.monotonic() + 10
        while name not in self.admin.list_topics(timeout=10).topics:  # the answer may be older than the creation
            assert time.monotonic() < give_up_s, f"{name} was created and is not listed"
        return name

    def send(self, topic: str, value: bytes | None, **more: Any) -> None:
        producer = Producer(self.base)
        producer.produce(topic, value, **{"partition": 0, **more})
        assert producer.flush(10) == 0


@pytest.fixture
def raw(kafka_url: str) -> Iterator[Raw]:
    raw = Raw(kafka_url)
    yield raw
    mine = [name for name in raw.admin.list_topics(timeout=10).topics if raw.token in name]
    for deletion in raw.admin.delete_topics(mine).values() if mine else ():
        deletion.result(10)


@pytest.fixture
def observer(kafka_url: str) -> KafkaObserver:
    return KafkaObserver(kafka_url)


def test_topics_and_queues_have_their_portable_names(raw: Raw, observer: KafkaObserver) -> None:
    """A queue is told by its suffix; what is internal is not shown."""
    one, jobs = raw.topic(f"one-{raw.token}", 3), raw.topic(f"jobs-{raw.token}.mqq")
    names = observer.names()
    assert names.topics[one] == 3
    assert jobs not in names.topics
    assert f"jobs-{raw.token}" in names.queues
    assert not [name for name in names.topics if name.startswith("__") or name == "mqbridge.registry"]


def test_exchanges_are_what_the_registry_says_last(raw: Raw, observer: KafkaObserver) -> None:
    """The newest record of a key counts, and a null value removes; what is in the registry is in a snapshot."""
    if "mqbridge.registry" not in raw.admin.list_topics(timeout=10).topics:
        raw.topic("mqbridge.registry")
    gone, there = f"gone-{raw.token}", f"there-{raw.token}"
    raw.send("mqbridge.registry", b"{}", key=f"exchange:{gone}")
    raw.send("mqbridge.registry", b"{}", key=f"exchange:{there}")
    raw.send("mqbridge.registry", b"{}", key=f"queue:jobs-{raw.token}")
    before = observer.snapshot()
    raw.send("mqbridge.registry", None, key=f"exchange:{gone}")
    assert observer.snapshot() != before
    assert [name for name in observer.names().exchanges if raw.token in name] == [there]
    for key in (f"exchange:{there}", f"queue:jobs-{raw.token}"):
        raw.send("mqbridge.registry", None, key=key)


def test_records_are_told_as_they_lie_there(raw: Raw, observer: KafkaObserver) -> None:
    """Null and empty told apart, headers in order, the library's own taken out, by partition and offset."""
    topic = raw.topic(f"records-{raw.token}", 2)
    headers: list[Any] = [("a", b"1"), ("mqbridge-id", b"id"), ("a", b"\xff"), ("none", None)]
    raw.send(topic, b"second partition", partition=1, timestamp=5)
    raw.send(topic, None, key=b"", headers=headers, timestamp=7)
    raw.send(topic, b"", timestamp=8)
    users = (("a", b"1"), ("a", b"\xff"), ("none", b""))
    assert observer.records(topic) == [
        Record(0, 0, b"", None, users, 7, "id"),
        Record(0, 1, None, b"", (), 8, None),
        Record(1, 0, None, b"second partition", (), 5, None),
    ]
    assert observer.records(f"{topic}-missing") == []
    assert f"{topic}-missing" not in raw.admin.list_topics(timeout=10).topics, "looking creates nothing"


def test_committed_offsets_of_a_group(raw: Raw, observer: KafkaObserver) -> None:
    """As the broker has them; nothing for a group that is not known, and looking makes no group."""
    topic, group = raw.topic(f"committed-{raw.token}", 2), f"group-{raw.token}"
    committed = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 1, 4)])
    raw.admin.alter_consumer_group_offsets([committed])[group].result(10)
    assert observer.committed(group) == {f"{topic}/1": 4}
    assert group in observer.names().groups
    assert observer.committed(f"{group}-missing") == {}
    assert f"{group}-missing" not in observer.names().groups
    described = raw.admin.describe_consumer_groups([group])[group].result(10)
    assert described.state == ConsumerGroupState.EMPTY
    raw.admin.delete_consumer_groups([group])[group].result(10)


def test_a_queue_that_nobody_took_from_is_all_ready(raw: Raw, observer: KafkaObserver) -> None:
    """Before the share group begins, what is in the log is what is ready."""
    queue = f"fresh-{raw.token}"
    topic = raw.topic(f"{queue}.mqq", 2)
    for number in range(3):
        raw.send(topic, b"%d" % number, partition=number % 2)
    assert observer.counts(queue) == Counts(3, 0, None)
    assert observer.held(queue) == 3
    assert [record.value for record in observer.messages(queue) or []] == [b"0", b"2", b"1"]


def test_a_queue_in_use_is_counted_by_what_is_not_settled(raw: Raw, observer: KafkaObserver) -> None:
    """What is accepted or rejected is gone, what is released is not; ready and locked cannot be told apart."""
    queue = f"used-{raw.token}"
    topic, group = raw.topic(f"{queue}.mqq"), f"mqbridge.{queue}"
    from_start = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[from_start])
    raw.admin.incremental_alter_configs([resource])[resource].result(10)
    for number in range(4):
        raw.send(topic, b"%d" % number)
    verbs = {
        b"0": AcknowledgeType.ACCEPT,
        b"1": AcknowledgeType.RELEASE,
        b"2": AcknowledgeType.REJECT,
        b"3": AcknowledgeType.RELEASE,
    }
    consumer = ShareConsumer({**raw.base, "group.id": group, "share.acknowledgement.mode": "explicit"})
    try:
        consumer.subscribe([topic])
        _settle(consumer, verbs)
    finally:
        consumer.close()
    assert observer.held(queue) == 2
    assert observer.counts(queue) == Counts(None, None, None)
    assert [record.value for record in observer.messages(queue)] == [b"1", b"3"]
    assert group not in observer.names().groups, "a share group is a queue's, not an application's"


def test_dead_letters_are_told_by_the_queue_they_died_in(raw: Raw, observer: KafkaObserver) -> None:
    """Oldest first, whatever queue they lie in."""
    origin, letters = f"origin-{raw.token}", raw.topic(f"letters-{raw.token}.mqq")
    for died_ms, name in ((20, origin), (10, origin), (15, "another")):
        facts = {"reason": "rejected", "queue": name, "attempts": "2", "at-ms": str(died_ms), "error": "why"}
        headers: list[Any] = [(f"mqbridge-death-{fact}", value.encode()) for fact, value in facts.items()]
        raw.send(letters, b"%d" % died_ms, headers=[*headers, ("own", b"1")], timestamp=1)
    assert observer.letters(origin) == [
        Letter(None, value, (("own", b"1"),), 1, None, "rejected", f"queue:{origin}", 2, "why")
        for value in (b"10", b"20")
    ]


def test_a_settled_dead_letter_is_gone_though_the_log_keeps_it(raw: Raw, observer: KafkaObserver) -> None:
    """Whether all is settled, or one among others."""
    origin = f"origin-{raw.token}"
    topic = raw.topic(f"settled-{raw.token}.mqq")
    group = f"mqbridge.settled-{raw.token}"
    from_start = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[from_start])
    raw.admin.incremental_alter_configs([resource])[resource].result(10)
    headers: list[Any] = [("mqbridge-death-reason", b"rejected"), ("mqbridge-death-queue", origin.encode())]
    raw.send(topic, b"first", headers=headers)
    assert [letter.value for letter in observer.letters(origin)] == [b"first"]
    consumer = ShareConsumer({**raw.base, "group.id": group, "share.acknowledgement.mode": "explicit"})
    try:
        consumer.subscribe([topic])
        _settle(consumer, {b"first": AcknowledgeType.ACCEPT})
        assert observer.letters(origin) == []
        for value in (b"second", b"third"):
            raw.send(topic, value, headers=headers)
        _settle(consumer, {b"second": AcknowledgeType.RELEASE, b"third": AcknowledgeType.ACCEPT})
    finally:
        consumer.close()
    assert [letter.value for letter in observer.letters(origin)] == [b"second"]


def _settle(consumer: ShareConsumer, verbs: dict[bytes, AcknowledgeType]) -> None:
    """Settle each once, by its value; what comes again is given back."""
    while verbs:
        for message in consumer.poll(0.5):
            value = message.value()
            assert isinstance(value, bytes)
            consumer.acknowledge(message, verbs.pop(value, AcknowledgeType.RELEASE))
        consumer.commit_sync()


def test_a_snapshot_tells_one_more_record(raw: Raw, observer: KafkaObserver) -> None:
    """What a refused call must not change."""
    topic = raw.topic(f"snapshot-{raw.token}")
    before = observer.snapshot()
    assert observer.snapshot() == before
    raw.send(topic, b"")
    assert observer.snapshot() != before


def test_a_state_that_the_broker_refuses_to_tell_is_not_guessed() -> None:
    """An error other than that nobody was ever there is not taken for nothing settled."""

    def answer(code: int, *batches: tuple[int, int, int]) -> _Reader:
        told = b"".join(struct.pack(">qqbh", *batch, 1) + b"\x00" for batch in batches)
        state = struct.pack(">iq", 1, 3) + bytes([len(batches) + 1]) + told
        partition = struct.pack(">ih", 0, code) + b"\x05text" + state + b"\x00"
        topic = b"\x02" + bytes(16) + b"\x02" + partition + b"\x00"
        return _Reader(struct.pack(">i", 1) + b"\x00" + topic + b"\x00")

    assert _state(answer(42), "g") is None
    with pytest.raises(CannotTell, match=r"error 16 \(text\)"):
        _state(answer(16), "g")
    found = _state(answer(0, (3, 4, 2), (5, 5, 0), (7, 9, 4)), "g")
    assert found == ShareState(3, ((3, 4), (7, 9)))
    assert [offset for offset in range(11) if not found.has_settled(offset)] == [5, 6, 10]


@pytest.mark.parametrize(
    ("features", "release"),
    [
        ({"metadata.version": (7, 30), "share.version": (0, 1)}, "4.3"),
        ({"kraft.version": (0, 1), "metadata.version": (7, 27)}, "4.1"),
        ({"metadata.version": (7, 99)}, "metadata.version 99"),
        ({"group.version": (0, 1)}, ""),
        (None, ""),
    ],
)
def test_a_release_is_known_by_the_metadata_that_it_writes(
    features: dict[str, tuple[int, int]] | None, release: str
) -> None:
    """One that is not known yet is told by its number, and one that says nothing has none."""
    rows = [
        bytes([len(name) + 1]) + name.encode() + struct.pack(">hh", *versions) + b"\x00"
        for name, versions in (features or {}).items()
    ]
    listed = bytes([len(rows) + 1]) + b"".join(rows)
    tags = b"\x00" if features is None else b"\x01\x00" + bytes([len(listed)]) + listed
    head = struct.pack(">ih", 1, 0) + b"\x02" + struct.pack(">hhh", 18, 0, 4) + b"\x00" + struct.pack(">i", 0)
    assert _release(_Reader(head + tags)) == release


def test_the_broker_tells_its_release(kafka_url: str, observer: KafkaObserver) -> None:
    """That of the image, without the last number; and the clients tell theirs."""
    found = observer.versions()
    assert set(found) == {"kafka", "confluent-kafka", "librdkafka"}
    assert all(found.values())
    if not url_in_environment("kafka"):
        assert settings.KAFKA_IMAGE.rpartition(":")[2].startswith(f"{found['kafka']}.")
