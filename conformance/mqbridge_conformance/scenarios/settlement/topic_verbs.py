"""The verbs on a topic: each settles once, a delay is waited for, and after the end of the lease none counts."""

from __future__ import annotations

import time
from collections.abc import Callable

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled

DELAY_S = 0.3
TRIES = 3


@scenario(
    "settle-once-on-a-topic",
    "On a topic a second verb is refused, attempts are counted, delays are not cut short, and no verb counts too late",
    needs=(Cap.TOPIC_RETRY, Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.TOPIC_RETRY,),
    exercises=("second_verbs", "attempts", "delays", "late_verbs"),
)
def settle_once_on_a_topic(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(3))
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        first, second, third = env.receive(consumer, 3, "all of it")
        acked(env, consumer, [first])
        _refused(env, first, "ack()")
        before_s = time.monotonic()
        second.release(delay_s=DELAY_S)
        _refused(env, second, "release()")
        (again,) = env.receive(consumer, 1, "what was released")
        waited_s = time.monotonic() - before_s
        env.check(waited_s >= DELAY_S, f"released for {DELAY_S} s, and delivered after {waited_s:.3f} s", "delay-early")
        env.equal((again.attempt, again.redelivered), (1, True), "attempt and redelivered of what was released")
        env.count("delays")
        for attempt in range(1, TRIES + 1):
            env.equal(again.attempt, attempt, "the attempt number", "attempt-wrong")
            before_s = time.monotonic()
            again.retry(delay_s=DELAY_S / TRIES, error="not yet")
            _refused(env, again, "retry()")
            (again,) = env.receive(consumer, 1, f"attempt {attempt + 1}")
            waited_s = time.monotonic() - before_s
            env.check(waited_s >= DELAY_S / TRIES, f"retried, and delivered after {waited_s:.3f} s", "delay-early")
            env.count("attempts")
        acked(env, consumer, [again])
    for name, verb in _verbs(third):
        env.raises(mq.LeaseLost, verb, f"{name} when its consumer is closed", "zombie-commit")
        env.count("late_verbs")
    place = {f"{topic.name}/0": third.offset}
    env.equal(env.observer.committed(group), place, "what is committed: all but the last one", "committed-too-far")
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        acked(env, consumer, env.receive(consumer, 1, "what was not settled in time"))
    env.drained(topic, group)
    env.observer.records(topic.name)


def _verbs(delivery: mq.Delivery[bytes]) -> list[tuple[str, Callable[[], None]]]:
    return [("ack()", delivery.ack), ("release()", delivery.release), ("retry()", delivery.retry)]


def _refused(env: Env, delivery: mq.Delivery[bytes], after: str) -> None:
    """Whatever the second verb is."""
    for name, verb in _verbs(delivery):
        env.raises(mq.AlreadySettled, verb, f"{name} after {after}", "double-settle")
        env.count("second_verbs")
