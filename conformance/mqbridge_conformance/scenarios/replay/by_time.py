"""Reading from a moment on, between two moments, and from so long ago; by the records' own times."""

from __future__ import annotations

import datetime as dt

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, by_partition, numbers

PARTITIONS, RECORDS = 2, 10
STEP = dt.timedelta(hours=1)
"""Between two records; so long that a slow run moves no record across a boundary."""


@scenario(
    "replay-by-time",
    "A replay begins with the first record of that time or later, to the millisecond, and ends before one",
    needs=(Cap.REPLAY_BY_TIME, Cap.REPLAY_BY_OFFSET, Cap.PARTITION_CUSTOM),
    proves=(Cap.REPLAY_BY_TIME,),
    exercises=("replayed", "asked_for_offsets"),
)
def replay_by_time(env: Env) -> None:
    topic = env.topic(partitions=PARTITIONS)
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    at = [now - (RECORDS - number) * STEP for number in range(RECORDS)]
    with env.bus.producer(partitioner=lambda _topic, key, _value, _count: int(key or b"")) as producer:
        for number, when in enumerate(at):
            for partition in range(PARTITIONS):
                value = env.payload(topic, f"p{partition}", number, key=str(partition))
                producer.send(topic, value, key=str(partition), timestamp=when)
    later = dt.timedelta(milliseconds=1)
    everything = list(range(RECORDS))
    for start, end, wanted, what in (
        (mq.Since(at[4]), mq.NOW, everything[4:], "from the time of a record"),
        (mq.Since(at[4] + later), mq.NOW, everything[5:], "from a millisecond after it"),
        (mq.Since(at[0] - STEP), mq.NOW, everything, "from before the first"),
        (mq.Since(now), mq.NOW, [], "from after the last"),
        (mq.Since(STEP * 2.5), mq.NOW, everything[-2:], "from so long ago"),
        (mq.Since(at[2]), mq.Since(at[6]), everything[2:6], "between two times"),
        (mq.EARLIEST, mq.Since(at[3] + later), everything[:4], "up to a time"),
    ):
        with env.bus.replay(topic, start, end) as replay:
            found = {partition: numbers(part) for partition, part in by_partition(replay).items()}
        due = dict.fromkeys(range(PARTITIONS), wanted) if wanted else {}
        env.equal(found, due, f"a replay {what}", "replay-mismatch")
        env.count("replayed", PARTITIONS * len(wanted))
    _offsets(env, topic, at)
    if env.can(Cap.GROUPS):
        group = env.group()
        with env.bus.consumer(topic, group=group, start=mq.Since(at[7])) as consumer:
            got = env.receive(consumer, 3 * PARTITIONS, "a group that begins at a time")
            found = {partition: numbers(part) for partition, part in by_partition(got).items()}
            due = dict.fromkeys(range(PARTITIONS), everything[7:])
            env.equal(found, due, "what a group gets that begins at a time")
            acked(env, consumer, got)
        env.drained(topic, group)


def _offsets(env: Env, topic: mq.Topic[bytes], at: list[dt.datetime]) -> None:
    """What offset_at says is where the observer finds the first record of that time or later."""
    stored = by_partition(env.observer.records(topic.name))
    for when in (at[0] - STEP, at[5], at[5] + STEP / 2, at[-1] + STEP):
        wanted = {
            partition: next((one.offset for one in part if one.timestamp_ms >= when.timestamp() * 1000), None)
            for partition, part in stored.items()
        }
        env.equal(env.bus.admin.offset_at(topic, when), wanted, f"the offsets at {when}", "untrue-answer")
        env.count("asked_for_offsets")
