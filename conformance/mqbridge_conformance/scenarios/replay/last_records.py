"""The last few records of each partition, found from its end."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import by_partition, filled, places

LAST = 6
HELD = {0: 15, 1: 4, 2: 0}


@scenario(
    "replay-last",
    "The last records of each partition are had by counting back from its end, and no others",
    needs=(Cap.REPLAY_BY_OFFSET, Cap.END_OFFSETS, Cap.PARTITION_CUSTOM),
    proves=(Cap.REPLAY_BY_OFFSET, Cap.END_OFFSETS),
    exercises=("replayed",),
)
def replay_last(env: Env) -> None:
    topic = env.topic(partitions=len(HELD))
    for partition, held in HELD.items():
        filled(env, topic, range(held), partitions=[partition])
    edges = env.bus.admin.offsets(topic)
    stored = by_partition(env.observer.records(topic.name))
    for partition, held in HELD.items():
        # Offsets may have gaps, so the end is an upper bound of the count, and never below it.
        found = edges[partition].end - edges[partition].start
        last = (stored[partition][-1].offset or 0) + 1 if held else edges[partition].start
        env.check(found >= held, f"partition {partition} has {held} records, {found} between its ends", "untrue-answer")
        env.check(edges[partition].end >= last, f"{edges[partition]} ends before {last}", "untrue-answer")
    start = mq.At({partition: max(edge.start, edge.end - LAST) for partition, edge in edges.items()})
    with env.bus.replay(topic, start) as replay:
        got = sorted(places(replay))
    wanted = [
        (partition, record.offset or 0)
        for partition, part in sorted(stored.items())
        for record in part
        if (record.offset or 0) >= edges[partition].end - LAST
    ]
    env.equal(got, wanted, f"the last {LAST} of each partition", "replay-mismatch")
    env.count("replayed", len(got))
