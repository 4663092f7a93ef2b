"""The four rules of `start`, each with the case in which breaking it loses or repeats messages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario


@scenario(
    "start-rules",
    "start counts only where nothing is committed, is committed first, skips no new partition, hides no gap",
    needs=(Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.GROUPS, Cap.ADD_PARTITIONS, Cap.DELETE_RECORDS),
    exercises=("rule_1", "rule_2", "kills"),
)
def start_rules(env: Env) -> None:
    _only_where_nothing_is_committed(env)
    _committed_before_the_first_delivery(env)
    for rule, capability in (
        (_a_new_partition_from_its_beginning, Cap.ADD_PARTITIONS),
        (_a_removed_offset_is_told, Cap.DELETE_RECORDS),
    ):
        if env.can(capability):
            rule(env)
        else:
            env.evidence.note(f"start-rules: one rule is out of reach, for {capability} is refused")


def _only_where_nothing_is_committed(env: Env) -> None:
    topic, group, fresh = env.topic("rule-1"), env.group("rule-1"), env.group("rule-1-fresh")
    _send(env, topic, range(10))
    _consume(env, topic, group, mq.EARLIEST, range(3))
    _consume(env, topic, group, mq.LATEST, range(3, 6))
    _consume(env, topic, group, mq.EARLIEST, range(6, 8))
    _consume(env, topic, group, mq.At({0: 1}), range(8, 10))
    with env.bus.consumer(topic, group=fresh, start=mq.LATEST) as consumer:
        consumer.wait_assigned(env.patience_s)
        _send(env, topic, range(10, 12))
        _exactly(env, consumer, range(10, 12), "a group that begins at LATEST, and nothing before that")
    env.equal(env.observer.committed(group), {f"{topic.name}/0": 10}, "where the first group is")
    env.count("rule_1")


def _committed_before_the_first_delivery(env: Env) -> None:
    topic, group = env.topic("rule-2"), env.group("rule-2")
    _send(env, topic, range(4))
    victim = env.spawn("join", topic=topic.name, group=group)
    env.equal(victim.expect("assigned", env.patience_s)["partitions"], [[topic.name, 0]], "what it was assigned")
    what = "what is committed before the first delivery of LATEST"
    env.committed(group, {f"{topic.name}/0": 4}, what)
    env.kill(victim)
    # The worst moment: the group has no member, and nothing that it was ever told to commit.
    env.eventually(lambda: _members(env, group), 0, "members of the group after the kill")
    env.equal(env.observer.committed(group), {f"{topic.name}/0": 4}, "what is committed between the kill and an heir")
    _send(env, topic, range(4, 9))
    with env.bus.consumer(topic, group=group, start=mq.LATEST) as heir:
        _exactly(env, heir, range(4, 9), "what was sent between the kill and the next member")
    env.count("rule_2")


def _members(env: Env, group: str) -> int:
    try:
        return len(env.bus.admin.describe_group(group).members)
    except mq.NotFound:
        return 0


def _a_new_partition_from_its_beginning(env: Env) -> None:
    topic, group = env.topic("rule-3"), env.group("rule-3")
    _send(env, topic, range(2))
    with env.bus.consumer(topic, group=group, start=mq.LATEST) as consumer:
        consumer.wait_assigned(env.patience_s)
    env.bus.admin.add_partitions(topic, 2)
    env.equal(env.observer.names().topics[topic.name], 2, "partitions, seen from outside", "untrue-answer")
    _send(env, topic, range(20, 25), partition=1)
    with env.bus.consumer(topic, group=group, start=mq.LATEST) as consumer:
        _exactly(env, consumer, range(20, 25), "what a partition that was added later holds")
        # And while the member is there: it finds the partition by itself.
        env.bus.admin.add_partitions(topic, 3)
        _send(env, topic, range(30, 33), partition=2)
        _exactly(env, consumer, range(30, 33), "what a partition holds that was added under a member")
    env.count("rule_3")


def _a_removed_offset_is_told(env: Env) -> None:
    topic = env.topic("rule-4")
    _send(env, topic, range(10))
    fail, earliest, latest = (env.group(f"rule-4-{name}") for name in ("fail", "earliest", "latest"))
    for group in (fail, earliest, latest):
        _consume(env, topic, group, mq.EARLIEST, range(3))
    env.bus.admin.delete_records(topic, {0: 6})
    left = [record.offset for record in env.observer.records(topic.name)]
    env.equal(left, [6, 7, 8, 9], "the records that are left", "untrue-answer")
    with env.bus.consumer(topic, group=fail, start=mq.EARLIEST) as consumer:
        lost = env.raises(
            mq.OffsetLost,
            lambda: env.receive(consumer, 1, "a delivery across a gap"),
            "a committed offset that was removed",
            "gap-hidden",
        )
    facts = {name: getattr(lost, name, None) for name in ("topic", "partition", "committed", "start")}
    env.equal(facts, {"topic": topic.name, "partition": 0, "committed": 3, "start": 6}, "what OffsetLost says")
    env.equal(env.observer.committed(fail), {f"{topic.name}/0": 3}, "the offset after OffsetLost: where it was")
    _consume(env, topic, earliest, mq.LATEST, range(6, 10), on_gap="earliest")
    with env.bus.consumer(topic, group=latest, start=mq.EARLIEST, on_gap="latest") as consumer:
        _from_the_end_on(env, topic, consumer, 10)
    env.count("rule_4")


def _from_the_end_on(env: Env, topic: mq.Topic[bytes], consumer: mq.TopicConsumer[bytes], number: int) -> None:
    """Of what there was nothing comes, and from some point on everything that is sent, without a hole."""
    first, got = number, list[mq.Delivery[bytes]]()
    give_up_s = time.monotonic() + env.patience_s
    while not got:
        env.check(time.monotonic() < give_up_s, "on_gap='latest' gets nothing of what is sent")
        _send(env, topic, [number])
        number += 1
        got = consumer.poll(timeout=0.05)
    while got[-1].raw != b"%d" % (number - 1):
        got += env.receive(consumer, 1, "the last of what was sent while on_gap='latest' went to the end")
    found = [int(d.raw or b"") for d in got]
    env.check(found[0] >= first, f"on_gap='latest' gets {found[0]}, which was there before")
    env.equal(found, list(range(found[0], number)), "what on_gap='latest' gets, from its first message on")
    for delivery in got:
        delivery.ack()
    consumer.commit(env.patience_s)


def _send(env: Env, topic: mq.Topic[Any], numbers: Sequence[int], *, partition: int = 0) -> None:
    with env.bus.producer(partitioner=lambda *_: partition) as producer:
        for receipt in producer.send_many(topic, [b"%d" % number for number in numbers]):
            receipt.result(env.patience_s)


def _consume(
    env: Env,
    topic: mq.Topic[Any],
    group: str,
    start: Any,
    wanted: Sequence[int],
    on_gap: Literal["fail", "earliest", "latest"] = "fail",
) -> None:
    """Join, get exactly these, commit, leave."""
    with env.bus.consumer(topic, group=group, start=start, on_gap=on_gap) as consumer:
        _exactly(env, consumer, wanted, f"group {group} from {start!r}")


def _exactly(env: Env, consumer: mq.TopicConsumer[bytes], wanted: Sequence[int], what: str) -> None:
    got = env.receive(consumer, len(wanted), what)
    env.equal([d.raw for d in got], [b"%d" % number for number in wanted], what)
    for delivery in got:
        delivery.ack()
    consumer.commit(env.patience_s)
