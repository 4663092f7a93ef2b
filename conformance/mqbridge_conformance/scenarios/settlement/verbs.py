"""Giving a message back, having failed with it, giving it up: three verbs with three meanings."""

from __future__ import annotations

from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

LIMIT = 3


@scenario(
    "release-retry-reject",
    "release gives back uncounted, retry counts the attempt, reject dead-letters; a second verb is refused",
    needs=(
        Cap.RELEASE_UNCOUNTED,
        Cap.RETRY_COUNTED,
        Cap.MAX_ATTEMPTS,
        Cap.DEAD_LETTER,
        Cap.ATTEMPT_NUMBER,
        Cap.REDELIVERED,
        Cap.WORK_SHARING,
    ),
    proves=(Cap.RELEASE_UNCOUNTED, Cap.RETRY_COUNTED, Cap.ATTEMPT_NUMBER, Cap.REDELIVERED),
    exercises=("releases", "retries", "rejects"),
)
def verbs(env: Env) -> None:
    queue = env.queue(max_attempts=LIMIT)
    with env.bus.consumer(queue, prefetch=1) as consumer, env.bus.producer() as producer:
        producer.send(queue, b"released").result(env.patience_s)
        for time in range(LIMIT + 2):
            # Given back more often than it may be tried, and still on its first attempt.
            delivery = _next(env, consumer, b"released", attempt=1, redelivered=time > 0)
            delivery.release()
            env.count("releases")
        last = _next(env, consumer, b"released", attempt=1, redelivered=True)
        last.ack()
        env.raises(mq.AlreadySettled, last.release, "release() after ack()")
        consumer.commit(env.patience_s)

        producer.send(queue, b"retried").result(env.patience_s)
        for attempt in range(1, LIMIT):
            _next(env, consumer, b"retried", attempt=attempt, redelivered=attempt > 1).retry(error="not yet")
            env.count("retries")
        _next(env, consumer, b"retried", attempt=LIMIT, redelivered=True).ack()
        consumer.commit(env.patience_s)
        env.counts(queue.name, Counts(0, 0, 0), "the queue when both are acked")
        env.equal(env.observer.letters(queue.name), [], "dead letters before anything was given up")

        producer.send(queue, b"rejected").result(env.patience_s)
        delivery = _next(env, consumer, b"rejected", attempt=1, redelivered=False)
        delivery.reject("of no use")
        env.raises(mq.AlreadySettled, delivery.ack, "ack() after reject()")
        consumer.commit(env.patience_s)
        env.count("rejects")
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
    env.eventually(
        lambda: [letter.value or b"" for letter in env.observer.letters(queue.name)], [b"rejected"], "the dead letters"
    )


def _next(env: Env, consumer: Any, value: bytes, *, attempt: int, redelivered: bool) -> mq.Delivery[Any]:
    what = f"{value.decode()}, attempt {attempt}"
    (delivery,) = env.receive(consumer, 1, what)
    found = (delivery.raw, delivery.attempt, delivery.redelivered)
    env.equal(found, (value, attempt, redelivered), f"{what}: value, attempt number, redelivered")
    return delivery
