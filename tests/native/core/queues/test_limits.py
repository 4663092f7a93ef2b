"""What a queue holds at most, and what goes when more comes."""

from __future__ import annotations

import pytest

from mqbridge import errors
from mqbridge.semantics import reserved
from tests.native.core.queues.house import House


@pytest.fixture
def house() -> House:
    return House()


def test_max_length_refuses_record_by_record(house: House) -> None:
    """What fits is kept, the rest is refused by its index, and there is room again after a take."""
    house.queue("q", max_length=3)
    refused = house.send("q", b"a", b"b", b"c", b"d", b"e")
    assert list(refused) == ["3", "4"]
    assert refused["3"]["code"] == "rejected"
    assert "full" in refused["3"]["message"]
    assert [got.value for got in house.browse("q")] == [b"a", b"b", b"c"]
    consumer = house.consume("q", prefetch=1)
    house.take(consumer)
    assert list(house.send("q", b"f", b"g")) == ["1"]
    assert house.counts("q") == (3, 1, 0)


def test_delayed_messages_count_and_unsettled_do_not(house: House) -> None:
    """A limit is for what waits, delayed or ready; what comes back has a place even above the limit."""
    house.queue("q", max_length=2)
    assert house.send("q", b"later", delay_ms=1000) == {}
    assert house.send("q", b"a") == {}
    assert list(house.send("q", b"refused")) == ["0"]
    consumer = house.consume("q", prefetch=1)
    (tag,) = house.take(consumer).tags
    assert house.send("q", b"b") == {}
    house.take(consumer, 0, [("release", tag, 0)])
    assert house.counts("q") == (2, 0, 1)
    assert list(house.send("q", b"refused")) == ["0"]


def test_max_bytes_counts_values(house: House) -> None:
    """Bytes of values alone; a small record may fit where a larger one before it did not."""
    house.queue("q", max_bytes=10)
    refused = house.send("q", b"123456", b"12345", b"1234", None, b"", keys=[b"k" * 99] * 5)
    assert list(refused) == ["1"]
    assert [got.value for got in house.browse("q")] == [b"123456", b"1234", None, b""]
    assert list(house.send("q", b"1")) == ["0"]


def test_expired_messages_make_room(house: House) -> None:
    """A limit counts no message whose time is over, ticked or not."""
    house.queue("q", max_length=1, message_ttl_s=1)
    house.send("q", b"a")
    house.advance(1, tick=False)
    assert house.send("q", b"b") == {}


def test_drop_head_drops_the_oldest(house: House) -> None:
    """The newest stay; dropped ones are dead letters that name the limit."""
    house.queue("q", max_length=2, overflow="drop-head", dead_letter="q.dlq")
    house.queue("q.dlq")
    for value in (b"a", b"b", b"c"):
        assert house.send("q", value) == {}
    assert house.send("q", b"d", b"e") == {}
    assert [got.value for got in house.browse("q")] == [b"d", b"e"]
    letters = house.drain("q.dlq")
    assert [letter.value for letter in letters] == [b"a", b"b", b"c"]
    assert {letter.headers[reserved.DEATH_REASON] for letter in letters} == {b"max-length"}
    assert [got.value for got in house.crash().drain("q")] == [b"d", b"e"]


def test_drop_head_without_dead_letter_queue_drops(house: House) -> None:
    """Dropped by policy, oldest first, also within one batch that is longer than the limit."""
    house.queue("q", max_length=3, overflow="drop-head")
    assert house.send("q", *[b"%d" % number for number in range(10)]) == {}
    assert [got.value for got in house.drain("q")] == [b"7", b"8", b"9"]


def test_drop_head_by_bytes(house: House) -> None:
    """As many of the oldest go as the bytes need; a record that no queue of this limit can hold is refused."""
    house.queue("q", max_bytes=10, overflow="drop-head")
    house.send("q", b"1111", b"22", b"333")
    refused = house.send("q", b"x" * 11, b"44444")
    assert list(refused) == ["0"]
    assert [got.value for got in house.drain("q")] == [b"22", b"333", b"44444"]


def test_drop_head_takes_the_oldest_whatever_its_priority(house: House) -> None:
    """Age decides, so that a new message of high priority is never the one to go, as the head by priority would."""
    house.queue("q", max_length=2, overflow="drop-head", max_priority=5)
    house.send("q", b"old low", priority=0)
    house.send("q", b"high", priority=5)
    house.send("q", b"new high", priority=5)
    assert [got.value for got in house.browse("q")] == [b"high", b"new high"]
    house.send("q", b"new low", priority=0)
    assert [got.value for got in house.browse("q")] == [b"new high", b"new low"]


def test_drop_head_takes_delayed_ones_last(house: House) -> None:
    """A delayed message goes only where no ready one is left to go, and its delay does not bring it back."""
    house.queue("q", max_length=2, overflow="drop-head")
    house.send("q", b"delayed", delay_ms=1000)
    house.send("q", b"a")
    house.send("q", b"b")
    assert house.counts("q") == (1, 0, 1)
    house.send("q", b"c", b"d")
    assert house.counts("q") == (2, 0, 0)
    house.advance(2)
    assert [got.value for got in house.drain("q")] == [b"c", b"d"]


def test_drop_head_spares_what_consumers_hold(house: House) -> None:
    """Unsettled messages are neither counted nor dropped."""
    house.queue("q", max_length=1, overflow="drop-head")
    house.send("q", b"held")
    consumer = house.consume("q", prefetch=1)
    (tag,) = house.take(consumer).tags
    house.send("q", b"b")
    house.send("q", b"c")
    house.take(consumer, 0, [("release", tag, 0)])
    assert [got.value for got in house.browse("q")] == [b"held", b"c"]
    house.send("q", b"d")
    assert [got.value for got in house.browse("q")] == [b"d"]


@pytest.mark.parametrize("target", [{"max_length": 1}, None])
def test_a_head_that_cannot_be_dead_lettered_is_not_dropped(house: House, target: dict[str, int] | None) -> None:
    """The new message is refused instead: nothing confirmed goes where it cannot be found."""
    house.queue("q", max_length=2, overflow="drop-head", dead_letter="q.dlq")
    if target is not None:
        house.queue("q.dlq", **target)
    house.send("q", b"a", b"b")
    refused = house.send("q", b"c", b"d")
    assert {refusal["code"] for refusal in refused.values()} == {"rejected" if target else "not_found"}
    kept = [got.value for got in house.browse("q")]
    letters = [got.value for got in house.browse("q.dlq")] if target else []
    # The one head that found room died of the limit and is in one place.
    assert sorted(filter(None, letters + kept)) == [b"a", b"b"]
    assert letters == ([b"a"] if target else [])


def test_queues_that_overflow_into_each_other_come_to_an_end(house: House) -> None:
    """A circle of full queues drops what comes round, as there is room nowhere, and each keeps its limit."""
    house.queue("a", max_length=1, overflow="drop-head", dead_letter="b")
    house.queue("b", max_length=1, overflow="drop-head", dead_letter="a")
    for number in range(5):
        assert house.send("a", b"%d" % number) == {}
    assert [got.value for got in house.browse("a")] == [b"4"]
    assert [got.value for got in house.browse("b")] == [b"3"]


def test_a_disk_that_fills_up_within_a_long_batch_is_an_unknown_outcome(house: House) -> None:
    """Where some records of the batch are kept already, the error does not claim that none is."""
    house.queue("q", max_length=2, overflow="drop-head")
    house.store.room_for = 1
    with pytest.raises(errors.Rejected) as caught:
        house.send("q", b"a", b"b", b"c", b"d")
    assert caught.value.outcome == "unknown"
    house.store.room_for = 0
    with pytest.raises(errors.Rejected) as caught:
        house.send("q", b"e")
    assert caught.value.outcome == "not_applied"
