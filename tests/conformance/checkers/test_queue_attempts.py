"""Attempt numbers, the redelivered flag and the limit of attempts, judged."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.checkers.queue_tale import COPYING, DIRECT, QUEUE, Tale


def story(*vals: str, claims: dict[str, str] | None = None, **spec: Any) -> Tale:
    """Messages that were sent."""
    tale = Tale(claims)
    tale.queue(**spec)
    tale.producer().send(*(vals or ("m",)))
    return tale


def twice(verb: str, second: int, first: int = 1, claims: dict[str, str] | None = None, **spec: Any) -> Tale:
    """Delivered as attempt `first`, given back by a verb, and delivered as attempt `second`."""
    tale = story(claims=claims, **spec)
    taker = tale.consumer()
    taker.one("m", attempt=first).settle(verb)
    taker.one("m", attempt=second, redelivered=True)
    taker.nothing()
    return tale


def test_a_first_delivery_is_the_first() -> None:
    """Not the second, and not the zeroth."""
    for attempt, errors in ((1, []), (2, ["attempt-wrong"]), (0, ["attempt-wrong"])):
        tale = story()
        tale.consumer().one("m", attempt=attempt)
        assert tale.errors() == errors


def test_a_failure_counts_once() -> None:
    """Not at all and twice are both wrong."""
    assert [twice("retry", second).errors() for second in (1, 2, 3)] == [["attempt-wrong"], [], ["attempt-wrong"]]


def test_a_release_does_not_count() -> None:
    """Where that is claimed; where it is not, it may count once."""
    assert twice("release", 1).errors() == []
    assert twice("release", 2).errors() == ["release-counted"]
    uncounted = {**DIRECT, "RELEASE_UNCOUNTED": "unsupported"}
    assert twice("release", 2, claims=uncounted).errors() == []
    assert twice("release", 3, claims=uncounted).errors() == ["release-counted"]


def test_a_number_does_not_go_back() -> None:
    """Whatever happened in between."""
    tale = story()
    taker = tale.consumer()
    taker.one("m").retry()
    taker.one("m", attempt=2, redelivered=True).release()
    taker.one("m", attempt=1, redelivered=True)
    assert tale.errors() == ["attempt-wrong"]


def test_closing_does_not_count() -> None:
    """What it held goes back uncounted."""
    for attempt, errors in ((1, []), (2, ["attempt-wrong"])):
        tale = story()
        taker = tale.consumer()
        taker.take("m")
        taker.close()
        tale.consumer("d").one("m", attempt=attempt, redelivered=True)
        assert tale.errors() == errors


def test_dying_counts() -> None:
    """Exactly once for the one who had it."""
    for attempt, errors in ((1, ["attempt-wrong"]), (2, []), (3, ["attempt-wrong"])):
        tale = story()
        victim = tale.consumer(proc="w")
        victim.take("m")
        victim.kill()
        tale.consumer("d").one("m", attempt=attempt, redelivered=True)
        assert tale.errors() == errors


def test_dying_unseen_may_count() -> None:
    """One who died may have had it and shown it to nobody: before the first delivery, and between two."""
    tale = story()
    tale.consumer("x", proc="w").kill()
    tale.consumer().one("m", attempt=2, redelivered=True)
    assert tale.errors() == []
    tale = story()
    taker = tale.consumer()
    taker.one("m").release()
    tale.consumer("x", proc="w").kill()
    taker.one("m", attempt=2, redelivered=True)
    assert tale.errors() == []


def test_dying_counts_once_for_each() -> None:
    """One death explains one, not two."""
    tale = story()
    tale.consumer("x", proc="w").kill()
    tale.consumer().one("m", attempt=3, redelivered=True)
    assert tale.errors() == ["attempt-wrong"]


def test_the_dead_of_another_queue_explain_nothing() -> None:
    """They never had it."""
    tale = story()
    tale.queue("queue:other")
    tale.consumer("x", "queue:other", proc="w").kill()
    tale.consumer().one("m", attempt=2, redelivered=True)
    assert tale.errors() == ["attempt-wrong"]


def test_the_dead_of_before_explain_nothing() -> None:
    """Who died before the message was sent never had it."""
    tale = Tale()
    tale.queue()
    tale.consumer("x", proc="w").kill()
    tale.producer().send("m")
    tale.consumer().one("m", attempt=2, redelivered=True)
    assert tale.errors() == ["attempt-wrong"]


def test_a_verb_that_died_with_its_consumer_counts_or_not() -> None:
    """A retry may have been told, or the death counted, or both, after it came back unseen; a release may have been
    lost, and the death counted."""
    for verb, attempts in (("retry", (2, 3)), ("release", (1, 2))):
        for attempt in range(1, 5):
            tale = story()
            victim = tale.consumer(proc="w")
            victim.one("m").settle(verb)
            victim.kill()
            tale.consumer("d").one("m", attempt=attempt, redelivered=True)
            assert (tale.errors() == []) == (attempt in attempts)


@pytest.mark.parametrize("what", ["stop", "broker", "silence"])
def test_who_may_have_lost_it_any_number_of_times(what: str) -> None:
    """A stopped process, one that fell silent, a broker in trouble: any number from the last on, or from any."""
    tale = story()
    taker = tale.consumer(proc="w")
    taker.take("m")
    if what == "stop":
        tale.fault("stop", "w")
    elif what == "broker":
        tale.fault("kill", "broker")
    tale.consumer("d").one("m", attempt=5, redelivered=True)
    assert tale.errors() == []


def test_a_broker_that_fails_may_forget_failures() -> None:
    """The number may stay; it does not go back even then."""
    for second, errors in ((2, []), (1, ["attempt-wrong"])):
        tale = story()
        taker = tale.consumer()
        taker.one("m").retry()
        taker.one("m", attempt=2, redelivered=True).retry()
        tale.fault("kill", "broker")
        tale.heal("kill", "broker")
        taker.one("m", attempt=second, redelivered=True)
        assert tale.errors() == errors


def test_an_engine_that_counts_what_it_fetches_may_count_more() -> None:
    """There only too small a number is wrong."""
    assert [twice("retry", second, claims=COPYING).errors() for second in (1, 2, 4)] == [["attempt-wrong"], [], []]
    assert twice("release", 2, claims=COPYING).errors() == []


def test_two_copies_are_not_told_apart() -> None:
    """Their numbers are their own."""
    tale = story("m", "m")
    taker = tale.consumer()
    taker.one("m").retry()
    taker.one("m", attempt=1).ack()
    taker.one("m", attempt=2, redelivered=True)
    assert tale.errors() == []


def test_a_classic_queue_tells_first_from_later() -> None:
    """No more, so nothing is said of its numbers; of the flag it is."""
    assert twice("retry", 5, type="classic").errors() == []


def test_what_is_not_claimed_is_counted() -> None:
    """Numbers, flags and limits, each without its claim."""
    tale = twice("retry", 3, claims={**DIRECT, "ATTEMPT_NUMBER": "unsupported"})
    assert (tale.errors(), tale.counted()) == ([], ["attempt-wrong"])
    tale = twice("retry", 2, first=1, claims={**DIRECT, "MAX_ATTEMPTS": "unsupported"}, max_attempts=1)
    assert (tale.errors(), tale.counted()) == ([], ["delivery-limit"])


# --- the flag


def test_a_redelivery_says_so() -> None:
    """After a verb it is an unflagged redelivery, after the end of its consumer a duplicate without a flag."""
    for verb, attempt in (("release", 1), ("retry", 2)):
        tale = story()
        taker = tale.consumer()
        taker.one("m").settle(verb)
        taker.one("m", attempt=attempt)
        assert tale.errors() == ["unflagged-redelivery"]
    for end, attempt in (("close", 1), ("kill", 2)):
        tale = story()
        taker = tale.consumer(proc="w")
        taker.take("m")
        getattr(taker, end)()
        tale.consumer("d").one("m", attempt=attempt)
        assert tale.errors() == ["dup-unflagged"]


def test_a_flag_that_is_not_told_is_none() -> None:
    """Where there is none at all, nothing is missing."""
    tale = story()
    taker = tale.consumer()
    taker.one("m").release()
    taker.take("m", redelivered=None)  # type: ignore[arg-type]
    assert tale.errors() == []


def test_a_first_delivery_may_say_that_it_is_none() -> None:
    """It may have been fetched, and shown to nobody."""
    tale = story()
    tale.consumer().one("m", redelivered=True)
    assert tale.errors() == []


def test_a_broker_that_fails_may_forget_the_flag() -> None:
    """Counted."""
    tale = story()
    taker = tale.consumer()
    taker.take("m")
    tale.fault("kill", "broker")
    taker.one("m", attempt=2)
    assert (tale.errors(), tale.counted()) == ([], ["dup-unflagged"])


def test_another_copy_has_a_flag_of_its_own() -> None:
    """Where a dying consumer may leave two, and where the value was sent twice."""
    tale = story("m", "other", claims=COPYING)
    victim = tale.consumer("x", proc="w")
    victim.take("m")
    victim.kill()
    tale.consumer("d").one("m", attempt=2)
    assert (tale.errors(), tale.counted()) == ([], ["dup-unflagged"])
    tale = story("m", "m")
    tale.consumer().take("m")
    tale.consumer("d").take("m")
    assert (tale.errors(), tale.counted()) == ([], [])


def test_without_the_claim_the_flag_is_counted() -> None:
    """An engine without flags."""
    tale = story(claims={**DIRECT, "REDELIVERED": "unsupported"})
    taker = tale.consumer()
    taker.one("m").release()
    taker.one("m")
    assert (tale.errors(), tale.counted()) == ([], ["unflagged-redelivery"])


# --- the limit


def test_no_more_attempts_than_allowed() -> None:
    """The one past the limit is an error, the last one is not."""
    assert twice("retry", 2, max_attempts=2).errors() == []
    assert twice("retry", 2, max_attempts=1).errors() == ["delivery-limit"]


def failed(times: int, limit: int, claims: dict[str, str] | None = None, commit: bool = True) -> Tale:
    """So many failures that the broker knows, each said to be attempt 1, and then another delivery."""
    tale = story(claims=claims, max_attempts=limit)
    taker = tale.consumer()
    for number in range(times):
        taker.one("m", redelivered=number > 0).retry()
        if commit:
            taker.commit()
    taker.one("m", redelivered=True)
    return tale


def test_numbers_that_lie_hide_no_limit() -> None:
    """The failures are counted, whatever the attempts say."""
    assert "delivery-limit" in failed(2, 2).errors()
    assert "delivery-limit" not in failed(1, 2).errors()


def test_failures_that_the_broker_may_not_know_do_not_count() -> None:
    """Without a commit they may have been lost."""
    assert "delivery-limit" not in failed(2, 2, commit=False).errors()


def test_a_letter_that_could_not_be_written_comes_back() -> None:
    """An engine that writes letters itself puts the message back while it cannot, in trouble."""
    assert "delivery-limit" in failed(2, 2, COPYING).errors()
    tale = failed(2, 2, COPYING)
    tale.events[3] = tale.events[3]._replace(f="fault", more={"what": "cut", "at": "link"}, dest=None)
    assert "delivery-limit" not in tale.errors()


def test_each_copy_has_attempts_of_its_own() -> None:
    """Sent twice, failed twice, one attempt each."""
    tale = story("m", "m", max_attempts=1)
    taker = tale.consumer()
    for _ in range(2):
        taker.one("m").retry()
        taker.commit()
    assert tale.errors() == []


def test_a_limit_that_is_not_known_limits_nothing() -> None:
    """Declared in two ways."""
    tale = twice("retry", 2, max_attempts=1)
    tale.queue(QUEUE, max_attempts=3)
    assert tale.errors() == []
