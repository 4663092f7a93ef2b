"""A member is killed in the middle of its work; the next one begins at what was committed, and nothing is lost."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, by_partition
from mqbridge_conformance.scenarios.groups.traffic import handled, joined, sending, stopped_sending

PARTITIONS, BEFORE = 2, 20


@scenario(
    "member-crash",
    "When a member is killed under load another one goes on from the committed offsets, and no message is lost",
    needs=(Cap.GROUPS, Cap.PARTITION_BY_KEY),
    proves=(Cap.GROUPS,),
    exercises=("kills", "sent_meanwhile", "handed_over"),
    fault=True,
)
def member_crash(env: Env) -> None:
    topic, group = env.topic(partitions=PARTITIONS), env.group()
    sender = sending(env, topic)
    victim = joined(env, topic, group, work_s=0.01)
    env.wait_for(lambda: handled(env, victim) >= BEFORE, True, "the member is at work", "unseen")
    env.kill(victim)
    committed = _left_behind(env, topic, group)
    with env.bus.consumer(topic, group=group, start=mq.LATEST) as heir:
        got = env.receive(heir, BEFORE, "messages for the heir")
        stopped_sending(env, sender)
        stored = by_partition(env.observer.records(topic.name))
        due = {at: [one.offset for one in part if (one.offset or 0) >= committed[at]] for at, part in stored.items()}
        got += env.receive(heir, sum(map(len, due.values())) - len(got), "what was sent meanwhile")
        for at, deliveries in by_partition(got).items():
            found = [one.offset for one in deliveries]
            env.equal(found, due[at], f"what the heir got of partition {at}, from {committed[at]} on", "handover-gap")
            env.count("handed_over")
        acked(env, heir, got)
    env.drained(topic, group)
    env.observer.records(topic.name)


def _left_behind(env: Env, topic: mq.Topic[bytes], group: str) -> dict[int, int]:
    """What is committed when nobody is there any more."""
    env.eventually(lambda: len(env.bus.admin.describe_group(group).members), 0, "members of the group after the kill")
    found = env.observer.committed(group) or {}
    return {partition: found.get(f"{topic.name}/{partition}", 0) for partition in range(PARTITIONS)}
