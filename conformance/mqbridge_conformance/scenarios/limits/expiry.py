"""A queue that nobody uses for its time is gone; one that somebody uses is not."""

from __future__ import annotations

import threading
import time

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Disagreement
from mqbridge_conformance.scenario import scenario

EXPIRES_S = 0.6


@scenario(
    "queue-expiry",
    "A queue without consumers for its time is deleted, not earlier, and never while it has one",
    needs=(Cap.QUEUE_EXPIRY, Cap.WORK_SHARING),
    proves=(Cap.QUEUE_EXPIRY,),
    exercises=("stayed", "gone"),
)
def queue_expiry(env: Env) -> None:
    queue = env.queue(expires_s=EXPIRES_S, dead_letter=None)
    pause = threading.Event()
    with env.bus.consumer(queue) as consumer:
        until_s = time.monotonic() + 2 * EXPIRES_S
        while time.monotonic() < until_s:
            consumer.poll(timeout=0.05)
        there = queue.name in env.observer.names().queues
        env.check(there, "a queue with a consumer is gone", anomaly="expired-in-use")
        env.count("stayed")
        left_s = time.monotonic()
    while True:
        there = _there(env, queue.name)
        if time.monotonic() - left_s >= EXPIRES_S:
            break
        env.check(there, "a queue is gone before its time", anomaly="expiry-early")
        pause.wait(0.02)
    env.eventually(lambda: queue.name in env.observer.names().queues, False, "whether it is there", "expiry-ignored")
    env.raises(mq.NotFound, lambda: env.bus.admin.describe(queue), "describing a queue that has expired")
    env.count("gone")


def _there(env: Env, queue: str) -> bool:
    """Does everybody see it? What is on its way out, one observer may see and another not."""
    try:
        return queue in env.observer.names().queues
    except Disagreement:
        return False
