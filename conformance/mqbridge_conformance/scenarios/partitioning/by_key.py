"""Keys go where Kafka's Java client sends them, so that programs in several languages can write one topic."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

PARTITIONS = 7
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""Key -> murmur2 as a signed int: the cases of Kafka's own test of it, ``UtilsTest.testMurmur2`` in
``clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java``."""
KEYLESS, BURST, TIMES = 300, 15, 3


@scenario(
    "partition-by-key",
    "A key has the partition that Kafka's Java client gives it; the empty key is a key, and no key is none",
    needs=(Cap.PARTITION_BY_KEY,),
    proves=(Cap.PARTITION_BY_KEY, Cap.EMPTY_KEY),
    exercises=("vectors", "keyless"),
)
def partition_by_key(env: Env) -> None:
    topic = env.topic(partitions=PARTITIONS)
    keys: list[bytes | None] = [*JAVA, *([b""] if env.can(Cap.EMPTY_KEY) else [])]
    sent = [key for key in keys for _ in range(TIMES)] + [None] * KEYLESS
    receipts: list[mq.Receipt] = []
    with env.bus.producer() as producer:
        for number, key in enumerate(sent):
            value = env.payload(topic, "p", number, key=(key or b"-").decode())
            receipts.append(producer.send(topic, value, key=key))
            if key is None and number % BURST == 0:
                producer.flush(env.patience_s)  # a burst may well stay in one partition, and some time later not
        said = [receipt.result(env.patience_s).partition for receipt in receipts]
    stored = env.observer.records(topic.name)
    env.equal(len(stored), len(sent), "records")
    at: dict[bytes | None, list[int | None]] = {}
    for record in stored:
        at.setdefault(record.key, []).append(record.partition)
    for key, signed in JAVA.items():
        wanted = (signed & 0x7FFFFFFF) % PARTITIONS
        env.equal(at.get(key), [wanted] * TIMES, f"the partitions of the key {key!r}", "wrong-partition")
        env.count("vectors")
    if b"" in keys:
        env.equal(len(at.get(b"", [])), TIMES, "records with the empty key")
        env.equal(len(set(at[b""])), 1, "partitions of the empty key", "wrong-partition")
    nobody = at.get(None, [])
    env.equal(len(nobody), KEYLESS, "records without a key, which is not the empty one")
    env.check(len(set(nobody)) > 1, f"{KEYLESS} records without a key are all in one partition", "wrong-partition")
    env.count("keyless", len(nobody))
    _receipts(env, sent, said, at)


def _receipts(
    env: Env, sent: list[bytes | None], said: list[int | None], at: dict[bytes | None, list[int | None]]
) -> None:
    """What a receipt says is where the record is."""
    told: dict[bytes | None, list[int | None]] = {}
    for key, partition in zip(sent, said, strict=True):
        told.setdefault(key, []).append(partition)
    for key in told:
        found = sorted(map(_int, told[key]))
        env.equal(found, sorted(map(_int, at[key])), f"the partitions that receipts of {key!r} name")


def _int(partition: int | None) -> int:
    return -1 if partition is None else partition
