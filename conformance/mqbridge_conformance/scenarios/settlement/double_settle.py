"""A delivery is settled once: whatever is said of it after that is refused, and the first word stands."""

from __future__ import annotations

from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

VERBS = ("ack", "release", "retry", "reject")


@scenario(
    "double-settle",
    "A second verb on a delivery is AlreadySettled, whichever two they are, and the first one stands",
    needs=(
        Cap.ACK,
        Cap.WORK_SHARING,
        Cap.RELEASE_UNCOUNTED,
        Cap.RETRY_COUNTED,
        Cap.MAX_ATTEMPTS,
        Cap.DEAD_LETTER,
    ),
    proves=(Cap.ACK,),
    exercises=("refused",),
)
def double_settle(env: Env) -> None:
    queue = env.queue(max_attempts=3)
    with env.bus.consumer(queue, prefetch=1) as consumer:
        back = {"release": 1, "retry": 2}
        for number, first in enumerate(VERBS):
            env.send(queue, [number])
            (delivery,) = env.receive(consumer, 1, f"a message to {first}")
            getattr(delivery, first)()
            _refused(env, delivery, first)
            consumer.commit(env.patience_s)
            _refused(env, delivery, first)
            if first in back:
                (again,) = env.receive(consumer, 1, f"a message after {first}", anomaly="missing-redelivery")
                found = (again.raw, again.attempt, again.redelivered)
                env.equal(found, (delivery.raw, back[first], True), f"what comes back after {first}")
                env.ack(consumer, [again])
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
    env.eventually(lambda: len(env.observer.letters(queue.name)), 1, "dead letters", anomaly="dlq-dup")
    if env.can(Cap.GROUPS):
        _of_a_topic(env)


def _refused(env: Env, delivery: Any, first: str) -> None:
    env.check(delivery.settled, f"a delivery does not say that it is settled after {first}")
    for second in VERBS:
        what = f"{second} after {first}"
        error = env.raises(mq.AlreadySettled, getattr(delivery, second), what, anomaly="settled-twice")
        env.equal(error.outcome, "not_applied", f"the outcome of {what}")
        env.count("refused")


def _of_a_topic(env: Env) -> None:
    topic = env.topic()
    env.send(topic, range(3))
    with env.bus.consumer(topic, group=env.group(), start=mq.EARLIEST) as consumer:
        got = env.receive(consumer, 3, "records of a topic")
        env.ack(consumer, got)
        for delivery in got:
            env.raises(mq.AlreadySettled, delivery.ack, "a second ack on a topic", anomaly="settled-twice")
            env.count("refused_of_a_topic")
        env.drained(topic, consumer.group)
    env.observer.records(topic.name)
