"""What is closed says so, and does nothing any more; closing twice is no error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario


@scenario(
    "closed-objects",
    "A closed producer, consumer or bus raises Closed, applies nothing, and may be closed again",
    needs=(Cap.GROUPS, Cap.REPLAY_BY_OFFSET),
    proves=(),
    exercises=("refused",),
)
def closed_objects(env: Env) -> None:
    topic, group = env.topic(), env.group()
    (value,) = env.send(topic, [0])
    bus = env.connect()
    producer = bus.producer()
    consumer = bus.consumer(topic, group=group, start=mq.EARLIEST)
    env.ack(consumer, env.receive(consumer, 1, "the record"))
    for closable in (producer, consumer):
        closable.close()
        closable.close()
    _refused(env, "sending by a closed producer", lambda: producer.send(topic, env.payload(topic, "late", 0)))
    _refused(env, "polling a closed consumer", lambda: consumer.poll(timeout=0.1))
    bus.close()
    bus.close()
    attempts: dict[str, Callable[[], Any]] = {
        "making a producer": bus.producer,
        "making a consumer": lambda: bus.consumer(topic, group=group, start=mq.EARLIEST),
        "making a replay": lambda: bus.replay(topic, mq.EARLIEST),
        "administering": lambda: bus.admin.delete(topic),
        "looking": lambda: bus.admin.list_topics(),
    }
    for what, attempt in attempts.items():
        _refused(env, f"{what} by a closed bus", attempt)
    env.equal([record.value for record in env.observer.records(topic.name)], [value], "the topic, seen from outside")


def _refused(env: Env, what: str, attempt: Callable[[], Any]) -> None:
    error = env.raises(mq.Closed, attempt, what, anomaly="closed-used")
    env.equal(error.outcome, "not_applied", f"the outcome of {what}")
    env.count("refused")
