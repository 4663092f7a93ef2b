"""A message that cannot be handled ends in the dead-letter queue, whole, and says why it is there."""

from __future__ import annotations

from functools import partial

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts, Letter
from mqbridge_conformance.scenario import scenario

LIMIT = 3
HEADERS = (("trace", b"\x00\xff"), ("trace", b"2"))


@scenario(
    "dead-letters",
    "After its last attempt a message is dead-lettered whole, with reason, origin, attempts and error",
    needs=(Cap.DEAD_LETTER, Cap.MAX_ATTEMPTS, Cap.RETRY_COUNTED, Cap.WORK_SHARING),
    proves=(Cap.DEAD_LETTER, Cap.MAX_ATTEMPTS, Cap.BROWSE_DEAD_LETTERS),
    exercises=("attempts", "letters"),
)
def dead_letters(env: Env) -> None:
    queue = env.queue(max_attempts=LIMIT)
    assert queue.dead_letter is not None
    with env.bus.producer() as producer, env.bus.consumer(queue, prefetch=1) as consumer:
        producer.send(queue, b"tried", key=b"k", headers=HEADERS, message_id="the-id").result(env.patience_s)
        for attempt in range(1, LIMIT + 1):
            (delivery,) = env.receive(consumer, 1, f"attempt {attempt} of {LIMIT}")
            env.equal((delivery.raw, delivery.attempt), (b"tried", attempt), "value and attempt number")
            stamp_ms = delivery.timestamp_ms
            delivery.retry(error=ValueError(f"failed {attempt}"))
            env.count("attempts")
        producer.send(queue, None, key=None, message_id="other").result(env.patience_s)
        # What comes next is the other message, so the first one was not tried a fourth time.
        (delivery,) = env.receive(consumer, 1, "the message behind the dead one")
        env.equal((delivery.raw, delivery.message_id), (None, "other"), "what is delivered after the last attempt")
        other_ms = delivery.timestamp_ms
        delivery.reject("of no use")
        consumer.commit(env.patience_s)
    origin = f"queue:{queue.name}"
    last = f"ValueError: failed {LIMIT}"
    letters = [
        Letter(b"k", b"tried", HEADERS, stamp_ms, "the-id", "max-attempts", origin, LIMIT, last),
        Letter(None, None, (), other_ms, "other", "rejected", origin, 1, "of no use"),
    ]
    seen = partial(env.observer.letters, queue.name)
    env.eventually(lambda: len(seen()), len(letters), "the dead letters in number, seen from outside", "dlq-lost")
    deaths = [_death(letter) for letter in letters]
    env.eventually(lambda: [_death(letter) for letter in seen()], deaths, "what they say of it", "death-untold")
    env.eventually(seen, letters, "the dead letters, seen from outside", "payload-corruption")
    env.counts(queue.name, Counts(0, 0, 0), "the queue they died in")
    if env.can(Cap.BROWSE_DEAD_LETTERS):
        browsed = env.bus.admin.dead_letters(queue)
        shown = [letter.message_id for letter in browsed]
        env.equal(shown, ["the-id", "other"], "the dead letters as admin shows them")
    env.counts(queue.dead_letter.name, Counts(2, 0, 0), "the dead-letter queue after being looked at")
    with env.bus.consumer(queue.dead_letter) as undertaker:
        for wanted, delivery in zip(letters, env.receive(undertaker, 2, "the dead letters"), strict=True):
            death = delivery.death
            env.check(death is not None, f"{delivery} does not say why it died")
            assert death is not None
            found = Letter(
                delivery.key,
                delivery.raw,
                delivery.headers.pairs,
                delivery.timestamp_ms,
                delivery.message_id,
                *(death.reason, death.origin, death.attempts, death.error),
            )
            env.equal(_death(found), _death(wanted), "what a dead letter says of it, consumed", "death-untold")
            env.equal(found, wanted, "a dead letter, consumed", "payload-corruption")
            env.check(death.at is not None, f"{delivery} does not say when it died")
            env.equal(delivery.attempt, 1, "the attempt number of a dead letter")
            if not env.observer.takes_to_look:
                env.equal(delivery.redelivered, False, "redelivered of a dead letter")
            delivery.ack()
            env.count("letters")
    env.counts(queue.dead_letter.name, Counts(0, 0, 0), "the dead-letter queue at the end")
    with env.bus.producer() as producer:
        env.raises(
            mq.InvalidSpec,
            lambda: producer.send(queue, b"", headers={"mqbridge-death-reason": b"forged"}),
            "a header that would forge a death",
        )


def _death(letter: Letter) -> tuple[object, ...]:
    return letter.reason, letter.origin, letter.attempts, letter.error
