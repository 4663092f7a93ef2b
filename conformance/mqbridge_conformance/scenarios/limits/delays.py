"""What is to come later comes later: never before its time, and nothing else waits for it."""

from __future__ import annotations

import time
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

DELAY_S = 0.4
FIRST_S = 0.15


@scenario(
    "delayed-send",
    "A message that is sent with a delay is not delivered before it, and others are not held up by it",
    needs=(Cap.DELAYED_SEND, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.DELAYED_SEND,),
    exercises=("delayed", "at_once"),
)
def delayed_send(env: Env) -> None:
    queue = env.queue()
    began_s = time.monotonic()
    (later,) = env.send(queue, [0], "later", delay_s=DELAY_S)
    (sooner,) = env.send(queue, [0], "sooner", delay_s=DELAY_S / 2)
    at_once = env.send(queue, range(3), "at-once")
    env.counts(queue.name, Counts(3, 0, 2), "the queue while two are delayed", anomaly="delay-ignored")
    with env.bus.consumer(queue) as consumer:
        got = env.receive(consumer, len(at_once), "what has no delay")
        env.equal([d.raw for d in got], at_once, "what comes at once", anomaly="delay-ignored")
        env.count("at_once", len(got))
        for value, delay_s in ((sooner, DELAY_S / 2), (later, DELAY_S)):
            (delivery,) = env.receive(consumer, 1, f"what has a delay of {delay_s:g} s", anomaly="lost")
            _not_before(env, began_s, delay_s)
            env.equal((delivery.raw, delivery.attempt), (value, 1), "what comes by its delay")
            got.append(delivery)
            env.count("delayed")
        env.ack(consumer, got)
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")


@scenario(
    "delayed-retry",
    "What is given back with a delay, or by a queue with a backoff, comes back after it and not before",
    needs=(Cap.DELAYED_RETRY, Cap.RETRY_COUNTED, Cap.RELEASE_UNCOUNTED, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.DELAYED_RETRY,),
    exercises=("delayed", "backoffs"),
)
def delayed_retry(env: Env) -> None:
    queue = env.queue(dead_letter=None)
    (value,) = env.send(queue, [0])
    with env.bus.consumer(queue, prefetch=1) as consumer:
        (delivery,) = env.receive(consumer, 1, "the message")
        for verb, attempt in (("retry", 2), ("release", 2)):
            began_s = time.monotonic()
            getattr(delivery, verb)(delay_s=DELAY_S)
            consumer.commit(env.patience_s)
            env.send(queue, [attempt], f"beside-{verb}")
            env.ack(consumer, env.receive(consumer, 1, f"what is not delayed, beside {verb}", anomaly="starvation"))
            (delivery,) = env.receive(consumer, 1, f"what comes back after {verb}", anomaly="missing-redelivery")
            _not_before(env, began_s, DELAY_S)
            env.equal((delivery.raw, delivery.attempt), (value, attempt), f"what comes back after {verb}")
            env.count("delayed")
        env.ack(consumer, [delivery])
        env.drained(queue)
    _backoff(env)


def _backoff(env: Env) -> None:
    policy = mq.RetryPolicy(max_attempts=None, first_delay_s=FIRST_S, multiplier=2.0, jitter=0.0)
    queue = env.queue("backoff", dead_letter=None, retry_backoff=policy)
    (value,) = env.send(queue, [0])
    with env.bus.consumer(queue, prefetch=1) as consumer:
        (delivery,) = env.receive(consumer, 1, "the message")
        for failures in (1, 2):
            began_s = time.monotonic()
            delivery.retry(error="failed")
            consumer.commit(env.patience_s)
            (delivery,) = env.receive(consumer, 1, "what failed", anomaly="missing-redelivery")
            _not_before(env, began_s, FIRST_S * 2 ** (failures - 1))
            found: tuple[Any, int] = (delivery.raw, delivery.attempt)
            env.equal(found, (value, failures + 1), "what comes back", anomaly="attempt-wrong")
            env.count("backoffs")
        env.ack(consumer, [delivery])
        env.drained(queue)


def _not_before(env: Env, began_s: float, delay_s: float) -> None:
    passed_s = time.monotonic() - began_s
    # The broker's clock counts milliseconds.
    env.check(passed_s >= delay_s - 0.002, f"a delay of {delay_s:g} s ended after {passed_s:.3f} s", "delay-early")
