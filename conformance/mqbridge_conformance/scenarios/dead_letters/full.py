"""A dead-letter queue without room loses nothing: what dies waits until there is some."""

from __future__ import annotations

import threading
import time
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CheckFailed
from mqbridge_conformance.scenario import scenario

MESSAGES, ROOM = 3, 1
OVER = 10
"""An engine may take a few more than the limit while it is being told that it is full."""
TTL_S = 0.05
PATIENCES = 10
"""RabbitMQ tries a letter again that was refused after three minutes, if it is not set up otherwise."""


@scenario(
    "dead-letter-queue-full",
    "Messages that die while their dead-letter queue is full are not lost: they become dead letters when there is room",
    needs=(Cap.DEAD_LETTER, Cap.LENGTH_LIMIT, Cap.MESSAGE_TTL, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.DEAD_LETTER, Cap.LENGTH_LIMIT),
    exercises=("fillers", "letters"),
    level="full",
)
def dead_letter_queue_full(env: Env) -> None:
    letters = env.queue("letters", max_length=ROOM, dead_letter=None)
    queue = env.queue("mortal", dead_letter=letters, message_ttl_s=TTL_S)
    fillers = _filled(env, letters)
    values = env.send(queue, range(MESSAGES))
    threading.Event().wait(2 * TTL_S)  # their time is over for the broker too, which began to count before this
    with env.bus.consumer(queue) as consumer:
        shown = [delivery.raw for delivery in consumer.poll(timeout=0.1)]
        env.equal(shown, [], "what is shown of the dead", anomaly="ttl-ignored")
    env.equal(env.bus.admin.depth(letters), len(fillers), "what the full queue has", anomaly="limit-ignored")
    found: list[bytes] = []
    with env.bus.consumer(letters, prefetch=1) as undertaker:
        for filler in fillers:
            (delivery,) = env.receive(undertaker, 1, "what fills the dead-letter queue", anomaly="lost")
            env.equal(delivery.raw, filler, "what fills the dead-letter queue")
            env.ack(undertaker, [delivery])
            env.count("fillers")
        while len(found) < MESSAGES:
            letter = _next(env, undertaker, f"dead letter {len(found) + 1} of {MESSAGES}")
            death = letter.death
            env.equal(death and death.reason, "expired", "the reason of a dead letter that waited")
            found.append(letter.raw or b"")
            env.ack(undertaker, [letter])
            env.count("letters")
        env.equal([d.raw for d in undertaker.poll(timeout=0.05)], [], "letters beyond that", anomaly="dlq-dup")
        env.drained(letters)
    env.equal(sorted(found), sorted(values), "the dead letters, each once", anomaly="dlq-dup")


def _next(env: Env, consumer: Any, what: str) -> mq.Delivery[Any]:
    """The next one; a broker may try again after minutes only."""
    give_up_s = time.monotonic() + PATIENCES * env.patience_s
    while time.monotonic() < give_up_s:
        for delivery in consumer.poll(1, timeout=0.1):
            return delivery  # type: ignore[no-any-return]
    raise CheckFailed(f"{what} did not come within {PATIENCES * env.patience_s:g} s", "dlq-lost")


def _filled(env: Env, letters: mq.Queue[bytes]) -> list[bytes]:
    """What was sent to it until it took no more."""
    kept: list[bytes] = []
    with env.bus.producer() as producer:
        for number in range(ROOM + OVER):
            value = env.payload(letters, "filler", number)
            if producer.send(letters, value).exception(env.patience_s) is not None:
                return kept
            kept.append(value)
    raise CheckFailed(f"{letters} takes {len(kept)}, and {ROOM} is its limit", "limit-ignored")
