"""Three producers send to the same keys of a topic with six partitions at the same time; the order of each is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

PARTITIONS = 6
PRODUCERS = ("one", "two", "three")
KEYS = tuple(f"customer-{number}" for number in range(18))
PER_KEY, ROUNDS = 6, 3

Line = tuple[int | None, bytes | None, bytes | None]
"""Partition, key, value."""


@scenario(
    "order-per-key",
    "Each producer's messages for a key keep their order, over six partitions and under three producers",
    needs=(Cap.ORDER_PER_PARTITION, Cap.ORDER_PER_KEY, Cap.PARTITION_BY_KEY, Cap.GROUPS),
    proves=(
        Cap.ORDER_PER_PARTITION,
        Cap.ORDER_PER_KEY,
        Cap.PARTITION_BY_KEY,
        Cap.SEND_OFFSET,
        Cap.SEVERAL_PROCESSES,
    ),
    exercises=("messages", "partitions", "changes_of_producer", "receipts"),
)
def order_per_key(env: Env) -> None:
    topic = env.topic(partitions=PARTITIONS)
    parties = [
        env.spawn("produce", topic=topic.name, producer=name, keys=list(KEYS), per_key=PER_KEY) for name in PRODUCERS
    ]
    for party in parties:
        party.expect("ready", env.patience_s)
    for _ in range(ROUNDS):
        # All at once in each round, and no round before the last has ended: so they are mixed on every machine.
        for party in parties:
            party.command("go")
        for party in parties:
            party.expect("sent", env.patience_s)
    total = len(PRODUCERS) * len(KEYS) * PER_KEY * ROUNDS
    stored = [(record.partition, record.key, record.value) for record in env.observer.records(topic.name)]
    _ordered(env, "from outside", stored, total)
    with env.bus.consumer(topic, group=env.group(), start=mq.EARLIEST) as consumer:
        got = env.receive(consumer, total, "the messages of three producers")
        places: dict[int | None, int] = {}
        for delivery in got:
            offset = -1 if delivery.offset is None else delivery.offset
            env.check(
                offset > places.get(delivery.partition, -1),
                f"{delivery} came after offset {places.get(delivery.partition)} of its partition",
            )
            places[delivery.partition] = offset
            delivery.ack()
        _ordered(env, "as received", [(d.partition, d.key, d.raw) for d in got], total)
    _receipts(env, topic, total)
    env.count("messages", total)


def _ordered(env: Env, how: str, lines: Sequence[Line], total: int) -> None:
    env.equal(len(lines), total, f"{how}: messages")
    env.count("changes_of_producer", _changes(lines))
    partitions: dict[bytes | None, set[int | None]] = {}
    numbers: dict[tuple[bytes | None, str], list[int]] = {}
    for partition, key, value in lines:
        producer, named, number = (value or b"").decode().split(":")
        env.equal(key, named.encode(), f"{how}: the key of {value!r}")
        partitions.setdefault(key, set()).add(partition)
        numbers.setdefault((key, producer), []).append(int(number))
    for (key, producer), found in numbers.items():
        env.equal(found, list(range(PER_KEY * ROUNDS)), f"{how}: what producer {producer} sent for {key!r}, in order")
    env.equal(len(numbers), len(KEYS) * len(PRODUCERS), f"{how}: pairs of key and producer")
    for key, where in partitions.items():
        wanted = (murmur2(key or b"") & 0x7FFFFFFF) % PARTITIONS
        env.equal(where, {wanted}, f"{how}: the partitions of {key!r}, which murmur2 gives to {wanted}")
    env.count("partitions", len({partition for partition, _, _ in lines}))


def _changes(lines: Iterable[Line]) -> int:
    """How often, within a partition, a message of another producer follows: that they were mixed at all."""
    last: dict[int | None, bytes] = {}
    changes = 0
    for partition, _, value in lines:
        producer = (value or b"").partition(b":")[0]
        changes += last.get(partition, producer) != producer
        last[partition] = producer
    return changes


def _receipts(env: Env, topic: mq.Topic[bytes], already: int) -> None:
    """A receipt names the place where the record is found: with its offset, or, where that is not claimed, without."""
    with env.bus.producer() as producer:
        sent = {f"receipt-{n}".encode(): producer.send(topic, b"receipt-%d" % n, key=b"%d" % n) for n in range(12)}
        said = {value: receipt.result(env.patience_s) for value, receipt in sent.items()}
    records = env.observer.records(topic.name)
    env.equal(len(records), already + len(sent), "records after twelve more")
    told = env.can(Cap.SEND_OFFSET)
    found = {r.value: (r.partition, r.offset if told else None) for r in records if r.value in sent}
    env.equal({value: (at.partition, at.offset) for value, at in said.items()}, found, "the places that receipts name")
    env.count("receipts", len(said))


def murmur2(data: bytes) -> int:
    """The hash of Kafka's default partitioner, written here once more so that it can be checked against."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    hashed = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        hashed = hashed * multiplier & mask ^ word
    if len(data) > whole:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * multiplier & mask
    hashed = (hashed ^ hashed >> 13) * multiplier & mask
    return hashed ^ hashed >> 15
