"""Dead letters go back to where they died: whole, with their names, and as if nothing had been tried."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

LETTERS, FIRST = 5, 2
HEADERS = (("trace", b"\x00\xff"),)


@scenario(
    "redrive",
    "redrive moves dead letters back to their queue: none lost, none twice, attempts anew, id and headers kept",
    needs=(Cap.REDRIVE, Cap.DEAD_LETTER, Cap.MAX_ATTEMPTS, Cap.RETRY_COUNTED, Cap.WORK_SHARING),
    proves=(Cap.REDRIVE,),
    exercises=("redriven", "died_again"),
)
def redrive(env: Env) -> None:
    queue = env.queue(max_attempts=2)
    values = [env.payload(queue, "one", number) for number in range(LETTERS)]
    with env.bus.producer() as producer:
        for number, value in enumerate(values):
            sent = producer.send(queue, value, key=b"k", headers=HEADERS, message_id=f"id-{number}")
            sent.result(env.patience_s)
    with env.bus.consumer(queue) as consumer:
        for delivery in env.receive(consumer, LETTERS, "messages to reject"):
            delivery.reject("later")
        consumer.commit(env.patience_s)
    assert queue.dead_letter is not None
    env.counts(queue.dead_letter.name, Counts(LETTERS, 0, 0), "the dead-letter queue")
    moved = env.bus.admin.redrive(queue, max_messages=FIRST)
    env.equal(moved, FIRST, "how many the first redrive moved", anomaly="redrive-count")
    moved = env.bus.admin.redrive(queue)
    env.equal(moved, LETTERS - FIRST, "how many the second redrive moved", anomaly="redrive-count")
    env.equal(env.bus.admin.redrive(queue), 0, "how many a redrive of nothing moved", anomaly="redrive-count")
    env.eventually(lambda: len(env.observer.letters(queue.name)), 0, "letters after the move", anomaly="redrive-dup")
    with env.bus.consumer(queue) as consumer:
        got = env.receive(consumer, LETTERS, "what was redriven", anomaly="redrive-lost")
        found = sorted((d.raw, d.message_id, d.key, d.headers.pairs) for d in got)
        wanted = sorted((value, f"id-{number}", b"k", HEADERS) for number, value in enumerate(values))
        env.equal(found, wanted, "what was redriven: value, id, key, headers", anomaly="redrive-changed")
        env.equal({d.attempt for d in got}, {1}, "the attempt after a redrive", anomaly="attempt-wrong")
        env.equal({d.death for d in got}, {None}, "the death of what lives again", anomaly="redrive-changed")
        env.count("redriven", len(got))
        # They can die again, after as many attempts as at first.
        got[0].retry(error="again")
        env.ack(consumer, got[1:])
        (last,) = env.receive(consumer, 1, "what failed after it was redriven", anomaly="missing-redelivery")
        env.equal((last.raw, last.attempt), (got[0].raw, 2), "what failed after it was redriven")
        last.retry(error="for the last time")
        consumer.commit(env.patience_s)
        env.drained(queue)
    with env.bus.consumer(queue.dead_letter) as undertaker:
        (letter,) = env.receive(undertaker, 1, "the dead letter that died again", anomaly="dlq-lost")
        death = letter.death
        told = None if death is None else (death.reason, death.attempts)
        env.equal((letter.raw, told), (got[0].raw, ("max-attempts", 2)), "the dead letter that died again")
        env.ack(undertaker, [letter])
        env.equal([d.raw for d in undertaker.poll(timeout=0.05)], [], "letters beyond that", anomaly="dlq-dup")
        env.drained(queue.dead_letter)
    env.count("died_again")
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
