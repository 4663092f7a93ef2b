"""A consumer dies with messages in its hands: they come back, and the attempt that failed is counted."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

MESSAGES, ACKED = 10, 3


@scenario(
    "crash-redelivers",
    "A consumer that is killed loses nothing: what it had not acked comes back, the attempt counted",
    needs=(Cap.WORK_SHARING, Cap.ACK, Cap.ATTEMPT_NUMBER, Cap.REDELIVERED, Cap.MAX_ATTEMPTS, Cap.DEAD_LETTER),
    proves=(Cap.ATTEMPT_NUMBER, Cap.REDELIVERED),
    exercises=("kills", "redelivered", "attempts_counted_to_the_limit"),
    fault=True,
)
def crash_redelivers(env: Env) -> None:
    queue = env.queue(max_attempts=3)
    with env.bus.producer() as producer:
        for receipt in producer.send_many(queue, [b"%d" % n for n in range(MESSAGES)]):
            receipt.result(env.patience_s)
    victim = env.spawn("hold", queue=queue.name, take=MESSAGES, ack=ACKED)
    told = victim.expect("held", env.patience_s)
    env.equal(len(told["kept"]), MESSAGES - ACKED, "messages in the hands of the one to be killed")
    env.counts(queue.name, Counts(0, MESSAGES - ACKED, 0), "the queue before the kill", "lost")
    env.kill(victim)
    env.counts(queue.name, Counts(MESSAGES - ACKED, 0, 0), "the queue after the kill")
    with env.bus.consumer(queue) as heir:
        got = env.receive(heir, MESSAGES - ACKED, "what the killed consumer had not acked")
        env.equal(sorted(d.raw or b"" for d in got), sorted(told["kept"]), "the messages that come back")
        env.equal({d.attempt for d in got}, {2}, "their attempt numbers")
        env.equal({d.redelivered for d in got}, {True}, "whether they say that they were delivered before")
        env.count("redelivered", len(got))
        for delivery in got[1:]:
            delivery.ack()
        heir.commit(env.patience_s)
        last = got[0].raw
        got[0].release()
    _to_the_limit(env, queue.name, last)


def _to_the_limit(env: Env, queue: str, value: bytes | None) -> None:
    """Crashes count like failures: a message that kills whoever takes it is not tried for ever."""
    for _ in range(2):
        victim = env.spawn("hold", queue=queue, take=1, ack=0)
        env.equal(victim.expect("held", env.patience_s)["kept"], [value], "the message that is left")
        env.kill(victim)
        env.count("attempts_counted_to_the_limit")
    with env.bus.consumer(mq.Queue(queue)) as heir:

        def letters() -> list[tuple[bytes | None, str, int]]:
            # Where no broker does it by itself, the next consumer finds that it was tried often enough.
            env.equal([d.raw for d in heir.poll(timeout=0.01)], [], "what is delivered after the last attempt")
            return [(letter.value, letter.reason, letter.attempts) for letter in env.observer.letters(queue)]

        what = "the dead letter of a message that three consumers died with"
        env.eventually(letters, [(value, "max-attempts", 3)], what)
    env.counts(queue, Counts(0, 0, 0), "the queue after that")
