"""The start of a log moves; whoever reads from before it begins where the log does now, and is told so."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import filled, places

RECORDS = 12
BEFORE = {0: 5, 1: RECORDS}
LEFT = {0: (5, RECORDS), 1: (RECORDS, RECORDS), 2: (0, RECORDS)}


@scenario(
    "replay-after-truncation",
    "When records were deleted, a replay from the beginning or from among them begins at what is left, twice the same",
    needs=(Cap.REPLAY_BY_OFFSET, Cap.DELETE_RECORDS, Cap.END_OFFSETS, Cap.PARTITION_CUSTOM),
    proves=(Cap.REPLAY_BY_OFFSET, Cap.DELETE_RECORDS, Cap.END_OFFSETS),
    exercises=("replayed", "deleted"),
)
def replay_after_truncation(env: Env) -> None:
    topic = env.topic(partitions=len(LEFT))
    filled(env, topic, range(RECORDS), partitions=list(LEFT))
    env.bus.admin.delete_records(topic, BEFORE)
    edges = {partition: (at.start, at.end) for partition, at in env.bus.admin.offsets(topic).items()}
    env.equal(edges, LEFT, "start and end after records were deleted", "untrue-answer")
    stored = [(record.partition or 0, record.offset or 0) for record in env.observer.records(topic.name)]
    wanted = [(partition, offset) for partition, (low, high) in LEFT.items() for offset in range(low, high)]
    env.equal(stored, wanted, "what is left, seen from outside", "replay-mismatch")
    env.count("deleted", len(LEFT) * RECORDS - len(stored))
    for start, what in ((mq.EARLIEST, "the beginning"), (mq.At({0: 2, 1: 3, 2: 0}), "offsets that are gone")):
        for time in ("first", "second"):
            with env.bus.replay(topic, start) as replay:
                env.equal(replay.ranges, LEFT, f"the range of a {time} replay from {what}", "replay-mismatch")
                got = sorted(places(replay))
            env.equal(got, wanted, f"a {time} replay from {what}", "replay-mismatch")
            env.count("replayed", len(got))
