"""How far behind a group is: never less than the messages that it still has to be given, and nothing made up."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, by_partition, filled

RECORDS, DONE = 10, 4
Places = dict[tuple[str, int], int | None]


@scenario(
    "lag-is-truth",
    "lag() and describe_group count what lies between committed and end, for each partition, whoever asks and when",
    needs=(Cap.LAG, Cap.GROUPS, Cap.END_OFFSETS, Cap.PARTITION_CUSTOM),
    proves=(Cap.LAG, Cap.END_OFFSETS),
    exercises=("compared", "behind", "caught_up", "without_members"),
)
def lag_is_truth(env: Env) -> None:
    topic, group = env.topic(partitions=3), env.group()
    filled(env, topic, range(RECORDS), partitions=(0, 1))
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        got = by_partition(env.receive(consumer, 2 * RECORDS, "all of it"))
        # One partition in part, one shown and not settled, one with nothing in it.
        acked(env, consumer, got[0][:DONE])
        behind = _compared(env, topic, group, consumer, "with one in part, one open, one empty")
        told = {partition: bool(lag) for (_, partition), lag in behind.items()}
        env.equal(told, {0: True, 1: True, 2: False}, "which partitions are behind", "untrue-answer")
        env.count("behind")
        acked(env, consumer, [*got[0][DONE:], *got[1]])
        caught_up = _compared(env, topic, group, consumer, "when all is settled")
        env.equal({*caught_up.values()}, {0}, "lag when all is settled", "untrue-answer")
        env.count("caught_up")
        filled(env, topic, range(RECORDS, RECORDS + 3), partitions=(2,))
        _compared(env, topic, group, consumer, "when more was sent")
    _compared(env, topic, group, None, "when the group has no member")
    listed = [(one.group, one.members) for one in env.bus.admin.list_groups() if one.group == group]
    env.equal(listed, [(group, 0)], "the group and its members, as listed")
    env.count("without_members")
    if env.can(Cap.ADD_PARTITIONS):
        _of_a_partition_that_nobody_had(env, topic, group)
    with env.bus.consumer(topic, group=group, start=mq.LATEST) as consumer:
        stored = len(env.observer.records(topic.name))
        acked(env, consumer, env.receive(consumer, stored - 2 * RECORDS, "what was not settled"))
    env.drained(topic, group)
    env.observer.records(topic.name)


def _compared(
    env: Env, topic: mq.Topic[bytes], group: str, consumer: mq.TopicConsumer[bytes] | None, when: str
) -> Places:
    """The lag that everybody tells, compared with ends, offsets, and what lies there as seen from outside."""
    described = env.bus.admin.describe_group(group)
    found = {place: lag for place, lag in described.lag_messages.items() if place[0] == topic.name}
    ends = {(topic.name, number): at.end for number, at in env.bus.admin.offsets(topic).items()}
    env.equal({*described.committed}, {*ends}, f"partitions that the group has offsets of, {when}", "untrue-answer")
    wanted = {place: end - described.committed[place] for place, end in ends.items()}
    env.equal({place: found.get(place) for place in wanted}, wanted, f"lag {when}, as described", "untrue-answer")
    left = dict.fromkeys(wanted, 0)
    for record in env.observer.records(topic.name):
        place = (topic.name, record.partition or 0)
        left[place] += (record.offset or 0) >= described.committed[place]
    short = {place: (found[place], count) for place, count in left.items() if (found[place] or 0) < count}
    env.equal(short, {}, f"partitions with a lag below what is left in them, {when}", "untrue-answer")
    if consumer is not None:
        env.equal(consumer.lag(), found, f"lag {when}, as the member tells it", "untrue-answer")
    env.count("compared", len(wanted))
    return found


def _of_a_partition_that_nobody_had(env: Env, topic: mq.Topic[bytes], group: str) -> None:
    """Nobody has committed anything of it, and that is not the same as having nothing left of it."""
    env.bus.admin.add_partitions(topic, 4)
    filled(env, topic, range(RECORDS, RECORDS + 2), partitions=(3,))
    lag = env.bus.admin.describe_group(group).lag_messages.get((topic.name, 3))
    env.check(lag is None or lag >= 2, f"the lag of a partition that nobody read is {lag}, of two", "untrue-answer")
