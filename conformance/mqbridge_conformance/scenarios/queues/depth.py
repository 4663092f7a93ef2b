"""The depth of a queue is what could be taken now."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

MESSAGES, OUT, ACKED = 10, 4, 3


@scenario(
    "depth",
    "depth counts the messages that are ready: neither those that are out nor those that are settled",
    needs=(Cap.DEPTH, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.DEPTH,),
    exercises=("depths",),
)
def depth(env: Env) -> None:
    queue = env.queue()

    def is_(wanted: int, what: str) -> None:
        # Reports of a cluster may be a moment old.
        env.eventually(lambda: env.bus.admin.depth(queue), wanted, f"the depth {what}", anomaly="depth-wrong")
        env.count("depths")

    is_(0, "of a new queue")
    env.send(queue, range(MESSAGES))
    is_(MESSAGES, "when nothing is out")
    with env.bus.consumer(queue, prefetch=OUT) as consumer:
        held = env.receive(consumer, OUT, "as many as may be out")
        env.counts(queue.name, Counts(MESSAGES - OUT, OUT, 0), "the queue, from outside")
        is_(MESSAGES - OUT, "while some are out")
        env.ack(consumer, held[:ACKED])
        held = held[ACKED:] + env.receive(consumer, ACKED, "as many as were acked")
        is_(MESSAGES - OUT - ACKED, "when the window has moved on")
    is_(MESSAGES - ACKED, "after the consumer gave back what it held")
    with env.bus.consumer(queue) as consumer:
        env.ack(consumer, env.receive(consumer, MESSAGES - ACKED, "all of it"))
        env.drained(queue)
    is_(0, "at the end")
