"""A member holds a partition back without giving it up, and goes to another place in one."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, numbers

RECORDS = 6


@scenario(
    "pause-and-resume",
    "Of a paused partition nothing comes, the others go on, it stays assigned, and it resumes where it was",
    needs=(Cap.PAUSE_RESUME, Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.PAUSE_RESUME,),
    exercises=("beside_it", "resumed"),
)
def pause_and_resume(env: Env) -> None:
    topic, group = env.topic(partitions=2), env.group()
    filled(env, topic, range(2), partitions=(0, 1))
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        acked(env, consumer, env.receive(consumer, 4, "the first of both partitions"))
        both = consumer.assignment()
        consumer.pause([(topic.name, 0)])
        for number in range(2, RECORDS):
            # The paused one is written first, so what comes of the other one comes past it.
            filled(env, topic, [number], partitions=(0, 1))
            beside = env.receive(consumer, 1, "of the partition that is not paused")
            env.equal([one.partition for one in beside], [1], "partitions of what comes in a pause", "paused-delivery")
            acked(env, consumer, beside)
            env.count("beside_it")
        env.equal(consumer.poll(timeout=0.1), [], "what comes of the paused partition", "paused-delivery")
        env.equal(consumer.assignment(), both, "what is assigned during a pause")
        consumer.resume([(topic.name, 0)])
        rest = env.receive(consumer, RECORDS - 2, "the partition that was paused")
        found = [(one.partition, number) for one, number in zip(rest, numbers(rest), strict=True)]
        env.equal(found, [(0, number) for number in range(2, RECORDS)], "what comes when it is resumed", "poll-skip")
        acked(env, consumer, rest)
        env.count("resumed", len(rest))
    env.drained(topic, group)
    env.observer.records(topic.name)


@scenario(
    "seek",
    "After a seek, back or ahead, exactly what lies there comes; what was out before cannot be settled any more",
    needs=(Cap.SEEK, Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.SEEK,),
    exercises=("back", "ahead", "refused_settlements"),
)
def seek(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        got = env.receive(consumer, RECORDS, "all of it")
        offsets = [one.offset or 0 for one in got]
        acked(env, consumer, got[:-2])
        consumer.seek(topic, 0, offsets[1])
        env.raises(mq.LeaseLost, got[-1].ack, "settling what was out before a seek", "zombie-commit")
        env.count("refused_settlements")
        back = env.receive(consumer, RECORDS - 1, "what comes after a seek back")
        env.equal(numbers(back), list(range(1, RECORDS)), "what comes after a seek back", "replay-mismatch")
        env.count("back", len(back))
        acked(env, consumer, back[:1])
        env.eventually(consumer.committed, {(topic.name, 0): offsets[2]}, "what is committed after a seek back")
        consumer.seek(topic, 0, offsets[-1])
        ahead = env.receive(consumer, 1, "what comes after a seek ahead")
        env.equal(numbers(ahead), [RECORDS - 1], "what comes after a seek ahead", "replay-mismatch")
        env.count("ahead")
        acked(env, consumer, ahead)
        env.equal(consumer.poll(timeout=0.05), [], "what comes behind the end")
    end = {f"{topic.name}/0": offsets[-1] + 1}
    env.equal(env.observer.committed(group), end, "what is committed after a seek ahead, seen from outside")
    env.drained(topic, group)
    env.observer.records(topic.name)
