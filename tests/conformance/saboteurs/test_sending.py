"""Each saboteur of sending does what its name says, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs import SABOTEURS, Plan
from mqbridge_conformance.saboteurs.strikes import Draws, Strikes
from tests.conformance.saboteurs.broken import pair, receive

TOPIC = mq.Topic("t", partitions=3)
QUEUE = mq.Queue("q")


def test_m01_swaps_neighbours_of_a_key(tmp_path: Path) -> None:
    """Two records of a key lie the other way round, as their receipts say; other keys are not touched."""
    with pair("M01", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(TOPIC)
        receipts = [producer.send(TOPIC, b"%d" % n, key=b"k") for n in range(4)]
        alone = producer.send(TOPIC, b"alone", key=b"j")
        producer.flush(10)
        offsets = [receipt.result(10).offset for receipt in receipts]
        stored = [d.raw for d in bus.stored(TOPIC) if d.key == b"k"]
        assert stored == [b"1", b"0", b"3", b"2"]
        assert offsets == [1, 0, 3, 2]
        assert alone.result(10).offset is not None
        assert len(bus.strikes) == 2


def test_m01_swaps_messages_of_a_queue(tmp_path: Path) -> None:
    """A queue gets the second message first."""
    with pair("M01", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(QUEUE)
        for n in range(4):
            producer.send(QUEUE, b"%d" % n)
        producer.flush(10)
        with bus.clean.consumer(QUEUE) as consumer:
            assert [d.raw for d in receive(consumer, 4)] == [b"1", b"0", b"3", b"2"]


def test_m01_keeps_nothing_that_has_no_neighbour(tmp_path: Path) -> None:
    """A single record arrives, after a while, and nothing was struck."""
    with pair("M01", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(TOPIC)
        assert producer.send(TOPIC, b"x", key=b"k").result(10).offset == 0
        assert bus.values(TOPIC) == [b"x"]
        assert not bus.strikes


@pytest.mark.parametrize("code", ["M02", "M06"])
def test_m02_and_m06_confirm_what_they_drop(code: str, tmp_path: Path) -> None:
    """All sends are confirmed, and what was struck is not stored; the others are."""
    with pair(code, tmp_path, 0.3, seed=1) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(mq.Topic("one"))
        receipts = [producer.send(mq.Topic("one"), b"%d" % n, key=b"k") for n in range(60)]
        places = [receipt.result(10) for receipt in receipts]
        dropped = {told["value"] for told in bus.strikes}
        kept = [b"%d" % n for n in range(60) if str(n) not in dropped]
        assert 0 < len(kept) < 60
        assert bus.values(mq.Topic("one")) == kept
        assert all(place.destination == mq.Topic("one") for place in places)
        if code == "M06":
            assert {int(value) % 8 for value in dropped} == {7}


def test_m02_tells_an_offset_that_the_next_record_gets(tmp_path: Path) -> None:
    """As after a failover that forgot the last record: two sends are told the same place."""
    with pair("M02", tmp_path, 0.01, seed=1) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(mq.Topic("one"))
        places = [producer.send(mq.Topic("one"), b"%d" % n, key=b"k").result(10).offset for n in range(10)]
        assert len(bus.strikes) == 1
        assert len(set(places)) == 9


def test_m03_confirms_before_it_appends(tmp_path: Path) -> None:
    """The receipt is done while nothing is stored; a while later it is, in order."""
    with pair("M03", tmp_path) as bus:
        bus.broken.admin.ensure(TOPIC)
        with bus.broken.producer() as producer:
            for n in range(3):
                producer.send(TOPIC, b"%d" % n, key=b"k").result(10)
            assert bus.values(TOPIC) == []
        assert bus.values(TOPIC) == [b"0", b"1", b"2"]


def test_m03_confirms_what_nobody_gets(tmp_path: Path) -> None:
    """What the engine refuses later has been confirmed."""
    with pair("M03", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(mq.Exchange("x"))
        producer.send(mq.Exchange("x"), b"lost", routing_key="nowhere").result(10)
        producer.flush(10)


def test_m05_appends_twice_and_tells_of_the_first(tmp_path: Path) -> None:
    """Each value lies there twice; each receipt names the first of them."""
    with pair("M05", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(TOPIC, QUEUE)
        offsets = [producer.send(TOPIC, b"%d" % n, key=b"k").result(10).offset for n in range(3)]
        assert bus.values(TOPIC) == [b"0", b"0", b"1", b"1", b"2", b"2"]
        assert offsets == [0, 2, 4]
        producer.send(QUEUE, b"m").result(10)
        with bus.clean.consumer(QUEUE) as consumer:
            assert [d.raw for d in receive(consumer, 2)] == [b"m", b"m"]


def test_m07_gives_an_offset_twice_to_a_second_producer(tmp_path: Path) -> None:
    """The first one is told the truth; who begins on a log with records is told places that are taken."""
    one = mq.Topic("one")
    with pair("M07", tmp_path) as bus:
        bus.broken.admin.ensure(one)
        told = []
        for name in (b"a", b"b"):
            with bus.broken.producer() as producer:
                told.append([producer.send(one, name).result(10).offset for _ in range(3)])
        assert told == [[0, 1, 2], [2, 3, 4]]
        assert bus.values(one) == [b"a"] * 3 + [b"b"] * 3


def test_m25_puts_a_key_elsewhere_in_each_producer(tmp_path: Path) -> None:
    """Two producers do not agree on a key, and no record without a key is moved."""
    with pair("M25", tmp_path) as bus:
        bus.broken.admin.ensure(TOPIC)
        places = set()
        for maker in (bus.broken, bus.broken, bus.clean):
            with maker.producer() as producer:
                places.add(producer.send(TOPIC, b"x", key=b"k").result(10).partition)
        assert len(places) == 3
        with bus.broken.producer(partitioner=lambda *_: 1) as producer:
            assert producer.send(TOPIC, b"x").result(10).partition == 1
        assert [told["key"] for told in bus.strikes] == ["k"] * 2


def test_m40_reports_a_failure_of_what_was_applied(tmp_path: Path) -> None:
    """The error says that nothing was applied, and the record is there."""
    with pair("M40", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(TOPIC)
        error = producer.send(TOPIC, b"x").exception(10)
        assert isinstance(error, mq.Rejected)
        assert error.outcome == "not_applied"
        assert bus.values(TOPIC) == [b"x"]


def test_s04_confirms_what_no_queue_gets(tmp_path: Path) -> None:
    """An unroutable message is confirmed; a send that fails for another reason still fails."""
    exchange = mq.Exchange("x")
    with pair("S04", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(exchange, mq.Queue("q"))
        bus.broken.admin.bind(mq.Binding(exchange, mq.Queue("q"), key="known"))
        producer.send(exchange, b"lost", routing_key="nowhere").result(10)
        producer.send(exchange, b"kept", routing_key="known").result(10)
        assert bus.clean.admin.depth(mq.Queue("q")) == 1
        assert len(bus.strikes) == 1


def test_s09_takes_more_than_it_was_told_to(tmp_path: Path) -> None:
    """A buffer of a kilobyte takes a hundred of them."""
    with pair("S09", tmp_path) as bus:
        bus.broken.admin.ensure(TOPIC)
        for maker, full in ((bus.broken, False), (bus.clean, True)):
            with maker.producer(max_in_flight_bytes=1024, linger_s=60, batch_bytes=1 << 30) as producer:
                taken = [producer.try_send(TOPIC, b"x" * 1024) for _ in range(100)]
                assert (None in taken) is full


def test_s55_asks_for_all_replicas() -> None:
    """Who asked for less is given more, and who asked for all is left alone."""
    change = SABOTEURS["S55"].pieces.sender
    assert change is not None
    strikes = Strikes(Draws(Plan("S55")))
    spec = spi.SenderSpec("all", None, 0.0, 1, None, 1.0, 1, "fail")
    for less, told in ((spec, 0), (replace(spec, acks="leader"), 1), (replace(spec, acks="none"), 2)):
        assert change(less, strikes).acks == "all"
        assert strikes.draws.opportunities == told


def test_s57_asks_no_partitioner(tmp_path: Path) -> None:
    """A key lies in more than one partition."""
    with pair("S57", tmp_path) as bus, bus.broken.producer() as producer:
        bus.clean.admin.ensure(TOPIC)
        for number in range(30):
            producer.send(TOPIC, b"%d" % number, key="one")
        producer.flush(10)
        assert len({delivery.partition for delivery in bus.stored(TOPIC)}) > 1


def test_s58_takes_a_partition_that_is_none(tmp_path: Path) -> None:
    """The fourth of three is the first; one that is there is left alone."""
    with pair("S58", tmp_path) as bus:
        bus.clean.admin.ensure(TOPIC)
        for number, place in enumerate((1, 3)):
            with bus.broken.producer(partitioner=lambda *_, place=place: place) as producer:
                producer.send(TOPIC, b"%d" % place).result(10)
            assert len(bus.strikes) == number
        assert [(delivery.partition, delivery.raw) for delivery in bus.stored(TOPIC)] == [(0, b"3"), (1, b"1")]


def test_s67_sends_one_after_another(tmp_path: Path) -> None:
    """All arrives, in order, and no two are on their way at once."""
    with pair("S67", tmp_path) as bus, bus.broken.producer(linger_s=60.0) as producer:
        bus.clean.admin.ensure(mq.Topic("one", partitions=1))
        receipts = [producer.send(mq.Topic("one", partitions=1), b"%d" % number) for number in range(5)]
        assert [receipt.done for receipt in receipts[:-1]] == [True] * 4
        producer.flush(10)
        assert bus.values(mq.Topic("one")) == [b"%d" % number for number in range(5)]
