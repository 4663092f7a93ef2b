"""Who may take and who is told: prefetch, notes, priority among consumers, one active consumer, sessions that end."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.core.queues.consumers import PATIENCE_S
from tests.native.core.queues.house import House


@pytest.fixture
def house() -> House:
    made = House()
    made.queue("q", dead_letter="q.dlq", max_attempts=2)
    made.queue("q.dlq")
    return made


def test_prefetch_bounds_what_is_unsettled(house: House) -> None:
    """However much is asked for, a consumer holds at most its prefetch; a settlement makes room in the same call."""
    house.send("q", *[b"%d" % number for number in range(10)])
    consumer = house.consume("q", prefetch=3)
    tags = house.take(consumer, 100).tags
    assert len(tags) == 3
    assert house.take(consumer, 100).got == []
    assert house.take(consumer, 100, [("ack", tags[1])]).values == [b"3"]
    assert house.take(consumer, 100, [("release", tags[0], 0)]).values == [b"0"]
    assert house.counts("q") == (6, 3, 0)


def test_consumers_share_and_none_gets_what_another_holds(house: House) -> None:
    """Each message is at one consumer."""
    house.send("q", *[b"%d" % number for number in range(6)])
    one, two = house.consume("q", prefetch=2), house.consume("q", prefetch=9)
    assert house.take(one).values == [b"0", b"1"]
    assert house.take(two).values == [b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("wrong", [{"prefetch": 0}, {"prefetch": "1"}, {"priority": 1.5}, {"priority": True}])
def test_a_consumer_is_made_of_integers(house: House, wrong: dict[str, Any]) -> None:
    """Prefetch is at least one; there is no unlimited prefetch."""
    with pytest.raises(errors.ConfigurationError):
        house.call("consume", queue="q", **wrong)


def test_an_unclean_end_counts_an_attempt_of_all_it_held(house: House) -> None:
    """Connection death: redelivered, counted, and dead-lettered when that was the last attempt."""
    house.send("q", b"a", b"b")
    first = house.consume("q", session=7)
    house.take(first, session=7)
    house.room.close_session(7, False, house.now)
    second = house.consume("q", session=8)
    got = house.take(second, session=8).got
    assert [(one.value, one.attempt, one.redelivered) for one in got] == [(b"a", 2, True), (b"b", 2, True)]
    house.take(second, 0, [("return", got[0].tag)], session=8)
    house.room.close_session(8, False, house.now)
    # What went back unseen before the death is not counted.
    assert [(one.value, one.attempt) for one in house.drain("q")] == [(b"a", 2)]
    (letter,) = house.drain("q.dlq")
    assert letter.value == b"b"
    assert letter.headers["mqbridge-death-reason"] == b"max-attempts"
    assert letter.headers["mqbridge-death-attempts"] == b"2"


def test_a_last_attempt_lost_with_no_dead_letter_queue_is_not_shown_again() -> None:
    """Past its attempts a message waits for its dead-letter queue, across a restart, and nobody sees it meanwhile."""
    house = House()
    house.queue("q", dead_letter="later", max_attempts=1)
    house.send("q", b"a")
    house.take(house.consume("q", session=7), session=7)
    house.room.close_session(7, False, house.now)
    for life in (house, house.crash()):
        assert life.drain("q") == []
        assert life.call("describe_queue", name="q")["blocked"] == 1
    life.queue("later")
    life.advance(1)
    assert [letter.value for letter in life.drain("later")] == [b"a"]


@pytest.mark.parametrize("how", ["cancel", "clean close"])
def test_a_clean_end_counts_nothing(house: House, how: str) -> None:
    """Cancelled or closed in good order, a consumer's messages go back as the same attempt, marked, in their place."""
    house.send("q", b"a", b"b")
    consumer = house.consume("q", prefetch=1, session=7)
    house.take(consumer, session=7)
    if how == "cancel":
        house.call("cancel", session=7, consumer=consumer)
    else:
        house.room.close_session(7, True, house.now)
    assert [(one.value, one.attempt, one.redelivered) for one in house.drain("q")] == [
        (b"a", 1, True),
        (b"b", 1, False),
    ]
    with pytest.raises(errors.NotFound):
        house.take(consumer, session=7)


def test_a_watch_tells_once(house: House) -> None:
    """One note when something can be taken, none for what was there, none before the next empty take."""
    consumer = house.consume("q")
    assert house.take(consumer, watch=True).got == []
    assert house.told() == []
    house.send("q", b"a")
    house.send("q", b"b")
    assert house.told() == [(1, "messages", consumer)]
    assert house.take(consumer, 1, watch=True).values == [b"a"]
    house.send("q", b"c")
    assert house.told() == []


def test_what_comes_back_is_told(house: House) -> None:
    """A release by one consumer wakes another that waits; so does a consumer that goes."""
    house.send("q", b"a", b"b")
    holder, waiter = house.consume("q", prefetch=2), house.consume("q", session=2)
    (one, _) = house.take(holder).tags
    house.take(waiter, watch=True, session=2)
    house.take(holder, 0, [("release", one, 0)])
    assert house.told() == [(2, "messages", waiter)]
    house.take(waiter, watch=True, session=2)
    house.take(waiter, watch=True, session=2)
    house.call("cancel", consumer=holder)
    assert house.told() == [(2, "messages", waiter)]


def test_one_message_does_not_wake_everybody(house: House) -> None:
    """Of those that wait, as many are told as the messages need, the longest waiting first."""
    one, two, three = (house.consume("q", prefetch=2) for _ in range(3))
    for consumer in (two, one, three):
        house.take(consumer, watch=True)
    house.send("q", b"a")
    assert house.told() == [(1, "messages", two)]
    house.send("q", b"b")
    assert house.told() == []
    house.send("q", b"c")
    assert house.told() == [(1, "messages", one)]


def test_what_a_told_consumer_leaves_is_told_on(house: House) -> None:
    """A consumer that takes less than it could wakes the next."""
    one, two = house.consume("q"), house.consume("q")
    for consumer in (one, two):
        house.take(consumer, watch=True)
    house.send("q", b"a", b"b")
    assert house.told() == [(1, "messages", one)]
    house.take(one, 1)
    assert house.told() == [(1, "messages", two)]


def test_one_that_does_not_come_holds_up_nobody_for_long(house: House) -> None:
    """After the patience is over, and at a deadline that says so, the next one is told."""
    one, two = house.consume("q"), house.consume("q")
    for consumer in (one, two):
        house.take(consumer, watch=True)
    house.send("q", b"a")
    assert house.told() == [(1, "messages", one)]
    deadline = house.room.next_deadline(house.now)
    assert deadline == pytest.approx(house.now.mono_s + PATIENCE_S)
    house.advance(PATIENCE_S)
    assert house.told() == [(1, "messages", two)]


def test_a_told_consumer_that_dies_is_replaced_at_once(house: House) -> None:
    """The end of the session of the told wakes the next."""
    one, two = house.consume("q", session=1), house.consume("q", session=2)
    house.take(one, watch=True, session=1)
    house.take(two, watch=True, session=2)
    house.send("q", b"a")
    house.told()
    house.room.close_session(1, False, house.now)
    assert house.told() == [(2, "messages", two)]


def test_a_full_consumer_is_not_told(house: House) -> None:
    """Without credit a watch waits; the note comes to the one that can take."""
    house.send("q", b"a")
    full, free = house.consume("q", prefetch=1), house.consume("q")
    house.take(full)
    for consumer in (full, free):
        house.take(consumer, watch=True)
    house.send("q", b"b")
    assert house.told() == [(1, "messages", free)]


def test_a_lower_consumer_gets_what_higher_ones_cannot_take(house: House) -> None:
    """The higher one is told first; the lower takes only beyond the higher one's credit, and all when that is full."""
    low, high = house.consume("q", priority=-1), house.consume("q", prefetch=2, priority=5)
    for consumer in (low, high):
        house.take(consumer, watch=True)
    house.send("q", b"a", b"b", b"c")
    assert house.told() == [(1, "messages", high), (1, "messages", low)]
    assert house.take(low, watch=True).values == [b"a"]
    assert house.take(low, watch=True).values == []
    assert house.take(high).values == [b"b", b"c"]
    house.send("q", b"d")
    assert house.told() == [(1, "messages", low)]
    assert house.take(low).values == [b"d"]


def test_a_higher_consumer_that_does_not_come_loses_its_turn(house: House) -> None:
    """Kept back for the higher one, but only as long as the patience lasts."""
    low, high = house.consume("q"), house.consume("q", priority=1)
    house.take(high, watch=True)
    house.send("q", b"a")
    assert house.take(low, watch=True).got == []
    house.advance(PATIENCE_S)
    assert house.told() == [(1, "messages", high), (1, "messages", low)]
    assert house.take(low).values == [b"a"]


def test_a_higher_consumer_that_does_not_wait_takes_nothing_from_a_lower(house: House) -> None:
    """Only one that waits, and says so by its watch, is waited for."""
    low, high = house.consume("q"), house.consume("q", priority=1)
    house.send("q", b"a")
    assert house.take(low).values == [b"a"]
    assert house.take(high).values == []


class TestSingleActive:
    @pytest.fixture
    def house(self) -> House:
        made = House()
        made.queue("q", single_active=True)
        return made

    def test_only_the_first_consumer_gets_messages(self, house: House) -> None:
        """Whoever comes later waits, whatever its priority, and is told that it is not active."""
        first, second = house.consume("q"), house.consume("q", priority=9)
        house.send("q", b"a")
        assert house.take(second, watch=True) == ([], [], False)
        taken = house.take(first)
        assert (taken.values, taken.active) == ([b"a"], True)
        assert house.told() == []

    def test_the_next_takes_over_with_what_went_back(self, house: House) -> None:
        """By priority, then age; it is told, and gets the unsettled messages first, in order."""
        first = house.consume("q", session=1, prefetch=2)
        old, high = house.consume("q", session=2), house.consume("q", session=3, priority=1)
        house.send("q", b"a", b"b", b"c")
        house.take(first)
        house.take(old, watch=True, session=2)
        house.take(high, watch=True, session=3)
        house.room.close_session(1, False, house.now)
        assert house.told() == [(3, "messages", high)]
        taken = house.take(high, session=3)
        assert (taken.values, taken.active) == ([b"a", b"b", b"c"], True)
        assert house.take(old, session=2).active is False
        house.call("cancel", session=3, consumer=high)
        assert house.take(old, session=2).values == [b"a", b"b", b"c"]

    def test_the_promoted_is_told_though_nothing_is_ready(self, house: House) -> None:
        """A waiting consumer learns that it is the active one now."""
        first, second = house.consume("q"), house.consume("q")
        house.take(second, watch=True)
        house.call("cancel", consumer=first)
        assert house.told() == [(1, "messages", second)]
        assert house.take(second, watch=True).active is True

    def test_a_settlement_of_a_passive_consumer_stands(self, house: House) -> None:
        """Taking is for the active one, settling for whoever holds."""
        first = house.consume("q")
        house.send("q", b"a")
        (tag,) = house.take(first).tags
        assert house.take(first, settle=[("ack", tag)]).errors == []
