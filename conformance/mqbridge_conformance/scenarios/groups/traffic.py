"""Senders and members as processes of their own, for what happens to a group under load.

The rule: a group is through when, asked from outside its members, nothing is left of its topic; what a member says of
itself is no proof.
"""

from __future__ import annotations

from typing import Any

import mqbridge as mq
from mqbridge_conformance.env import Env
from mqbridge_conformance.parties import Party

__all__ = ["KEYS", "SESSION_S", "assigned", "at_work", "handled", "joined", "sending", "stopped_sending", "through"]

KEYS = tuple(f"key-{number}" for number in range(8))
SESSION_S = 2.0
"""How long a killed member keeps its place: short for those who wait, and long for a machine that is slow."""


def sending(env: Env, topic: mq.Topic[bytes], every_s: float = 0.05) -> Party:
    """A producer that does not stop until it is told to; one that has begun."""
    sender = env.spawn("send", destination=str(topic), producer="p", keys=list(KEYS))
    sender.expect("ready", env.patience_s)
    sender.command("flow", burst=len(KEYS), every_s=every_s)
    return sender


def stopped_sending(env: Env, sender: Party) -> int:
    """How many it sent and had confirmed; all of them must be."""
    sender.command("halt")
    ends = sender.expect("sent", env.patience_s)
    env.equal({name for name in ends if name != "name"}, {"confirmed"}, "how sends ended", "confirm-never")
    env.count("sent_meanwhile", ends["confirmed"])
    return int(ends["confirmed"])


def joined(env: Env, topic: mq.Topic[bytes], group: str, *, work_s: float = 0.0, **options: Any) -> Party:
    """A member that consumes and acks; it has joined, and may have nothing assigned yet."""
    given = {"group": group, "start": "earliest", "session_timeout_s": SESSION_S, **options}
    member = env.spawn("consume", sources=[str(topic)], options=given, work_s=work_s)
    member.expect("ready", env.patience_s)
    return member


def _progress(env: Env, member: Party) -> dict[str, Any]:
    member.command("progress")
    return member.expect("progress", env.patience_s)


def handled(env: Env, member: Party) -> int:
    """How many messages it has settled or tried to."""
    found: int = _progress(env, member)["handled"]
    return found


def at_work(env: Env, member: Party, when: str) -> None:
    """Wait until it has settled one more than when this was asked."""
    before = handled(env, member)
    env.eventually(lambda: handled(env, member) > before, True, f"a member works, {when}", "starvation")


def assigned(env: Env, member: Party) -> list[int]:
    """The partitions that it has."""
    return [number for _, number in _progress(env, member)["assigned"]]


def through(env: Env, topic: mq.Topic[bytes], group: str, *, members: int) -> None:
    """Wait until the group has committed all there is; then tell the history so."""

    def left() -> tuple[dict[int, int], int]:
        found = env.bus.admin.describe_group(group)
        ends = env.bus.admin.offsets(topic)
        committed = {number: found.committed.get((topic.name, number)) for number in ends}
        return {number: ends[number].end - (at or 0) for number, at in committed.items()}, len(found.members)

    done = dict.fromkeys(env.bus.admin.offsets(topic), 0)
    env.eventually(left, (done, members), "what the group has not committed, and how many members it has", "unseen")
    env.drained(topic, group)
    env.observer.records(topic.name)
