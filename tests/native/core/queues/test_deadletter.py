"""Letters: what they carry, that they come before the source forgets, and the way back."""

from __future__ import annotations

import pytest

from mqbridge import errors
from mqbridge.semantics import reserved
from tests.native.core.queues.house import House


@pytest.fixture
def house() -> House:
    made = House()
    made.queue("q", dead_letter="q.dlq")
    made.queue("q.dlq")
    return made


def bury(house: House, *values: bytes, queue: str = "q", **options: str) -> None:
    house.send(queue, *values, **options)
    consumer = house.consume(queue)
    house.take(consumer, settle=[("reject", tag, "no") for tag in house.take(consumer).tags])
    house.call("cancel", consumer=consumer)


def test_the_letter_is_written_before_the_source_forgets(house: House) -> None:
    """In the order of writes, the target's entry comes first."""
    house.send("q", b"a")
    consumer = house.consume("q")
    (tag,) = house.take(consumer).tags
    before = len(house.store.history)
    house.take(consumer, settle=[("reject", tag, None)])
    assert [write.journal for write in house.store.history[before:]] == ["queue-q.dlq", "queue-q"]


def test_browse_looks_and_takes_nothing(house: House) -> None:
    """Letters are shown in order, as often as one likes, and their numbers say which to redrive."""
    bury(house, b"a", b"b", b"c")
    assert [got.value for got in house.browse("q.dlq", 2)] == [b"a", b"b"]
    assert [got.value for got in house.browse("q.dlq")] == [b"a", b"b", b"c"]
    assert house.counts("q.dlq") == (3, 0, 0)
    consumer = house.consume("q.dlq", prefetch=1)
    house.take(consumer)
    assert [got.value for got in house.browse("q.dlq")] == [b"b", b"c"]


def test_redrive_goes_to_the_origin_as_new(house: House) -> None:
    """Without death headers, with its id, as a first attempt; and it is gone from the letters."""
    bury(house, b"a", id="m1")
    assert house.call("move", queue="q.dlq") == {"moved": 1, "errors": {}}
    assert house.counts("q.dlq") == (0, 0, 0)
    (got,) = house.drain("q")
    assert (got.value, got.attempt, got.redelivered, got.headers) == (b"a", 1, False, {reserved.MESSAGE_ID: b"m1"})


def test_redrive_of_some_to_another_queue(house: House) -> None:
    """Only the given numbers move, at most as many as asked for, in order."""
    house.queue("other")
    bury(house, b"a", b"b", b"c", b"d")
    seqs = [letter.tag for letter in house.browse("q.dlq")]
    moved = house.call("move", queue="q.dlq", seqs=[seqs[3], seqs[1], seqs[0]], to_queue="other", max=2)
    assert moved == {"moved": 2, "errors": {}}
    assert [got.value for got in house.drain("other")] == [b"a", b"b"]
    assert [got.value for got in house.browse("q.dlq")] == [b"c", b"d"]


def test_what_cannot_be_moved_stays_and_says_why(house: House) -> None:
    """No origin, an origin that is gone, an origin that is full: each by its number; the others move."""
    house.queue("small", dead_letter="q.dlq", max_length=1)
    house.queue("gone", dead_letter="q.dlq")
    house.send("q.dlq", b"never died")
    bury(house, b"1", queue="gone")
    house.call("delete_queue", name="gone")
    bury(house, b"2", queue="small")
    bury(house, b"3", queue="small")
    bury(house, b"4")
    reply = house.call("move", queue="q.dlq")
    assert reply["moved"] == 2
    assert [error["code"] for error in reply["errors"].values()] == ["configuration", "not_found", "rejected"]
    left = house.browse("q.dlq")
    assert [letter.value for letter in left] == [b"never died", b"1", b"3"]
    assert list(reply["errors"]) == [str(letter.tag) for letter in left]


def test_a_move_is_written_to_its_target_first(house: House) -> None:
    """A crash at any write of a move leaves the message in at least one of the two queues."""
    bury(house, b"a")
    before = len(house.store.history)
    house.call("move", queue="q.dlq")
    places = []
    for writes in range(before, len(house.store.history) + 1):
        life = house.crash(writes)
        places.append((len(life.drain("q")), len(life.drain("q.dlq"))))
    assert places == [(0, 1), (1, 1), (1, 0)]


def test_a_move_to_itself_is_refused(house: House) -> None:
    """It would go round for ever."""
    with pytest.raises(errors.ConfigurationError):
        house.call("move", queue="q.dlq", to_queue="q.dlq")


def test_a_letter_that_dies_again_tells_its_last_death(house: House) -> None:
    """A chain of dead-letter queues: the headers are those of the last one, once each."""
    house.queue("first", dead_letter="second")
    house.queue("second", dead_letter="third", message_ttl_s=1)
    house.queue("third")
    bury(house, b"a", queue="first", id="m1")
    house.advance(1)
    (letter,) = house.drain("third")
    assert letter.headers[reserved.DEATH_REASON] == b"expired"
    assert letter.headers[reserved.DEATH_QUEUE] == b"second"
    assert letter.headers[reserved.MESSAGE_ID] == b"m1"
    assert reserved.DEATH_ERROR not in letter.headers


def test_queues_that_expire_into_each_other_do_not_stop_time(house: House) -> None:
    """With no time to live in either, each tick moves the message on and the next deadline lies ahead."""
    house.queue("a", dead_letter="b", message_ttl_s=0)
    house.queue("b", dead_letter="a", message_ttl_s=0)
    house.send("a", b"x")
    for _ in range(5):
        house.advance(0.001)
        deadline = house.room.next_deadline(house.now)
        assert deadline is not None
        assert deadline > house.now.mono_s
        waiting = sum(sum(house.counts(name)) for name in ("a", "b"))
        blocked = sum(house.call("describe_queue", name=name)["blocked"] for name in ("a", "b"))
        assert waiting + blocked == 1


def test_many_letters_between_two_queues_without_a_life_are_carried_once(house: House) -> None:
    """Queues that look for expired messages whenever they take letters neither loop nor copy what is under way."""
    house.queue("a", dead_letter="b", message_ttl_s=0, max_length=10_000)
    house.queue("b", dead_letter="a", message_ttl_s=0, max_length=10_000)
    house.send("a", *[b"%d" % number for number in range(2000)])
    for _ in range(3):
        house.advance(1)
        found = [house.call("describe_queue", name=name) for name in ("a", "b")]
        assert sum(one[state] for one in found for state in ("ready", "blocked")) == 2000


def test_a_dead_letter_queue_that_sends_back_while_it_takes(house: House) -> None:
    """The letter of an overflow makes its queue notice an expiry, whose letter overflows the first queue again."""
    house.queue("a", dead_letter="b", max_length=1, overflow="drop-head")
    house.queue("b", dead_letter="a", max_length=9)
    house.send("b", b"short", expires_ms=1000)
    house.send("a", b"old")
    house.advance(1, tick=False)
    assert house.send("a", b"new") == {}
    assert [got.value for got in house.browse("b")] == [b"old"]
    assert [got.value for got in house.browse("a")] == [b"short", b"new"]
    assert house.call("describe_queue", name="a")["size_bytes"] == len(b"short" + b"new")
    house.send("a", b"newer")
    assert [got.value for got in house.browse("a")] == [b"newer"]


def test_a_long_line_of_expired_messages_is_carried_in_parts(house: House) -> None:
    """More than one part's worth of messages that expire at once all arrive, in order, once."""
    house.queue("many", dead_letter="q.dlq", message_ttl_s=1)
    values = [b"%d" % number for number in range(1200)]
    house.send("many", *values)
    house.advance(1)
    assert [letter.value for letter in house.drain("q.dlq")] == values
    assert house.counts("many") == (0, 0, 0)
