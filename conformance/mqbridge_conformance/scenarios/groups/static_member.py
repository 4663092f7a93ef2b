"""A member with a name of its own comes back within its session, and nobody else notices that it was away."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, numbers
from mqbridge_conformance.scenarios.groups.driving import Member, drive
from mqbridge_conformance.scenarios.groups.traffic import assigned, handled, joined, sending, stopped_sending

PARTITIONS = 4
SHORT_S, LONG_S = 1.5, 8.0
"""The long session outlasts the start of a process on a busy machine. A static member does not leave when it is closed,
so it is waited for at the end."""


@scenario(
    "static-member-restart",
    "A killed member that comes back with its instance_id has its partitions again, and the others' never moved",
    needs=(Cap.GROUPS, Cap.STATIC_MEMBERSHIP, Cap.PARTITION_BY_KEY),
    proves=(Cap.STATIC_MEMBERSHIP,),
    exercises=("kills", "came_back", "undisturbed"),
    fault=True,
    level="full",
)
def static_member_restart(env: Env) -> None:
    topic, group = env.topic(partitions=PARTITIONS), env.group()
    sender = sending(env, topic)
    with contextlib.ExitStack() as stack:
        steady = Member(env, "steady", topic, group, instance_id="steady", session_timeout_s=LONG_S)
        stack.enter_context(steady.consumer)
        restless: dict[str, Any] = {"instance_id": "restless", "session_timeout_s": LONG_S}
        first = joined(env, topic, group, **restless)
        drive(env, [steady], lambda: len(steady.partitions) == PARTITIONS // 2, "the steady member has its half")
        drive(env, [steady], lambda: len(assigned(env, first)) == PARTITIONS // 2, "the other one has its half")
        drive(env, [steady], lambda: handled(env, first) > 0, "the other one works")
        had, leases = assigned(env, first), steady.partitions
        steady.gained.clear()
        steady.asked_back.clear()
        env.kill(first)
        again = joined(env, topic, group, **restless)
        members: set[int] = set()

        def has_them_again() -> bool:
            members.add(len(env.bus.admin.describe_group(group).members))
            return assigned(env, again) == had

        drive(env, [steady], has_them_again, "it has its partitions again", anomaly="static-moved")
        # One more would be the one that was killed, whose session had to end first.
        env.equal(max(members), 2, "members at a time, from when one was killed to when it was back", "static-moved")
        drive(env, [steady], lambda: handled(env, again) > 0, "it works again")
        env.count("came_back")
        found = (steady.partitions, steady.gained, steady.asked_back)
        env.equal(found, (leases, [], []), "moves at the steady one", "static-moved")
        env.count("undisturbed")
        stopped_sending(env, sender)
        again.command("leave")
        again.expect("left", env.patience_s)
        steady.consumer.commit(env.patience_s)
    _gone(env, group)


def _gone(env: Env, group: str) -> None:
    """Wait for the sessions of members that keep their places, longer than one waits for anything else."""
    pause, give_up_s = threading.Event(), time.monotonic() + LONG_S + env.patience_s
    while env.bus.admin.describe_group(group).members and time.monotonic() < give_up_s:
        pause.wait(0.1)


@scenario(
    "static-member-fenced",
    "A second member with the same instance_id takes the place of the first, which is fenced and told so",
    needs=(Cap.GROUPS, Cap.STATIC_MEMBERSHIP, Cap.PARTITION_CUSTOM),
    proves=(Cap.STATIC_MEMBERSHIP,),
    exercises=("taken_over", "fenced"),
)
def static_member_fenced(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(4))
    same: dict[str, Any] = {"group": group, "start": mq.EARLIEST, "instance_id": "one", "session_timeout_s": SHORT_S}
    with contextlib.ExitStack() as stack:
        former = stack.enter_context(env.bus.consumer(topic, **same))
        held = env.receive(former, 4, "all of it, by the first holder of the name")
        acked(env, former, held[:2])
        latter = stack.enter_context(env.bus.consumer(topic, **same))
        got = env.receive(latter, 2, "what the first holder had not settled")
        env.equal(numbers(got), [2, 3], "where the second holder begins", "handover-gap")
        env.count("taken_over", len(got))
        error = env.raises(mq.Fenced, lambda: _polled(env, former), "polling by the first holder", "double-ownership")
        env.check(not error.retryable, "a fenced member is told to try again", "double-ownership")
        env.count("fenced")
        acked(env, latter, got)
    env.drained(topic, group)
    env.observer.records(topic.name)


def _polled(env: Env, consumer: mq.TopicConsumer[bytes]) -> None:
    """Poll until it fails, for the news may be on its way."""
    give_up_s = time.monotonic() + env.patience_s
    while time.monotonic() < give_up_s:
        consumer.poll(timeout=0.05)
