"""A queue that is full says so to whoever sends, or makes room by letting the oldest go, as it was told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.results import CheckFailed
from mqbridge_conformance.scenario import scenario

LIMIT = 4
SENT = 10
"""More than any queue of this limit takes, and again when there is room."""
SIZE_BYTES = 1000


@scenario(
    "length-limit-rejects",
    "A full queue refuses what is sent, keeps what it has, and takes more when there is room; by count and by bytes",
    needs=(Cap.LENGTH_LIMIT, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.LENGTH_LIMIT,),
    exercises=("refused", "taken_again"),
)
def length_limit_rejects(env: Env) -> None:
    _until_it_is_full(env, env.queue("count", max_length=LIMIT), pad=0)
    _until_it_is_full(env, env.queue("bytes", max_bytes=LIMIT * SIZE_BYTES), pad=SIZE_BYTES - 100)


def _until_it_is_full(env: Env, queue: mq.Queue[Any], pad: int) -> None:
    kept: list[bytes] = []
    with env.bus.producer() as producer, env.bus.consumer(queue, prefetch=1) as consumer:

        def sent(number: int) -> mq.MqbridgeError | None:
            value = env.payload(queue, "one", number, pad=pad)
            error = producer.send(queue, value).exception(env.patience_s)
            if error is None:
                kept.append(value)
            return error

        (held,) = [*env.send(queue, [0], "held")]
        (delivery,) = env.receive(consumer, 1, "the message that is out, and so does not count")
        env.equal(delivery.raw, held, "the message that is out")
        error = _first(sent, range(SENT))
        most = _most(env)
        env.check(len(kept) >= LIMIT, f"{queue} is full with {len(kept)} of {LIMIT}", anomaly="full-early")
        env.check(len(kept) <= most, f"{queue} takes {len(kept)}, and {LIMIT} is its limit", anomaly="limit-ignored")
        env.check(isinstance(error, mq.Rejected), f"{error!r} where Rejected is due")
        env.equal(getattr(error, "outcome", None), "not_applied", "the outcome of what was refused")
        env.count("refused")
        env.counts(queue.name, Counts(len(kept), 1, 0), f"{queue} when it is full")
        env.ack(consumer, [delivery])
        got = env.receive(consumer, 1, "the first of a full queue")
        env.ack(consumer, got)
        for _ in range(len(kept) - 1):
            (delivery,) = env.receive(consumer, 1, "what is in a full queue", anomaly="lost")
            got.append(delivery)
            env.ack(consumer, [delivery])
        env.equal(sorted(d.raw or b"" for d in got), sorted(kept), "what a full queue has kept", anomaly="lost")
        numbers = iter(range(SENT, 2 * SENT))
        # That there is room again is told to senders as that there is none is: a moment later.
        env.eventually(lambda: sent(next(numbers)), None, "what is sent when there is room again")
        env.count("taken_again")
        env.ack(consumer, env.receive(consumer, 1, "what was sent when there was room again", anomaly="lost"))
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), f"{queue} at the end")


def _most(env: Env) -> int:
    """How many a queue of the limit may take from who waits for each answer: no more, unless the claim has a condition,
    which is that it must be above its limit to know that it is full: then one more."""
    conditions = env.bus.capabilities[Cap.LENGTH_LIMIT].conditions
    if not conditions:
        return LIMIT
    env.evidence.note(f"one more than the limit is allowed: {conditions}")
    return LIMIT + 1


def _first(sent: Callable[[int], mq.MqbridgeError | None], numbers: range) -> mq.MqbridgeError | None:
    """The first error, if there is one."""
    return next((error for number in numbers if (error := sent(number)) is not None), None)


@scenario(
    "length-limit-drops",
    "A queue that drops its oldest takes all that is sent, and keeps the newest, in order",
    needs=(Cap.LENGTH_LIMIT, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.LENGTH_LIMIT,),
    exercises=("dropped", "kept"),
)
def length_limit_drops(env: Env) -> None:
    queue = env.queue(max_length=LIMIT, overflow="drop-head", dead_letter=None)
    try:
        sent = [value for number in range(3 * LIMIT) for value in env.send(queue, [number])]
    except mq.Rejected as error:
        raise CheckFailed(f"a queue that drops its oldest refuses the newest: {error}", "wrong-victim") from error
    env.counts(queue.name, Counts(LIMIT, 0, 0), "a queue that drops its oldest", "limit-ignored")
    env.count("dropped", 2 * LIMIT)
    with env.bus.consumer(queue) as consumer:
        got = env.receive(consumer, LIMIT, "the newest", anomaly="lost")
        env.equal([d.raw for d in got], sent[-LIMIT:], "the newest, in order", anomaly="wrong-victim")
        env.count("kept", len(got))
        env.ack(consumer, got)
        env.equal([d.raw for d in consumer.poll(timeout=0.05)], [], "what is left", anomaly="limit-ignored")
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
