"""Closing ends what was begun: what was sent is there, what was settled is settled, what failed is told."""

from __future__ import annotations

import threading
import time

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

MESSAGES, ACKED, FAILED = 50, 4, 3
LINGER_S = 5.0
"""Long enough that nothing is sent by itself while this goes on."""
LONG_POLL_S = 60.0


@scenario(
    "close-flushes",
    "Closing a producer sends all that it took; closing a consumer settles what is marked and gives back the rest",
    needs=(Cap.WORK_SHARING, Cap.ACK, Cap.CONFIRMED_SEND),
    proves=(Cap.CONFIRMED_SEND, Cap.ACK),
    exercises=("settled_by_closing", "given_back"),
)
def close_flushes(env: Env) -> None:
    queue = env.queue(dead_letter=None)
    values = [env.payload(queue, "one", number) for number in range(MESSAGES)]
    producer = env.bus.producer(linger_s=LINGER_S)
    receipts = [producer.send(queue, value) for value in values]
    under_way = sum(not receipt.done for receipt in receipts)
    env.count("under_way", under_way)
    if not under_way:
        env.evidence.note("each send is confirmed at once, so that closing a producer has nothing left to send")
    producer.close()
    ends = [receipt.exception(0.0) for receipt in receipts]
    env.equal(ends, [None] * MESSAGES, "how sends ended that closing ended", anomaly="lost")
    env.counts(queue.name, Counts(MESSAGES, 0, 0), "the queue after the producer was closed")
    consumer = env.bus.consumer(queue, settle_interval_s=LONG_POLL_S)
    got = env.receive(consumer, MESSAGES, "all of it")
    for delivery in got[:ACKED]:
        delivery.ack()
    env.count("settled_by_closing", ACKED)
    consumer.close()
    env.counts(queue.name, Counts(MESSAGES - ACKED, 0, 0), "the queue after the consumer was closed")
    with env.bus.consumer(queue) as heir:
        rest = env.receive(heir, MESSAGES - ACKED, "what was given back", anomaly="missing-redelivery")
        wanted = sorted(delivery.raw or b"" for delivery in got[ACKED:])
        env.equal(sorted(d.raw or b"" for d in rest), wanted, "what was given back", anomaly="redelivery-after-settle")
        env.count("given_back", len(rest))
        env.ack(heir, rest)
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")


@scenario(
    "unseen-failures",
    "Failures that nobody looked at are raised by flush and close as one SendFailed, each once; seen ones are not",
    needs=(Cap.ROUTE_DIRECT, Cap.UNROUTABLE_REPORTED, Cap.WORK_SHARING),
    proves=(Cap.UNROUTABLE_REPORTED,),
    exercises=("unseen", "seen"),
)
def unseen_failures(env: Env) -> None:
    exchange = env.exchange(type="direct")
    producer = env.bus.producer()

    def failing(name: str, number: int) -> list[mq.Receipt]:
        return [producer.send(exchange, env.payload(exchange, name, n), routing_key="nowhere") for n in range(number)]

    for name, ending in (("flushed", producer.flush), ("closed", producer.close)):
        seen = failing(f"seen-{name}", 1)[0].exception(env.patience_s)
        env.check(isinstance(seen, mq.Unroutable), f"{seen!r} where Unroutable is due", anomaly="unroutable-confirmed")
        env.count("seen")
        failing(name, FAILED)
        error = env.raises(mq.SendFailed, ending, f"what is {name} with failures unseen", anomaly="failure-hidden")
        env.equal(error.count, FAILED, f"the number of failures when {name}", anomaly="failure-hidden")
        env.equal({type(one) for one in error.failures}, {mq.Unroutable}, f"the failures when {name}")
        env.equal(error.outcomes, {"not_applied": FAILED}, f"their outcomes when {name}")
        env.count("unseen", FAILED)
    producer.close()


@scenario(
    "close-from-another-thread",
    "A poll that waits ends soon when another thread closes its consumer, and what comes later goes to others",
    needs=(Cap.WORK_SHARING, Cap.ACK),
    proves=(),
    exercises=("ended",),
)
def close_from_another_thread(env: Env) -> None:
    queue = env.queue(dead_letter=None)
    consumer = env.bus.consumer(queue)
    ends: list[str] = []

    def waiting() -> None:
        try:
            ends.append(f"{len(consumer.poll(timeout=LONG_POLL_S))} messages")
        except mq.MqbridgeError as error:
            ends.append(error.code)

    thread = threading.Thread(target=waiting, daemon=True)
    thread.start()

    def polling() -> bool:
        try:
            consumer.poll(timeout=0.0)
        except mq.ConcurrentUse:
            return True
        return bool(ends)

    env.eventually(polling, True, "whether the other thread is within its poll")
    began_s = time.monotonic()
    consumer.close()
    thread.join(env.patience_s)
    took_s = time.monotonic() - began_s
    env.check(not thread.is_alive(), f"a poll goes on {took_s:.1f} s after its consumer was closed", "close-hangs")
    env.check(ends in (["0 messages"], ["closed"]), f"the poll ended with {ends}")
    env.count("ended")
    (value,) = env.send(queue, [0])
    with env.bus.consumer(queue) as heir:
        got = env.receive(heir, 1, "what came after the close", anomaly="lost")
        env.equal([(d.raw, d.attempt) for d in got], [(value, 1)], "what came after the close")
        env.ack(heir, got)
        env.drained(queue)
