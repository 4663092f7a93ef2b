"""A handler may take its time: its message stays with it, and nobody else gets it."""

from __future__ import annotations

import time

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

BESIDE = 3
WORK_S = 1.0
"""Longer than any interval at which a consumer settles, gives a sign of life or is looked at in this run."""


@scenario(
    "long-handler",
    "A message stays with a handler that takes long, and is settled by it, while others are handled beside it",
    needs=(Cap.LONG_HANDLERS, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.LONG_HANDLERS,),
    exercises=("looked_meanwhile", "handled_beside"),
)
def long_handler(env: Env) -> None:
    queue = env.queue()
    (slow,) = env.send(queue, [0], "slow")
    with env.bus.consumer(queue, prefetch=1) as worker, env.connect().consumer(queue, prefetch=1) as other:
        (held,) = env.receive(worker, 1, "the message that takes long")
        env.equal(held.raw, slow, "the message that takes long")
        env.send(queue, range(BESIDE), "quick")
        beside: list[mq.Delivery[bytes]] = []
        until_s = time.monotonic() + WORK_S
        while time.monotonic() < until_s:
            beside += other.poll(timeout=0.05)
            env.ack(other, [delivery for delivery in beside if not delivery.settled])
            env.count("looked_meanwhile")
        if len(beside) < BESIDE:
            late = env.receive(other, BESIDE - len(beside), "messages beside the one that takes long")
            env.ack(other, late)
            beside += late
        env.check(slow not in [d.raw for d in beside], "another gets what is being handled", "concurrent-lease")
        env.count("handled_beside", len(beside))
        held.ack()
        worker.commit(env.patience_s)
        env.equal([d.raw for d in other.poll(timeout=0.05)], [], "what is left", anomaly="redelivery-after-settle")
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
