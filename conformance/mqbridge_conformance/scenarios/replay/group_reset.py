"""A group is sent back, or on, by administration: not by accident, not while it works, and exactly as far as told."""

from __future__ import annotations

from functools import partial
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, places

PARTITIONS, RECORDS, TAKEN = 2, 10, 4


@scenario(
    "group-reset",
    "reset_offsets plans first, is refused while the group is active, and then moves it to exactly those records",
    needs=(Cap.RESET_OFFSETS, Cap.GROUPS, Cap.PARTITION_CUSTOM, Cap.END_OFFSETS),
    proves=(Cap.RESET_OFFSETS,),
    exercises=("refused", "planned", "moved"),
)
def group_reset(env: Env) -> None:
    topic, group = env.topic(partitions=PARTITIONS), env.group()
    filled(env, topic, range(RECORDS), partitions=range(PARTITIONS))
    ends = {partition: at.end for partition, at in env.bus.admin.offsets(topic).items()}
    back = mq.At({0: 3, 1: ends[1]})
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        got = env.receive(consumer, TAKEN, "the first of it")
        acked(env, consumer, got)
        held = {partition: consumer.committed()[topic.name, partition] for partition in range(PARTITIONS)}
        for dry_run in (True, False):
            reset = partial(env.bus.admin.reset_offsets, group, topic, back, dry_run=dry_run)
            what = f"reset_offsets(dry_run={dry_run}) of a group with a member"
            env.raises(mq.Rejected, reset, what, "reset-while-active")
            env.count("refused")
        (after,) = env.receive(consumer, 1, "the next one, after it was refused")
        acked(env, consumer, [after])
        held[after.partition or 0] = (after.offset or 0) + 1
    committed = {f"{topic.name}/{partition}": offset for partition, offset in held.items()}
    env.equal(env.observer.committed(group), committed, "the offsets after a refused reset", "commit-regression")
    _empty(env, group)
    plan = env.bus.admin.reset_offsets(group, topic, back)
    env.equal((plan.before, plan.after, plan.applied), (held, {0: 3, 1: ends[1]}, False), "what a dry run plans")
    env.equal(env.observer.committed(group), committed, "the offsets after a dry run", "commit-regression")
    env.count("planned")
    _moved(env, group, topic, back, dict(plan.after))
    _moved(env, group, topic, mq.EARLIEST, dict.fromkeys(ends, 0))
    _moved(env, group, topic, mq.LATEST, None)
    env.drained(topic, group)
    env.observer.records(topic.name)


def _moved(env: Env, group: str, topic: mq.Topic[bytes], to: Any, after: dict[int, int] | None) -> None:
    """Reset, and see from outside and as a member where the group is; `after` None is the end."""
    if after is None:
        after = {partition: at.end for partition, at in env.bus.admin.offsets(topic).items()}
    _empty(env, group)
    plan = env.bus.admin.reset_offsets(group, topic, to, dry_run=False)
    env.equal((plan.after, plan.applied), (after, True), f"the reset to {to!r}, as it is told")
    committed = {f"{topic.name}/{partition}": offset for partition, offset in after.items()}
    env.equal(env.observer.committed(group), committed, f"the offsets after a reset to {to!r}", "untrue-answer")
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(env.patience_s)
        # What is sent now comes behind what is due, so it would be seen if too much or too little came before it.
        filled(env, topic, [len(env.observer.records(topic.name))], partitions=range(PARTITIONS))
        stored = [(record.partition or 0, record.offset or 0) for record in env.observer.records(topic.name)]
        due = [(partition, offset) for partition, offset in stored if offset >= after[partition]]
        got = env.receive(consumer, len(due), f"what is due after a reset to {to!r}")
        env.equal(sorted(places(got)), due, f"what the group gets after a reset to {to!r}", "replay-mismatch")
    env.count("moved")


def _empty(env: Env, group: str) -> None:
    """Where members are seen by what a broker reports at times, one that has left may be seen a little longer."""
    env.wait_for(lambda: len(env.bus.admin.describe_group(group).members), 0, "members of a group that all have left")
