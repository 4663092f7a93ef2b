"""What a queue and an exchange are said to be is what they are: made whole, described so, and gone when deleted."""

from __future__ import annotations

from functools import partial
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

HOUR_S = 3600.0
MESSAGES = 2


@scenario(
    "queue-specified",
    "A queue, an exchange and a binding are made as specified, described so, and deleted with what they held",
    needs=(Cap.WORK_SHARING, Cap.ACK, Cap.MAX_ATTEMPTS, Cap.DEAD_LETTER, Cap.ROUTE_DIRECT),
    proves=(),
    exercises=("made", "described", "deleted"),
)
def queue_specified(env: Env) -> None:
    admin = env.bus.admin
    more: dict[str, Any] = {"message_ttl_s": HOUR_S} if env.can(Cap.MESSAGE_TTL) else {}
    more |= {"max_length": 100} if env.can(Cap.LENGTH_LIMIT) else {}
    queue: mq.Queue[Any] = mq.Queue(env.name("queue"), max_attempts=3, **more)
    exchange = mq.Exchange(env.name("exchange"), type="direct")
    letters = queue.dead_letter
    assert letters is not None, "a queue has one unless it is told not to"
    binding = mq.Binding(exchange, queue, key="to-it")
    env.remember(queue)
    env.remember(exchange)
    before = env.observer.names()
    specs = (binding, queue, exchange)  # in the wrong order; the queue's dead-letter queue comes with it
    for spec in (queue, exchange):
        env.raises(mq.NotFound, partial(admin.describe, spec), f"describing {spec} before it is there", "phantom-queue")
    env.equal([one.action for one in admin.plan(*specs)], ["create"] * 4, "the plan for what is not there")
    env.equal(env.observer.names(), before, "what exists after planning and looking", "phantom-queue")
    for time in ("first", "second"):
        admin.ensure(*specs)
        names = env.observer.names()
        made = {queue.name, letters.name} <= set(names.queues) and exchange.name in names.exchanges
        env.check(made, f"after a {time} ensure there are {names.queues} and {names.exchanges}", "untrue-answer")
    env.equal([one.action for one in admin.plan(*specs)], ["keep"] * 4, "the plan for what is there")
    env.count("made")
    with env.bus.producer() as producer:
        for number in range(MESSAGES):
            producer.send(exchange, env.payload(exchange, "one", number), routing_key="to-it").result(env.patience_s)
    env.counts(queue.name, Counts(MESSAGES, 0, 0), "what came by the binding")
    _described(env, queue, binding)
    gone: tuple[mq.Queue[Any] | mq.Exchange, ...] = (exchange, queue, letters)
    for spec in gone:
        admin.delete(spec)
        env.raises(mq.NotFound, partial(admin.describe, spec), f"describing {spec} when it is deleted", "not-deleted")
        env.raises(mq.NotFound, partial(admin.delete, spec), f"deleting {spec} again", "not-deleted")
    env.eventually(env.observer.names, before, "what exists after all was deleted", "not-deleted")
    env.make(queue)
    with env.bus.consumer(queue) as consumer:
        (value,) = env.send(queue, [0], "again")
        got = env.receive(consumer, 1, "the first message of a queue that was made again")
        env.equal([one.raw for one in got], [value], "the first message of a queue that was made again", "undead")
        env.ack(consumer, got)
    env.count("deleted")


def _described(env: Env, queue: mq.Queue[Any], binding: mq.Binding) -> None:
    """As it was specified, whoever is asked."""
    admin = env.bus.admin
    found: Any = admin.describe(queue)
    for field in ("max_attempts", "dead_letter", "message_ttl_s", "max_length"):
        env.equal(getattr(found.queue, field), getattr(queue, field), f"{field}, as described", "untrue-answer")
    for name, told in (("ready", MESSAGES), ("unsettled", 0), ("delayed", 0), ("consumers", 0)):
        said = getattr(found, name)
        env.check(said in (told, None), f"{name}, as described: {said}", "depth-wrong")
    exchange = binding.exchange
    known: Any = admin.describe(exchange)
    env.equal((known.exchange.type, known.bindings), ("direct", (binding,)), "the exchange, as described")
    env.check(queue in admin.list_queues(), f"{queue} is not among those that are listed", "untrue-answer")
    env.check(exchange in admin.list_exchanges(), f"{exchange} is not among those that are listed", "untrue-answer")
    env.count("described")
