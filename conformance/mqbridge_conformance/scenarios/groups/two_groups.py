"""Two groups read one topic; each gets everything, and the progress of one is none of the other's."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

PARTITIONS, RECORDS, HALF = 3, 60, 30


@scenario(
    "two-groups",
    "Two groups read a topic independently: each gets every message, and commits its own offsets",
    needs=(Cap.GROUPS, Cap.END_OFFSETS),
    proves=(Cap.GROUPS,),
    exercises=("first_group", "second_group", "resumed"),
)
def two_groups(env: Env) -> None:
    topic = env.topic(partitions=PARTITIONS)
    first, second = env.group("first"), env.group("second")
    with env.bus.producer() as producer:
        for receipt in producer.send_many(topic, [mq.Message(b"%d" % n, key=b"%d" % n) for n in range(RECORDS)]):
            receipt.result(env.patience_s)
    everything = sorted(b"%d" % n for n in range(RECORDS))
    ends = {f"{topic.name}/{p}": at.end for p, at in env.bus.admin.offsets(topic).items()}
    none = dict.fromkeys(ends, 0)

    with (
        env.bus.consumer(topic, group=first, start=mq.EARLIEST) as fast,
        env.bus.consumer(topic, group=second, start=mq.EARLIEST) as slow,
    ):
        all_of_it = env.receive(fast, RECORDS, f"group {first}")
        slow.wait_assigned(env.patience_s)
        for delivery in all_of_it:
            delivery.ack()
        fast.commit(env.patience_s)
        env.count("first_group", len(all_of_it))
        env.equal(sorted(d.raw or b"" for d in all_of_it), everything, "what the first group got")
        env.committed(first, ends, "offsets of the first group, seen from outside")
        env.committed(second, none, "offsets of the second group, while only the first commits")
        half = env.receive(slow, HALF, f"group {second}")
        for delivery in half:
            delivery.ack()
        slow.commit(env.patience_s)
        env.count("second_group", len(half))
        env.committed(first, ends, "offsets of the first group, while only the second commits")
    # Where nobody can tell while there are members: both have left now.
    between = env.observer.committed(second) or {}
    env.equal(sum(between.values()), HALF, "offsets of the second group after half of it, added up")
    env.equal(env.observer.committed(first), ends, "offsets of the first group, when both have left")

    with env.bus.consumer(topic, group=second, start=mq.EARLIEST) as again:
        rest = env.receive(again, RECORDS - HALF, f"group {second}, joined again")
        for delivery in rest:
            delivery.ack()
        again.commit(env.patience_s)
        env.count("resumed", len(rest))
    got = sorted(d.raw or b"" for d in (*half, *rest))
    env.equal(got, everything, "what the second group got in two visits, each message once")
    env.equal(env.observer.committed(second), ends, "offsets of the second group at the end")

    with env.bus.consumer(topic, group=first, start=mq.EARLIEST) as back, env.bus.producer() as producer:
        # One more message says that the first group is at its end and gets nothing of what it has had.
        producer.send(topic, b"more", key=b"0").result(env.patience_s)
        (more,) = env.receive(back, 1, f"group {first}, joined again")
        env.equal(more.raw, b"more", "what the first group gets next")
        more.ack()
