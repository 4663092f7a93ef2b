"""Every partition has one member, however many of either there are; a member too many is idle, and steps in."""

from __future__ import annotations

import contextlib

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import Scenario, scenario
from mqbridge_conformance.scenarios.arranging import filled, number
from mqbridge_conformance.scenarios.groups.driving import Member, drive, shared_out

MANY, FEW, MEMBERS = 7, 2, 3


def _assignment(protocol: str) -> Scenario:
    needs = (Cap.GROUPS, Cap[f"REBALANCE_{protocol.upper()}"], Cap.PARTITION_CUSTOM)

    @scenario(
        f"assignment-{protocol}",
        f"With rebalance='{protocol}' members share all partitions, none has two owners, one too many is idle",
        needs=needs,
        proves=needs[1:2],
        exercises=("shared_out", "idle_members", "stepped_in"),
    )
    def assignment(env: Env) -> None:
        _more_partitions_than_members(env, protocol)
        _more_members_than_partitions(env, protocol)

    return assignment


assignments = tuple(_assignment(protocol) for protocol in ("cooperative", "eager", "server"))


def _more_partitions_than_members(env: Env, protocol: str) -> None:
    topic, group = env.topic("many", partitions=MANY), env.group("many")
    filled(env, topic, range(3), partitions=range(MANY))
    with contextlib.ExitStack() as stack:
        members = [Member(env, f"member {turn}", topic, group, rebalance=protocol) for turn in range(MEMBERS)]
        for member in members:
            stack.enter_context(member.consumer)
        what = f"{MANY} partitions among {MEMBERS} members"
        drive(env, members, lambda: shared_out(members, MANY), what, anomaly="starvation")
        described = env.bus.admin.describe_group(group)
        told = sorted(sorted(number for _, number in member.assignment) for member in described.members)
        env.equal(told, sorted(list(member.partitions) for member in members), "what the engine says that members have")
        drive(env, members, lambda: _got(members) >= {*range(3 * MANY)}, "all messages, by whichever member")
        env.count("shared_out", MANY)
        for member in members:
            member.consumer.commit(env.patience_s)
    env.drained(topic, group)
    env.observer.records(topic.name)


def _got(members: list[Member]) -> set[int]:
    """Each message by a number of its own: partitions hold three each."""
    return {(one.partition or 0) * 3 + number(one) for member in members for one in member.got}


def _more_members_than_partitions(env: Env, protocol: str) -> None:
    topic, group = env.topic("few", partitions=FEW), env.group("few")
    with contextlib.ExitStack() as stack:
        members = [Member(env, f"member {turn}", topic, group, rebalance=protocol) for turn in range(MEMBERS)]
        for member in members:
            stack.enter_context(member.consumer)
        what = f"{FEW} partitions among {MEMBERS} members"
        drive(env, members, lambda: shared_out(members, FEW), what, anomaly="starvation")
        idle = [member for member in members if not member.partitions]
        env.equal(len(idle), MEMBERS - FEW, "members without a partition", "double-ownership")
        env.count("idle_members", len(idle))
        gone = next(member for member in members if member.partitions)
        gone.consumer.close(env.patience_s)
        members.remove(gone)
        drive(env, members, lambda: shared_out(members, FEW), "the idle member in the place of one that left")
        env.count("stepped_in")
