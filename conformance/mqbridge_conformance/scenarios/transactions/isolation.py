"""Who reads what is committed is shown nothing else, and nothing out of order because of it."""

from __future__ import annotations

import contextlib

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked

EACH = 3
HELD_S = 0.5
"""So long it is looked for what lies behind an open transaction, and was shown to another reader before."""


@scenario(
    "read-committed",
    "What transactions committed is shown, what they aborted never is, and what lies behind an open one waits for it",
    needs=(Cap.GROUPS, Cap.READ_COMMITTED, Cap.REPLAY_BY_OFFSET),
    proves=(Cap.READ_COMMITTED,),
    exercises=("committed", "aborted", "held_back"),
)
def read_committed(env: Env) -> None:
    topic, group = env.topic(), env.group()
    whole, gone, late = ([env.payload(topic, name, n) for n in range(EACH)] for name in ("whole", "gone", "late"))
    with contextlib.closing(env.transactions("first")) as first, contextlib.closing(env.transactions("other")) as other:
        first.begin()
        first.send(topic, whole)
        first.commit()
        first.begin()
        first.send(topic, gone)
        first.abort()
        env.count("aborted", EACH)
        other.begin()
        other.send(topic, late)
        behind = env.send(topic, range(EACH), "behind")
        uncommitted = env.bus.consumer(topic, group=env.group("all"), start=mq.EARLIEST, isolation="read_uncommitted")
        with uncommitted, env.bus.consumer(topic, group=group, start=mq.EARLIEST) as committed:
            got = env.receive(uncommitted, 4 * EACH, "all of it, for who asks for what is not committed too")
            env.equal([d.raw for d in got], whole + gone + late + behind, "what is shown to who asks for all")
            acked(env, uncommitted, got)
            got = env.receive(committed, EACH, "what was committed")
            env.equal([d.raw for d in got], whole, "what is shown before the open transaction", "G1a")
            acked(env, committed, got)
            env.count("committed", EACH)
            got = committed.poll(timeout=HELD_S)
            env.equal([d.raw for d in got], [], "what is shown past an open transaction", "precommitted-read")
            replayed = [d.raw for d in env.bus.replay(topic, mq.EARLIEST)]
            env.equal(replayed, whole, "what is replayed before the open transaction", "precommitted-read")
            env.count("held_back", 2 * EACH)
            other.commit()
            got = env.receive(committed, 2 * EACH, "what waited for the open transaction")
            env.equal([d.raw for d in got], late + behind, "what waited for the open transaction, in order")
            acked(env, committed, got)
            env.count("committed", EACH)
    replayed = [d.raw for d in env.bus.replay(topic, mq.EARLIEST)]
    env.equal(replayed, whole + late + behind, "what is replayed in the end", "G1a")
    env.drained(topic, group)
