"""A topic that keeps its records for a limited time, or to a limited size: old ones go, and none goes too early."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CheckFailed
from mqbridge_conformance.scenario import scenario

LARGE = 800_000
"""A record of this size fills segments, by which engines remove, after some tens of them at most."""
KEPT_BYTES = 2_000_000
MOST = 250
AGE_S = 2.0
ROOM_BYTES = 40_000_000
"""A limit of size that is not what removes anything here: an engine may choose its segments by it."""
APPLIED_S = 60.0
"""How long an engine may take to look for what is outdated."""


@scenario(
    "retention-by-size",
    "When a topic outgrows its size its oldest records go, and the newest up to that size stay",
    needs=(Cap.RETENTION_BY_SIZE, Cap.END_OFFSETS),
    proves=(Cap.RETENTION_BY_SIZE,),
    exercises=("removed", "kept"),
    level="full",
)
def retention_by_size(env: Env) -> None:
    topic = _limited(env, mq.Retention(max_bytes=KEPT_BYTES))
    number = 0
    with env.bus.producer() as producer:
        for _ in _until_the_start_moves(env, topic):
            if number < MOST:
                _sent(env, producer, topic, number)
                number += 1
    stored = env.observer.records(topic.name)
    env.count("removed", number - len(stored))
    env.count("kept", len(stored))
    left = [int((record.value or b"").split()[5]) for record in stored]
    env.equal(left, list(range(number - len(stored), number)), "what is left: the newest", "lost-write")
    with env.bus.replay(topic, mq.EARLIEST) as replay:
        replayed = [one.offset for one in replay]
    offsets = [record.offset for record in stored]
    env.equal(replayed, offsets, "the offsets of a replay from the beginning", "replay-mismatch")
    least = min(number, KEPT_BYTES // LARGE)
    env.check(len(stored) >= least, f"{len(stored)} records are left, where {least} are within the size", "lost-write")


@scenario(
    "retention-by-age",
    "Records that are older than a topic's age go, and none goes before",
    needs=(Cap.RETENTION_BY_AGE, Cap.RETENTION_BY_SIZE, Cap.END_OFFSETS),
    proves=(Cap.RETENTION_BY_AGE,),
    exercises=("removed",),
    level="full",
)
def retention_by_age(env: Env) -> None:
    topic = _limited(env, mq.Retention(max_age_s=AGE_S, max_bytes=ROOM_BYTES))
    most = ROOM_BYTES // LARGE - 5
    sent_s: list[float] = []
    with env.bus.producer() as producer:
        for start in _until_the_start_moves(env, topic):
            env.equal(start, 0, "the first offset that is left", "lost-write")
            if len(sent_s) < most:
                sent_s.append(time.monotonic())
                _sent(env, producer, topic, len(sent_s) - 1)
        start = env.bus.admin.offsets(topic)[0].start
        looked_s = time.monotonic()
    gone = sent_s[:start]
    env.count("removed", len(gone))
    ages_s = [looked_s - at_s for at_s in gone]
    early = [age_s for age_s in ages_s if age_s < AGE_S]
    env.equal(early, [], f"ages of records that are gone and younger than {AGE_S:g} s", "ttl-early")


def _sent(env: Env, producer: mq.Producer, topic: mq.Topic[bytes], number: int) -> None:
    producer.send(topic, env.payload(topic, "p", number, pad=LARGE)).result(env.patience_s)


def _limited(env: Env, retention: mq.Retention) -> mq.Topic[bytes]:
    """Made, and described as it was asked for."""
    topic = env.topic(partitions=1, retention=retention)
    planned = [change.action for change in env.bus.admin.plan(topic)]
    env.equal(planned, ["keep"], f"the plan for {retention} again", "retention-ignored")
    other = mq.Topic(topic.name, partitions=1, retention=mq.Retention(max_age_s=86_400.0, max_bytes=1 << 40))
    env.raises(mq.Mismatch, lambda: env.bus.admin.ensure(other), "ensuring another retention", "mismatch-hidden")
    return topic


def _until_the_start_moves(env: Env, topic: mq.Topic[bytes]) -> Iterator[int]:
    """Turns, a moment apart, with the first offset, until something was removed."""
    pause, give_up_s = threading.Event(), time.monotonic() + APPLIED_S
    while (start := env.bus.admin.offsets(topic)[0].start) == 0:
        if time.monotonic() >= give_up_s:
            raise CheckFailed(f"nothing was removed of {topic} within {APPLIED_S:g} s", "retention-ignored")
        yield start
        pause.wait(0.1)
