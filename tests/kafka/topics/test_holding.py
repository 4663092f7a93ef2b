"""What a member holds: blocks, bounds, seeks and pauses."""

from __future__ import annotations

from confluent_kafka import Message

from mqbridge import Topic
from mqbridge_kafka.holding import MAX_RECORDS, Holding, Holdings

TOPIC = Topic("t")


def messages(first: int, count: int) -> list[Message]:
    return [Message(topic="t", partition=0, offset=first + n, value=b"v") for n in range(count)]


def holdings(partitions: int = 2) -> Holdings:
    made = Holdings(max_bytes=1 << 20)
    for partition in range(partitions):
        made.begin(("t", partition), Holding(TOPIC, 10 + partition, 0))
    return made


def test_partitions_take_turns() -> None:
    """A partition with much does not keep one with little waiting."""
    held = holdings()
    for first in (0, 5, 10):
        held.put(("t", 0), messages(first, 5), 5)
    held.put(("t", 1), messages(0, 1), 1)
    taken = [block.partition or 0 for _ in range(4) if (block := held.take()) is not None]
    assert sorted(taken[:2]) == [0, 1]
    assert taken.count(0) == 3


def test_a_seek_drops_what_was_fetched_until_the_client_has_done_it() -> None:
    """Blocks from before a seek are gone at once, and those that the client still gives from there are not kept."""
    held = holdings()
    held.put(("t", 0), messages(0, 5), 5)
    lease = held.seek(("t", 0), 100)
    assert held.take() is None
    assert not held.put(("t", 0), messages(5, 5), 5)
    assert lease is not None
    held.moved(("t", 0), lease)
    assert held.put(("t", 0), messages(100, 5), 5)
    block = held.take()
    assert block is not None
    assert block.offset(0) == 100


def test_a_new_lease_begins_empty() -> None:
    """What was fetched under an earlier lease is never handed out under the next one."""
    held = holdings()
    held.put(("t", 0), messages(0, 5), 5)
    held.begin(("t", 0), Holding(TOPIC, 99, 3))
    assert held.take() is None
    held.put(("t", 0), messages(3, 1), 1)
    block = held.take()
    assert block is not None
    assert block.lease == 99


def test_what_is_paused_is_kept_back_and_does_not_fill_the_store() -> None:
    """A paused partition's records wait without counting, so that others are fetched; resumed, they are handed out."""
    held = holdings()
    held.put(("t", 0), messages(0, MAX_RECORDS), MAX_RECORDS)
    assert held.full
    held.pause([("t", 0)])
    assert not held.full
    assert held.take() is None
    held.resume([("t", 0)])
    assert held.full
    assert held.take() is not None
    assert not held.half_full


def test_bytes_bound_the_store_too() -> None:
    """A few large records fill it as many small ones do; taking them makes room."""
    held = holdings()
    held.put(("t", 0), messages(0, 1), 1 << 20)
    assert held.full
    held.take()
    assert not held.half_full


def test_what_leaves_is_not_handed_out() -> None:
    """While a partition is given up nothing of it is handed out, and nothing new is kept."""
    held = holdings()
    held.put(("t", 0), messages(0, 5), 5)
    held.leave([("t", 0)])
    assert held.take() is None
    assert not held.put(("t", 0), messages(5, 5), 5)
    assert held.end([("t", 0), ("t", 7)]) == (("t", 0),)
