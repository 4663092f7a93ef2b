"""A message that can never be handled does not stop the others, and ends."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

LIMIT, OTHERS = 3, 20


@scenario(
    "poison-message",
    "A message that always fails is tried as often as allowed and dead-lettered; all others are handled meanwhile",
    needs=(Cap.MAX_ATTEMPTS, Cap.DEAD_LETTER, Cap.RETRY_COUNTED, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.MAX_ATTEMPTS, Cap.DEAD_LETTER, Cap.RETRY_COUNTED),
    exercises=("failures", "others"),
)
def poison_message(env: Env) -> None:
    queue = env.queue(max_attempts=LIMIT)
    (poison,) = env.send(queue, [0], "poison")
    others = env.send(queue, range(OTHERS), "others")
    handled: list[bytes | None] = []
    failures: list[int] = []
    with env.bus.consumer(queue, prefetch=2) as consumer:

        def ended() -> tuple[int, int]:
            for delivery in consumer.poll(2, timeout=0.05):
                if delivery.raw == poison:
                    failures.append(delivery.attempt)
                    env.count("failures")
                    delivery.retry(error="it always fails")
                else:
                    handled.append(delivery.raw)
                    env.count("others")
                    delivery.ack()
            return len(failures), len(handled)

        env.eventually(ended, (LIMIT, OTHERS), "attempts of the poison, and others handled", anomaly="starvation")
        consumer.commit(env.patience_s)
        env.equal([d.raw for d in consumer.poll(timeout=0.05)], [], "what is left", anomaly="delivery-limit")
        env.drained(queue)
    env.equal(failures, list(range(1, LIMIT + 1)), "the attempts of the poison", anomaly="attempt-wrong")
    env.equal(sorted(handled, key=repr), sorted(others, key=repr), "the others, each once", anomaly="duplicate")

    def letters() -> list[tuple[bytes, str, int]]:
        return [(letter.value or b"", letter.reason, letter.attempts) for letter in env.observer.letters(queue.name)]

    env.eventually(letters, [(poison, "max-attempts", LIMIT)], "the dead letters", anomaly="dlq-lost")
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
