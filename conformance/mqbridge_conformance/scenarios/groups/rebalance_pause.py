"""What stands still when a member joins: with cooperative rebalancing only what moves, with eager everything."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import Scenario, scenario
from mqbridge_conformance.scenarios.groups.driving import Member, drive, shared_out

PARTITIONS = 4
DRAIN_S = 0.5


def _pause(protocol: str) -> Scenario:
    moves = "only what moves" if protocol == "cooperative" else "everything"
    needs = (Cap.GROUPS, Cap[f"REBALANCE_{protocol.upper()}"], Cap.PARTITION_ROUND_ROBIN)

    @scenario(
        f"rebalance-pause-{protocol}",
        f"When a member joins under load, {moves} is asked back with rebalance='{protocol}'; the pauses are measured",
        needs=needs,
        proves=needs[1:2],
        exercises=("moved", "kept" if protocol == "cooperative" else "given_back", "measured"),
    )
    def pause(env: Env) -> None:
        topic, group = env.topic(partitions=PARTITIONS), env.group()
        sender = env.spawn("send", destination=str(topic), producer="p", options={"partitioner": "round_robin"})
        sender.expect("ready", env.patience_s)
        sender.command("flow", burst=PARTITIONS, every_s=0.03)
        with contextlib.ExitStack() as stack:
            first, second = _joined(env, stack, topic, group, protocol)
            sender.command("halt")
            sender.expect("sent", env.patience_s)
            _all_given(env, topic, first, second)
        env.drained(topic, group)
        env.observer.records(topic.name)

    return pause


pauses = tuple(_pause(protocol) for protocol in ("cooperative", "eager"))


def _all_given(env: Env, topic: mq.Topic[bytes], *members: Member) -> None:
    """Poll on until every message has come to one of them."""
    stored = len(env.observer.records(topic.name))
    drive(env, members, lambda: len(set().union(*map(_places, members))) >= stored, "all that was sent")


def _joined(
    env: Env, stack: contextlib.ExitStack, topic: mq.Topic[bytes], group: str, protocol: str
) -> tuple[Member, Member]:
    """One member at work; a second one joins; see what that did to the first one's partitions."""
    options = {"rebalance": protocol, "drain_timeout_s": DRAIN_S}
    first = Member(env, "first", topic, group, **options)
    stack.enter_context(first.consumer)
    drive(env, [first], lambda: {one.partition for one in first.got} == {*range(PARTITIONS)}, "all, by one member")
    held = _one_of_each(env, first)
    first.asked_back.clear()
    second = Member(env, "second", topic, group, **options)
    stack.enter_context(second.consumer)
    both = [first, second]
    drive(env, both, lambda: shared_out(both, PARTITIONS) and bool(second.partitions), "both have half of them")
    flowing = {member.name: len(member.got) for member in both}
    drive(
        env,
        both,
        lambda: all({one.partition for one in m.got[flowing[m.name] :]} >= {*m.partitions} for m in both),
        "messages of every partition after the rebalance",
    )
    kept, moved = set(first.partitions), set(second.partitions)
    env.count("moved", len(moved))
    back = moved if protocol == "cooperative" else {*range(PARTITIONS)}
    env.eventually(lambda: set(first.asked_back), back, "what the first member had to give back", "eager-rebalance")
    for partition, delivery in held.items():
        if partition in back:
            what = f"settling under the lease of partition {partition}, which was given back"
            env.raises(mq.LeaseLost, delivery.ack, what, "zombie-commit")
            env.count("given_back")
        else:
            delivery.ack()  # under the lease that it was taken with
            env.count("kept")
    _measure(env, both, kept, moved, protocol)
    return first, second


def _one_of_each(env: Env, member: Member) -> dict[int, mq.Delivery[bytes]]:
    """The next delivery of each partition, not settled; those that come with them are."""
    held: dict[int, mq.Delivery[bytes]] = {}
    looked_at = len(member.got)

    def sort_out() -> bool:
        nonlocal looked_at
        for delivery in member.got[looked_at:]:
            if held.setdefault(delivery.partition or 0, delivery) is not delivery:
                delivery.ack()
        looked_at = len(member.got)
        return len(held) == PARTITIONS

    drive(env, [member], sort_out, "more of every partition", settle=False)
    return held


def _measure(env: Env, members: Sequence[Member], kept: set[int], moved: set[int], protocol: str) -> None:
    """The longest time without a delivery, of each partition; numbers, and no verdict: the clock is the machine's."""
    for partition in sorted({*kept, *moved}):
        times = sorted(
            at_s
            for member in members
            for one, at_s in zip(member.got, member.at_s, strict=True)
            if one.partition == partition
        )
        longest_ms = round(1000 * max(then - now for now, then in zip(times, times[1:], strict=False)))
        env.count(f"paused_ms_partition_{partition}_{'moved' if partition in moved else 'kept'}", longest_ms)
        env.count("measured")


def _places(member: Member) -> set[tuple[int | None, int | None]]:
    return {(one.partition, one.offset) for one in member.got}
