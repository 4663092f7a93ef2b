"""What is written when a message moves, without a broker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mqbridge.messages import read_death
from mqbridge.semantics import reserved
from mqbridge_kafka.letters import Arrived, copy_to_tail, dead_letter, origin_of, redriven
from mqbridge_kafka.records import NativeHeaders, decode_headers
from mqbridge_kafka.verdicts import Terms, Verb, judge, on_arrival

NOW_MS = 1_800_000_000_000
TERMS = Terms("q", "q.mqq", 3, "q.dlq.mqq", None, 10, 1_000_000)
USERS: NativeHeaders = [("h", b"1"), ("h", b"2"), (reserved.MESSAGE_ID, b"id")]


def _message(deliveries: int = 1, headers: NativeHeaders | None = None, timestamp_ms: int = NOW_MS) -> Arrived:
    return Arrived(b"v", b"k", USERS if headers is None else headers, timestamp_ms, deliveries)


@pytest.mark.parametrize("deliveries", [1, 2, 7])
def test_a_released_copy_comes_as_the_same_attempt(deliveries: int) -> None:
    """However often a message was copied, the copy's first delivery has the attempt number that the original had."""
    message = _message(deliveries)
    for _ in range(3):
        letter = judge("release", None, message, TERMS, NOW_MS).letter
        assert letter is not None
        again = Arrived(letter.value, letter.key, letter.headers, letter.timestamp_ms, 1)
        assert (again.attempt, again.redelivered) == (message.attempt, True)
        assert [pair for pair in again.headers if pair[0] != reserved.ATTEMPTS] == USERS
        message = again


def test_what_was_never_shown_goes_back_as_it_came() -> None:
    """A first delivery that is returned unseen leaves no trace; a copy of a copy keeps what it carries."""
    letter = judge("return", None, _message(), TERMS, NOW_MS).letter
    assert letter is not None
    assert letter.headers == USERS
    carried = _message(headers=[*USERS, (reserved.ATTEMPTS, b"2")])
    letter = judge("return", None, carried, TERMS, NOW_MS).letter
    assert letter is not None
    assert Arrived(b"", b"", letter.headers, 0, 1).attempt == 3


def test_a_retry_releases_until_the_queues_limit_and_then_dead_letters() -> None:
    """Below the limit the broker's count serves; at the limit a letter is written, and the message accepted."""
    assert judge("retry", "e", _message(1), TERMS, NOW_MS) == (False, None)
    assert judge("retry", "e", _message(2), TERMS, NOW_MS) == (False, None)
    verdict = judge("retry", "e", _message(3), TERMS, NOW_MS)
    assert verdict.accept
    assert verdict.letter is not None
    death = read_death(decode_headers(verdict.letter.headers))
    assert death is not None
    assert (death.reason, death.origin, death.attempts, death.error) == ("max-attempts", "queue:q", 3, "e")


@pytest.mark.parametrize("limit", [2, 3, 5, 10])
def test_no_retry_lets_the_broker_reach_its_own_limit(limit: int) -> None:
    """Whatever the broker's limit: a message that is retried for ever is never released with that many deliveries."""
    terms = replace(TERMS, max_attempts=None, limit=limit)
    message, attempt = _message(1), 1
    for _ in range(40):
        verb = on_arrival(message, terms, NOW_MS)
        if verb is None:
            assert message.attempt == attempt
            attempt += 1
        verdict = judge(verb or "retry", None, message, terms, NOW_MS)
        if verdict.letter is None:
            assert message.deliveries < limit
            message = replace(message, deliveries=message.deliveries + 1)
        else:
            message = Arrived(b"v", b"k", verdict.letter.headers, NOW_MS, 1)
    assert attempt > 20


def test_a_message_whose_consumers_died_too_often_is_dead_lettered_unseen() -> None:
    """Beyond max_attempts it is not shown again; the letter counts the attempts that were shown."""
    assert on_arrival(_message(3), TERMS, NOW_MS) is None
    assert on_arrival(_message(4), TERMS, NOW_MS) == "exhaust"
    letter = judge("exhaust", None, _message(4), TERMS, NOW_MS).letter
    assert letter is not None
    death = read_death(decode_headers(letter.headers))
    assert death is not None
    assert (death.reason, death.attempts) == ("max-attempts", 3)


@pytest.mark.parametrize(
    ("queue_ttl_ms", "headers", "expired"),
    [
        (None, [], False),
        (1000, [], True),
        (2000, [], False),
        (2000, [(reserved.EXPIRES_MS, b"1500")], True),
        (1000, [(reserved.ENQUEUED_MS, b"%d" % NOW_MS)], False),
        (None, [(reserved.EXPIRES_MS, b"nonsense")], False),
    ],
)
def test_time_to_live_is_the_shorter_one_from_the_enqueue(
    queue_ttl_ms: int | None, headers: NativeHeaders, expired: bool
) -> None:
    """1.5 s after the record's timestamp, unless a header says that it came later."""
    message = _message(headers=headers, timestamp_ms=NOW_MS - 1500)
    terms = replace(TERMS, ttl_ms=queue_ttl_ms)
    assert on_arrival(message, terms, NOW_MS) == ("expire" if expired else None)


@pytest.mark.parametrize("verb", ["reject", "expire"])
def test_without_a_dead_letter_queue_it_is_dropped(verb: Verb) -> None:
    """Accepted, and nothing is written."""
    assert judge(verb, None, _message(), replace(TERMS, dead_letter_topic=None), NOW_MS) == (True, None)


def test_a_letter_redriven_is_the_message_as_it_was() -> None:
    """Death, attempts and its time to live are gone; id, key and the user's headers, repeated ones too, are there."""
    message = _message(2, [*USERS, (reserved.ATTEMPTS, b"4"), (reserved.EXPIRES_MS, b"5")])
    letter = judge("reject", "bad", message, TERMS, NOW_MS).letter
    assert letter is not None
    dead = Arrived(letter.value, letter.key, letter.headers, letter.timestamp_ms, 1)
    assert (dead.attempt, origin_of(dead)) == (1, "q")
    again = redriven(dead, "q.mqq", NOW_MS)
    assert again.headers == [*USERS, (reserved.ENQUEUED_MS, b"%d" % NOW_MS)]
    assert (again.value, again.key, again.timestamp_ms) == (b"v", b"k", NOW_MS)


def test_the_text_of_a_letter_never_makes_it_too_large() -> None:
    """A long text is cut at a character's end; for a message at the limit nothing of it is left."""
    room = 10_000
    small = dead_letter(
        _message(), "t", origin="q", reason="rejected", attempts=1, text="ä" * 5000, wall_ms=1, room_bytes=room
    )
    assert len(dict(small.headers)[reserved.DEATH_ERROR] or b"") == 2000
    big = replace(_message(), value=b"x" * 9_990)
    letter = dead_letter(big, "t", origin="q", reason="rejected", attempts=1, text="ä", wall_ms=1, room_bytes=room)
    assert dict(letter.headers)[reserved.DEATH_ERROR] == b""


def test_a_copy_without_attempts_is_no_copy_of_a_shown_message() -> None:
    """A copy of what was shown says so even with no attempt to carry; one that was not shown does not."""
    assert (reserved.ATTEMPTS, b"0") in copy_to_tail(_message(), "t", 0, shown=True).headers
    assert reserved.ATTEMPTS not in dict(copy_to_tail(_message(), "t", 0, shown=False).headers)
