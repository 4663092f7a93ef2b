"""A queue is first in, first out, as long as one sends, one consumes, and nothing is returned."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

MESSAGES, ROUNDS = 100, 3


@scenario(
    "order-in-queue",
    "One sender, one consumer and nothing returned: messages come in the order in which they were sent",
    needs=(Cap.ORDER_IN_QUEUE, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.ORDER_IN_QUEUE,),
    exercises=("waiting_messages", "messages_in_passing"),
)
def order_in_queue(env: Env) -> None:
    queue = env.queue()
    waiting = env.send(queue, range(MESSAGES))
    with env.bus.consumer(queue, prefetch=7) as consumer:
        # What lay there, in windows that are smaller than what waits.
        _in_order(env, consumer, waiting, "messages that waited")
        env.count("waiting_messages", MESSAGES)
        for number in range(1, ROUNDS + 1):
            # And what comes while somebody consumes.
            came = env.send(queue, range(number * MESSAGES, (number + 1) * MESSAGES))
            _in_order(env, consumer, came, "messages that are consumed as they come")
            env.count("messages_in_passing", MESSAGES)
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")


def _in_order(env: Env, consumer: object, wanted: list[bytes], what: str) -> None:
    found: list[bytes | None] = []
    while len(found) < len(wanted):
        (delivery,) = env.receive(consumer, 1, what)
        found.append(delivery.raw)
        delivery.ack()
    env.equal(found, wanted, f"{what}, in order", anomaly="fifo-inversion")
