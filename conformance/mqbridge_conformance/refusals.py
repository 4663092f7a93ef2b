"""How each capability is asked for, so that its refusal can be seen.

The rule: a refusal is proven when the public call that needs the capability raises `Unsupported` naming it, and what
an observer sees of the engine before and after is the same. Every capability is asked for by `Bus.require`; those
that have an operation of their own are asked for by that operation too, after what the operation needs was prepared.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env

__all__ = ["PROBES", "Probe", "prove_refusals", "refused_capabilities"]

HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Probe:
    """`call(env, prepared)` is the operation; `prepare(env)` makes what it is called on, and is not part of the
    proof. `first` is what the operation needs before it comes to what is asked for: without one of these it is refused
    by that one's name, and nothing is seen of its own."""

    call: Callable[[Env, Any], object]
    prepare: Callable[[Env], Any] = lambda _: None
    first: tuple[Cap, ...] = ()


def refused_capabilities(env: Env) -> list[Cap]:
    """Those that the engine under test claims not to have."""
    claims = env.bus.capabilities
    return [capability for capability in Cap if claims[capability].level is mq.Level.UNSUPPORTED]


def prove_refusals(env: Env, capabilities: Sequence[Cap]) -> None:
    """See that each is refused, by its own operation if it has one, and that nothing changed."""

    def by_require() -> None:
        for capability in capabilities:
            _refused(env, capability, partial(env.bus.require, capability), "require()")

    if capabilities:
        _changes_nothing(env, by_require, "require() refused what is claimed not to be there")
    alone = [capability for capability in capabilities if not _prove(env, capability, capabilities)]
    if alone:
        env.evidence.note(f"no operation of their own can be asked for yet, so seen by require(): {', '.join(alone)}")


def _prove(env: Env, capability: Cap, refused: Sequence[Cap]) -> bool:
    """Was it asked for by its own operation too?"""
    probe = PROBES.get(capability)
    if probe is None or not env.can(*probe.first) or not set(probe.first).isdisjoint(refused):
        return False
    try:
        prepared = probe.prepare(env)
    except mq.Unsupported:
        return False  # what it would be called on is refused as well
    how = "its own operation"
    attempt = partial(_refused, env, capability, lambda: probe.call(env, prepared), how)
    _changes_nothing(env, attempt, f"{capability} was refused by {how}")
    env.count("refusals_by_operation")
    return True


def _refused(env: Env, capability: Cap, call: Callable[[], object], how: str) -> None:
    what = f"{capability}, which is claimed not to be there, asked for by {how}"
    error = env.raises(mq.Unsupported, call, what, "refusal-applied")
    env.equal(error.capability, capability.value, f"the capability that the refusal of {capability} names")
    env.equal(error.engine, env.bus.engine, f"the engine that the refusal of {capability} names")
    env.equal(error.outcome, "not_applied", f"the outcome that the refusal of {capability} names")
    env.count("refusals")


def _changes_nothing(env: Env, attempt: Callable[[], object], after: str) -> None:
    before = env.observer.snapshot()
    attempt()
    env.equal(env.observer.snapshot(), before, f"what {env.observer.how} shows after {after}", "refusal-applied")


# --- what the operations are called on


def _no_letters(env: Env) -> mq.Queue[bytes]:
    return env.queue("plain", dead_letter=None)


def _topic(env: Env) -> mq.Topic[bytes]:
    return env.topic("asked")


def _consumer(env: Env) -> mq.TopicConsumer[bytes]:
    consumer = env.bus.consumer(_topic(env), group=env.group("asking"), start=mq.EARLIEST)
    consumer.wait_assigned(env.patience_s)
    return consumer


def _specified(kind: type[Any], stem: str, **spec: Any) -> Probe:
    """Ensuring a destination that is specified so."""

    def call(env: Env, _: None) -> None:
        destination = kind(env.name(stem), **spec)
        env.remember(destination)
        env.bus.admin.ensure(destination)

    return Probe(call)


def _queue(**spec: Any) -> Probe:
    return _specified(mq.Queue, "specified", **{"dead_letter": None, **spec})


def _producer(**options: Any) -> Probe:
    return Probe(lambda env, _: env.bus.producer(**options), first=(Cap.CONFIRMED_SEND,) if options else ())


def _member(**options: Any) -> Probe:
    def call(env: Env, topic: mq.Topic[bytes]) -> object:
        return env.bus.consumer(topic, **{"group": env.group("asking"), "start": mq.EARLIEST, **options})

    return Probe(call, _topic, (Cap.GROUPS,) if options else ())


def _exchange(type: str) -> Probe:
    return _specified(mq.Exchange, f"exchange-{type}", type=type)


def _sent(**options: Any) -> Probe:
    def call(env: Env, queue: mq.Queue[bytes]) -> object:
        with env.bus.producer() as producer:
            return producer.send(queue, b"", **options).result(env.patience_s)

    return Probe(call, _no_letters, (Cap.CONFIRMED_SEND, Cap.WORK_SHARING))


def _sent_to_topic(env: Env, topic: mq.Topic[bytes]) -> object:
    with env.bus.producer() as producer:
        return producer.send(topic, b"", key=b"").result(env.patience_s)


def _bound(env: Env) -> mq.Binding:
    return mq.Binding(env.exchange("outer"), env.exchange("inner"))


def _with_alternate(env: Env, _: None) -> None:
    exchange = mq.Exchange(env.name("with-alternate"), alternate=mq.Exchange(env.name("alternate")))
    env.remember(exchange)
    env.remember(exchange.alternate)
    env.bus.admin.ensure(exchange)


PROBES: Final[dict[Cap, Probe]] = {
    # sending
    Cap.CONFIRMED_SEND: _producer(),
    Cap.PARTITION_BY_KEY: Probe(_sent_to_topic, _topic, (Cap.CONFIRMED_SEND,)),
    Cap.PARTITION_ROUND_ROBIN: _producer(partitioner="round_robin"),
    Cap.PARTITION_STICKY: _producer(partitioner="sticky"),
    Cap.PARTITION_CUSTOM: _producer(partitioner=lambda _topic, _key, _value, _count: 0),
    Cap.IDEMPOTENT_SEND: _producer(idempotent=True),
    Cap.ACKS_LEADER: _producer(acks="leader"),
    Cap.ACKS_NONE: _producer(acks="none"),
    Cap.DELAYED_SEND: _sent(delay_s=HOUR_S),
    # topics
    Cap.MIN_INSYNC: _specified(mq.Topic, "insync", replication=2, min_insync=2),
    Cap.COMPACTION: _specified(mq.Topic, "compact", cleanup="compact"),
    Cap.RETENTION_BY_AGE: _specified(mq.Topic, "aged", retention=mq.Retention(max_age_s=HOUR_S)),
    Cap.RETENTION_BY_SIZE: _specified(mq.Topic, "sized", retention=mq.Retention(max_bytes=1 << 20)),
    Cap.ADD_PARTITIONS: Probe(lambda env, topic: env.bus.admin.add_partitions(topic, 2), _topic),
    Cap.DELETE_RECORDS: Probe(lambda env, topic: env.bus.admin.delete_records(topic, {0: 0}), _topic),
    Cap.END_OFFSETS: Probe(lambda env, topic: env.bus.admin.offsets(topic), _topic),
    Cap.REPLAY_BY_OFFSET: Probe(lambda env, topic: env.bus.replay(topic, mq.EARLIEST), _topic),
    Cap.REPLAY_BY_TIME: Probe(lambda env, topic: env.bus.replay(topic, mq.Since(dt.timedelta(seconds=HOUR_S))), _topic),
    # groups
    Cap.GROUPS: _member(),
    Cap.REBALANCE_EAGER: _member(rebalance="eager"),
    Cap.REBALANCE_COOPERATIVE: _member(rebalance="cooperative"),
    Cap.REBALANCE_SERVER: _member(rebalance="server"),
    Cap.STATIC_MEMBERSHIP: _member(instance_id="one"),
    Cap.TOPIC_DEAD_LETTER: _member(dead_letter=True),
    Cap.SEEK: Probe(lambda _, consumer: consumer.seek(consumer.topics[0], 0, 0), _consumer),
    Cap.PAUSE_RESUME: Probe(lambda _, consumer: consumer.pause(), _consumer),
    Cap.LAG: Probe(lambda _, consumer: consumer.lag(), _consumer),
    Cap.RESET_OFFSETS: Probe(
        lambda env, topic: env.bus.admin.reset_offsets(env.group("reset"), topic, mq.EARLIEST, dry_run=False), _topic
    ),
    # queues
    Cap.WORK_SHARING: Probe(lambda env, queue: env.bus.consumer(queue), _no_letters),
    Cap.PREFETCH: Probe(lambda env, queue: env.bus.consumer(queue, prefetch=1), _no_letters, (Cap.WORK_SHARING,)),
    Cap.DEAD_LETTER: _queue(dead_letter=True),
    Cap.MAX_ATTEMPTS: _queue(dead_letter=True, max_attempts=2),
    Cap.MESSAGE_TTL: _queue(message_ttl_s=HOUR_S),
    Cap.QUEUE_EXPIRY: _queue(expires_s=HOUR_S),
    Cap.LENGTH_LIMIT: _queue(max_length=10),
    Cap.PRIORITY: _queue(max_priority=5),
    Cap.SINGLE_ACTIVE_CONSUMER: _queue(single_active=True),
    Cap.DELAYED_RETRY: _queue(retry_backoff=mq.RetryPolicy(max_attempts=None)),
    Cap.DEPTH: Probe(lambda env, queue: env.bus.admin.depth(queue), _no_letters),
    Cap.PURGE: Probe(lambda env, queue: env.bus.admin.purge(queue), _no_letters),
    Cap.BROWSE_DEAD_LETTERS: Probe(lambda env, queue: env.bus.admin.dead_letters(queue), lambda env: env.queue()),
    Cap.REDRIVE: Probe(lambda env, queue: env.bus.admin.redrive(queue), lambda env: env.queue()),
    # exchanges
    Cap.ROUTE_DIRECT: _exchange("direct"),
    Cap.ROUTE_FANOUT: _exchange("fanout"),
    Cap.ROUTE_TOPIC: _exchange("topic"),
    Cap.ROUTE_HEADERS: _exchange("headers"),
    Cap.ALTERNATE_EXCHANGE: Probe(_with_alternate, first=(Cap.ROUTE_DIRECT,)),
    Cap.BIND_EXCHANGES: Probe(lambda env, binding: env.bus.admin.ensure(binding), _bound),
    Cap.UNWRAP: Probe(lambda env, _: env.bus.unwrap(object)),
}
