"""Workers and order: what `run` promises while handlers fail, hang, exit and stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mqbridge as mq
from mqbridge import dispatch
from mqbridge.errors import ConfigurationError, LeaseLost
from mqbridge.spi import Assigned, Lost
from mqbridge.testing import Recorder, VirtualClock, embedded, wait_until
from tests.fakes import FakeBlock, fake_bus

TWO = mq.Topic("two", partitions=2)
ONE = mq.Topic("one", partitions=1)
WORK = mq.Queue("work")
QUICK = mq.RetryPolicy(max_attempts=4, first_delay_s=0.002, max_delay_s=0.002)


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    with mq.connect("native:") as bus:
        bus.admin.ensure(TWO, ONE, WORK)
        yield bus


def send(bus: mq.Bus, destination: Any, values: list[tuple[str | None, str]]) -> None:
    with bus.producer() as producer:
        for key, value in values:
            producer.send(destination, value.encode(), key=key)


class Run:
    """A run on a thread of its own; `stop()` gives its stats or raises its error."""

    def __init__(self, consumer: Any, handler: Callable[[Any], Any], **options: Any) -> None:
        self._stop = mq.Stop()
        self._outcome: list[Any] = []
        self._thread = threading.Thread(target=self._run, args=(consumer, handler, options))
        self._thread.start()

    def _run(self, consumer: Any, handler: Any, options: Any) -> None:
        try:
            self._outcome.append(consumer.run(handler, stop=self._stop, **options))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self._outcome.append(error)

    def ended(self) -> bool:
        return bool(self._outcome)

    def signal(self) -> None:
        self._stop.set()

    def stop(self) -> mq.RunStats:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if isinstance(self._outcome[0], BaseException):
            raise self._outcome[0]
        assert isinstance(self._outcome[0], mq.RunStats)
        return self._outcome[0]


def topic_consumer(bus: mq.Bus, topic: mq.Topic[Any] = TWO, **options: Any) -> mq.TopicConsumer[Any]:
    return bus.consumer(topic, **{"group": "g", "start": mq.EARLIEST, **options})


# --- order --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["key", "partition"])
def test_order_holds_under_failing_handlers(bus: mq.Bus, order: Any) -> None:
    """Whatever fails and is tried again, the successes of one key (or partition) come in the order of the log, and no
    two of its handlers run at once."""
    send(bus, TWO, [(f"k{number % 5}", str(number)) for number in range(200)])
    done: dict[Any, list[int]] = {}
    inside: dict[Any, int] = {}
    lock = threading.Lock()

    def handle(delivery: mq.Delivery[bytes]) -> None:
        lane = delivery.key if order == "key" else delivery.partition
        with lock:
            inside[lane] = inside.get(lane, 0) + 1
            assert inside[lane] == 1
        try:
            number = int(delivery.raw or b"")
            if number % 7 == 3 and delivery.attempt < 3:
                raise ValueError(number)
            done.setdefault(lane, []).append(delivery.offset or 0)
        finally:
            with lock:
                inside[lane] -= 1

    with topic_consumer(bus) as consumer:
        run = Run(consumer, handle, workers=4, order=order, retry=QUICK)
        wait_until(lambda: sum(map(len, done.values())) == 200, 20)
        stats = run.stop()
        assert consumer.lag() == {("two", 0): 0, ("two", 1): 0}
    assert all(offsets == sorted(offsets) for offsets in done.values())
    failing = sum(1 for number in range(200) if number % 7 == 3)
    assert (stats.handled, stats.retried, stats.dead_lettered, stats.lost) == (200, 2 * failing, 0, 0)


def test_keys_do_not_wait_for_each_other(bus: mq.Bus) -> None:
    """One key's handler is stuck; those of other keys, and of no key, go on."""
    send(bus, ONE, [("slow", "a"), ("slow", "b"), ("quick", "c"), (None, "d"), (None, "e")])
    go, done = threading.Event(), []

    def handle(delivery: mq.Delivery[bytes]) -> None:
        if delivery.raw == b"a":
            go.wait(10)
        done.append(delivery.raw)

    with topic_consumer(bus, ONE) as consumer:
        run = Run(consumer, handle, workers=2)
        wait_until(lambda: sorted(raw or b"" for raw in done) == [b"c", b"d", b"e"])
        go.set()
        wait_until(lambda: len(done) == 5)
        assert done[3:] == [b"a", b"b"]
        run.stop()


def test_without_order_nothing_waits(bus: mq.Bus) -> None:
    """order="none": a failed record goes back, and the rest of its key does not wait for it."""
    send(bus, ONE, [("k", str(number)) for number in range(5)])
    done: list[tuple[bytes | None, int]] = []

    def handle(delivery: mq.Delivery[bytes]) -> None:
        if delivery.raw == b"0" and delivery.attempt == 1:
            raise ValueError("not yet")
        done.append((delivery.raw, delivery.attempt))

    with topic_consumer(bus, ONE) as consumer:
        run = Run(consumer, handle, order="none", retry=QUICK)
        wait_until(lambda: len(done) == 5)
        stats = run.stop()
        assert consumer.committed() == {("one", 0): 5}
    assert set(done) == {(b"1", 1), (b"2", 1), (b"3", 1), (b"4", 1), (b"0", 2)}
    assert stats.retried == 1


def test_a_lane_waits_with_its_failed_head(bus: mq.Bus) -> None:
    """While the head of a key waits for its next attempt, nothing behind it is handled; other keys are."""
    send(bus, ONE, [("k", "0"), ("k", "1"), ("other", "2")])
    seen: list[tuple[bytes | None, int]] = []

    def handle(delivery: mq.Delivery[bytes]) -> None:
        seen.append((delivery.raw, delivery.attempt))
        if delivery.raw == b"0" and delivery.attempt == 1:
            raise ValueError("later")

    with topic_consumer(bus, ONE) as consumer:
        run = Run(consumer, handle, workers=2, retry=mq.RetryPolicy(first_delay_s=0.2))
        wait_until(lambda: len(seen) == 4)
        run.stop()
    assert seen.index((b"2", 1)) < seen.index((b"0", 2)) < seen.index((b"1", 1))


# --- giving up ----------------------------------------------------------------------------------------------------


def test_poison_goes_to_the_dead_letter_topic(bus: mq.Bus) -> None:
    """After the last attempt the record is dead-lettered with that reason, and its key goes on behind it."""
    send(bus, ONE, [("k", "poison"), ("k", "fine")])
    done: list[Any] = []

    def handle(delivery: mq.Delivery[bytes]) -> None:
        if delivery.raw == b"poison":
            raise ValueError("I cannot")
        done.append(delivery.raw)

    with topic_consumer(bus, ONE, dead_letter=True) as consumer:
        run = Run(consumer, handle, retry=QUICK)
        wait_until(lambda: done == [b"fine"])
        stats = run.stop()
        assert consumer.committed() == {("one", 0): 2}
    assert (stats.handled, stats.retried, stats.dead_lettered) == (1, 3, 1)
    (dead,) = bus.replay(mq.Topic("one.g.dlq"), mq.EARLIEST)
    assert dead.death is not None
    assert (dead.death.reason, dead.death.attempts) == ("max-attempts", 4)
    assert dead.death.error == "ValueError: I cannot"


def test_the_consumers_policy_counts_if_run_has_none(bus: mq.Bus) -> None:
    """`retry` of the consumer is the policy of its runs."""
    send(bus, ONE, [("k", "poison")])
    policy = mq.RetryPolicy(max_attempts=2, first_delay_s=0.0)
    attempts: list[int] = []

    def handle(delivery: mq.Delivery[bytes]) -> None:
        attempts.append(delivery.attempt)
        raise ValueError("I cannot")

    with topic_consumer(bus, ONE, dead_letter=True, retry=policy) as consumer:
        run = Run(consumer, handle)
        wait_until(lambda: consumer.committed() == {("one", 0): 1})
        assert run.stop().dead_lettered == 1
    assert attempts == [1, 2]


def test_without_a_dead_letter_the_error_ends_the_run(bus: mq.Bus) -> None:
    """There is nowhere to put it: the handler's own error comes out of run(), and the message is not settled."""
    send(bus, ONE, [("k", "fine"), ("k", "poison")])

    def handle(delivery: mq.Delivery[bytes]) -> None:
        if delivery.raw == b"poison":
            raise KeyError("mine")

    with topic_consumer(bus, ONE) as consumer:
        with pytest.raises(KeyError, match="mine") as caught:
            consumer.run(handle, retry=mq.RetryPolicy(max_attempts=1))
        assert "dead_letter" in "".join(caught.value.__notes__)
        consumer.commit()
        assert consumer.committed() == {("one", 0): 1}
    with topic_consumer(bus, ONE) as consumer:
        assert [delivery.raw for delivery in consumer.poll()] == [b"poison"]


def test_a_queue_that_counts_attempts_is_asked_for_its_limit(bus: mq.Bus) -> None:
    """run() without a policy tries as often as the queue allows, and the queue dead-letters with that reason."""
    queue = mq.Queue("five", max_attempts=5, retry_backoff=mq.RetryPolicy(first_delay_s=0.001))
    bus.admin.ensure(queue)
    send(bus, queue, [(None, "poison")])
    attempts: list[int] = []

    def handle(delivery: mq.Delivery[bytes]) -> None:
        attempts.append(delivery.attempt)
        raise ValueError("I cannot")

    with bus.consumer(queue) as consumer:
        run = Run(consumer, handle)
        wait_until(lambda: bus.admin.dead_letters(queue))
        stats = run.stop()
    assert attempts == [1, 2, 3, 4, 5]
    assert (stats.retried, stats.dead_lettered) == (4, 1)
    (dead,) = bus.admin.dead_letters(queue)
    assert dead.death is not None
    assert (dead.death.reason, dead.death.attempts, dead.death.error) == ("max-attempts", 5, "ValueError: I cannot")


def test_a_queue_without_a_limit_is_rejected_from(bus: mq.Bus) -> None:
    """The policy's limit dead-letters on a queue too."""
    send(bus, WORK, [(None, "poison"), (None, "fine")])
    done: list[Any] = []

    def handle(delivery: mq.Delivery[bytes]) -> None:
        if delivery.raw == b"poison":
            raise ValueError("I cannot")
        done.append(delivery.raw)

    with bus.consumer(WORK) as consumer:
        run = Run(consumer, handle, retry=QUICK)
        wait_until(lambda: done and bus.admin.dead_letters(WORK))
        assert run.stop().dead_lettered == 1


# --- handlers -----------------------------------------------------------------------------------------------------


def test_what_the_handler_settled_is_left_alone(bus: mq.Bus) -> None:
    """A handler may use the verbs itself, and may raise after that; run() does not settle a second time."""
    send(bus, WORK, [(None, "ack"), (None, "release"), (None, "raise")])
    seen: list[Any] = []

    def handle(delivery: mq.Delivery[bytes]) -> None:
        seen.append((delivery.raw, delivery.attempt))
        if delivery.raw == b"release" and len(seen) < 4:
            delivery.release()
            return
        delivery.ack()
        if delivery.raw == b"raise":
            raise ValueError("after the ack")

    with bus.consumer(WORK) as consumer:
        run = Run(consumer, handle)
        wait_until(lambda: len(seen) == 4)
        stats = run.stop()
    assert stats.retried == 0
    assert bus.admin.depth(WORK) == 0
    assert (b"release", 1) in seen[3:]


def test_a_handler_over_its_time_counts_as_failed(bus: mq.Bus) -> None:
    """It is given up and its late result ignored; a new worker goes on, with the next attempt of the same key first."""
    send(bus, ONE, [("k", "a"), ("k", "b")])
    go, seen = threading.Event(), []
    late: list[Any] = []

    def handle(delivery: mq.Delivery[bytes]) -> None:
        seen.append((delivery.raw, delivery.attempt))
        if seen == [(b"a", 1)]:
            go.wait(10)
            try:
                delivery.ack()
            except mq.AlreadySettled as error:
                late.append(error)

    with topic_consumer(bus, ONE) as consumer:
        run = Run(consumer, handle, handler_timeout_s=0.05, retry=QUICK)
        wait_until(lambda: len(seen) == 3)
        go.set()
        wait_until(lambda: late)
        stats = run.stop()
        assert consumer.committed() == {("one", 0): 2}
    assert seen == [(b"a", 1), (b"a", 2), (b"b", 1)]
    assert (stats.timed_out, stats.retried, stats.handled) == (1, 1, 2)


def test_exit_in_a_handler_ends_the_run_and_hangs_nobody(bus: mq.Bus) -> None:
    """sys.exit() in a handler comes out of run(), where it ends the program, and the message is not settled."""
    send(bus, ONE, [("k", "a")])
    with topic_consumer(bus, ONE) as consumer:
        with pytest.raises(SystemExit):
            consumer.run(lambda delivery: sys.exit(3))
        consumer.commit()
        assert consumer.committed() == {("one", 0): 0}


@pytest.mark.parametrize("error", [mq.Fenced("f"), mq.Denied("d"), mq.Closed("c")])
def test_errors_that_no_retry_mends_propagate(bus: mq.Bus, error: mq.MqbridgeError) -> None:
    """Fenced, Denied and Closed out of a handler end the run at the first attempt."""
    send(bus, ONE, [("k", "a")])

    def handle(delivery: mq.Delivery[bytes]) -> None:
        raise error

    with topic_consumer(bus, ONE, dead_letter=True) as consumer, pytest.raises(type(error)):
        consumer.run(handle)


def test_failures_under_at_most_once_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """ack="before": a handler that fails is not tried again, and neither is it passed over in silence."""
    recorder = Recorder()
    with embedded(hooks=[recorder]) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, [("k", "a")])
        calls: list[int] = []

        def handle(delivery: mq.Delivery[bytes]) -> None:
            calls.append(1)
            raise ValueError("lost for good")

        with topic_consumer(bus, ONE, ack="before") as consumer:
            run = Run(consumer, handle)
            recorder.wait_for("error")
            wait_until(lambda: "lost for good" in caplog.text)
            run.stop()
        assert calls == [1]


def test_retry_with_at_most_once_is_refused(bus: mq.Bus) -> None:
    """A policy that could never be applied is refused, as are orders and worker counts that do not exist."""
    with topic_consumer(bus, ONE, ack="before") as consumer:
        refused: list[dict[str, Any]] = [{"retry": QUICK}, {"workers": 0}, {"order": "random"}]
        for options in refused:
            with pytest.raises(ConfigurationError):
                consumer.run(lambda delivery: None, **options)


# --- stopping -----------------------------------------------------------------------------------------------------


def test_stop_lets_running_handlers_end_and_gives_the_rest_back(bus: mq.Bus) -> None:
    """What runs is finished and settled; what had not begun is back at the consumer; nothing begins after run()."""
    send(bus, ONE, [(f"k{number}", str(number)) for number in range(30)])
    go, begun, ended = threading.Event(), [], []

    def handle(delivery: mq.Delivery[bytes]) -> None:
        begun.append(delivery.raw)
        go.wait(10)
        ended.append(delivery.raw)

    with topic_consumer(bus, ONE) as consumer:
        run = Run(consumer, handle, workers=2)
        wait_until(lambda: len(begun) == 2)
        run.signal()
        wait_until(lambda: consumer._heap)  # the first are back, while two handlers still run
        assert not run.ended()
        go.set()
        stats = run.stop()
        assert stats.handled == len(ended) == len(begun)
        back = []
        while batch := consumer.poll(timeout=0.05):
            back += [delivery.raw for delivery in batch]
        assert sorted([*ended, *back], key=lambda raw: int(raw or b"")) == [b"%d" % number for number in range(30)]
        assert len(begun) == stats.handled


def test_a_failure_during_the_stop_is_given_back(bus: mq.Bus) -> None:
    """A handler that fails after the stop was asked for: its record is not lost in a lane, the consumer shows it
    again."""
    send(bus, ONE, [("k", "a"), ("k", "b")])
    go, begun = threading.Event(), threading.Event()

    def handle(delivery: mq.Delivery[bytes]) -> None:
        begun.set()
        go.wait(10)
        raise ValueError("too late")

    with topic_consumer(bus, ONE) as consumer:
        run = Run(consumer, handle, retry=QUICK)
        assert begun.wait(10)
        run.signal()
        wait_until(lambda: consumer._heap)
        go.set()
        run.stop()
        got = {delivery.raw: delivery.attempt for delivery in consumer.poll(timeout=1) + consumer.poll(timeout=0.05)}
        assert got == {b"a": 2, b"b": 1}


def test_stop_at_any_moment_neither_hangs_nor_handles_afterwards(bus: mq.Bus) -> None:
    """Workers that are just taking their next task when the run stops: run() returns, and after it nothing begins."""
    send(bus, WORK, [(None, str(number)) for number in range(400)])
    seen: list[Any] = []
    for _ in range(20):
        with bus.consumer(WORK) as consumer:
            run = Run(consumer, lambda delivery: seen.append(delivery.raw), workers=4)
            before = len(seen)
            wait_until(lambda before=before: len(seen) > before or len(seen) == 400)  # type: ignore[misc]
            stats = run.stop()
            after = len(seen)
            assert stats.handled >= 0
            assert len(seen) == after
    with bus.consumer(WORK) as consumer:
        run = Run(consumer, lambda delivery: seen.append(delivery.raw))
        wait_until(lambda: len(seen) >= 400)
        run.stop()
    assert sorted(int(raw) for raw in seen) == list(range(400))


def test_closing_the_consumer_ends_the_run(bus: mq.Bus) -> None:
    """close() from another thread is a stop."""
    consumer = topic_consumer(bus, ONE)
    run = Run(consumer, lambda delivery: None)
    consumer.close()
    wait_until(run.ended)
    assert run.stop().handled == 0


def test_signals_stop(bus: mq.Bus) -> None:
    """stop_on_signals() installs handlers for the signals given, and the run drains."""
    before = signal.getsignal(signal.SIGUSR1)
    try:
        stop = mq.stop_on_signals(signal.SIGUSR1)
        send(bus, ONE, [("k", "a")])
        with topic_consumer(bus, ONE) as consumer:
            stats = consumer.run(lambda delivery: os.kill(os.getpid(), signal.SIGUSR1), stop=stop)
        assert stats.handled == 1
    finally:
        signal.signal(signal.SIGUSR1, before)


# --- membership ---------------------------------------------------------------------------------------------------


def test_long_handlers_keep_their_membership(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every lane full and each handler taking longer than max_poll_interval_s, the member stays in the group."""
    monkeypatch.setattr(dispatch, "LANE_DEPTH", 2)
    clock = VirtualClock()
    with mq.connect("native:", options={"clock": clock}) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, [("k", str(number)) for number in range(6)])
        begun, go = [], threading.Semaphore(0)

        def handle(delivery: mq.Delivery[bytes]) -> None:
            begun.append(delivery.raw)
            go.acquire(timeout=10)

        with topic_consumer(bus, ONE, max_poll_interval_s=60.0) as consumer:
            member: Any = consumer._subscription
            run = Run(consumer, handle)
            for number in range(6):
                wait_until(lambda number=number: len(begun) == number + 1)  # type: ignore[misc]
                for _ in range(5):
                    seen_s = member._last_take_s
                    clock.advance(30)
                    wait_until(lambda seen_s=seen_s: member._last_take_s > seen_s)  # type: ignore[misc]
                go.release()
            stats = run.stop()
            assert (stats.handled, stats.lost) == (6, 0)
            assert consumer.committed() == {("one", 0): 6}


def test_what_was_lost_while_it_waited_is_not_handled() -> None:
    """A partition that moves while its deliveries wait behind a slow one: they are the new owner's to handle."""
    bus, engine = fake_bus()
    place = ("one", 0)
    with bus:
        consumer = topic_consumer(bus, ONE)
        subscription = engine.topic_subscriptions[0]
        subscription.say(Assigned({place: (1, 0)}))
        subscription.give(FakeBlock(ONE, [b"a", b"b", b"c"], keys=[b"k"] * 3))
        go, begun = threading.Event(), []

        def handle(delivery: mq.Delivery[bytes]) -> None:
            begun.append(delivery.raw)
            go.wait(10)

        run = Run(consumer, handle)
        wait_until(lambda: begun == [b"a"])
        subscription.say(Lost((place,), "moved"))
        wait_until(lambda: not consumer.assignment())
        go.set()
        stats = run.stop()
        assert begun == [b"a"]
        assert (stats.handled, stats.lost >= 1) == (0, True)
        with pytest.raises(LeaseLost):
            consumer.seek(ONE, 0, 0)
