"""A dead-letter queue that somebody deleted: what should die is kept, and dies when the queue is there again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

LIMIT = 2


@scenario(
    "dead-letter-queue-missing",
    "What is to die while its dead-letter queue is missing is kept, commit() says why, and it dies when there is one",
    needs=(Cap.DEAD_LETTER, Cap.MAX_ATTEMPTS, Cap.RETRY_COUNTED, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.DEAD_LETTER,),
    exercises=("told", "came_again", "letters"),
    level="full",
)
def dead_letter_queue_missing(env: Env) -> None:
    """On all three engines a verb whose letter cannot be written settles nothing, and commit() raises NotFound. On the
    native engine and on RabbitMQ the message comes again at once, the attempt not counted. On Kafka it comes again to
    whoever is next, counted, for a share group counts what it hands out; and what has no attempt left is not shown
    again: the next consumer writes its letter, when it can be written."""
    queue = env.queue(max_attempts=LIMIT)
    assert queue.dead_letter is not None, "a queue has one unless it is said"
    rejected, failed, wordless = env.send(queue, range(3))
    verbs: dict[bytes | None, Callable[[mq.Delivery[Any]], None]] = {
        rejected: lambda delivery: delivery.reject("of no use"),
        failed: lambda delivery: delivery.retry(error="failed"),
        wordless: lambda delivery: delivery.retry(),
    }
    with env.bus.consumer(queue, prefetch=3) as consumer:
        for delivery in env.receive(consumer, 3, "the first attempt", "lost"):
            if delivery.raw == rejected:
                delivery.release()
            else:
                delivery.retry()
        consumer.commit(env.patience_s)
        env.bus.admin.delete(queue.dead_letter)
        last = env.receive(consumer, 3, "the last attempt", "missing-redelivery")
        attempts = {delivery.raw: delivery.attempt for delivery in last}
        for delivery in last:
            verbs[delivery.raw](delivery)
        error = env.raises(
            mq.NotFound, lambda: consumer.commit(env.patience_s), "a death without a dead-letter queue", "dlq-lost"
        )
        env.check(error.outcome != "applied", "a death that could not be is told to be applied")
        env.count("told")
        env.bus.admin.ensure(queue.dead_letter)
        again: dict[bytes | None, int] = {}

        def letters() -> set[tuple[bytes | None, str]]:
            for delivery in consumer.poll(timeout=0.01):
                again.setdefault(delivery.raw, delivery.attempt)
                verbs[delivery.raw](delivery)
            return {(letter.value, letter.reason) for letter in env.observer.letters(queue.name)}

        wanted: set[tuple[bytes | None, str]] = {
            (rejected, "rejected"),
            (failed, "max-attempts"),
            (wordless, "max-attempts"),
        }
        env.eventually(letters, wanted, "the dead letters, when their queue is there again", "dlq-lost")
        consumer.commit(env.patience_s)
        env.equal([d.raw for d in consumer.poll(timeout=0.05)], [], "what comes after that", "delivery-limit")
        env.drained(queue)
    env.count("came_again", len(again))
    env.count("letters", len(wanted))
    if env.bus.capabilities[Cap.RELEASE_UNCOUNTED].level is mq.Level.DIRECT:
        env.equal(again, attempts, "what came again, and its attempt", "attempt-wrong")
    env.counts(queue.name, Counts(0, 0, 0), "the queue they died in")
