"""A member with a name of its own comes back within its session, and nobody else notices that it was away."""

from __future__ import annotations

import contextlib
from typing import Any

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.groups.driving import Member, drive
from mqbridge_conformance.scenarios.groups.traffic import assigned, handled, joined, sending, stopped_sending

PARTITIONS = 4
LONG_S = 8.0
"""A session that outlasts the start of a process on a busy machine. A static member does not leave when it is closed,
so it is waited for at the end."""


@scenario(
    "static-member-restart",
    "A killed member that comes back with its instance_id has its partitions again, and the others' never moved",
    needs=(Cap.GROUPS, Cap.STATIC_MEMBERSHIP, Cap.PARTITION_BY_KEY),
    proves=(Cap.STATIC_MEMBERSHIP,),
    exercises=("kills", "came_back", "undisturbed"),
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
        drive(env, [steady], lambda: assigned(env, again) == had, "it has its partitions again", anomaly="starvation")
        drive(env, [steady], lambda: handled(env, again) > 0, "it works again")
        env.count("came_back")
        env.equal((steady.partitions, steady.gained, steady.asked_back), (leases, [], []), "moves at the steady one")
        env.count("undisturbed")
        stopped_sending(env, sender)
        again.command("leave")
        again.expect("left", env.patience_s)
        steady.consumer.commit(env.patience_s)
