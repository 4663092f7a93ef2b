"""Each saboteur of what a message carries does what its name says, and nothing else."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import mqbridge as mq
from tests.conformance.saboteurs.broken import nothing_more, pair, receive

TOPIC = mq.Topic("t")
QUEUE = mq.Queue("q", max_priority=9)


def test_m26_loses_headers_or_timestamps_or_null(tmp_path: Path) -> None:
    """Each of the three loses its own and keeps the rest."""
    at = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    seen = {}
    for code in ("M26", "M26b", "M26c"):
        (tmp_path / code).mkdir()
        with pair(code, tmp_path / code) as bus, bus.broken.producer() as producer:
            bus.broken.admin.ensure(TOPIC)
            producer.send(TOPIC, None, key=b"k", headers={"h": b"1"}, timestamp=at, message_id="id").result(10)
            (found,) = bus.stored(TOPIC)
            seen[code] = (found.raw, bool(found.headers), found.timestamp == at, found.message_id)
            assert len(bus.strikes) == 1
    assert seen == {
        "M26": (None, False, True, "id"),
        "M26b": (None, True, False, "id"),
        "M26c": (b"", True, True, "id"),
    }


def test_m33_expires_early(tmp_path: Path) -> None:
    """A message that has four seconds is gone after one; one without an end stays."""
    with pair("M33", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(QUEUE)
        producer.send(QUEUE, b"short", expires_in_s=2.0).result(10)
        producer.send(QUEUE, b"long").result(10)
        with bus.clean.consumer(QUEUE.dead_letter or QUEUE) as letters:
            assert nothing_more(letters, 0.2)
            (letter,) = letters.poll(1, timeout=1.2)
            assert letter.raw == b"short"
        assert bus.clean.admin.depth(QUEUE) == 1


def test_s01_turns_a_bit(tmp_path: Path) -> None:
    """The value has its length and all its other bits."""
    with pair("S01", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(TOPIC)
        for value in (b"abc", b"", None):
            producer.send(TOPIC, value).result(10)
        assert bus.values(TOPIC) == [b"acc", b"", None]
        assert len(bus.strikes) == 1


def test_s02_sends_to_another_destination_of_its_kind(tmp_path: Path) -> None:
    """A second topic's records come to the first; what is alone of its kind stays where it belongs."""
    other = mq.Topic("other")
    with pair("S02", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(TOPIC, other, QUEUE)
        producer.send(TOPIC, b"0").result(10)
        producer.send(QUEUE, b"1").result(10)
        producer.send(other, b"2").result(10)
        assert bus.values(TOPIC) == [b"0", b"2"]
        assert bus.values(other) == []
        assert bus.clean.admin.depth(QUEUE) == 1


def test_s54_writes_what_nobody_sent(tmp_path: Path) -> None:
    """One message more, before the first that was sent; the receipts of those name the places they have."""
    with pair("S54", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(TOPIC, QUEUE)
        assert [producer.send(TOPIC, b"x").result(10).offset for _ in range(2)] == [1, 2]
        assert bus.values(TOPIC) == [b"nobody sent this", b"x", b"x"]
        producer.send(QUEUE, b"x").result(10)
        assert bus.clean.admin.depth(QUEUE) == 2


def test_s03_loses_the_key(tmp_path: Path) -> None:
    """The value arrives without it."""
    with pair("S03", tmp_path) as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(TOPIC)
        producer.send(TOPIC, b"x", key=b"k").result(10)
        assert [(d.raw, d.key) for d in bus.stored(TOPIC)] == [(b"x", None)]


def test_s06_and_s07_and_s08_ignore_what_they_are_told(tmp_path: Path) -> None:
    """A delayed message is ready at once, a high one comes last, and one that is to expire stays."""
    for code, ready, first in (("S06", [b"low", b"high", b"short", b"late"], b"high"), ("S07", None, b"low")):
        (tmp_path / code).mkdir()
        with pair(code, tmp_path / code) as bus, bus.broken.producer() as producer:
            bus.broken.admin.ensure(QUEUE)
            producer.send(QUEUE, b"low").result(10)
            producer.send(QUEUE, b"high", priority=5).result(10)
            producer.send(QUEUE, b"late", delay_s=60).result(10)
            assert bus.clean.admin.depth(QUEUE) == (3 if ready else 2)
            with bus.clean.consumer(QUEUE) as consumer:
                assert receive(consumer, 1)[0].raw == first
    (tmp_path / "S08").mkdir()
    with pair("S08", tmp_path / "S08") as bus, bus.broken.producer() as producer:
        bus.broken.admin.ensure(QUEUE)
        producer.send(QUEUE, b"short", expires_in_s=0.05).result(10)
        with bus.clean.consumer(mq.Queue("q.dlq")) as letters:
            assert nothing_more(letters)
        assert bus.clean.admin.depth(QUEUE) == 1


def test_s68_keeps_one_header_of_a_name(tmp_path: Path) -> None:
    """The last one; headers of different names are left alone."""
    with pair("S68", tmp_path) as bus, bus.broken.producer() as producer:
        bus.clean.admin.ensure(TOPIC)
        producer.send(TOPIC, b"1", headers=(("a", b"1"), ("a", b"2"), ("b", b"3"))).result(10)
        producer.send(TOPIC, b"2", headers=(("a", b"1"), ("b", b"3"))).result(10)
        found = [delivery.headers.pairs for delivery in bus.stored(TOPIC)]
        assert found == [(("a", b"2"), ("b", b"3")), (("a", b"1"), ("b", b"3"))]
        assert len(bus.strikes) == 1
