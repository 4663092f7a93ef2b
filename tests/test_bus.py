"""The bus: connecting, closing with everything open, one callback thread, forks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import Closed, ConfigurationError, ForkedProcess, LeaseLost
from mqbridge.testing import embedded, wait_until
from tests.fakes import FakeConnection, fake_bus

ONE = mq.Topic("one", partitions=1)
WORK = mq.Queue("work")
HERE = Path(mq.__file__).parent.parent


def program(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE), **environment},
    )


def test_the_url_comes_from_the_environment_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument MQBRIDGE_URL counts; without both there is no default engine."""
    monkeypatch.setenv("MQBRIDGE_URL", "native:")
    with mq.connect() as bus:
        assert bus.engine == "native"
    monkeypatch.delenv("MQBRIDGE_URL")
    with pytest.raises(ConfigurationError, match="MQBRIDGE_URL"):
        mq.connect()


def test_private_and_shared_memory() -> None:
    """native: is private to its bus, native:?name=x is one broker for all who give that name."""
    with mq.connect("native:") as one, mq.connect("native:") as two:
        one.admin.ensure(ONE)
        assert two.admin.list_topics() == []
    with mq.connect("native:?name=test-bus") as one, mq.connect("native:?name=test-bus") as two:
        one.admin.ensure(ONE)
        assert two.admin.list_topics() == [ONE]


def test_closing_with_everything_open() -> None:
    """One close() ends them all: sends are flushed, what is acked is committed, the rest comes again, all say
    Closed."""
    with mq.connect("native:?name=everything") as keeper:
        keeper.admin.ensure(ONE, WORK)
        bus = mq.connect("native:?name=everything")
        producer = bus.producer(linger_s=60.0)
        for number in range(4):
            producer.send(ONE, b"%d" % number)
            producer.send(WORK, b"%d" % number)
        producer.flush(5)
        consumer = bus.consumer(ONE, group="g", start=mq.EARLIEST, settle_interval_s=60.0, dead_letter=True)
        queue_consumer = bus.consumer(WORK, settle_interval_s=60.0)
        replay = bus.replay(ONE, mq.EARLIEST)
        stream = replay.__iter__()
        next(stream)
        deliveries, messages = consumer.poll(), queue_consumer.poll()
        deliveries[0].ack()
        deliveries[1].reject()
        messages[0].ack()
        producer.send(ONE, b"last words")
        bus.close()
        bus.close()
        for call in (
            lambda: producer.send(ONE, b"x"),
            consumer.poll,
            queue_consumer.poll,
            replay.poll,
            bus.producer,
            bus.admin.list_topics,
            lambda: bus.consumer(WORK),
            lambda: bus.replay(ONE, mq.EARLIEST),
        ):
            with pytest.raises(Closed):
                call()
        for delivery in (deliveries[2], messages[1]):
            with pytest.raises(LeaseLost):
                delivery.ack()
        with keeper.consumer(ONE, group="g", start=mq.EARLIEST) as other:
            got: list[bytes | None] = []
            while len(got) < 3:
                got += [delivery.raw for delivery in other.poll(timeout=5)]
        assert got == [b"2", b"3", b"last words"]
        with keeper.consumer(WORK) as workers:
            assert [delivery.raw for delivery in workers.poll(timeout=5)] == [b"1", b"2", b"3"]
        assert len(list(keeper.replay(mq.Topic("one.g.dlq"), mq.EARLIEST))) == 1


def test_no_thread_is_left_behind() -> None:
    """After close() the threads of a bus have ended."""
    before = set(threading.enumerate())
    for _ in range(3):
        with mq.connect("native:") as bus:
            bus.admin.ensure(ONE, WORK)
            with bus.producer(linger_s=0.001) as producer:
                producer.send(ONE, b"x").add_done_callback(lambda receipt: None)
                producer.send(WORK, b"x")
            with bus.consumer(ONE, group="g", start=mq.EARLIEST) as consumer:
                stop = mq.Stop()

                def handle(delivery: Any, stop: mq.Stop = stop) -> None:
                    stop.set()

                consumer.run(handle, workers=3, stop=stop)
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_a_failure_while_closing_does_not_keep_the_rest_open() -> None:
    """What one close() raises comes out after everything is closed, the others as notes."""
    bus, engine = fake_bus()
    producers = [bus.producer() for _ in range(2)]
    for number, producer in enumerate(producers):
        producer.send(mq.Topic(f"t{number}"), b"x")
    for channel in engine.channels.values():
        channel.reports.failed((0,), mq.Rejected("no room"))
    with pytest.raises(mq.SendFailed) as caught:
        bus.close()
    assert "SendFailed" in "".join(caught.value.__notes__)
    assert engine.closed
    for producer in producers:
        with pytest.raises(Closed):
            producer.send(ONE, b"x")


def test_the_body_wins() -> None:
    """An exception in the body of `with bus` comes out, and the bus is closed."""
    bus, engine = fake_bus()

    def body() -> None:
        with bus:
            bus.producer().send(ONE, b"x")
            engine.channels["one"].reports.failed((0,), mq.Rejected("no room"))
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        body()
    assert "SendFailed" in "".join(caught.value.__notes__)
    assert engine.closed


def test_callbacks_of_all_kinds_share_one_thread() -> None:
    """Receipts, rebalances and states: one thread, never the engine's or the caller's, and a slow one delays no
    send."""
    names: set[str] = set()
    go, count = threading.Event(), []

    def note(*_: Any) -> None:
        names.add(threading.current_thread().name)
        count.append(1)

    with mq.connect("native:") as bus:
        bus.on_state(note)
        bus.admin.ensure(ONE)
        with bus.producer() as producer:
            producer.send(ONE, b"x").add_done_callback(lambda receipt: go.wait(10))
            receipts = [producer.send(ONE, b"x") for _ in range(10)]
            for receipt in receipts:
                receipt.add_done_callback(note)
            producer.flush(5)  # while the first callback blocks
            assert not count
            go.set()
            wait_until(lambda: len(count) == 10)
        with bus.consumer(ONE, group="g", start=mq.EARLIEST) as consumer:
            consumer.on_assigned(note)
            consumer.wait_assigned(5)
            wait_until(lambda: len(count) == 11)
    assert len(count) == 12  # "closed"
    assert names == {"mqbridge-callbacks"}


def test_closing_from_a_callback() -> None:
    """A callback may close the bus it belongs to."""
    bus = mq.connect("native:")
    bus.admin.ensure(ONE)
    producer = bus.producer()
    producer.send(ONE, b"x").add_done_callback(lambda receipt: bus.close())
    producer._routes[ONE].channel.seal()
    wait_until(lambda: bus.state == "closed")
    with pytest.raises(Closed):
        producer.send(ONE, b"y")


def test_an_unclosed_bus_warns_and_still_flushes() -> None:
    """At exit the bus is closed with a deadline: what was sent is there, and a ResourceWarning says what was missed."""
    done = program(
        "import mqbridge as mq, atexit\n"
        "t = mq.Topic('one')\n"
        "keeper = mq.connect('native:?name=x')\n"
        "keeper.admin.ensure(t)\n"
        "bus = mq.connect('native:?name=x')\n"
        "bus.producer(linger_s=60).send(t, b'words').add_done_callback(lambda r: print(r.exception()))\n"
    )
    assert done.returncode == 0, done.stderr
    assert "None" in done.stdout
    assert done.stderr.count("ResourceWarning: unclosed bus") == 2


def test_a_dropped_bus_warns() -> None:
    """A bus that nobody holds any more is closed by the collector, with a warning."""

    def drop() -> FakeConnection:
        engine = fake_bus()[1]
        gc.collect()
        return engine

    with pytest.warns(ResourceWarning, match="unclosed bus fake:"):
        engine = drop()
    assert engine.closed


def test_fork_with_threads_at_work(tmp_path: Path) -> None:
    """A process that forks while producers, consumers and runs are busy: the child is refused everywhere at once and
    can connect anew, the parent does not notice."""
    with mq.connect(f"native:{tmp_path / 'db'}") as bus:
        bus.admin.ensure(ONE, WORK)
        producer = bus.producer(linger_s=0.001)
        consumer = bus.consumer(ONE, group="g", start=mq.EARLIEST)
        stop = threading.Event()
        sent: list[mq.Receipt] = []
        seen: list[bytes | None] = []

        def send() -> None:
            while not stop.is_set():
                sent.append(producer.send(ONE, b"%d" % len(sent)))
                stop.wait(0.0005)

        sender = threading.Thread(target=send)
        runner = threading.Thread(
            target=lambda: consumer.run(lambda delivery: seen.append(delivery.raw), workers=2, stop=stop)
        )
        sender.start()
        runner.start()
        try:
            for _ in range(5):
                handled = len(seen)
                wait_until(lambda handled=handled: len(seen) > handled)  # type: ignore[misc]
                child = os.fork()
                if child == 0:
                    os._exit(_in_the_child(bus, producer, consumer))
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            stop.set()
            sender.join(10)
            runner.join(10)
        producer.flush(10)
        assert all(receipt.exception(0) is None for receipt in sent)
        consumer.close()
        with bus.consumer(ONE, group="g", start=mq.EARLIEST) as rest:
            while batch := rest.poll(timeout=0.2):
                seen += [delivery.raw for delivery in batch]
        assert set(seen) == {b"%d" % number for number in range(len(sent))}


def _in_the_child(bus: mq.Bus, producer: mq.Producer, consumer: mq.TopicConsumer[bytes]) -> int:
    refused: list[Any] = [
        lambda: producer.send(ONE, b"x"),
        producer.flush,
        consumer.poll,
        consumer.commit,
        consumer.next_offsets,
        consumer.committed,
        bus.producer,
        bus.admin.list_topics,
        lambda: bus.consumer(WORK),
        lambda: next(iter(consumer)),
    ]
    for call in refused:
        try:
            call()
        except ForkedProcess:
            continue
        return 1
    producer.close()
    consumer.close()
    bus.close()
    with embedded() as mine:
        mine.admin.ensure(ONE)
        with mine.producer() as again:
            again.send(ONE, b"x").result(5)
    return 0


def test_repr_and_state_show_no_password() -> None:
    """A bus says where it is connected, the password masked."""
    with mq.connect("native:") as bus:
        assert repr(bus) == "<Bus native: connected>"
    assert repr(bus) == "<Bus native: closed>"
