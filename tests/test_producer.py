"""Sending: what is refused, what blocks, and what flush and close promise while other threads send."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import Closed, CodecError, InvalidSpec, OperationTimeout, Rejected, SendFailed
from mqbridge.testing import embedded, fail_next, wait_until
from tests.fakes import FakeConnection, fake_bus

ONE = mq.Topic("one", partitions=1)
SIX = mq.Topic("six", partitions=6)
WORK = mq.Queue("work")


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads that switch as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def values(bus: mq.Bus, topic: mq.Topic[Any]) -> dict[tuple[int | None, int | None], bytes | None]:
    """What lies where."""
    return {(d.partition, d.offset): d.raw for d in bus.replay(topic, mq.EARLIEST)}


def in_threads(count: int, work: Any) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


# --- many threads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", [ONE, SIX])
@pytest.mark.usefixtures("hasty")
def test_each_receipt_tells_where_its_own_message_lies(bus: mq.Bus, topic: mq.Topic[bytes]) -> None:
    """However sends of several threads interleave, partition and offset of a receipt are those of its message."""
    bus.admin.ensure(topic)
    sent: list[tuple[bytes, mq.Receipt]] = []
    with bus.producer(linger_s=0.001) as producer:

        def send(thread: int) -> None:
            for number in range(1500):
                value = b"%d-%d" % (thread, number)
                sent.append((value, producer.send(topic, value, key=value)))

        in_threads(4, send)
        producer.flush(20)
        there = values(bus, topic)
        assert len(there) == len(sent)
        for value, receipt in sent:
            confirmation = receipt.result(0)
            assert there[confirmation.partition, confirmation.offset] == value


@pytest.mark.usefixtures("hasty")
def test_a_thread_keeps_its_order(bus: mq.Bus) -> None:
    """Messages of one thread to one partition stay in the order in which it sent them."""
    bus.admin.ensure(ONE)
    with bus.producer(linger_s=0.001) as producer:
        in_threads(4, lambda thread: [producer.send(ONE, b"%d %d" % (thread, number)) for number in range(800)])
    last = dict.fromkeys((b"0", b"1", b"2", b"3"), -1)
    for value in values(bus, ONE).values():
        thread, number = (value or b"").split()
        assert int(number) == last[thread] + 1
        last[thread] = int(number)


@pytest.mark.usefixtures("hasty")
def test_flush_covers_all_that_other_threads_had_sent(bus: mq.Bus) -> None:
    """Whatever was sent before flush() began is confirmed when it returns, in whichever order numbers were drawn."""
    bus.admin.ensure(SIX)
    with bus.producer(linger_s=60.0, batch_bytes=1 << 20) as producer:
        for _ in range(60):
            sent: list[mq.Receipt] = []
            in_threads(3, lambda _thread, sent=sent: sent.extend(producer.send(SIX, b"x") for _ in range(20)))
            producer.flush(20)
            assert all(receipt.done for receipt in sent)


@pytest.mark.usefixtures("hasty")
def test_a_send_that_races_with_close_is_sent_or_refused(bus: mq.Bus) -> None:
    """While another thread closes, each send either raises Closed or ends as receipts do; none is left hanging."""
    bus.admin.ensure(SIX)
    for _ in range(15):
        producer = bus.producer(linger_s=60.0)
        producer.send(SIX, b"first")
        sent: list[mq.Receipt] = []

        def send(_thread: int, producer: mq.Producer = producer, sent: list[mq.Receipt] = sent) -> None:
            with contextlib.suppress(Closed):
                while True:
                    sent.append(producer.send(SIX, b"x"))

        threads = [threading.Thread(target=send, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda sent=sent: len(sent) > 50)  # type: ignore[misc]
        producer.close()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        wait_until(lambda sent=sent: all(receipt.done for receipt in sent))  # type: ignore[misc]
        assert all(receipt.exception(0) is None for receipt in sent)


def test_seals_that_race_with_sends_lose_nothing(bus: mq.Bus) -> None:
    """Another thread asks for results, and so seals, all the time: every message is stored once."""
    bus.admin.ensure(ONE)
    with bus.producer(linger_s=0.0005) as producer:
        ended = threading.Event()
        newest: list[mq.Receipt] = [producer.send(ONE, b"0")]

        def look() -> None:
            while not ended.is_set():
                newest[-1].result(10)

        looker = threading.Thread(target=look)
        looker.start()
        for number in range(1, 4000):
            newest.append(producer.send(ONE, b"%d" % number))
        ended.set()
        looker.join(20)
    assert sorted(int(value or b"") for value in values(bus, ONE).values()) == list(range(4000))


# --- the bounded buffer -------------------------------------------------------------------------------------------


def test_full_blocks_until_there_is_room() -> None:
    """A send into a full buffer goes on as soon as there is room, and is taken once."""
    bus, engine = fake_bus()
    with bus, bus.producer(max_block_s=10) as producer:
        producer.send(ONE, b"a")
        channel = engine.channels["one"]
        channel.room = 0
        receipts: list[mq.Receipt] = []
        sender = threading.Thread(target=lambda: receipts.append(producer.send(ONE, b"b")))
        sender.start()
        wait_until(lambda: channel.seals > 0)
        assert not receipts
        channel.room = 5
        channel.reports.room()
        sender.join(5)
        assert channel.taken == [b"a", b"b"]
        channel.reports.confirmed(0, 2, 0, 0)
        assert receipts[0].result(0).offset == 1


def test_full_for_too_long_is_a_timeout_with_nothing_applied() -> None:
    """After `max_block_s` the send raises, nothing was taken, and the next one works when there is room."""
    bus, engine = fake_bus()
    with bus, bus.producer(max_block_s=0.02) as producer:
        producer.send(ONE, b"a")
        channel = engine.channels["one"]
        channel.room = 0
        with pytest.raises(OperationTimeout, match="max_block_s") as caught:
            producer.send(ONE, b"b")
        assert caught.value.outcome == "not_applied"
        assert producer.try_send(ONE, b"b") is None
        channel.room = 1
        assert producer.try_send(ONE, b"c") is not None
        assert channel.taken == [b"a", b"c"]
        channel.reports.confirmed(0, 2, 0, 0)


def test_whoever_waits_for_room_keeps_sealing() -> None:
    """What fills the buffer may be another thread's and wait for a long linger: each look sends it on its way."""
    bus, engine = fake_bus()
    with bus, bus.producer(max_block_s=10) as producer:
        producer.send(ONE, b"a")
        channel = engine.channels["one"]
        channel.room = 0
        sender = threading.Thread(target=lambda: producer.send(ONE, b"b"))
        sender.start()
        for seals in (1, 2, 3):
            wait_until(lambda seals=seals: channel.seals >= seals)  # type: ignore[misc]
            channel.reports.room()
        channel.room = 1
        channel.reports.room()
        sender.join(5)
        assert not sender.is_alive()
        channel.reports.confirmed(0, 2, 0, 0)


@pytest.mark.parametrize("destination", [ONE, WORK])
def test_a_tiny_buffer_still_lets_all_through(bus: mq.Bus, destination: Any) -> None:
    """With room for a few messages only and a long linger, several threads get all of theirs through."""
    bus.admin.ensure(destination)
    with bus.producer(max_in_flight_bytes=200, linger_s=30.0, max_block_s=10) as producer:
        in_threads(3, lambda _thread: [producer.send(destination, b"x" * 30) for _ in range(200)])
    if isinstance(destination, mq.Queue):
        assert bus.admin.depth(destination) == 600
    else:
        assert len(values(bus, destination)) == 600


# --- how it ends --------------------------------------------------------------------------------------------------


def test_delivery_timeout_ends_a_receipt() -> None:
    """A send that nobody reports ends by `delivery_timeout_s` with its outcome unknown, and flush() tells so."""
    bus, _ = fake_bus()
    with bus:
        producer = bus.producer(delivery_timeout_s=0.1)
        receipt = producer.send(ONE, b"a")
        with pytest.raises(OperationTimeout, match="delivery_timeout_s") as caught:
            receipt.result(10)
        assert caught.value.outcome == "unknown"
        producer.send(ONE, b"b")
        with pytest.raises(SendFailed) as failed:
            producer.close()
        assert (failed.value.count, failed.value.outcomes, failed.value.outcome) == (1, {"unknown": 1}, "unknown")


def test_flush_has_a_deadline() -> None:
    """flush(timeout) gives up waiting, not the sends."""
    bus, engine = fake_bus()
    with bus, bus.producer() as producer:
        receipt = producer.send(ONE, b"a")
        with pytest.raises(OperationTimeout, match=r"flush\(\)"):
            producer.flush(0.02)
        assert not receipt.done
        engine.channels["one"].reports.confirmed(0, 1, 0, 0)
        producer.flush(0)


def test_close_that_times_out_still_closes() -> None:
    """The flush of close() may time out; the producer is closed all the same, and says Closed."""
    bus, _ = fake_bus()
    with bus:
        producer = bus.producer()
        producer.send(ONE, b"a")
        with pytest.raises(OperationTimeout):
            producer.close(0.02)
        with pytest.raises(Closed):
            producer.send(ONE, b"b")
        producer.close()


def test_unobserved_failures_raise_once_with_their_outcomes() -> None:
    """flush() raises what nobody looked at, counted by outcome, the first one as cause; and only once."""
    with embedded() as bus:
        bus.admin.ensure(ONE)
        producer = bus.producer()
        producer.send(ONE, b"fine").result(5)
        fail_next(bus, 2, Rejected("no room"))
        seen = producer.send(ONE, b"a")
        producer.send(ONE, b"b")
        fail_next(bus, 1, OperationTimeout("gone", outcome="unknown"))
        producer.send(ONE, b"c")
        assert isinstance(seen.exception(5), Rejected)
        with pytest.raises(SendFailed) as caught:
            producer.flush(5)
        assert caught.value.count == 2
        assert caught.value.outcomes == {"not_applied": 1, "unknown": 1}
        assert caught.value.outcome == "unknown"
        assert isinstance(caught.value.__cause__, Rejected)
        producer.flush(5)
        producer.close()


def test_the_body_wins(bus: mq.Bus) -> None:
    """An exception in the body of `with` comes out, and the producer is closed behind it."""
    bus.admin.ensure(ONE)
    producer = bus.producer()

    def body() -> None:
        with producer:
            producer.send(ONE, b"a")
            raise KeyError("mine")

    with pytest.raises(KeyError):
        body()
    assert len(values(bus, ONE)) == 1
    with pytest.raises(Closed):
        producer.send(ONE, b"b")


# --- what is sent -------------------------------------------------------------------------------------------------


def test_everything_arrives_as_it_was(bus: mq.Bus) -> None:
    """Key, null key, empty key, null value, empty value, repeated headers, id and timestamp come out as they went
    in."""
    import datetime as dt

    bus.admin.ensure(ONE)
    when = dt.datetime(2024, 2, 29, 12, 0, 0, 123_000, tzinfo=dt.timezone(dt.timedelta(hours=5)))
    with bus.producer() as producer:
        producer.send(ONE, b"", key=b"", headers=[("a", b"1"), ("b", "x"), ("a", b"2")], timestamp=when)
        producer.send(ONE, None, key="é")
        producer.send(ONE, b"v", message_id="m-1")
    first, second, third = bus.replay(ONE, mq.EARLIEST)
    assert (first.raw, first.key, first.headers.get_all("a"), first.headers["b"]) == (b"", b"", (b"1", b"2"), b"x")
    assert first.timestamp == when
    assert first.timestamp_ms % 1000 == 123
    assert second.raw is second.value is None
    assert (second.key, len(second.headers)) == ("é".encode(), 0)
    assert (third.key, third.message_id, second.message_id) == (None, "m-1", None)


def test_queue_messages_have_an_identity(bus: mq.Bus) -> None:
    """A message to a queue gets an id if none is given, another for each, and keeps one that is given."""
    bus.admin.ensure(WORK)
    with bus.producer() as one, bus.producer() as two:
        for producer in (one, two):
            producer.send(WORK, b"a")
            producer.send(WORK, b"b", priority=None, headers={"x": b"1"})
        one.send(WORK, b"c", message_id="mine")
    with bus.consumer(WORK) as consumer:
        ids = [delivery.message_id for delivery in consumer.poll()]
    assert len(set(ids)) == 5
    assert "mine" in ids
    assert None not in ids


def test_nullable_false_refuses_null() -> None:
    """A topic that says nullable=False refuses a null value, though an equal one without it is open already."""
    strict = mq.Topic("one", nullable=False)
    bus, engine = fake_bus()
    with bus, bus.producer() as producer:
        producer.send(ONE, None)
        with pytest.raises(InvalidSpec, match="nullable"):
            producer.send(strict, None)
        producer.send(ONE, None)
        assert len(engine.channels) == 1
        engine.channels["one"].reports.confirmed(0, 2, 0, 0)


def test_equal_specifications_share_a_channel_but_not_a_codec(bus: mq.Bus) -> None:
    """The codec of the object given counts, whichever equal one was used before; order is kept across both."""
    bus.admin.ensure(ONE)
    as_json = mq.Topic("one", codec=mq.codecs.json)
    with bus.producer() as producer:
        for number in range(3):
            producer.send(ONE, b"%d" % number)
            producer.send(as_json, {"n": number})
    assert list(values(bus, ONE).values()) == [b"0", b'{"n":0}', b"1", b'{"n":1}', b"2", b'{"n":2}']


def test_a_codec_that_makes_no_bytes_is_refused(bus: mq.Bus) -> None:
    """What a codec returns must be bytes; nothing of it is sent."""

    class Bad:
        name = "bad"

        def encode(self, value: Any, /) -> bytes:
            return bytearray(b"x")  # type: ignore[return-value]

        def decode(self, data: bytes, /) -> Any:
            return data

    topic = mq.Topic("one", codec=Bad())
    bus.admin.ensure(topic)
    with bus.producer() as producer, pytest.raises(CodecError, match="bytearray"):
        producer.send(topic, 3)
    assert values(bus, ONE) == {}


def test_send_many_mixes_values_and_messages(bus: mq.Bus) -> None:
    """Bare values and Messages, in order; the batch's receipts tell where each lies."""
    bus.admin.ensure(SIX)
    with bus.producer() as producer:
        batch = producer.send_many(SIX, [b"a", mq.Message(b"b", key="k", headers={"h": b"1"}), None, b"c"])
        places = [(confirmation.partition, confirmation.offset) for confirmation in batch.result(5)]
    there = values(bus, SIX)
    assert [there[place] for place in places] == [b"a", b"b", None, b"c"]


def test_send_many_says_how_far_it_came(bus: mq.Bus) -> None:
    """One that is refused ends the call: those before it are sent, those after it are not, and the error counts."""
    bus.admin.ensure(ONE)
    with bus.producer() as producer:
        mixed: list[Any] = [b"a", b"b", "text", b"c"]
        with pytest.raises(CodecError) as caught:
            producer.send_many(ONE, mixed)
        assert caught.value.__dict__["sent"] == 2
    assert list(values(bus, ONE).values()) == [b"a", b"b"]


def test_opening_routes_from_many_threads_while_flushing(bus: mq.Bus) -> None:
    """First sends to new destinations and flush() at the same time do not disturb each other."""
    topics = [mq.Topic(f"t{number}") for number in range(40)]
    bus.admin.ensure(*topics)
    with bus.producer() as producer:
        ended = threading.Event()

        def flush() -> None:
            while not ended.is_set():
                producer.flush(10)

        flusher = threading.Thread(target=flush)
        flusher.start()
        in_threads(4, lambda thread: [producer.send(topic, b"%d" % thread) for topic in topics])
        ended.set()
        flusher.join(20)
    assert [len(values(bus, topic)) for topic in topics] == [4] * 40


@pytest.mark.parametrize("partitioner", ["round_robin", "sticky", "by_key"])
def test_partitioners_reach_every_partition(bus: mq.Bus, partitioner: Any) -> None:
    """All partitions get their share; with by_key a key has one partition."""
    bus.admin.ensure(SIX)
    with bus.producer(partitioner=partitioner, linger_s=0) as producer:
        for number in range(2000 if partitioner == "sticky" else 60):
            producer.send(SIX, b"x" * 100, key=None if partitioner == "sticky" else b"%d" % number)
        if partitioner == "by_key":
            places = {producer.send(SIX, b"v", key="customer-7").result(5).partition for _ in range(20)}
            assert len(places) == 1
    assert {partition for partition, _ in values(bus, SIX)} == set(range(6))


# --- fork ---------------------------------------------------------------------------------------------------------


def test_a_receipt_of_the_parent_does_not_hang_in_a_forked_child() -> None:
    """With every lock of the producer held by other threads at the moment of the fork, the child gets ForkedProcess."""
    bus, engine = fake_bus()
    with bus, bus.producer() as producer:
        receipt = producer.send(ONE, b"a")
        log = producer._routes[ONE].log
        held, go = threading.Event(), threading.Event()

        def hold() -> None:
            with log._lock, log.turnstile._condition, producer._lock:
                held.set()
                go.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(10)
        child = os.fork()
        if child == 0:
            for call in (lambda: receipt.result(5), lambda: producer.send(ONE, b"b"), producer.flush):
                try:
                    call()
                except mq.ForkedProcess:
                    continue
                os._exit(1)
            producer.close()
            os._exit(0)
        go.set()
        holder.join(10)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        engine.channels["one"].reports.confirmed(0, 1, 0, 0)


def test_an_engine_without_topics_is_sent_to_without_a_partitioner() -> None:
    """The default is asked for only when a topic is; any other is asked for by name, and refused at once."""
    placing = ("PARTITION_BY_KEY", "PARTITION_STICKY", "PARTITION_ROUND_ROBIN", "PARTITION_CUSTOM")
    bus, engine = fake_bus(FakeConnection(levels={mq.Capability(name): mq.Level.UNSUPPORTED for name in placing}))
    producer = bus.producer()
    producer.send(WORK, b"a")
    assert engine.channels["work"].taken == [b"a"]
    with pytest.raises(mq.Unsupported, match="sending to topic:one needs PARTITION_BY_KEY"):
        producer.send(ONE, b"a")
    assert "one" not in engine.channels
    others: list[Any] = ["sticky", "round_robin", lambda *_: 0]
    for partitioner in others:
        with pytest.raises(mq.Unsupported):
            bus.producer(partitioner=partitioner)
