"""A log cannot take one message back: what is given back comes again, and nothing is committed beyond it meanwhile."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, numbers

RECORDS = 8


@scenario(
    "order-under-retry",
    "What is released or retried on a topic comes again, and the committed offset waits below it",
    needs=(Cap.TOPIC_RETRY, Cap.ORDER_PER_PARTITION, Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.TOPIC_RETRY, Cap.ORDER_PER_PARTITION),
    exercises=("released", "retried", "held_back"),
)
def order_under_retry(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        first = env.receive(consumer, RECORDS, "all of it")
        env.equal(numbers(first), list(range(RECORDS)), "the order of the first delivery", "nonmonotonic-poll")
        offsets = [one.offset or 0 for one in first]
        first[2].release()
        first[4].retry(error="not yet")
        acked(env, consumer, [one for place, one in enumerate(first) if place not in (2, 4)])
        _prefix(env, consumer, offsets[2], "with one released and one retried, and all others acked")
        again = {number: one for one in env.receive(consumer, 2, "what was given back") for number in numbers([one])}
        env.equal(sorted(again), [2, 4], "what comes again")
        told = {number: (one.attempt, one.redelivered, one.offset) for number, one in again.items()}
        wanted = {2: (1, True, offsets[2]), 4: (2, True, offsets[4])}
        env.equal(told, wanted, "attempt number, redelivered and offset of what came again", "attempt-wrong")
        acked(env, consumer, [again[4]])
        _prefix(env, consumer, offsets[2], "with only the released one open")
        again[2].release()
        (last,) = env.receive(consumer, 1, "what was released again")
        acked(env, consumer, [last])
        _prefix(env, consumer, offsets[-1] + 1, "when all are settled")
        env.count("released", 2)
        env.count("retried")
    env.equal(env.observer.committed(group), {f"{topic.name}/0": offsets[-1] + 1}, "what is committed at the end")
    env.drained(topic, group)
    env.observer.records(topic.name)


def _prefix(env: Env, consumer: mq.TopicConsumer[bytes], wanted: int, when: str) -> None:
    """What is committed, as the member and as others see it."""
    place = (consumer.topics[0].name, 0)
    env.equal(consumer.next_offsets(), {place: wanted}, f"the settled prefix {when}", "committed-too-far")
    env.eventually(consumer.committed, {place: wanted}, f"what is committed {when}", "committed-too-far")
    env.committed(consumer.group, {f"{place[0]}/0": wanted}, f"what is committed {when}, seen from outside")
    env.count("held_back")
