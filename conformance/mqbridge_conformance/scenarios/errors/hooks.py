"""Whoever listens hears of every batch, and cannot break anything."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

MESSAGES = 20


class _Listener:
    """Counts what it is told, and fails at each event."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def _hear(self, name: str, number: int = 1) -> None:
        with self._lock:
            self.counts[name] += number
        raise RuntimeError("a hook that fails")

    def sent(self, count: int, failed: int, **_: Any) -> None:
        self._hear("sent", count)

    def received(self, count: int, **_: Any) -> None:
        self._hear("received", count)

    def settled(self, count: int, **_: Any) -> None:
        self._hear("settled", count)

    def closed(self, what: str, **_: Any) -> None:
        self._hear(f"closed {what}")


@scenario(
    "hooks",
    "Hooks hear what was sent, received, settled and closed, in number; one that raises disturbs nobody",
    needs=(Cap.WORK_SHARING, Cap.ACK),
    proves=(),
    exercises=("heard",),
)
def hooks(env: Env) -> None:
    queue = env.queue(dead_letter=None)
    listener = _Listener()
    bus = env.connect(hooks=[listener])
    with bus.producer() as producer:
        for number in range(MESSAGES):
            producer.send(queue, env.payload(queue, "one", number)).result(env.patience_s)
    with bus.consumer(queue) as consumer:
        env.ack(consumer, env.receive(consumer, MESSAGES, "messages under a hook that fails", anomaly="lost"))
        env.drained(queue)
    bus.close()
    wanted = {"sent": MESSAGES, "received": MESSAGES, "settled": MESSAGES, "closed producer": 1, "closed bus": 1}

    def heard() -> dict[str, int]:
        return {name: listener.counts[name] for name in wanted}

    env.eventually(heard, wanted, "what the hook heard", anomaly="hook-missed")
    env.count("heard", sum(listener.counts.values()))
