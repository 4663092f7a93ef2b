"""The urgent first: of messages, and of those who consume."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

LEVELS, EACH = 4, 5
HELD = 3


@scenario(
    "priority",
    "Messages of a higher priority come first, in order within one; a consumer of a higher priority is served first",
    needs=(Cap.PRIORITY, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.PRIORITY,),
    exercises=("overtaken", "served_first"),
)
def priority(env: Env) -> None:
    queue = env.queue(max_priority=LEVELS)
    of: dict[int, list[bytes]] = {level: [] for level in range(LEVELS)}
    for number in range(EACH):
        for level in range(LEVELS):
            of[level] += env.send(queue, [number], f"level-{level}", priority=level)
    with env.bus.consumer(queue, prefetch=1) as consumer:
        found: list[bytes | None] = []
        for _ in range(LEVELS * EACH):
            (delivery,) = env.receive(consumer, 1, "a message by its priority")
            found.append(delivery.raw)
            env.ack(consumer, [delivery])
        wanted = [value for level in reversed(range(LEVELS)) for value in of[level]]
        env.equal(found, wanted, "messages by priority, then by age", anomaly="priority-ignored")
        env.count("overtaken", LEVELS * EACH)
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue when it is empty")
    _consumers(env)


def _consumers(env: Env) -> None:
    """While one of a higher priority has room, the other gets nothing; when it has none, the other is served."""
    queue = env.queue("served")
    with (
        env.bus.consumer(queue, prefetch=HELD, priority=0) as low,
        env.connect().consumer(queue, prefetch=HELD, priority=5) as high,
    ):
        for consumer in (low, high):  # both are known and wait
            env.equal([d.raw for d in consumer.poll(timeout=0.1)], [], "what an empty queue gives")
        first = env.send(queue, range(HELD), "first")
        served: list[mq.Delivery[bytes]] = []

        def come() -> int:
            taken = [d.raw for d in low.poll(timeout=0.02)]
            env.equal(taken, [], "what the other gets while the first has room", anomaly="priority-ignored")
            served.extend(high.poll(timeout=0.02))
            return len(served)

        env.eventually(come, HELD, "messages that the one of the higher priority gets", anomaly="starvation")
        env.equal(sorted(d.raw or b"" for d in served), sorted(first), "what it gets")
        env.count("served_first", HELD)
        rest = env.send(queue, range(HELD), "rest")
        beside = env.receive(low, HELD, "what the first has no room for", anomaly="starvation")
        env.equal(sorted(d.raw or b"" for d in beside), sorted(rest), "what the other gets then")
        env.ack(high, served)
        env.ack(low, beside)
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
