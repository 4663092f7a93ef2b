"""The virtual clock by itself, and what follows it on a native bus: time to live, delays, retention."""

from __future__ import annotations

import datetime as dt

import pytest

import mqbridge as mq
from mqbridge.testing import VirtualClock, embedded, wait_until


def test_both_clocks_move_together_and_only_by_advance() -> None:
    """Seconds and milliseconds advance by the same amount, and stand otherwise."""
    clock = VirtualClock(wall_ms=1_000, mono_s=5.0)
    assert (clock.mono_s(), clock.wall_ms()) == (5.0, 1_000)
    clock.advance(1.5)
    assert (clock.mono_s(), clock.wall_ms()) == (6.5, 2_500)


def test_subscribers_see_each_step_in_order_of_subscription() -> None:
    """A jump is seen once, steps are each seen by all before the next, and the last step lands exactly on the end."""
    clock = VirtualClock(mono_s=0.0)
    seen: list[tuple[str, float]] = []
    clock.subscribe(lambda: seen.append(("a", clock.mono_s())))
    end_b = clock.subscribe(lambda: seen.append(("b", clock.mono_s())))
    clock.advance(1.0)
    end_b()
    clock.advance(1.0, step_s=0.4)
    assert seen[:2] == [("a", 1.0), ("b", 1.0)]
    assert [name for name, _ in seen[2:]] == ["a", "a", "a"]
    assert [at for _, at in seen[2:]] == pytest.approx([1.4, 1.8, 2.0])
    assert clock.mono_s() == 2.0


def test_many_small_steps_do_not_drift() -> None:
    """A thousand steps of 0.1 s are exactly as many as asked for, and end at the millisecond."""
    clock = VirtualClock(wall_ms=0, mono_s=0.0)
    steps: list[int] = []
    clock.subscribe(lambda: steps.append(clock.wall_ms()))
    clock.advance(100.0, step_s=0.1)
    assert clock.wall_ms() == 100_000
    assert len(steps) == 1000
    assert steps[:3] == [100, 200, 300]


@pytest.mark.parametrize(("seconds", "step_s"), [(-1.0, None), (1.0, 0.0), (1.0, -1.0)])
def test_time_that_would_stand_or_go_back_is_refused(seconds: float, step_s: float | None) -> None:
    """A negative advance and a step that is no step raise, and the clock stays where it is."""
    clock = VirtualClock()
    with pytest.raises(mq.ConfigurationError):
        clock.advance(seconds, step_s=step_s)
    assert clock.mono_s() == 0.0


def test_a_subscriber_that_advances_is_refused_and_the_clock_is_usable_after_it() -> None:
    """A step within a step would reorder what others see."""
    clock = VirtualClock()
    end = clock.subscribe(lambda: clock.advance(1.0))
    with pytest.raises(mq.ConfigurationError, match="under way"):
        clock.advance(1.0)
    end()
    clock.advance(1.0)
    assert clock.mono_s() == 2.0


def test_time_to_live_ends_exactly_when_the_clock_says() -> None:
    """One millisecond before its end a message is there; at its end it is a dead letter, with the reason."""
    clock = VirtualClock()
    queue = mq.Queue("jobs", message_ttl_s=60.0)
    with embedded(clock) as bus, bus.producer() as producer:
        bus.admin.ensure(queue)
        producer.send(queue, b"x").result(5)
        clock.advance(59.999)
        assert bus.admin.depth(queue) == 1
        clock.advance(0.001)
        assert bus.admin.depth(queue) == 0
        (letter,) = bus.admin.dead_letters(queue)
        assert letter.death is not None
        assert letter.death.reason == "expired"
        assert letter.death.at == dt.datetime(2026, 1, 1, 0, 1, tzinfo=dt.UTC)


def test_a_delayed_message_comes_when_the_clock_has_moved() -> None:
    """It is not there before its delay is over, and a waiting consumer gets it then."""
    clock = VirtualClock()
    queue = mq.Queue("jobs")
    with embedded(clock) as bus, bus.producer() as producer:
        bus.admin.ensure(queue)
        producer.send(queue, b"later", delay_s=3600).result(5)
        with bus.consumer(queue) as consumer:
            assert consumer.poll(timeout=0.0) == []
            clock.advance(3599.999)
            assert bus.admin.depth(queue) == 0
            clock.advance(0.001)
            (delivery,) = consumer.poll(timeout=5.0)
            assert delivery.raw == b"later"
            delivery.ack()


def test_a_topics_redelivery_waits_for_the_clock() -> None:
    """A release with a delay comes back after the clock has moved, not after real time."""
    clock = VirtualClock()
    topic = mq.Topic("t")
    with embedded(clock) as bus, bus.producer() as producer:
        bus.admin.ensure(topic)
        producer.send(topic, b"x").result(5)
        with bus.consumer(topic, group="g", start=mq.EARLIEST) as consumer:
            (first,) = consumer.poll(timeout=5.0)
            first.release(delay_s=30)
            assert consumer.poll(timeout=0.0) == []
            clock.advance(30)
            (again,) = consumer.poll(timeout=5.0)
            assert again.redelivered
            again.ack()


def test_retention_by_age_removes_whole_segments_when_the_clock_has_moved() -> None:
    """Records older than the limit go with their segments, and the start of the partition moves."""
    clock = VirtualClock()
    topic = mq.Topic("t", retention=mq.Retention(max_age_s=3600))
    with embedded(clock, segment_bytes=2048) as bus, bus.producer(linger_s=0) as producer:
        bus.admin.ensure(topic)
        for _ in range(8):
            producer.send(topic, b"x" * 900).result(5)
        assert bus.admin.offsets(topic)[0].start == 0
        clock.advance(3599)
        assert bus.admin.offsets(topic)[0].start == 0
        clock.advance(2)
        offsets = bus.admin.offsets(topic)[0]
        assert 0 < offsets.start <= offsets.end == 8


def test_a_member_that_lives_keeps_its_place_however_far_the_clock_moves() -> None:
    """At each step its sign of life comes before the broker looks for members whose session is over."""
    clock = VirtualClock()
    topic = mq.Topic("t")
    with embedded(clock) as bus:
        bus.admin.ensure(topic)
        with bus.consumer(topic, group="g", start=mq.EARLIEST, session_timeout_s=10) as consumer:
            consumer.wait_assigned(5)
            clock.advance(60, step_s=1.0)
            assert len(bus.admin.describe_group("g").members) == 1
            consumer.poll(timeout=0.0)
            assert consumer.assignment() == (("t", 0),)


def test_a_closed_bus_lets_go_of_the_clock() -> None:
    """A clock that outlives many buses does not call, or keep, those that are closed."""
    clock = VirtualClock()
    with embedded(clock) as bus:
        bus.admin.ensure(mq.Queue("q"))
        assert clock._subscribers
    assert not clock._subscribers


def test_wait_until_gives_what_was_found_and_names_what_was_not() -> None:
    """The true value is returned; at the deadline the error says what was waited for and what was seen last."""
    seen = iter([0, "", "there"])
    assert wait_until(lambda: next(seen), 5.0) == "there"
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: the moon \(the last look gave \[\]\)"):
        wait_until(list, 0.01, "the moon")
