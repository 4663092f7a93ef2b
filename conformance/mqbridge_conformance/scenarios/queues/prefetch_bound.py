"""A consumer never holds more than its prefetch, however often it asks."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge import Level
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

PREFETCH, MESSAGES = 7, 50
SETTLED, ROUNDS = 3, 5


@scenario(
    "prefetch-bound",
    "Never more than prefetch messages are with a consumer and not settled",
    needs=(Cap.PREFETCH, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.PREFETCH,),
    exercises=("asked_in_vain",),
)
def prefetch_bound(env: Env) -> None:
    queue = env.queue()
    with env.bus.producer() as producer:
        for receipt in producer.send_many(queue, [b"%d" % n for n in range(MESSAGES)]):
            receipt.result(env.patience_s)

    def look(held: int, what: str) -> None:
        # Of an emulated prefetch, what is not with the application may be held for it.
        if env.bus.capabilities[Cap.PREFETCH].level is Level.DIRECT:
            env.counts(queue.name, Counts(left - held, held, 0), what)

    left = MESSAGES
    with env.bus.consumer(queue, prefetch=PREFETCH) as consumer:
        held = env.receive(consumer, PREFETCH, "as many as prefetch allows")
        look(PREFETCH, "the queue when the window is full")
        for _ in range(5):
            env.equal([d.raw for d in consumer.poll(timeout=0.02)], [], "what a full window gets by asking again")
            env.count("asked_in_vain")
        look(PREFETCH, "the queue after asking in vain")
        for _ in range(ROUNDS):
            for delivery in held[:SETTLED]:
                delivery.ack()
            consumer.commit(env.patience_s)
            left -= SETTLED
            held = held[SETTLED:] + env.receive(consumer, SETTLED, "as many as were settled")
            env.equal([d.raw for d in consumer.poll(timeout=0.02)], [], "what a window gets that is full again")
            look(PREFETCH, "the queue when the window has moved on")
        if env.bus.capabilities[Cap.PREFETCH].level is Level.DIRECT:
            # What the bound keeps from one is there for another: all of it, and nothing that the first one holds.
            with env.connect().consumer(queue, prefetch=MESSAGES) as other:
                theirs = env.receive(other, left - len(held), "all that the first consumer does not hold")
                look(left, "the queue when all of it is with two consumers")
                both = {d.raw for d in theirs} & {d.raw for d in held}
                env.equal(both, set(), "messages that are with both consumers")
                env.equal([d.raw for d in consumer.poll(timeout=0.02)], [], "what the first gets while nothing is left")
                for delivery in (*theirs, *held):
                    delivery.ack()
                other.commit(env.patience_s)
                consumer.commit(env.patience_s)
                left = 0
        else:
            env.evidence.note("an emulated prefetch bounds what the application has, not what is kept from others")
            while left:
                for delivery in held:
                    delivery.ack()
                consumer.commit(env.patience_s)
                left -= len(held)
                held = env.receive(consumer, min(PREFETCH, left), "the next window") if left else []
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
