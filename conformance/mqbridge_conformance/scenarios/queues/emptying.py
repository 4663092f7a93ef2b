"""Emptying a queue by hand: what waits is gone, what is out is not touched, and the next message is delivered."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge import Level
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

WAITING, OUT, AFTER = 20, 3, 5


@scenario(
    "purge",
    "purge drops what waits, says how much that was, and leaves a queue that works",
    needs=(Cap.PURGE, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.PURGE,),
    exercises=("purged", "delivered_after"),
)
def purge(env: Env) -> None:
    queue = env.queue()
    env.equal(env.bus.admin.purge(queue), 0, "what purging an empty queue drops", anomaly="purge-count")
    if env.bus.capabilities[Cap.PURGE].level is Level.DIRECT:
        _what_is_out_stays(env, queue)
    else:
        env.evidence.note("an emulated purge may drop what is out too, so nothing is out here")
        env.send(queue, range(WAITING), "dropped")
        env.equal(env.bus.admin.purge(queue), WAITING, "how many were dropped", anomaly="purge-count")
    env.count("purged", WAITING)
    env.counts(queue.name, Counts(0, 0, 0), "the queue after it was purged", "purge-incomplete")
    after = env.send(queue, range(AFTER), "after")
    with env.bus.consumer(queue) as consumer:
        got = env.receive(consumer, AFTER, "messages that were sent after the purge", anomaly="lost")
        found = sorted(delivery.raw or b"" for delivery in got)
        env.equal(found, sorted(after), "what comes after the purge", anomaly="purge-incomplete")
        env.ack(consumer, got)
        env.count("delivered_after", AFTER)
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")


def _what_is_out_stays(env: Env, queue: mq.Queue[bytes]) -> None:
    kept = env.send(queue, range(OUT), "kept")
    with env.bus.consumer(queue, prefetch=OUT) as holder:
        held = env.receive(holder, OUT, "what is out when the queue is purged")
        env.send(queue, range(WAITING), "dropped")
        env.equal(env.bus.admin.purge(queue), WAITING, "how many were dropped", anomaly="purge-count")
        env.counts(queue.name, Counts(0, OUT, 0), "the queue after it was purged", "purge-incomplete")
        # What was out is its holder's still: it can be settled, and it is not lost.
        held[0].release()
        holder.commit(env.patience_s)
        again = env.receive(holder, 1, "what was out, released after the purge", anomaly="lost")
        env.equal([d.raw for d in again], [held[0].raw], "what comes back after the purge", anomaly="lost")
        env.equal(sorted(d.raw or b"" for d in held), sorted(kept), "what was out")
        env.ack(holder, [*held[1:], *again])
