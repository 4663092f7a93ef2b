"""Consuming queues: tokens settled one by one, and what becomes of what was not."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import AlreadySettled, Closed, ConfigurationError, InvalidSpec, LeaseLost
from mqbridge.spi import Disconnected, Reconnected
from mqbridge.testing import Recorder, VirtualClock, embedded, wait_until
from tests.fakes import FakeBlock, FakeQueueSubscription, fake_bus

WORK = mq.Queue("work", max_attempts=3)


def send(bus: mq.Bus, count: int, queue: mq.Queue[Any] = WORK, **options: Any) -> None:
    with bus.producer() as producer:
        for number in range(count):
            producer.send(queue, b"%d" % number, **options)


def raws(deliveries: Any) -> list[bytes]:
    return [delivery.raw for delivery in deliveries]


def drain(consumer: mq.QueueConsumer[Any], idle_s: float = 0.1) -> list[bytes]:
    got: list[bytes] = []
    while batch := consumer.poll(timeout=idle_s):
        for delivery in batch:
            delivery.ack()
        got += raws(batch)
    return got


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    with mq.connect("native:") as bus:
        bus.admin.ensure(WORK)
        yield bus


@pytest.fixture
def fake() -> Iterator[tuple[mq.QueueConsumer[bytes], FakeQueueSubscription]]:
    yield from faked()


def faked(**options: Any) -> Iterator[tuple[mq.QueueConsumer[bytes], FakeQueueSubscription]]:
    bus, engine = fake_bus()
    with bus:
        consumer = bus.consumer(WORK, **{"settle_interval_s": 60.0, **options})
        yield consumer, engine.queue_subscriptions[0]


def block(*values: bytes, first: int = 100) -> FakeBlock:
    return FakeBlock(WORK, values, partition=None, offsets=range(first, first + len(values)))


def test_each_verb_settles_its_own_token_once(fake: Any) -> None:
    """ack, release, retry, reject and return reach the engine with their token, each once, whatever the order."""
    consumer, subscription = fake
    subscription.give(block(b"a", b"b", b"c", b"d", b"e"))
    a, b, c, d = consumer.poll(4)
    d.ack()
    b.release()
    c.retry(delay_s=2.0, error=ValueError("bad"))
    a.reject("unreadable")
    consumer.commit()
    consumer.commit()
    by_verb = {verb: subscription.tokens(verb) for verb in ("ack", "release", "retry", "reject", "return")}
    assert by_verb == {"ack": [103], "release": [101], "retry": [102], "reject": [100], "return": []}
    details = {item.verb: (item.delay_s, item.text) for item in subscription.verbs}
    assert details["retry"] == (2.0, "ValueError: bad")
    assert details["reject"] == (0.0, "unreadable")
    for delivery in (a, b, c, d):
        with pytest.raises(AlreadySettled):
            delivery.ack()
    consumer.close()
    assert subscription.tokens("return") == [104]


def test_prefetch_bounds_what_is_out(bus: mq.Bus) -> None:
    """No more than `prefetch` are out and unsettled; settling one lets one more come."""
    send(bus, 10)
    with bus.consumer(WORK, prefetch=3) as consumer:
        got = consumer.poll(timeout=1)
        assert len(got) == 3
        assert consumer.poll(timeout=0.05) == []
        got[1].ack()
        assert raws(consumer.poll(timeout=2)) == [b"3"]


def test_settling_on_another_thread_opens_the_window(bus: mq.Bus) -> None:
    """A poll that waits with a full window goes on when a worker has settled."""
    send(bus, 4)
    with bus.consumer(WORK, prefetch=2) as consumer:
        got = consumer.poll()
        threading.Timer(0.05, got[0].ack).start()
        assert raws(consumer.poll(timeout=10)) == [b"2"]


def test_release_is_not_counted_and_retry_is(bus: mq.Bus) -> None:
    """The third failed attempt of three dead-letters; releases in between cost nothing."""
    send(bus, 1)
    with bus.consumer(WORK) as consumer:
        for attempt, verb in ((1, "release"), (1, "retry"), (2, "release"), (2, "retry"), (3, "retry")):
            (delivery,) = consumer.poll(timeout=5)
            assert delivery.attempt == attempt
            assert delivery.redelivered == ((attempt, verb) != (1, "release"))
            getattr(delivery, verb)()
            consumer.commit()
        assert consumer.poll(timeout=0.05) == []
    (dead,) = bus.admin.dead_letters(WORK)
    assert dead.death is not None
    assert (dead.death.reason, dead.death.attempts, dead.death.origin) == ("max-attempts", 3, "queue:work")


def test_delays_follow_the_clock() -> None:
    """A delayed retry and a delayed release come when their time is over, not before."""
    clock = VirtualClock()
    with embedded(clock) as bus:
        bus.admin.ensure(WORK)
        send(bus, 2)
        with bus.consumer(WORK) as consumer:
            one, two = consumer.poll()
            one.retry(delay_s=10)
            two.release(delay_s=20)
            consumer.commit()
            clock.advance(9.9)
            assert consumer.poll(timeout=0.02) == []
            clock.advance(0.2)
            assert raws(consumer.poll(timeout=5)) == [b"0"]
            clock.advance(10)
            assert raws(consumer.poll(timeout=5)) == [b"1"]


@pytest.mark.parametrize("delay_s", [-1, float("nan"), float("inf"), "soon", True])
def test_a_bad_delay_costs_nobody_anything(bus: mq.Bus, delay_s: Any) -> None:
    """It is refused at the verb: neither this delivery nor the acks of its batch are lost with it."""
    send(bus, 2)
    with bus.consumer(WORK) as consumer:
        one, two = consumer.poll()
        one.ack()
        for verb in (two.release, two.retry):
            with pytest.raises(InvalidSpec, match="delay_s"):
                verb(delay_s)
        two.ack()
        consumer.commit()
    with bus.consumer(WORK) as consumer:
        assert drain(consumer, 0.05) == []


def test_unsettled_at_close_goes_back_uncounted(bus: mq.Bus) -> None:
    """Shown and not settled, or never shown: after close() another consumer gets them, and no attempt was counted."""
    send(bus, 6)
    consumer = bus.consumer(WORK)
    stream = consumer.stream(idle_timeout_s=1)
    first, second = next(stream), next(stream)
    first.ack()
    consumer.close()
    assert list(stream) == []
    with pytest.raises(LeaseLost, match="closed"):
        second.ack()
    with pytest.raises(Closed):
        consumer.poll()
    with bus.consumer(WORK) as other:
        got = other.poll(timeout=5)
        assert raws(got) == [b"1", b"2", b"3", b"4", b"5"]
        assert {delivery.attempt for delivery in got} == {1}
        assert [delivery.redelivered for delivery in got] == [True, False, False, False, False]


def test_stream_and_poll_share_what_was_fetched(bus: mq.Bus) -> None:
    """Leaving a stream early loses nothing."""
    send(bus, 5)
    with bus.consumer(WORK) as consumer:
        assert raws(itertools.islice(consumer.stream(), 2)) == [b"0", b"1"]
        assert raws(consumer.poll(1)) == [b"2"]
        assert raws(consumer.stream(idle_timeout_s=0.05)) == [b"3", b"4"]


def test_competing_consumers_share_and_nothing_is_shown_twice(bus: mq.Bus) -> None:
    """Several consumers, each message to one of them, none lost, while one of them comes and goes."""
    seen: list[bytes] = []
    stop = threading.Event()

    def worker(number: int) -> None:
        while not stop.is_set():
            with bus.consumer(WORK, prefetch=7, settle_interval_s=0.005) as consumer:
                for _ in range(5 if number else 1000):
                    if stop.is_set():
                        break
                    for delivery in consumer.poll(5, timeout=0.02):
                        seen.append(delivery.raw or b"")
                        delivery.ack()

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    send(bus, 800)
    wait_until(lambda: len(seen) >= 800, 20)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert sorted(map(int, seen)) == list(range(800))


def test_before_is_at_most_once(bus: mq.Bus) -> None:
    """ack="before": what is shown is gone from the queue already, and there is nothing to settle."""
    send(bus, 3)
    consumer = bus.consumer(WORK, ack="before")
    got = consumer.poll(2)
    assert raws(got) == [b"0", b"1"]
    with pytest.raises(AlreadySettled):
        got[0].ack()
    consumer.close()
    with bus.consumer(WORK) as other:
        assert drain(other) == [b"2"]


def test_auto_is_for_topics(bus: mq.Bus) -> None:
    """A queue has no auto mode."""
    with pytest.raises(ConfigurationError, match="ack"):
        bus.consumer(WORK, ack="auto")  # type: ignore[call-overload]


def test_commit_names_what_came_too_late(fake: Any) -> None:
    """Tokens that the engine refuses raise LeaseLost with the tokens; the rest is applied."""
    consumer, subscription = fake
    subscription.give(block(b"a", b"b"))
    one, two = consumer.poll()
    one.ack()
    two.ack()
    subscription.refused = (101,)
    with pytest.raises(LeaseLost) as caught:
        consumer.commit()
    assert caught.value.__dict__["tokens"] == (101,)
    subscription.refused = ()
    consumer.commit()


def test_acks_that_were_never_told_before_the_connection_broke(fake: Any) -> None:
    """Acked, then the connection went before the engine heard of it: commit() must not pretend."""
    consumer, subscription = fake
    subscription.give(block(b"a", b"b", b"c", b"d"))
    one, two, three = consumer.poll(3)
    one.ack()
    two.retry()
    subscription.say(Disconnected("host gone"), Reconnected())
    assert consumer.poll(timeout=0) == []  # the leftover is not ours to show any more
    with pytest.raises(LeaseLost, match="host gone"):
        three.ack()
    with pytest.raises(LeaseLost, match="host gone") as caught:
        consumer.commit()
    assert sorted(caught.value.__dict__["tokens"]) == [100, 101]
    assert subscription.verbs == []
    consumer.commit()


def test_a_keep_alive_takes_nothing(fake: Any) -> None:
    """Looking at events must not swallow a block."""
    consumer, subscription = fake
    subscription.give(block(b"a"))
    consumer._keep_alive()
    assert raws(consumer.poll(timeout=0)) == [b"a"]


def test_a_keep_alive_takes_nothing_from_the_real_engine(bus: mq.Bus) -> None:
    """A block that came in after poll() had timed out is still there after a keep-alive."""
    with bus.consumer(WORK) as consumer:
        assert consumer.poll(timeout=0) == []
        send(bus, 2)
        for _ in range(3):
            consumer._keep_alive()
        assert raws(consumer.poll(timeout=5)) == [b"0", b"1"]


def test_hooks_count_settlements() -> None:
    """The counts of `settled` and `received` are those of messages."""
    recorder = Recorder()
    with embedded(hooks=[recorder]) as bus:
        bus.admin.ensure(WORK)
        send(bus, 5)
        with bus.consumer(WORK) as consumer:
            assert len(drain(consumer)) == 5
            consumer.commit()
        assert recorder.received_count(WORK) == 5
        assert sum(event["count"] for event in recorder.of("settled", WORK)) == 5


def test_single_active_hands_over(bus: mq.Bus) -> None:
    """Only one consumer of a single-active queue gets messages; the next takes over when it closes."""
    queue = mq.Queue("single", single_active=True)
    bus.admin.ensure(queue)
    first = bus.consumer(queue)
    with bus.consumer(queue) as second:
        send(bus, 3, queue)
        got = first.poll(timeout=5)
        assert raws(got) == [b"0", b"1", b"2"]
        assert second.poll(timeout=0.05) == []
        got[0].ack()
        first.close()
        assert raws(second.poll(timeout=5)) == [b"1", b"2"]


def test_priority_first(bus: mq.Bus) -> None:
    """Higher priority first, order within a priority."""
    queue = mq.Queue("prio", max_priority=5)
    bus.admin.ensure(queue)
    with bus.producer() as producer:
        for value, priority in ((b"low", 0), (b"high", 5), (b"mid", 2), (b"high2", 5)):
            producer.send(queue, value, priority=priority)
    with bus.consumer(queue) as consumer:
        assert drain(consumer) == [b"high", b"high2", b"mid", b"low"]


def test_in_a_forked_child_deliveries_are_not_ours(fake: Any) -> None:
    """In the child every verb says so at once, whatever locks other threads held at the moment of the fork."""
    consumer, subscription = fake
    subscription.give(block(b"a", b"b", b"c"))
    acked, released, rejected = consumer.poll()
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with consumer._settling:
            held.set()
            go.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        for call in (acked.ack, released.release, rejected.retry, consumer.commit, consumer.poll):
            try:
                call()
            except (LeaseLost, mq.ForkedProcess):
                continue
            os._exit(1)
        consumer.close()
        os._exit(0)
    go.set()
    holder.join(10)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    acked.ack()
