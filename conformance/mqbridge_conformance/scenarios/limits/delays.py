"""What is to come later comes later: never before its time, and nothing else waits for it."""

from __future__ import annotations

import time
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.scenario import scenario

DELAY_S = 0.4
DELAYS_S = (DELAY_S, 2.0, 10.0)
"""A longer one where a machine is too slow to look before a shorter one is over."""
FIRST_S = 0.15


@scenario(
    "delayed-send",
    "A message that is sent with a delay is not delivered before it, and others are not held up by it",
    needs=(Cap.DELAYED_SEND, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.DELAYED_SEND,),
    exercises=("delayed", "at_once"),
)
def delayed_send(env: Env) -> None:
    for delay_s in DELAYS_S:
        if _delayed(env, env.queue(f"after-{delay_s:g}"), delay_s):
            return
    raise CannotTell(f"what has no delay took longer to be received than the longest delay, {DELAYS_S[-1]:g} s")


def _delayed(env: Env, queue: mq.Queue[Any], delay_s: float) -> bool:
    """False: it took so long to look that the delays were over, so nobody can tell whether the others waited for them.
    None was early, even so."""
    began_s = time.monotonic()
    (later,) = env.send(queue, [0], "later", delay_s=delay_s)
    (sooner,) = env.send(queue, [0], "sooner", delay_s=delay_s / 2)
    at_once = env.send(queue, range(3), "at-once")
    delays_s: dict[bytes | None, float] = {later: delay_s, sooner: delay_s / 2}
    in_time = False
    counts = env.observer.counts(queue.name)
    with env.bus.consumer(queue) as consumer:
        got: list[mq.Delivery[Any]] = []
        for _ in range(len(at_once) + len(delays_s)):
            (delivery,) = env.receive(consumer, 1, "what has a delay or has none", anomaly="lost")
            _not_before(env, began_s, delays_s.get(delivery.raw, 0))
            got.append(delivery)
            if len(got) == len(at_once):
                in_time = time.monotonic() - began_s < delay_s / 2
        env.equal([d.attempt for d in got], [1] * len(got), "the attempts of what was delayed and what was not")
        if in_time:
            env.equal([d.raw for d in got], [*at_once, sooner, later], "what comes, in order", anomaly="delay-ignored")
            told = all(found in (None, due) for found, due in zip(counts, Counts(3, 0, 2), strict=True))
            env.check(told, f"the queue while two are delayed is told to hold {counts}", anomaly="delay-ignored")
            env.count("at_once", len(at_once))
            env.count("delayed", len(delays_s))
        env.ack(consumer, got)
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
    return in_time


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
