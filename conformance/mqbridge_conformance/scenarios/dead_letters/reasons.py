"""A dead letter says why it is one: by the application's word, by its age, by its failures, for want of room."""

from __future__ import annotations

import time
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

TTL_S = 0.3


@scenario(
    "dead-letter-reasons",
    "Rejected, failed for the last time, expired and pushed out: each is dead-lettered once and says which it was",
    needs=(Cap.DEAD_LETTER, Cap.MAX_ATTEMPTS, Cap.RETRY_COUNTED, Cap.WORK_SHARING),
    proves=(Cap.DEAD_LETTER, Cap.MAX_ATTEMPTS, Cap.MESSAGE_TTL, Cap.LENGTH_LIMIT),
    exercises=("reasons",),
)
def dead_letter_reasons(env: Env) -> None:
    _rejected_and_failed(env)
    for death, capability in ((_expired, Cap.MESSAGE_TTL), (_pushed_out, Cap.LENGTH_LIMIT)):
        if env.can(capability):
            death(env)
        else:
            env.evidence.note(f"dead-letter-reasons: one reason is out of reach, for {capability} is refused")


def _rejected_and_failed(env: Env) -> None:
    queue = env.queue("failing", max_attempts=2)
    rejected = env.send(queue, range(2), "rejected")
    failed = env.send(queue, range(2), "failed")
    with env.bus.consumer(queue) as consumer:
        got = env.receive(consumer, 4, "messages that fail")
        for delivery in got:
            if delivery.raw in rejected:
                delivery.reject("of no use")
            else:
                delivery.retry(error="failed")
        consumer.commit(env.patience_s)
        for delivery in env.receive(consumer, 2, "messages that fail again", anomaly="missing-redelivery"):
            delivery.retry(error="failed")
        consumer.commit(env.patience_s)
        env.equal([d.raw for d in consumer.poll(timeout=0.05)], [], "what comes after that", anomaly="delivery-limit")
        env.drained(queue)
    told = [(value, "rejected", 1) for value in rejected] + [(value, "max-attempts", 2) for value in failed]
    _letters(env, queue, told)


def _expired(env: Env) -> None:
    queue = env.queue("expired", message_ttl_s=TTL_S)
    began_s = time.monotonic()
    values = env.send(queue, range(2))
    with env.bus.consumer(queue) as consumer:
        # Some engines look at the age on receipt, so somebody has to ask; what is shown too early is settled.
        def asked() -> int:
            for delivery in consumer.poll(timeout=0.01):
                env.check(time.monotonic() - began_s < TTL_S + env.patience_s, "an expired message is delivered")
                delivery.release()
            return len(env.observer.letters(queue.name))

        env.eventually(asked, 2, "dead letters of expired messages", anomaly="dlq-lost")
        env.check(time.monotonic() - began_s >= TTL_S, "messages expire before their time", anomaly="ttl-early")
        env.drained(queue)
    _letters(env, queue, [(value, "expired", 0) for value in values])


def _pushed_out(env: Env) -> None:
    queue = env.queue("pushed", max_length=2, overflow="drop-head")
    values = [value for number in range(5) for value in env.send(queue, [number])]
    _letters(env, queue, [(value, "max-length", 0) for value in values[:3]])
    with env.bus.consumer(queue) as consumer:
        got = env.receive(consumer, 2, "the newest, which stay", anomaly="lost")
        env.equal([d.raw for d in got], values[3:], "what is left of a full queue", anomaly="wrong-victim")
        env.ack(consumer, got)
        env.drained(queue)


def _letters(env: Env, queue: mq.Queue[Any], told: list[tuple[bytes, str, int]]) -> None:
    """All dead letters of the queue: value, reason, attempts."""

    def seen() -> list[tuple[bytes, str, int, str]]:
        found = env.observer.letters(queue.name)
        return sorted(((one.value or b"", one.reason, one.attempts, one.origin) for one in found), key=repr)

    wanted = sorted(((*one, str(queue)) for one in told), key=repr)
    env.eventually(seen, wanted, f"the dead letters of {queue}", anomaly="dlq-lost")
    env.count("reasons", len({reason for _, reason, _ in told}))
