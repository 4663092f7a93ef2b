"""A consumer of several topics has them side by side: each is read whole, and each is committed by itself."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, places

EACH, LEFT = 10, 3


@scenario(
    "several-topics",
    "A member of a group reads two topics at once: each is given whole, and each is committed by itself",
    needs=(Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.GROUPS,),
    exercises=("given", "given_again"),
)
def several_topics(env: Env) -> None:
    whole, part, group = env.topic("whole", partitions=2), env.topic("part"), env.group()
    filled(env, whole, range(EACH), partitions=(0, 1))
    filled(env, part, range(EACH))
    owned = {(whole.name, 0), (whole.name, 1), (part.name, 0)}
    with env.bus.consumer([whole, part], group=group, start=mq.EARLIEST) as member:
        member.wait_assigned(env.patience_s)
        env.eventually(lambda: set(member.assignment()), owned, "what the member of two topics has", "starvation")
        got = env.receive(member, 3 * EACH, "all of both topics")
        by_topic = {topic: [one for one in got if one.destination == topic] for topic in (whole, part)}
        env.equal([len(some) for some in by_topic.values()], [2 * EACH, EACH], "what came of each topic", "unseen")
        env.count("given", len(got))
        acked(env, member, [*by_topic[whole], *by_topic[part][:-LEFT]])
    kept = by_topic[part][-LEFT:]
    with env.bus.consumer([part, whole], group=group, start=mq.EARLIEST) as heir:
        again = env.receive(heir, LEFT, "what was not settled of one of the topics")
        env.equal(places(again), places(kept), "where what comes again lies")
        env.equal({one.destination for one in again}, {part}, "the topic of what comes again", "committed-too-far")
        acked(env, heir, again)
        env.count("given_again", len(again))
        env.drained(whole, group)
        env.drained(part, group)
    ends = {f"{part.name}/0": EACH, f"{whole.name}/0": EACH, f"{whole.name}/1": EACH}
    found = env.observer.committed(group) or {}
    if env.can(Cap.SEND_OFFSET):  # offsets are contiguous where they are told
        env.equal(found, ends, "the offsets of the group at the end")
    env.equal(set(found), set(ends), "the partitions of which the group has committed something")
