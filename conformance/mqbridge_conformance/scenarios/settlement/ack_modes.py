"""Settling before the handler sees a message, and by the clock: what each of them gives up, seen through a crash."""

from __future__ import annotations

from functools import partial

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.parties import Party
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, number, numbers

RECORDS, TAKEN = 10, 4
NEVER_S, SOON_S = 3600.0, 0.1
SESSION_S = 1.5
"""Of the member that is killed: how long its heir waits."""


@scenario(
    "ack-before",
    "ack='before' is at most once: what a member that crashed was shown never comes again, settled by nobody",
    needs=(Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.GROUPS,),
    exercises=("kills", "shown", "settled_unseen"),
    fault=True,
    guarantee="at-most-once",
)
def ack_before(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    victim, offsets = _taken(env, topic, group, ack="before")
    place = {f"{topic.name}/0": offsets[-1] + 1}
    found = env.observer.committed(group)
    if found is not None:
        at = found.get(f"{topic.name}/0", 0)
        env.check(at >= offsets[-1] + 1, f"{at} is committed where {place} and more is due", "commit-lost")
    env.kill(victim)
    last = filled(env, topic, [RECORDS])
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST, ack="before") as heir:
        got: list[mq.Delivery[bytes]] = []
        while not got or number(got[-1]) != RECORDS:
            got += env.receive(heir, 1, f"the last one, {last}")
        found_again = [one for one in numbers(got) if one < TAKEN]
        env.equal(found_again, [], "messages that were shown before and come again", "duplicate")
        env.count("shown", TAKEN)
        env.count("settled_unseen", RECORDS + 1 - len(got))
        env.raises(mq.AlreadySettled, got[-1].ack, "ack() of what was settled before it was shown", "double-settle")
    env.equal(len({*numbers(got)}), len(got), "messages that came to the heir, each once", "duplicate")
    env.drained(topic, group)
    env.observer.records(topic.name)


@scenario(
    "ack-auto",
    "ack='auto' commits what poll returned, by the clock: a crash before that repeats, a crash after that loses",
    needs=(Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.GROUPS,),
    exercises=("kills", "repeated", "lost_with_its_member"),
    fault=True,
)
def ack_auto(env: Env) -> None:
    topic, early, late = env.topic(), env.group("early"), env.group("late")
    filled(env, topic, range(RECORDS))
    before, _ = _taken(env, topic, early, ack="auto", settle_interval_s=NEVER_S)
    after, offsets = _taken(env, topic, late, ack="auto", settle_interval_s=SOON_S)
    place = {(topic.name, 0): offsets[-1] + 1}
    env.eventually(partial(_committed, env, late), place, "what is committed by the clock", "commit-lost")
    env.kill(before)
    env.kill(after)
    _goes_on(env, topic, early, list(range(RECORDS)), "a crash before the commit", "handover-gap")
    env.count("repeated", TAKEN)
    _goes_on(env, topic, late, list(range(TAKEN, RECORDS)), "a crash after the commit", "duplicate")
    env.count("lost_with_its_member", TAKEN)
    env.observer.records(topic.name)


def _committed(env: Env, group: str) -> dict[tuple[str, int], int]:
    return dict(env.bus.admin.describe_group(group).committed)


def _goes_on(env: Env, topic: mq.Topic[bytes], group: str, due: list[int], after: str, anomaly: str) -> None:
    """The next member gets exactly these."""
    with env.bus.consumer(topic, group=group, start=mq.LATEST) as heir:
        got = env.receive(heir, len(due), f"what is due after {after}")
        env.equal(numbers(got), due, f"what comes after {after}", anomaly)
        acked(env, heir, got)
    env.drained(topic, group)


def _taken(env: Env, topic: mq.Topic[bytes], group: str, **options: object) -> tuple[Party, list[int]]:
    """A member that took some messages, settles none by a verb, and still lives; and their offsets."""
    given = {"group": group, "session_timeout_s": SESSION_S, **options}
    party = env.spawn("take", topic=topic.name, take=TAKEN, ack=[], options=given)
    offsets: list[int] = party.expect("held", env.patience_s)["offsets"]
    return party, offsets
