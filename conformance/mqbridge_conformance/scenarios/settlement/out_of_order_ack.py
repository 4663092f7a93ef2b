"""What is acked ahead of its turn is not committed past what is not: after a crash the gap comes again."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, numbers

RECORDS = 6
ACKED = (3, 0, 2)
"""Places in the order of delivery. Only the first stands next to what was settled before."""
SESSION_S = 1.5
"""Of the member that is killed: how long its heir waits."""


@scenario(
    "out-of-order-ack",
    "An ack out of order skips nothing: the committed offset waits at the gap, and a crash brings the gap again",
    needs=(Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.GROUPS,),
    exercises=("kills", "came_again"),
    fault=True,
)
def out_of_order_ack(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    options = {"group": group, "session_timeout_s": SESSION_S}
    victim = env.spawn("take", topic=topic.name, take=RECORDS, ack=list(ACKED), options=options)
    offsets = victim.expect("held", env.patience_s)["offsets"]
    waiting = {f"{topic.name}/0": offsets[1]}
    env.committed(group, waiting, "the offset, with the first one acked and some above the second")
    env.kill(victim)
    with env.bus.consumer(topic, group=group, start=mq.LATEST) as heir:
        got = env.receive(heir, RECORDS - 1, "what was not settled in order")
        env.equal(numbers(got), list(range(1, RECORDS)), "what comes again after the crash", "committed-too-far")
        env.count("came_again", len(got))
        env.eventually(heir.committed, {(topic.name, 0): offsets[1]}, "the offset after the crash", "committed-too-far")
        acked(env, heir, got)
    env.equal(env.observer.committed(group), {f"{topic.name}/0": offsets[-1] + 1}, "the offset when all is acked")
    env.drained(topic, group)
    env.observer.records(topic.name)
