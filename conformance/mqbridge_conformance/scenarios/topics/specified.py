"""What a topic is said to be is what it is: made once, described as it was made, and never changed by asking."""

from __future__ import annotations

from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import filled

PARTITIONS, OTHER = 3, 5


@scenario(
    "topic-specified",
    "A topic is made as specified, described so, and a specification that differs is refused field by field",
    needs=(Cap.END_OFFSETS, Cap.PARTITION_CUSTOM),
    proves=(Cap.END_OFFSETS,),
    exercises=("made", "described", "mismatches", "deleted"),
)
def topic_specified(env: Env) -> None:
    admin = env.bus.admin
    topic = mq.Topic(env.name("topic"), partitions=PARTITIONS)
    env.remember(topic)
    before = env.observer.names()
    planned = [change.action for change in admin.plan(topic)]
    env.equal(planned, ["create"], "the plan for a topic that is not there", "phantom-topic")
    env.raises(mq.NotFound, lambda: admin.describe(topic), "describing a topic that is not there", "phantom-topic")
    env.equal(env.observer.names(), before, "what exists after planning and looking", "phantom-topic")
    for time in ("first", "second"):
        admin.ensure(topic)
        env.equal(env.observer.names().topics.get(topic.name), PARTITIONS, f"partitions after a {time} ensure")
    env.count("made")
    filled(env, topic, range(2), partitions=(1,))
    _described(env, topic)
    other = mq.Topic(topic.name, partitions=OTHER)
    planned = [change.action for change in admin.plan(other)]
    env.equal(planned, ["mismatch"], "the plan for another number of partitions")
    what = "ensuring another number of partitions"
    error = env.raises(mq.Mismatch, lambda: admin.ensure(other), what, "mismatch-hidden")
    env.equal(error.differences, (("partitions", OTHER, PARTITIONS),), "the differences that Mismatch names")
    env.equal(env.observer.names().topics.get(topic.name), PARTITIONS, "partitions after a mismatch", "mismatch-hidden")
    env.equal(len(env.observer.records(topic.name)), 2, "records after a mismatch")
    bare = mq.Topic(topic.name)
    env.equal([change.action for change in admin.plan(bare)], ["keep"], "the plan for the topic by its name alone")
    env.count("mismatches")
    admin.delete(topic)
    env.eventually(lambda: env.observer.names(), before, "what exists after it was deleted", "not-deleted")
    env.raises(mq.NotFound, lambda: admin.delete(topic), "deleting it again", "not-deleted")
    env.count("deleted")


def _described(env: Env, topic: mq.Topic[bytes]) -> None:
    """One way of asking says what the others say."""
    admin = env.bus.admin
    found: Any = admin.describe(topic)
    env.equal(found.topic.partitions, PARTITIONS, "partitions, as described")
    env.equal(dict(found.partitions), admin.offsets(topic), "offsets, as described and as asked for")
    env.equal(sorted(found.partitions), list(range(PARTITIONS)), "the partitions that have offsets")
    listed = {one.name: one.partitions for one in admin.list_topics()}
    env.equal(listed.get(topic.name), PARTITIONS, "partitions, as listed")
    held = {number: at.end - at.start for number, at in found.partitions.items()}
    some = {number for number, count in held.items() if count}
    env.equal(some, {1}, "partitions with something in them", "untrue-answer")
    env.check(held[1] >= 2, f"{held[1]} records between the ends of a partition that has two", "untrue-answer")
    for number, at in found.partitions.items():
        ordered = at.start <= at.last_stable <= at.high_watermark <= at.end
        env.check(ordered, f"the offsets of partition {number} are not in order: {at}", "untrue-answer")
    env.count("described")
