"""A consumer that is told to stop ends in good order: what it has begun it finishes, what it has not others get."""

from __future__ import annotations

import threading
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

MESSAGES, STOP_AT, WORKERS = 30, 8, 3


@scenario(
    "run-drains",
    "run() that is stopped finishes the handlers that have begun, settles them, and loses and repeats nothing",
    needs=(Cap.WORK_SHARING, Cap.ACK),
    proves=(),
    exercises=("handled", "left"),
)
def run_drains(env: Env) -> None:
    queue = env.queue(dead_letter=None)
    values = env.send(queue, range(MESSAGES))
    handled: list[bytes | None] = []
    finished: list[bytes | None] = []
    stop = mq.Stop()
    pause = threading.Event()

    def handle(delivery: mq.Delivery[Any]) -> None:
        handled.append(delivery.raw)
        if len(handled) == STOP_AT:
            stop.set()
        pause.wait(0.02)
        finished.append(delivery.raw)

    late = threading.Timer(env.patience_s, stop.set)  # what does not come would be waited for without end
    late.start()
    with env.bus.consumer(queue, prefetch=STOP_AT) as consumer:
        stats = consumer.run(handle, workers=WORKERS, order="none", stop=stop)
    late.cancel()
    env.equal(sorted(finished, key=repr), sorted(handled, key=repr), "handlers that finished", anomaly="lost")
    env.equal(stats.handled, len(handled), "how many run() says that it handled", anomaly="count-wrong")
    env.check(STOP_AT <= len(handled) < MESSAGES, f"{len(handled)} were handled by one that was stopped at {STOP_AT}")
    env.count("handled", len(handled))
    left = len(values) - len(handled)
    env.counts(queue.name, Counts(left, 0, 0), "the queue after run() was stopped")
    with env.bus.consumer(queue) as heir:
        rest = env.receive(heir, left, "what was left", anomaly="lost")
        both = sorted([*(d.raw or b"" for d in rest), *(value or b"" for value in handled)])
        env.equal(both, sorted(values), "what both handled, each once", anomaly="duplicate")
        env.count("left", len(rest))
        env.ack(heir, rest)
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
