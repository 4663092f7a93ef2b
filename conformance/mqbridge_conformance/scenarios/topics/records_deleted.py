"""Records are deleted up to a place: those below are gone for good, those above stay, and the count goes on."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import filled

RECORDS = 6


@scenario(
    "records-deleted",
    "delete_records moves the start of a partition, no further than was said and never back, and offsets go on",
    needs=(Cap.DELETE_RECORDS, Cap.END_OFFSETS, Cap.PARTITION_CUSTOM),
    proves=(Cap.DELETE_RECORDS, Cap.END_OFFSETS),
    exercises=("deleted", "refused", "emptied"),
)
def records_deleted(env: Env) -> None:
    topic = env.topic(partitions=2)
    filled(env, topic, range(RECORDS), partitions=(0, 1))
    _left(env, topic, {0: 2}, {0: (2, RECORDS), 1: (0, RECORDS)}, "up to a place in one partition")
    _left(env, topic, {0: 1}, {0: (2, RECORDS), 1: (0, RECORDS)}, "up to a place that is gone already")
    env.count("deleted", 2)
    beyond = {1: RECORDS + 5}
    env.raises(mq.MqbridgeError, lambda: env.bus.admin.delete_records(topic, beyond), "deleting beyond the end")
    env.count("refused")
    _left(env, topic, {}, {0: (2, RECORDS), 1: (0, RECORDS)}, "nothing, after that was refused")
    _left(env, topic, {1: RECORDS}, {0: (2, RECORDS), 1: (RECORDS, RECORDS)}, "all of a partition")
    env.count("emptied")
    (next_one,) = filled(env, topic, [RECORDS], partitions=(1,))
    if next_one.offset is not None:
        env.equal(next_one.offset, RECORDS, "the offset after all before it were deleted", "inconsistent-offsets")
    _left(env, topic, {}, {0: (2, RECORDS), 1: (RECORDS, RECORDS + 1)}, "nothing, after one more was sent")


def _left(
    env: Env, topic: mq.Topic[bytes], before: dict[int, int], wanted: dict[int, tuple[int, int]], what: str
) -> None:
    """Delete, and compare the ends that are told with what lies there."""
    if before:
        env.bus.admin.delete_records(topic, before)
    edges = {number: (at.start, at.end) for number, at in env.bus.admin.offsets(topic).items()}
    env.equal(edges, wanted, f"start and end after deleting {what}", "untrue-answer")
    found = [(record.partition, record.offset) for record in env.observer.records(topic.name)]
    due = [(number, offset) for number, (low, high) in wanted.items() for offset in range(low, high)]
    env.equal(found, due, f"what is left after deleting {what}", "lost-write")
