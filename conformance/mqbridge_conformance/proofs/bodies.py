"""Scenarios in which a wrong setting shows: small, and green with the adapter as it is.

The rule: as for every scenario; they are not among those of the suite, for each is about one setting.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled

__all__ = [
    "consumer_crash_while_handling",
    "crash_while_handling",
    "leader_dies_alone",
    "letters_wait_for_room",
    "payments_in_order",
    "stalled_member_replaced",
]

RECORDS, TAKEN, HANDLED = 20, 12, 5
SESSION_S = 2.0
MAX_POLL_S = 1.0
ALONE, ALONE_S = 200, 2.0
"""Sent while the followers are frozen, for much less than the broker waits until it takes them for dead."""
MORTAL = 300
"""More than a queue takes beyond its limit before those who send to it know that it is full."""
PAYMENTS, STATES = 5, ("create", "authorize", "capture", "refund")


@scenario(
    "crash-while-handling",
    "A member that is killed while it handles what it was given loses nothing: its heir is given it",
    needs=(Cap.GROUPS, Cap.PARTITION_CUSTOM),
    exercises=("kills", "inherited"),
    fault=True,
)
def crash_while_handling(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    options = {"group": group, "session_timeout_s": SESSION_S}
    victim = env.spawn("take", topic=topic.name, take=TAKEN, ack=list(range(HANDLED)), options=options)
    victim.expect("held", env.patience_s)
    env.kill(victim)
    filled(env, topic, [RECORDS], producer="last")
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST, session_timeout_s=SESSION_S) as heir:
        give_up_s = time.monotonic() + env.patience_s
        got: list[Any] = []
        while not any(b" last0 " in (one.raw or b"") for one in got):
            env.check(
                time.monotonic() < give_up_s, "the heir got nothing of what was sent after the kill", "starvation"
            )
            more = heir.poll(timeout=0.1)
            acked(env, heir, more)
            got += more
    env.count("inherited", len(got))
    env.drained(topic, group)
    env.observer.records(topic.name)


@scenario(
    "stalled-member-replaced",
    "What a member has that stops polling goes to one that polls",
    needs=(Cap.GROUPS, Cap.PARTITION_CUSTOM),
    exercises=("taken_over",),
)
def stalled_member_replaced(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    options: dict[str, Any] = {"session_timeout_s": SESSION_S, "max_poll_interval_s": MAX_POLL_S}
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST, **options) as stalled:
        env.receive(stalled, 1, "a record for the member that will stall")
        with env.bus.consumer(topic, group=group, start=mq.EARLIEST, **options) as other:
            got = env.receive(other, RECORDS, "all of it, for the member that polls", "starvation")
            acked(env, other, got)
            env.count("taken_over", len(got))
            env.equal(len(got), RECORDS, "records that the member that polls was given", "duplicate")
    env.drained(topic, group)
    env.observer.records(topic.name)


@scenario(
    "payments-in-order",
    "The states of each payment are handled in the order in which they were sent",
    needs=(Cap.GROUPS, Cap.PARTITION_BY_KEY),
    exercises=("payments", "partitions"),
)
def payments_in_order(env: Env) -> None:
    topic, group = env.topic(partitions=3), env.group()
    sent = [(f"payment-{number}", state) for state in STATES for number in range(PAYMENTS)]
    with env.bus.producer() as producer:
        for number, (payment, state) in enumerate(sent):
            value = env.payload(topic, payment, number, key=payment)
            headers = {"payment": payment, "state": state}
            producer.send(topic, value, key=payment, headers=headers).result(env.patience_s)
    handled: dict[str, list[str]] = {}
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        got = env.receive(consumer, len(sent), "the states of all payments")
        env.count("partitions", len({one.partition for one in got}))
        # One partition after another, as members do that have one each and are not equally fast.
        for one in sorted(got, key=lambda delivery: delivery.partition or 0):
            handled.setdefault(one.headers["payment"].decode(), []).append(one.headers["state"].decode())
        acked(env, consumer, got)
    for payment, states in handled.items():
        env.equal(states, list(STATES), f"the states of {payment}, as they were handled", "key-order")
        env.count("payments")


@scenario(
    "consumer-crash-while-handling",
    "A consumer that is killed with messages of a queue in its hands loses none: they come to another",
    needs=(Cap.WORK_SHARING, Cap.ACK),
    exercises=("kills", "redelivered"),
    fault=True,
)
def consumer_crash_while_handling(env: Env) -> None:
    queue = env.queue()
    env.send(queue, range(TAKEN))
    victim = env.spawn("hold", queue=queue.name, take=TAKEN, ack=HANDLED)
    victim.expect("held", env.patience_s)
    env.kill(victim)
    (last,) = env.send(queue, [TAKEN])
    with env.bus.consumer(queue) as heir:
        give_up_s = time.monotonic() + env.patience_s
        while time.monotonic() < give_up_s and env.evidence.counts.get("redelivered", 0) < TAKEN - HANDLED:
            for delivery in heir.poll(timeout=0.1):
                if delivery.raw != last:
                    env.count("redelivered")
                delivery.ack()
        heir.commit(env.patience_s)
        env.drained(queue)
    env.equal(env.evidence.counts.get("redelivered"), TAKEN - HANDLED, "messages that come to another", "lost")


@scenario(
    "letters-wait-for-room",
    "Dead letters that find their queue full wait where they died, and come when there is room",
    needs=(Cap.DEAD_LETTER, Cap.LENGTH_LIMIT, Cap.MESSAGE_TTL, Cap.WORK_SHARING),
    exercises=("letters",),
)
def letters_wait_for_room(env: Env) -> None:
    # A classic one: a quorum queue takes dead letters beyond its limit from those that do not wait for its answer.
    letters = env.queue("letters", type="classic", max_length=1, dead_letter=None)
    queue = env.queue("mortal", dead_letter=letters, message_ttl_s=0.05)
    values = env.send(queue, range(MORTAL))
    found: set[bytes] = set()
    with env.bus.consumer(letters) as undertaker:
        give_up_s = time.monotonic() + 2 * env.patience_s
        while time.monotonic() < give_up_s and not found.issuperset(values):
            # A little at a time, so that letters meet a full queue all the while.
            for delivery in undertaker.poll(5, timeout=0.1):
                found.add(delivery.raw or b"")
                delivery.ack()
        undertaker.commit(env.patience_s)
        env.count("letters", len(found))
        env.drained(letters)
    env.equal(len(set(values) - found), 0, "letters that never came", "dlq-lost")


@scenario(
    "leader-dies-alone",
    "What was confirmed is there when the leader dies whose followers had not got it yet",
    needs=(Cap.MIN_INSYNC,),
    exercises=("sent_to_a_leader_alone", "another_leader"),
    fault=True,
)
def leader_dies_alone(env: Env) -> None:
    cluster = env.target.cluster
    if cluster is None:
        raise CannotTell(f"{env.target.name!r} has no nodes of which one could die")
    topic = env.topic(replication=3, min_insync=2)
    env.wait_for(lambda: cluster.in_sync(topic.name), {1, 2, 3}, "the replicas in sync")
    leader = cluster.leader(topic.name)
    assert leader is not None, "a partition with three replicas in sync has a leader"
    with env.bus.producer(linger_s=0.0) as producer:
        producer.send(topic, env.payload(topic, "before", 0)).result(env.patience_s)
        with contextlib.ExitStack() as frozen:
            for follower in cluster.others(leader.number):
                frozen.enter_context(env.faults.node(follower.number).pause())
            receipts = [producer.send(topic, env.payload(topic, "alone", number)) for number in range(ALONE)]
            _all_done(receipts, ALONE_S)
            env.count("sent_to_a_leader_alone", ALONE)
            dead = env.faults.node(leader.number).kill()
        with dead:
            env.wait_for(lambda: cluster.leader(topic.name) not in (None, leader), True, "another leader")
            env.count("another_leader")
            for receipt in receipts:
                receipt.exception(env.patience_s)
    env.check(all(receipt.done for receipt in receipts), "a send has no end", "confirm-never")
    env.observer.records(topic.name)


def _all_done(receipts: list[mq.Receipt], patience_s: float) -> None:
    """What the leader confirms alone, it confirms at once; what waits for its followers is not waited for."""
    give_up_s = time.monotonic() + patience_s
    pause = threading.Event()
    while time.monotonic() < give_up_s and not all(receipt.done for receipt in receipts):
        pause.wait(0.01)
