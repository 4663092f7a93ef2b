"""One queue: verbs, attempts, positions, time, priority, and what a failing disk leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge import errors
from mqbridge.semantics import reserved
from tests.native.core.queues.house import WALL_MS, House, WatchedStore


@pytest.fixture
def house() -> House:
    made = House()
    made.queue("q", dead_letter="q.dlq", max_attempts=3)
    made.queue("q.dlq")
    return made


def test_a_message_arrives_as_it_was_sent(house: House) -> None:
    """Key, null and empty value, headers in order and timestamp survive the queue."""
    house.send("q", b"v", None, b"", keys=[b"k", None, b""], headers={"a": b"1"}, timestamps_ms=[1, 2, 3])
    got = house.take(house.consume("q")).got
    assert [(one.value, one.key, one.timestamp_ms) for one in got] == [(b"v", b"k", 1), (None, None, 2), (b"", b"", 3)]
    assert [one.headers for one in got] == [{"a": b"1"}] * 3


def test_ack_settles_for_good(house: House) -> None:
    """An acknowledged message is nowhere any more, and its tag is unknown."""
    house.send("q", b"a", b"b")
    consumer = house.consume("q")
    first, second = house.take(consumer).tags
    assert house.take(consumer, settle=[("ack", first)]).got == []
    assert house.counts("q") == (0, 1, 0)
    assert house.take(consumer, settle=[("ack", first), ("ack", second)]).errors == [[first, "lease_lost"]]
    assert house.counts("q") == (0, 0, 0)
    assert house.call("describe_queue", name="q")["size_bytes"] == 0


def test_a_tag_settles_only_the_delivery_it_was_given_for(house: House) -> None:
    """After a release and a second delivery the first tag is lost, and the message stays unsettled."""
    house.send("q", b"a")
    consumer = house.consume("q")
    (old,) = house.take(consumer).tags
    (new,) = house.take(consumer, settle=[("release", old, 0)]).tags
    assert new != old
    assert house.take(consumer, settle=[("ack", old)]).errors == [[old, "lease_lost"]]
    assert house.counts("q") == (0, 1, 0)


def test_another_session_cannot_settle(house: House) -> None:
    """A consumer belongs to the session that made it."""
    house.send("q", b"a")
    consumer = house.consume("q", session=1)
    (tag,) = house.take(consumer, session=1).tags
    with pytest.raises(errors.NotFound, match="consume again"):
        house.take(consumer, settle=[("ack", tag)], session=2)
    assert house.counts("q") == (0, 1, 0)


def test_release_is_not_counted_keeps_the_place_and_is_marked(house: House) -> None:
    """A released message comes back before what stood behind it, as attempt 1, redelivered."""
    house.send("q", b"a", b"b", b"c")
    consumer = house.consume("q", prefetch=2)
    tags = house.take(consumer).tags
    back = house.take(consumer, settle=[("release", tags[0], 0)])
    assert [(one.value, one.attempt, one.redelivered) for one in back.got] == [(b"a", 1, True)]
    house.take(consumer, 0, settle=[("ack", back.tags[0]), ("ack", tags[1])])
    assert [(one.value, one.redelivered) for one in house.take(consumer).got] == [(b"c", False)]


def test_returned_messages_keep_their_order_among_each_other(house: House) -> None:
    """Given back in any order, messages come again in the order of their enqueue."""
    house.send("q", b"a", b"b", b"c", b"d")
    consumer = house.consume("q", prefetch=3)
    one, two, three = house.take(consumer).tags
    house.take(consumer, 0, [("release", three, 0), ("release", one, 0), ("retry", two, 0, None)])
    assert [got.value for got in house.drain("q")] == [b"a", b"b", b"c", b"d"]


def test_returned_unseen_leaves_no_trace(house: House) -> None:
    """What was fetched and never shown is neither counted nor marked."""
    house.send("q", b"a")
    consumer = house.consume("q")
    (tag,) = house.take(consumer).tags
    (again,) = house.take(consumer, settle=[("return", tag)]).got
    assert (again.attempt, again.redelivered) == (1, False)


def test_retry_counts_and_dead_letters_after_the_last_attempt(house: House) -> None:
    """max_attempts=3 shows a message three times; then it is a dead letter that says why, where, how often and what."""
    house.send("q", b"a", keys=[b"k"], id="m1", headers={"h": b"1"})
    consumer = house.consume("q")
    taken = house.take(consumer)
    attempts = []
    while taken.got:
        attempts.append((taken.got[0].attempt, taken.got[0].redelivered))
        taken = house.take(consumer, settle=[("retry", taken.tags[0], 0, "bo\u00f6m")])
        assert taken.errors == []
    assert attempts == [(1, False), (2, True), (3, True)]
    assert house.counts("q") == (0, 0, 0)
    (letter,) = house.drain("q.dlq")
    assert (letter.value, letter.key, letter.attempt, letter.timestamp_ms) == (b"a", b"k", 1, WALL_MS)
    assert letter.headers == {
        "h": b"1",
        reserved.MESSAGE_ID: b"m1",
        reserved.DEATH_REASON: b"max-attempts",
        reserved.DEATH_QUEUE: b"q",
        reserved.DEATH_ATTEMPTS: b"3",
        reserved.DEATH_AT_MS: str(WALL_MS).encode(),
        reserved.DEATH_ERROR: "bo\u00f6m".encode(),
    }


def test_release_never_reaches_the_limit(house: House) -> None:
    """However often it is released, a message is not dead-lettered."""
    house.send("q", b"a")
    consumer = house.consume("q")
    (tag,) = house.take(consumer).tags
    for _ in range(10):
        (one,) = house.take(consumer, settle=[("release", tag, 0)]).got
        assert one.attempt == 1
        tag = one.tag


def test_reject_dead_letters_now(house: House) -> None:
    """A rejected message is a letter with the reason's text and the attempt that rejected it."""
    house.send("q", b"a", b"b")
    consumer = house.consume("q", prefetch=1)
    (tag,) = house.take(consumer).tags
    (tag,) = house.take(consumer, settle=[("retry", tag, 0, None)]).tags
    house.take(consumer, settle=[("reject", tag, "not mine")])
    (letter,) = house.drain("q.dlq")
    assert letter.headers[reserved.DEATH_REASON] == b"rejected"
    assert letter.headers[reserved.DEATH_ATTEMPTS] == b"2"
    assert letter.headers[reserved.DEATH_ERROR] == b"not mine"
    assert house.counts("q") == (0, 1, 0)


def test_reject_without_dead_letter_queue_settles_nothing() -> None:
    """Where nothing is dead-lettered, a reject is an error and the message stays with its consumer."""
    house = House()
    house.queue("plain")
    house.send("plain", b"a")
    consumer = house.consume("plain")
    (tag,) = house.take(consumer).tags
    assert house.take(consumer, settle=[("reject", tag, "no")]).errors == [[tag, "configuration"]]
    assert house.counts("plain") == (0, 1, 0)
    assert house.take(consumer, settle=[("ack", tag)]).errors == []


def test_a_missing_dead_letter_queue_keeps_the_message() -> None:
    """The verb fails loudly, uncounted; the message stays unsettled and the verb works once the queue exists."""
    house = House()
    house.queue("q", dead_letter="nowhere", max_attempts=1)
    house.send("q", b"a", b"b")
    consumer = house.consume("q")
    one, two = house.take(consumer).tags
    settle = [("reject", one, "x"), ("retry", two, 0, None)]
    assert house.take(consumer, settle=settle).errors == [[one, "not_found"], [two, "not_found"]]
    assert house.counts("q") == (0, 2, 0)
    house.queue("nowhere")
    assert house.take(consumer, settle=settle).errors == []
    assert house.counts("q") == (0, 0, 0)
    assert [letter.headers[reserved.DEATH_ATTEMPTS] for letter in house.drain("nowhere")] == [b"1", b"1"]


def test_a_full_dead_letter_queue_keeps_only_what_it_refused() -> None:
    """Of two rejected messages the one that found room is gone and the other is an error of its tag."""
    house = House()
    house.queue("q", dead_letter="small")
    house.queue("small", max_length=1)
    house.send("q", b"a", b"b")
    consumer = house.consume("q")
    one, two = house.take(consumer).tags
    assert house.take(consumer, settle=[("reject", one, None), ("reject", two, None)]).errors == [[two, "rejected"]]
    assert house.counts("q") == (0, 1, 0)
    assert house.counts("small") == (1, 0, 0)


@pytest.mark.parametrize(
    "item",
    [
        ["ack"],
        ["forget", "TAG"],
        ["release", "TAG", -1],
        ["release", "TAG", "1"],
        ["retry", "TAG", float("inf"), None],
        ["retry", "TAG", 0, 7],
        ["reject", "TAG", 7],
        "ack",
        7,
        ["ack", ["TAG"]],
        {"verb": "ack"},
    ],
)
def test_a_malformed_settlement_settles_nothing(house: House, item: Any) -> None:
    """One wrong item among good ones, and no item of the call has happened."""
    house.send("q", b"a", b"b", b"c", b"d")
    consumer = house.consume("q")
    tags = house.take(consumer).tags
    if isinstance(item, list):
        item = [tags[3] if part == "TAG" else part for part in item]
    before = len(house.store.history)
    settle: Any = [["ack", tags[0]], ["retry", tags[1], 0, None], ["reject", tags[2], None], item]
    args = {"consumer": consumer, "max": 9, "settle": settle, "watch": False}
    with pytest.raises(errors.ConfigurationError):
        house.room.ops["take"](1, args, [], house.now)
    assert (house.counts("q"), house.counts("q.dlq")) == ((0, 4, 0), (0, 0, 0))
    assert len(house.store.history) == before
    assert house.take(consumer, 9, [("release", tag, 0) for tag in tags]).errors == []


# --- time


def test_a_delayed_message_waits_for_its_time(house: House) -> None:
    """Delayed sending: not before the delay, by tick or by take, then in its place."""
    house.send("q", b"later", delay_ms=5000)
    house.send("q", b"now")
    consumer = house.consume("q", prefetch=10)
    assert house.counts("q") == (1, 0, 1)
    assert house.take(consumer).values == [b"now"]
    house.advance(4.999)
    assert house.take(consumer).values == []
    house.advance(0.001, tick=False)
    (got,) = house.take(consumer).got
    assert (got.value, got.attempt, got.redelivered) == (b"later", 1, False)


def test_the_end_of_a_delay_is_told(house: House) -> None:
    """The room's deadline is the end of the delay, and the tick there wakes the consumer that waits."""
    house.send("q", b"later", delay_ms=5000)
    consumer = house.consume("q")
    assert house.take(consumer, watch=True).got == []
    assert house.room.next_deadline(house.now) == pytest.approx(house.now.mono_s + 5)
    house.advance(5)
    assert house.told() == [(1, "messages", consumer)]
    assert house.counts("q") == (1, 0, 0)


def test_release_and_retry_can_wait(house: House) -> None:
    """Both verbs hold a message back for their delay; retry counts, release does not."""
    house.send("q", b"a", b"b")
    consumer = house.consume("q")
    one, two = house.take(consumer).tags
    assert house.take(consumer, settle=[("release", one, 2.5), ("retry", two, 1, None)]).got == []
    assert house.counts("q") == (0, 0, 2)
    house.advance(1)
    assert [(got.value, got.attempt) for got in house.take(consumer).got] == [(b"b", 2)]
    house.advance(1.5)
    assert [(got.value, got.attempt) for got in house.take(consumer).got] == [(b"a", 1)]


def test_retry_backoff_of_the_queue_applies_where_the_verb_names_no_delay() -> None:
    """Delays grow by the multiplier up to the maximum; a delay given with the verb wins; release is not delayed."""
    house = House()
    house.queue("q", retry_backoff={"first_delay_s": 1, "multiplier": 3, "max_delay_s": 5})
    house.send("q", b"a")
    consumer = house.consume("q")
    (tag,) = house.take(consumer).tags
    for delay in (1, 3, 5, 5):
        assert house.take(consumer, settle=[("retry", tag, 0, None)]).got == []
        house.advance(delay - 0.001)
        assert house.take(consumer).got == []
        house.advance(0.001)
        (tag,) = house.take(consumer).tags
    assert house.take(consumer, settle=[("retry", tag, 0.5, None)]).got == []
    house.advance(0.5)
    (tag,) = house.take(consumer).tags
    assert house.take(consumer, settle=[("release", tag, 0)]).values == [b"a"]


@pytest.mark.parametrize(
    ("ttl_s", "expires_ms", "lives_s"), [(3, None, 3), (None, 2000, 2), (3, 2000, 2), (2, 3000, 2), (0, None, 0)]
)
def test_time_to_live_is_the_lower_of_queue_and_message(
    ttl_s: float | None, expires_ms: int | None, lives_s: float
) -> None:
    """A message is there until the lower limit and a dead letter from then on, without its own limit."""
    house = House()
    house.queue("q", message_ttl_s=ttl_s, dead_letter="q.dlq")
    house.queue("q.dlq")
    house.send("q", b"a", expires_ms=expires_ms)
    if lives_s:
        house.advance(lives_s - 0.001)
        assert [got.value for got in house.browse("q")] == [b"a"]
    house.advance(0.001)
    assert house.drain("q") == []
    (letter,) = house.drain("q.dlq")
    assert letter.headers[reserved.DEATH_REASON] == b"expired"
    assert letter.headers[reserved.DEATH_ATTEMPTS] == b"0"
    assert reserved.EXPIRES_MS not in letter.headers


def test_expired_messages_go_wherever_they_stand(house: House) -> None:
    """A short-lived message behind a long-lived one, or delayed beyond its life, expires at its own time."""
    house.send("q", b"long")
    house.send("q", b"short", expires_ms=1000)
    house.send("q", b"delayed", expires_ms=1000, delay_ms=5000)
    assert house.room.next_deadline(house.now) == pytest.approx(house.now.mono_s + 1)
    house.advance(1)
    assert house.counts("q") == (1, 0, 0)
    assert [letter.value for letter in house.drain("q.dlq")] == [b"short", b"delayed"]


def test_take_itself_sees_what_expired() -> None:
    """Without any tick in between, an expired message is not handed out; without a dead-letter queue it is dropped."""
    house = House()
    house.queue("q", message_ttl_s=1)
    house.send("q", b"a")
    house.advance(1, tick=False)
    assert house.take(house.consume("q")).got == []
    assert house.counts("q") == (0, 0, 0)


def test_an_unsettled_message_expires_when_it_comes_back(house: House) -> None:
    """Time to live is not enforced at a consumer: an ack in time's absence stands, a release ends in expiry."""
    house.send("q", b"a", b"b", expires_ms=1000)
    consumer = house.consume("q")
    one, two = house.take(consumer).tags
    house.advance(2)
    assert house.counts("q") == (0, 2, 0)
    assert house.take(consumer, settle=[("ack", one), ("release", two, 0)]) == ([], [], True)
    assert [letter.value for letter in house.drain("q.dlq")] == [b"b"]


def test_a_clock_set_back_does_not_revive(house: House) -> None:
    """What expired at a consumer stays expired though the wall clock now says otherwise."""
    house.send("q", b"a", expires_ms=1000)
    consumer = house.consume("q")
    (tag,) = house.take(consumer).tags
    house.advance(2)
    house.now = house.now._replace(wall_ms=WALL_MS)
    assert house.take(consumer, settle=[("release", tag, 0)]).got == []
    assert house.counts("q.dlq") == (1, 0, 0)


def test_expired_without_a_target_is_kept_back_until_there_is_one() -> None:
    """While the dead-letter queue is missing, the message is not delivered, not lost, and counted as blocked."""
    house = House()
    house.queue("q", message_ttl_s=1, dead_letter="later")
    house.send("q", b"a")
    house.advance(1)
    assert house.call("describe_queue", name="q")["blocked"] == 1
    assert house.take(house.consume("q")).got == []
    house.queue("later")
    assert house.room.next_deadline(house.now) is not None
    house.advance(1)
    assert house.call("describe_queue", name="q")["blocked"] == 0
    assert house.counts("later") == (1, 0, 0)


def test_an_unused_queue_goes_when_its_time_is_over() -> None:
    """No consumer and no take for expires_s deletes the queue, its messages undelivered to any dead-letter queue."""
    house = House()
    house.queue("q", expires_s=10, dead_letter="q.dlq")
    house.queue("q.dlq")
    house.send("q", b"a")
    house.advance(6)
    consumer = house.consume("q")
    house.advance(20)
    house.call("cancel", consumer=consumer)
    assert house.room.next_deadline(house.now) == pytest.approx(house.now.mono_s + 10)
    house.advance(9.9)
    assert house.counts("q") == (1, 0, 0)
    house.advance(0.1)
    assert [queue["name"] for queue in house.call("list_queues")["queues"]] == ["q.dlq"]
    assert house.counts("q.dlq") == (0, 0, 0)
    assert [queue["name"] for queue in house.crash().call("list_queues")["queues"]] == ["q.dlq"]


# --- priority


def test_higher_priorities_come_first_and_each_in_order() -> None:
    """Highest first, first in first out inside; above the highest counts as it; none is 0."""
    house = House()
    house.queue("q", max_priority=2)
    house.send("q", b"none1", b"none2")
    for value, priority in ((b"low", 1), (b"high1", 2), (b"above", 9), (b"high2", 2), (b"zero", 0)):
        house.send("q", value, priority=priority)
    expected = [b"high1", b"above", b"high2", b"low", b"none1", b"none2", b"zero"]
    assert [got.value for got in house.browse("q")] == expected
    assert [got.value for got in house.drain("q")] == expected


def test_priority_is_ignored_where_the_queue_has_none(house: House) -> None:
    """Without max_priority the header is carried and does not order."""
    house.send("q", b"a", priority=0)
    house.send("q", b"b", priority=9)
    assert [got.value for got in house.drain("q")] == [b"a", b"b"]


def test_a_returned_message_keeps_its_priority() -> None:
    """It stands before later messages of its priority and behind higher ones."""
    house = House()
    house.queue("q", max_priority=1)
    house.send("q", b"low1", b"low2", priority=0)
    consumer = house.consume("q", prefetch=1)
    (tag,) = house.take(consumer).tags
    house.send("q", b"high", priority=1)
    house.take(consumer, 0, [("retry", tag, 0, None)])
    assert [got.value for got in house.drain("q")] == [b"high", b"low1", b"low2"]


@pytest.mark.parametrize("name", [reserved.PRIORITY, reserved.DELAY_MS, reserved.EXPIRES_MS])
@pytest.mark.parametrize("value", [b"", b"x", b"-1", b"1.5"])
def test_a_wrong_reserved_header_enqueues_nothing(name: str, value: bytes) -> None:
    """One record that cannot be read refuses its batch, before a drop-head queue has dropped anything for it."""
    house = House()
    house.queue("q", max_length=1, overflow="drop-head")
    house.send("q", b"old")
    with pytest.raises(errors.InvalidSpec, match=name):
        house.send("q", b"a", headers={name: value})
    assert [got.value for got in house.browse("q")] == [b"old"]


# --- storage that fails


def test_a_failed_write_changes_nothing(house: House) -> None:
    """Each operation on a full disk raises and leaves counts, order, attempts and tags as they were."""
    house.send("q", b"a", b"b", b"c", b"d")
    consumer = house.consume("q", prefetch=3)
    tags = house.take(consumer, 3).tags
    settle = [("ack", tags[0]), ("retry", tags[1], 0, None), ("release", tags[2], 5)]
    house.store.room_for = 0
    with pytest.raises(errors.Rejected):
        house.take(consumer, 3, settle)
    with pytest.raises(errors.Rejected):
        house.take(consumer, 0, [("reject", tags[0], None)])
    with pytest.raises(errors.Rejected):
        house.send("q", b"e")
    with pytest.raises(errors.Rejected):
        house.call("purge_queue", name="q")
    assert house.counts("q") == (1, 3, 0)
    house.store.room_for = None
    unseen = house.take(consumer, 1, [("return", tags[0])]).got
    assert [(one.value, one.attempt, one.redelivered) for one in unseen] == [(b"a", 1, False)]
    settle[0] = ("ack", unseen[0].tag)
    after = house.take(consumer, 3, settle)
    assert after.errors == []
    assert [(one.value, one.attempt, one.redelivered) for one in after.got] == [(b"b", 2, True), (b"d", 1, False)]
    assert house.counts("q") == (0, 2, 1)
    assert house.call("describe_queue", name="q")["size_bytes"] == 3


@pytest.mark.parametrize("verb", ["release", "retry"])
def test_a_failed_give_back_leaves_no_mark(house: House, verb: str) -> None:
    """What a full disk undid is as before: not counted, not marked, not delayed."""
    house.send("q", b"a")
    consumer = house.consume("q")
    (tag,) = house.take(consumer).tags
    house.store.room_for = 0
    with pytest.raises(errors.Rejected):
        house.take(consumer, 1, [(verb, tag, 5)])
    house.store.room_for = None
    (one,) = house.take(consumer, 1, [("return", tag)]).got
    assert (one.attempt, one.redelivered) == (1, False)


def test_a_letter_written_before_a_failed_settlement_may_come_twice_and_never_not_at_all(house: House) -> None:
    """The dead-letter queue is written first; if the source cannot be, the message stays unsettled there."""
    house.send("q", b"a")
    consumer = house.consume("q")
    (tag,) = house.take(consumer).tags
    house.store.room_for = 1
    with pytest.raises(errors.Rejected):
        house.take(consumer, settle=[("reject", tag, None)])
    assert (house.counts("q"), house.counts("q.dlq")) == ((0, 1, 0), (1, 0, 0))
    house.store.room_for = None
    assert house.take(consumer, settle=[("reject", tag, None)]).errors == []
    assert (house.counts("q"), house.counts("q.dlq")) == ((0, 0, 0), (2, 0, 0))


def test_expiry_on_a_full_disk_waits(house: House) -> None:
    """A tick that cannot write raises nothing, delivers nothing, loses nothing, and is caught up later."""
    house.send("q", b"a", expires_ms=1000)
    house.store.room_for = 0
    house.advance(1)
    assert house.call("describe_queue", name="q")["blocked"] == 1
    house.store.room_for = None
    house.advance(1)
    assert house.counts("q.dlq") == (1, 0, 0)
    assert house.call("describe_queue", name="q")["blocked"] == 0


def test_a_consumer_that_dies_on_a_full_disk_gives_back_all_the_same(house: House) -> None:
    """The error is raised, and the messages are ready again, counted."""
    house.send("q", b"a")
    house.take(house.consume("q", session=5), session=5)
    house.store.room_for = 0
    with pytest.raises(errors.Rejected):
        house.room.close_session(5, False, house.now)
    house.store.room_for = None
    assert house.counts("q") == (1, 0, 0)
    assert [got.attempt for got in house.drain("q")] == [2]


def test_one_call_is_one_entry(house: House) -> None:
    """However many messages a call settles and hands out, its journal grows by one entry."""
    house.send("q", *[b"%d" % number for number in range(100)])
    consumer = house.consume("q", prefetch=50)
    tags = house.take(consumer, 50).tags
    before = len(house.store.history)
    house.take(consumer, 50, [("ack", tag) for tag in tags[:40]] + [("release", tag, 0) for tag in tags[40:]])
    assert len(house.store.history) == before + 1
    house.take(consumer, 0)
    assert len(house.store.history) == before + 1


def test_one_take_is_bounded_in_bytes() -> None:
    """Large messages are handed out a few at a time, and one that is larger than the bound alone."""
    house = House()
    house.queue("q")
    mib = 1 << 20
    for value in (b"a" * 9 * mib, b"b" * 3 * mib, b"c" * 3 * mib, b"d" * 3 * mib):
        house.send("q", value)
    consumer = house.consume("q")
    assert [[(value or b"")[:1] for value in house.take(consumer).values] for _ in range(4)] == [
        [b"a"],
        [b"b", b"c"],
        [b"d"],
        [],
    ]
    assert house.counts("q") == (0, 4, 0)


def test_purge_leaves_what_consumers_hold(house: House) -> None:
    """Ready and delayed messages go, for good; unsettled ones stay."""
    house.send("q", b"held", b"ready")
    house.send("q", b"delayed", delay_ms=1000)
    consumer = house.consume("q", prefetch=1)
    house.take(consumer)
    assert house.call("purge_queue", name="q") == {"purged": 2}
    assert house.counts("q") == (0, 1, 0)
    house.advance(5)
    assert house.counts("q") == (0, 1, 0)
    assert [got.value for got in house.crash().drain("q")] == [b"held"]


def test_memory_of_expired_messages_is_given_back() -> None:
    """Thousands of messages that expired behind one that nobody takes do not pile up in the order of the ready."""
    house = House(WatchedStore())
    house.queue("q")
    house.send("q", b"stays")
    for _ in range(50):
        house.send("q", *[b"goes"] * 100, expires_ms=10)
        house.advance(0.01)
    queue = house.room._queues["q"]
    assert sum(len(level.fresh) + len(level.returned) for level in queue._ready._levels) < 500
    assert len(queue._expiries._entries) == 0
    assert [got.value for got in house.drain("q")] == [b"stays"]


def test_memory_of_settled_messages_with_a_long_life_is_given_back() -> None:
    """Messages that would live for a day and are acknowledged at once do not stay in the heap of lives for a day."""
    house = House()
    house.queue("q", message_ttl_s=86_400)
    house.send("q", b"held, with the first life to end")
    house.take(house.consume("q", prefetch=1))
    for _ in range(50):
        house.send("q", *[b"x"] * 100)
        house.drain("q")
    assert len(house.room._queues["q"]._expiries._entries) < 500
