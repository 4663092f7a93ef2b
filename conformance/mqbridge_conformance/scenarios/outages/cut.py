"""The way to the broker is cut and mended: for shorter than a session, under traffic, and for longer, until another
client has what the cut one had.

The rule: a connection that is reset ends at once and on both sides, so no session plays a part in it. Where one is to
run out, nothing passes and nobody is told.
"""

from __future__ import annotations

from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.faults import When
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, numbers
from mqbridge_conformance.scenarios.outages.traffic import BURST, Traffic

MESSAGES, ACKED, AFTER = 10, 3, 4
LONG_SESSION_S, SHORT_SESSION_S = 6.0, 2.0


@scenario(
    "cut-short",
    "The way to the broker is cut under traffic, for less than a session: all connect again, and no message is lost",
    needs=(Cap.RESUMES_AFTER_RESTART, Cap.WORK_SHARING, Cap.GROUPS, Cap.ACK, Cap.CONFIRMED_SEND),
    proves=(Cap.RESUMES_AFTER_RESTART, Cap.CONFIRMED_SEND),
    exercises=("handled_before", "handled_across_the_cut", "handled_after_the_cut", "confirmed"),
    fault=True,
    level="full",
    own_broker=True,
)
def cut_short(env: Env) -> None:
    traffic = Traffic(env, session_timeout_s=LONG_SESSION_S)
    traffic.moves_on("before")
    senders = [sender.proc for sender in traffic.senders]
    steps = [When("deliver").do(env.faults.link.cut), When("send", "invoke", BURST, each=senders).heal()]
    with env.faults.plan(steps, env.patience_s):
        traffic.moves_on("across the cut")
    traffic.moves_on("after the cut")
    traffic.ends()


@scenario(
    "queue-cut-long",
    "A consumer that is cut off for long loses what it holds to another, told as redelivered; late, it settles nothing",
    needs=(Cap.WORK_SHARING, Cap.ACK, Cap.REDELIVERED, Cap.ATTEMPT_NUMBER, Cap.RESUMES_AFTER_RESTART),
    exercises=("redelivered", "refused", "came_back"),
    fault=True,
    level="full",
    own_broker=True,
)
def queue_cut_long(env: Env) -> None:
    queue = env.queue(max_attempts=5) if env.can(Cap.MAX_ATTEMPTS) else env.queue()
    env.send(queue, range(MESSAGES))
    beside = env.connect_beside()
    with env.bus.consumer(queue, prefetch=MESSAGES) as holder:
        held = env.receive(holder, MESSAGES, "all of it, by the one that will be cut off")
        env.ack(holder, held[:ACKED])
        kept = held[ACKED:]
        with env.faults.link.cut(), beside.consumer(queue, prefetch=MESSAGES) as heir:
            got = env.receive(heir, len(kept), "what the consumer held that was cut off", "missing-redelivery")
            values = sorted(d.raw or b"" for d in got)
            env.equal(values, sorted(d.raw or b"" for d in kept), "what another gets", "redelivery-after-settle")
            env.equal({d.redelivered for d in got}, {True}, "whether it says so", "dup-unflagged")
            env.equal({d.attempt for d in got}, {2}, "its attempt", "attempt-wrong")
            env.count("redelivered", len(got))
            env.ack(heir, got)
        _refused(env, holder, kept, "settled-after-loss")
        env.count("refused")
        new = env.send(queue, range(MESSAGES, MESSAGES + AFTER))
        again = env.receive(holder, AFTER, "what comes to a consumer that was cut off")
        env.equal(sorted(d.raw or b"" for d in again), new, "what comes after the cut", "redelivery-after-settle")
        env.count("came_back", len(again))
        env.ack(holder, again)
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")


@scenario(
    "topic-cut-long",
    "Nothing passes to or from a member past its session, and nobody is told: another goes on where it had committed",
    needs=(Cap.GROUPS, Cap.COMMIT_FENCING, Cap.PARTITION_CUSTOM, Cap.RESUMES_AFTER_RESTART),
    exercises=("taken_over", "refused", "came_back"),
    fault=True,
    level="full",
    own_broker=True,
)
def topic_cut_long(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(MESSAGES))
    beside = env.connect_beside()
    options: dict[str, Any] = {"group": group, "start": mq.EARLIEST, "session_timeout_s": SHORT_SESSION_S}
    with env.bus.consumer(topic, **options) as member:
        held = env.receive(member, MESSAGES, "all of it, by the one that will be cut off")
        acked(env, member, held[:ACKED])
        with env.faults.link.stall(), beside.consumer(topic, **options) as heir:
            what = "what the member had not settled that was cut off"
            got = env.receive(heir, MESSAGES - ACKED, what, due_in_s=SHORT_SESSION_S)
            env.equal(numbers(got), list(range(ACKED, MESSAGES)), "where another goes on", "handover-gap")
            env.count("taken_over", len(got))
            acked(env, heir, got)
        _refused(env, member, held[ACKED:], "zombie-commit")
        env.count("refused")
        filled(env, topic, range(MESSAGES, MESSAGES + AFTER))
        again = env.receive(member, AFTER, "what comes to a member that was cut off")
        env.equal(numbers(again), list(range(MESSAGES, MESSAGES + AFTER)), "where it goes on", "commit-lost")
        env.count("came_back", len(again))
        acked(env, member, again)
    env.drained(topic, group)
    env.observer.records(topic.name)


def _refused(env: Env, consumer: Any, kept: list[mq.Delivery[Any]], anomaly: str) -> None:
    """Each verb on what it lost is refused, at once or by the commit."""
    late = 0
    for delivery in kept:
        try:
            delivery.ack()
        except mq.LeaseLost:
            late += 1
    if late < len(kept):
        env.raises(mq.LeaseLost, lambda: consumer.commit(env.patience_s), "verbs on what another has", anomaly)
