"""A replay is nobody's: a group at work keeps its leases, its place and its lag, however often its topic is read."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, places

PARTITIONS, RECORDS = 2, 15


@scenario(
    "replay-beside-a-group",
    "A topic is replayed, again and again, under a working group, whose leases, offsets and deliveries are not touched",
    needs=(Cap.REPLAY_BY_OFFSET, Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.REPLAY_BY_OFFSET,),
    exercises=("replays", "held_through"),
)
def replay_beside_a_group(env: Env) -> None:
    topic, group = env.topic(partitions=PARTITIONS), env.group()
    filled(env, topic, range(RECORDS), partitions=range(PARTITIONS))
    moved: list[object] = []
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        held = env.receive(consumer, 2 * RECORDS, "all of it, held by the group")
        consumer.on_assigned(moved.append)
        consumer.on_revoked(moved.append)
        consumer.on_lost(moved.append)
        place, groups = consumer.committed(), env.observer.names().groups
        first: list[tuple[int, int]] = []
        for _ in range(3):
            with env.bus.replay(topic, mq.EARLIEST) as replay:
                got = sorted(places(replay))
            first = first or got
            env.equal(got, first, "a replay, against the first one", "replay-mismatch")
            env.count("replays")
            env.equal(consumer.poll(timeout=0.05), [], "what the group is given again")
        env.equal(first, sorted(places(held)), "what a replay reads, and what the group was given", "replay-mismatch")
        env.equal(env.observer.names().groups, groups, "the groups, before and after", "group-made")
        env.eventually(consumer.committed, place, "the offsets of the group meanwhile", "commit-regression")
        env.equal(moved, [], "assignments that changed hands meanwhile", "replay-disturbs")
        acked(env, consumer, held)  # with the leases that they were taken under
        env.count("held_through", len(held))
    env.drained(topic, group)
    env.observer.records(topic.name)
