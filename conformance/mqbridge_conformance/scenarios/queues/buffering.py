"""A queue keeps what nobody takes yet: a burst is drained later, while more comes in."""

from __future__ import annotations

from collections import Counter

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

BURST, MORE, PARTIES = 80, 20, 2


@scenario(
    "burst-then-drain",
    "A burst that nobody consumes waits, and is drained whole by those who come later, while more is sent",
    needs=(Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.WORK_SHARING, Cap.DEPTH),
    exercises=("burst", "sent_meanwhile"),
)
def burst_then_drain(env: Env) -> None:
    queue = env.queue()
    wanted = env.send(queue, range(BURST), "burst")
    env.counts(queue.name, Counts(BURST, 0, 0), "the queue after a burst")
    if env.can(Cap.DEPTH):
        env.equal(env.bus.admin.depth(queue), BURST, "the depth after a burst", anomaly="depth-wrong")
    env.count("burst", BURST)
    consumers = [env.bus.consumer(queue, prefetch=20) for _ in range(PARTIES)]
    handled: Counter[bytes] = Counter()
    wanted += env.send(queue, range(MORE), "meanwhile")
    env.count("sent_meanwhile", MORE)

    def drained() -> int:
        for consumer in consumers:
            for delivery in consumer.poll(timeout=0.05):
                handled[delivery.raw or b""] += 1
                delivery.ack()
        return len(handled)

    env.eventually(drained, len(wanted), "messages that were handled", anomaly="lost")
    env.equal(sorted(handled.elements()), sorted(wanted), "what was handled, each once", anomaly="duplicate")
    for consumer in consumers:
        consumer.commit(env.patience_s)
    env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue when it is drained")
    for consumer in consumers:
        consumer.close()
