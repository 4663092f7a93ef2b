"""What was sent is stored, and its answer is lost: an idempotent producer writes it once, and others tell of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

ROUNDS, EACH = 4, 5
"""An answer is lost in each round but the last."""


@scenario(
    "idempotent-lost-answers",
    "The answers to an idempotent producer's sends are lost: each message is stored once, in order, and confirmed",
    needs=(Cap.IDEMPOTENT_SEND, Cap.ORDER_PER_PARTITION, Cap.CONFIRMED_SEND),
    proves=(Cap.IDEMPOTENT_SEND,),
    exercises=("answers_lost", "confirmed"),
    fault=True,
    level="full",
    own_broker=True,
)
def idempotent_lost_answers(env: Env) -> None:
    topic = env.topic()
    values, ends = _sent(env, topic, idempotent=True)
    env.equal([end for end in ends if end is not None], [], "sends that failed", "confirm-never")
    env.count("confirmed", len(ends))
    stored = [record.value for record in env.observer.records(topic.name)]
    env.equal(Counter(stored), Counter(values), "what is stored, and how often", "duplicate")
    env.equal(stored, values, "the order in which it is stored", "nonmonotonic-send")


@scenario(
    "lost-answers-told",
    "The answers to sends are lost: what nobody could confirm is told to be unknown, and nothing is confirmed and lost",
    needs=(Cap.CONFIRMED_SEND, Cap.ORDER_PER_PARTITION),
    exercises=("answers_lost", "confirmed", "unknown"),
    fault=True,
    level="full",
    own_broker=True,
)
def lost_answers_told(env: Env) -> None:
    topic = env.topic()
    values, ends = _sent(env, topic, idempotent=False)
    told = Counter("confirmed" if end is None else end.outcome for end in ends)
    for how, number in told.items():
        env.count(how, number)
    stored = Counter(record.value for record in env.observer.records(topic.name))
    for value, end in zip(values, ends, strict=True):
        if end is None or end.outcome == "not_applied":
            wanted = int(end is None)
            name = "lost-write" if wanted else "phantom"
            env.equal(stored[value], wanted, f"how often is stored what ended so: {end!r}", name)
    env.equal([value for value in values if stored[value] > 1], [], "what nobody sent twice", "duplicate")
    env.count("unknown_and_stored", sum(stored[v] for v, end in zip(values, ends, strict=True) if end is not None))


@scenario(
    "lost-answers-resent",
    "on_unknown='resend' sends again what has no answer: all is confirmed and stored, and doubles are counted",
    needs=(Cap.CONFIRMED_SEND, Cap.ORDER_PER_PARTITION),
    exercises=("answers_lost", "confirmed"),
    legal={"duplicate": "on_unknown='resend' sends again what may be there"},
    fault=True,
    level="full",
    own_broker=True,
)
def lost_answers_resent(env: Env) -> None:
    topic = env.topic()
    values, ends = _sent(env, topic, idempotent=False, on_unknown="resend")
    env.equal([end for end in ends if end is not None], [], "sends that failed", "confirm-never")
    env.count("confirmed", len(ends))
    stored = Counter(record.value for record in env.observer.records(topic.name))
    env.equal([value for value in values if not stored[value]], [], "what is confirmed and not stored", "lost-write")
    env.count("stored_twice", sum(number - 1 for number in stored.values()))


def _sent(
    env: Env, topic: mq.Topic[bytes], **options: Any
) -> tuple[list[bytes], list[mq.MqbridgeError | None]]:
    """Some messages, sent while one answer is lost in each round, and how each ended."""
    values: list[bytes] = []
    receipts: list[mq.Receipt] = []
    with env.bus.producer(delivery_timeout_s=env.patience_s, **options) as producer:
        producer.send(topic, env.payload(topic, "first", 0)).result(env.patience_s)
        for number in range(ROUNDS):
            loss = env.faults.link.lose_answer("send") if number < ROUNDS - 1 else None
            batch = [env.payload(topic, "one", number * EACH + at) for at in range(EACH)]
            receipts += [producer.send(topic, value) for value in batch]
            values += batch
            if loss is not None:
                loss.wait(env.patience_s)
                env.count("answers_lost")
            for receipt in receipts[-EACH:]:
                receipt.exception(env.patience_s)
        ends = [receipt.exception(env.patience_s) for receipt in receipts]
    values.insert(0, env.payload(topic, "first", 0))
    return values, [None, *ends]
