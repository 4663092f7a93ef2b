"""Reading a range again, any number of times, in no group."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Record
from mqbridge_conformance.scenario import scenario

PARTITIONS, EACH = 3, 20
FIRST = {0: 7, 1: 0, 2: EACH}


@scenario(
    "replay",
    "A range is replayed from an offset, twice the same, to a fixed end, and no group notices",
    needs=(Cap.REPLAY_BY_OFFSET, Cap.GROUPS, Cap.PARTITION_CUSTOM, Cap.END_OFFSETS),
    proves=(Cap.REPLAY_BY_OFFSET, Cap.PARTITION_CUSTOM, Cap.END_OFFSETS),
    exercises=("replayed", "sent_meanwhile", "group_moved"),
)
def replay_from_offset(env: Env) -> None:
    topic, group = env.topic(partitions=PARTITIONS), env.group()
    _send(env, topic, 0, EACH)
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        got = env.receive(consumer, PARTITIONS * EACH, "all of it, in a group")
        for delivery in got[: EACH // 2]:
            delivery.ack()
        consumer.commit(env.patience_s)
        env.count("group_moved", sum(consumer.committed().values()))
    groups, committed = env.observer.names().groups, env.observer.committed(group)
    stored = env.observer.records(topic.name)
    wanted = [record for record in stored if (record.offset or 0) >= FIRST[record.partition or 0]]

    ranges = {0: (7, EACH), 1: (0, EACH), 2: (EACH, EACH)}
    with env.bus.replay(topic, mq.At(FIRST)) as early:
        env.equal(early.ranges, ranges, "the range of a replay")
        _send(env, topic, EACH, EACH + 5)
        env.count("sent_meanwhile", 5 * PARTITIONS)
        first = _read(early)
    env.equal(first, wanted, "the first replay")
    end = mq.At({partition: stop for partition, (_, stop) in ranges.items()})
    with env.bus.replay(topic, mq.At(FIRST), end) as late:
        second = _read(late)
    env.equal(second, first, "the second replay of the same range")
    env.count("replayed", len(first) + len(second))
    with env.bus.replay(topic, mq.At(FIRST)) as now:
        env.equal(len(_read(now)), len(first) + 5 * PARTITIONS, "a replay to the end as it is now")
    env.equal(env.observer.names().groups, groups, "the groups, before and after", "group-made")
    env.equal(env.observer.committed(group), committed, "the offsets of a group, before and after")
    ends = {partition: (at.start, at.end) for partition, at in env.bus.admin.offsets(topic).items()}
    env.equal(ends, dict.fromkeys(range(PARTITIONS), (0, EACH + 5)), "start and end of the partitions")


def _send(env: Env, topic: mq.Topic[bytes], begin: int, end: int) -> None:
    """Numbers from `begin` to `end`, to every partition by name."""
    with env.bus.producer(partitioner=lambda _topic, key, _value, _count: int(key or b"")) as producer:
        for number in range(begin, end):
            for partition in range(PARTITIONS):
                producer.send(topic, b"%d/%d" % (partition, number), key=b"%d" % partition)


def _read(replay: mq.Replay[bytes]) -> list[Record]:
    found = [Record(d.partition, d.offset, d.key, d.raw, d.headers.pairs, d.timestamp_ms, d.message_id) for d in replay]
    return sorted(found, key=lambda record: (record.partition or 0, record.offset or 0))
