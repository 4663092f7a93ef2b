"""What reaches nobody is told message by message; what does not exist is not made by using it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario


@scenario(
    "unroutable-and-missing",
    "Unroutable is told per message; using what does not exist is NotFound and makes nothing",
    needs=(Cap.ROUTE_DIRECT, Cap.UNROUTABLE_REPORTED, Cap.WORK_SHARING, Cap.GROUPS, Cap.REPLAY_BY_OFFSET),
    proves=(Cap.ROUTE_DIRECT, Cap.UNROUTABLE_REPORTED),
    exercises=("unroutable", "routed", "missing"),
)
def unroutable_and_missing(env: Env) -> None:
    exchange, queue = env.exchange(type="direct"), env.queue()
    env.bus.admin.bind(mq.Binding(exchange, queue, key="known"))
    keys = ("known", "unknown", "known", "", "known")
    with env.bus.producer(linger_s=0.05) as producer:
        # One batch, so that what is refused of it and what is applied of it are told apart.
        receipts = producer.send_many(exchange, [mq.Message(b"%d" % n, routing_key=key) for n, key in enumerate(keys)])
        for key, receipt in zip(keys, receipts, strict=True):
            error = receipt.exception(env.patience_s)
            if key == "known":
                env.equal(error, None, f"the receipt of a message with the routing key {key!r}")
                env.count("routed")
            else:
                env.check(isinstance(error, mq.Unroutable), f"routing key {key!r}: {error!r} where Unroutable is due")
                env.equal(getattr(error, "outcome", None), "not_applied", f"the outcome of routing key {key!r}")
                env.count("unroutable")
    env.counts(queue.name, Counts(keys.count("known"), 0, 0), "the queue, seen from outside")
    with env.bus.consumer(queue) as consumer:
        got = env.receive(consumer, keys.count("known"), "the routed messages")
        arrived = [d.raw or b"" for d in got]
        in_order = arrived if env.can(Cap.ORDER_IN_QUEUE) else sorted(arrived)
        env.equal(in_order, [b"0", b"2", b"4"], "the routed messages, in order")
        env.equal({d.routing_key for d in got}, {"known"}, "their routing keys")
        for delivery in got:
            delivery.ack()
    _missing(env)


def _missing(env: Env) -> None:
    topic, queue, exchange = (env_kind(env.name("missing")) for env_kind in (mq.Topic, mq.Queue, mq.Exchange))
    for destination in (topic, queue, exchange):
        env.remember(destination)  # removed at the end if it is made after all
    group = env.group("missing")
    attempts: dict[str, Callable[[], object]] = {
        "sending to a topic": lambda: _send(env, topic),
        "sending to a queue": lambda: _send(env, queue),
        "sending to an exchange": lambda: _send(env, exchange),
        "consuming a topic": lambda: _consume(env, topic, group=group, start=mq.EARLIEST),
        "consuming a queue": lambda: _consume(env, queue),
        "replaying a topic": lambda: _replay(env, topic),
        "describing a queue": lambda: env.bus.admin.describe(queue),
        "deleting a topic": lambda: env.bus.admin.delete(topic),
    }
    before = env.observer.names()
    for what, attempt in attempts.items():
        error = env.raises(mq.NotFound, attempt, f"{what} that does not exist", "phantom-topic")
        env.equal(error.outcome, "not_applied", f"the outcome of {what} that does not exist")
        env.equal(env.observer.names(), before, f"what exists after {what} that does not", "phantom-topic")
        env.count("missing")


def _send(env: Env, destination: Any) -> object:
    with env.bus.producer() as producer:
        return producer.send(destination, b"").result(env.patience_s)


def _consume(env: Env, source: Any, **options: Any) -> object:
    with env.bus.consumer(source, **options) as consumer:
        return consumer.poll(timeout=env.patience_s)


def _replay(env: Env, topic: Any) -> object:
    with env.bus.replay(topic, mq.EARLIEST) as replay:
        return list(replay)
