"""Replays of a real topic: bounded, and no group anywhere."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
from confluent_kafka import Consumer

import mqbridge as mq
from mqbridge import spi
from mqbridge.testing import wait_until
from mqbridge_kafka import cut_off, replaying
from tests.kafka.astray import deaf
from tests.kafka.topics.raw import Raw


def read(replay: mq.Replay[bytes]) -> list[tuple[int, int]]:
    return sorted((delivery.partition or 0, delivery.offset or 0) for delivery in replay)


def test_a_range_is_read_to_its_fixed_end_and_leaves_no_group(bus: mq.Bus, raw: Raw) -> None:
    """A replay gives exactly its range, whatever is sent meanwhile, and no group has heard of it."""
    topic = raw.topic(partitions=2)
    for partition in range(2):
        raw.produce(topic.name, [b"x"] * 5, partition=partition)
    before = {group.group_id for group in raw.admin.list_consumer_groups().result(20).valid}
    with bus.replay(topic, mq.At({0: 2}), mq.At({0: 4})) as replay:
        assert replay.ranges == {0: (2, 4), 1: (0, 5)}
        raw.produce(topic.name, [b"late"] * 3)
        assert read(replay) == [(0, 2), (0, 3), *((1, offset) for offset in range(5))]
    after = {group.group_id for group in raw.admin.list_consumer_groups().result(20).valid}
    assert {name for name in after - before if "replay" in name} == set()


def test_a_range_that_ends_in_markers_ends(bus: mq.Bus, raw: Raw) -> None:
    """The last offsets of a range may be a transaction's marker and aborted records, which no reader sees."""
    topic = raw.topic()
    raw.transact(topic.name, [b"a", b"b"], commit=True)
    raw.transact(topic.name, [b"never"], commit=False)
    with bus.replay(topic, mq.EARLIEST) as replay:
        assert replay.ranges == {0: (0, 5)}
        assert [delivery.raw for delivery in replay] == [b"a", b"b"]


def test_by_time_and_past_the_end(bus: mq.Bus, raw: Raw) -> None:
    """Since begins at the first record of that time; a time after the last record is an empty range."""
    topic = raw.topic()
    now = dt.datetime.now(dt.UTC)
    with bus.producer() as producer:
        for ago in (3, 2, 1):
            producer.send(topic, b"x", timestamp=now - dt.timedelta(hours=ago))
    with bus.replay(topic, mq.Since(now - dt.timedelta(hours=2.5))) as replay:
        assert read(replay) == [(0, 1), (0, 2)]
    with bus.replay(topic, mq.Since(now + dt.timedelta(hours=1))) as replay:
        assert (replay.done, read(replay)) == (True, [])


def test_a_long_range_comes_whole_and_in_order(bus: mq.Bus, raw: Raw) -> None:
    """More records than fit in the store come all, in order, to a slow reader too."""
    topic = raw.topic()
    raw.produce(topic.name, [b"%d" % number for number in range(30_000)])
    got: list[Any] = []
    with bus.replay(topic, mq.EARLIEST) as replay:
        while not replay.done or got[-1] < 29_999:
            got += [delivery.offset for delivery in replay.poll(1000, timeout=5.0)]
    assert got == list(range(30_000))


def test_an_unknown_partition_is_refused(bus: mq.Bus, raw: Raw) -> None:
    """At names a partition that the topic does not have: refused, with how many there are."""
    with pytest.raises(mq.InvalidSpec, match="partition 3"):
        bus.replay(raw.topic(), mq.At({3: 0}))


@pytest.mark.parametrize("when", ["after", "while", "failed"])
def test_a_question_at_the_end_is_answered(bus: mq.Bus, raw: Raw, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that are asked for after the end, or wait in the queue then, complete with Closed or with the failure."""
    answers: list[Any] = []
    replay = bus._connection.replay(raw.topic(), lambda: None)
    entered, go_on = threading.Event(), threading.Event()
    failure = mq.NotFound("gone")

    def bounds(*_: Any) -> Any:
        entered.set()
        assert go_on.wait(10)
        raise failure

    monkeypatch.setattr(replay, "_bounds", bounds)

    def ask() -> None:
        replay.bounds(spi.Start("earliest"), spi.Start("latest"), lambda _found, error: answers.append(error))

    def fail() -> None:
        raise failure

    if when == "while":
        ask()
        assert entered.wait(10)
        ask()
        replay.close()
        go_on.set()
        wait_until(lambda: len(answers) == 2)
        assert [type(answer) for answer in answers] == [mq.NotFound, mq.Closed]
        return
    if when == "failed":
        replay._commands.put(fail)  # type: ignore[attr-defined]
        wait_until(lambda: replay.failure() is not None)
    else:
        replay.close()
    wait_until(lambda: replay._ended)  # type: ignore[attr-defined]
    ask()
    assert [type(answer) for answer in answers] == [mq.NotFound if when == "failed" else mq.Closed]


def test_a_replay_whose_client_is_lost_goes_on_where_it_was(
    bus: mq.Bus, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new client reads the rest: each record comes once, in order, to the end."""
    lost = threading.Event()
    monkeypatch.setattr(replaying, "Consumer", deaf(Consumer, lost))
    monkeypatch.setattr(replaying, "MAX_RECORDS", 100)
    monkeypatch.setattr(cut_off, "CHECK_S", 0.3)
    topic = raw.topic(partitions=2)
    for partition in range(2):
        raw.produce(topic.name, [b"x"] * 2000, partition=partition)
    with bus.replay(topic, mq.EARLIEST) as replay:
        found: list[int] = [0, 0]
        for delivery in replay:
            lost.set()
            assert delivery.offset == found[delivery.partition or 0]
            found[delivery.partition or 0] += 1
    assert found == [2000, 2000]
