"""Reading a range in no group."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import Closed, ConfigurationError, InvalidSpec, NotFound
from mqbridge.testing import VirtualClock, embedded, wait_until

TWO = mq.Topic("two", partitions=2)


def send(bus: mq.Bus, count: int, first: int = 0) -> None:
    """In one batch a partition."""
    with bus.producer(partitioner="round_robin", linger_s=30.0) as producer:
        producer.send_many(TWO, [b"%d" % number for number in range(first, first + count)])


@pytest.fixture(autouse=True)
def _made(bus: mq.Bus) -> None:
    bus.admin.ensure(TWO)


def places(replay: Any) -> list[tuple[int, int]]:
    return [(delivery.partition, delivery.offset) for delivery in replay]


def test_it_ends_where_the_topic_ended_when_it_began(bus: mq.Bus) -> None:
    """What is sent while it reads is not part of it; all that was there is, each record once, in order."""
    send(bus, 20)
    replay = bus.replay(TWO, mq.EARLIEST)
    send(bus, 10, first=20)
    got = places(replay)
    assert sorted(got) == [(p, offset) for p in (0, 1) for offset in range(10)]
    for partition in (0, 1):
        offsets = [offset for p, offset in got if p == partition]
        assert offsets == sorted(offsets)
    assert replay.done
    assert replay.poll(timeout=0) == []
    assert replay.ranges == {0: (0, 10), 1: (0, 10)}


def test_a_range_in_the_middle_of_a_batch(bus: mq.Bus) -> None:
    """First and last offset lie inside batches: nothing before, nothing at or behind the end."""
    send(bus, 40)
    replay = bus.replay(TWO, mq.At({0: 3, 1: 19}), mq.At({0: 7, 1: 20}))
    assert sorted(places(replay)) == [(0, 3), (0, 4), (0, 5), (0, 6), (1, 19)]


def test_partitions_that_at_does_not_name(bus: mq.Bus) -> None:
    """They begin at their start and end at their end: nothing is skipped unasked."""
    send(bus, 10)
    assert sorted(places(bus.replay(TWO, mq.At({0: 4})))) == [(0, 4), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]
    assert len(places(bus.replay(TWO, mq.EARLIEST, mq.At({0: 0})))) == 5


@pytest.mark.parametrize(
    ("start", "end"), [(mq.LATEST, mq.NOW), (mq.At({0: 5, 1: 5}), mq.At({0: 2, 1: 0})), (mq.NOW, mq.NOW)]
)
def test_empty_ranges_end_at_once(bus: mq.Bus, start: Any, end: Any) -> None:
    """An end before the start, or nothing between, is an empty replay and no wait."""
    send(bus, 10)
    replay = bus.replay(TWO, start, end)
    assert replay.done
    assert list(replay) == []


def test_by_time() -> None:
    """Since takes the first record at or after a moment, by datetime and by age, as start and as end."""
    clock = VirtualClock()
    with embedded(clock) as bus:
        bus.admin.ensure(TWO)
        for first in (0, 10, 20):
            send(bus, 10, first)
            clock.advance(60)
        assert len(places(bus.replay(TWO, mq.Since(dt.timedelta(seconds=121))))) == 20
        moment = dt.datetime.fromtimestamp(clock.wall_ms() / 1000 - 120, dt.UTC)
        assert len(places(bus.replay(TWO, mq.EARLIEST, mq.Since(moment)))) == 10
        assert places(bus.replay(TWO, mq.Since(dt.timedelta(0)))) == []


def test_it_disturbs_no_group(bus: mq.Bus) -> None:
    """A group's members, offsets and what they are shown are the same with a replay under way."""
    send(bus, 10)
    with bus.consumer(TWO, group="g", start=mq.EARLIEST) as consumer:
        before = consumer.wait_assigned(5)
        with bus.replay(TWO, mq.EARLIEST) as replay:
            assert len(replay.poll(3)) == 3
            assert len(consumer.poll() + consumer.poll()) == 10
            assert consumer.assignment() == before
    assert [group.group for group in bus.admin.list_groups()] == ["g"]


def test_poll_and_iteration_go_on_where_the_other_was_left(bus: mq.Bus) -> None:
    """Polling in small portions, iterating, leaving early: each record once."""
    send(bus, 20)
    with bus.replay(TWO, mq.EARLIEST) as replay:
        got = places(replay.poll(3)) + places(itertools.islice(replay, 4)) + places(replay.poll(2)) + places(replay)
        assert len(got) == len(set(got)) == 20


def test_closed_while_another_thread_waits(bus: mq.Bus) -> None:
    """close() wakes a reader that waits, and what was at hand is not shown any more."""
    send(bus, 4)
    replay = bus.replay(TWO, mq.EARLIEST)
    replay.poll(1)
    replay._source.close()  # so that the reader finds nothing and waits
    replay._pending = iter(())
    ended: list[Any] = []

    def read() -> None:
        try:
            list(replay)
        except Closed as error:
            ended.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    replay.close()
    reader.join(5)
    assert not reader.is_alive()
    assert ended
    with pytest.raises(Closed):
        replay.poll()


def test_nothing_is_shown_after_close(bus: mq.Bus) -> None:
    """Also not what had been fetched."""
    send(bus, 10)
    replay = bus.replay(TWO, mq.EARLIEST)
    reading = iter(replay)
    next(reading)
    replay.close()
    with pytest.raises(Closed):
        next(reading)


def test_what_cannot_be_replayed(bus: mq.Bus) -> None:
    """A missing topic, a partition that does not exist, a position that is none."""
    with pytest.raises(NotFound):
        bus.replay(mq.Topic("missing"), mq.EARLIEST)
    with pytest.raises(InvalidSpec, match="partition 7"):
        bus.replay(TWO, mq.At({7: 0}))
    with pytest.raises(ConfigurationError):
        bus.replay(TWO, "earliest")  # type: ignore[arg-type]


def test_a_topic_deleted_under_it(bus: mq.Bus) -> None:
    """The reader is told, and does not wait for ever."""
    send(bus, 10)
    replay = bus.replay(TWO, mq.EARLIEST)
    bus.admin.delete(TWO)
    with pytest.raises(mq.MqbridgeError):
        wait_until(lambda: len(replay.poll(timeout=0.5)) < 0, 5)


def test_the_same_range_reads_the_same_again(bus: mq.Bus) -> None:
    """Two readings of one range agree in places, values and timestamps."""
    send(bus, 30)
    first, second = (
        [(d.partition, d.offset, d.raw, d.timestamp_ms) for d in bus.replay(TWO, mq.EARLIEST)] for _ in range(2)
    )
    assert sorted(first) == sorted(second)
