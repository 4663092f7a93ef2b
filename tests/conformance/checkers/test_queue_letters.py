"""Dead letters, judged: why they died, when, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.checkers.queue_tale import COPYING, LETTERS, QUEUE, Tale


def story(*vals: str, claims: dict[str, str] | None = None, send: dict[str, Any] | None = None, **spec: Any) -> Tale:
    """Messages that were sent."""
    tale = Tale(claims)
    tale.queue(**spec)
    tale.producer().send(*(vals or ("m",)), **(send or {}))
    return tale


def failed(times: int, verb: str = "retry", **spec: Any) -> Tale:
    """Delivered so often, and failed each time."""
    tale = story(**spec)
    taker = tale.consumer()
    for number in range(1, times + 1):
        attempt = number if verb == "retry" else 1
        taker.one("m", attempt=attempt, redelivered=number > 1).settle(verb)
    taker.close()
    return tale


# --- DLQ-premature


def test_what_nobody_rejected_is_not_rejected() -> None:
    """A letter that says so, and no verb; with the verb, even one under way, it may be."""
    tale = story()
    taken = tale.consumer().one("m")
    tale.look("letters", QUEUE, "m")
    assert tale.errors() == ["DLQ-premature"]
    for kind in ("ok", None):
        tale = story()
        taken = tale.consumer().one("m")
        taken.settle("reject", kind)
        tale.look("letters", QUEUE, "m")
        assert tale.errors() == []


def test_a_verb_after_the_letter_does_not_explain_it() -> None:
    """Rejected too late to be the cause."""
    tale = story()
    taken = tale.consumer().one("m")
    tale.look("letters", QUEUE, "m")
    taken.reject()
    assert tale.errors() == ["DLQ-premature"]


def test_what_run_rejected_may_be_rejected() -> None:
    """A handler that failed under `run` leaves no verb."""
    tale = story()
    tale.consumer().shown("m", 1, False, handler=True)
    tale.look("letters", QUEUE, "m")
    assert tale.errors() == []


def test_after_too_few_attempts_nothing_is_dead() -> None:
    """One short of the limit, by the deliveries; at the limit it may be."""
    for times, errors in ((2, ["DLQ-premature"]), (3, [])):
        tale = failed(times, max_attempts=3)
        tale.look("letters", QUEUE, "m", reason="max-attempts")
        assert tale.errors() == errors


def test_a_letter_that_says_too_few_attempts() -> None:
    """Its own number convicts it, on every engine."""
    for claims in (None, COPYING):
        tale = failed(3, max_attempts=3, claims=claims)
        tale.look("letters", QUEUE, "m", reason="max-attempts", attempt=2)
        assert tale.errors() == ["DLQ-premature"]
        tale = failed(3, max_attempts=3, claims=claims)
        tale.look("letters", QUEUE, "m", reason="max-attempts", attempt=3)
        assert tale.errors() == []


def test_releases_are_no_attempts() -> None:
    """Three of them kill nothing, where releases do not count."""
    tale = failed(3, "release", max_attempts=3)
    tale.look("letters", QUEUE, "m", reason="max-attempts")
    assert tale.errors() == ["DLQ-premature"]


def test_attempts_that_nobody_was_shown() -> None:
    """Consumers that died may have had it; an engine that counts what it fetches may have counted more."""
    tale = story(max_attempts=1)
    tale.consumer(proc="w").kill()
    tale.look("letters", QUEUE, "m", reason="max-attempts")
    assert tale.errors() == []
    tale = story(max_attempts=3, claims=COPYING)
    tale.look("letters", QUEUE, "m", reason="max-attempts")
    assert tale.errors() == []


def test_without_a_limit_nothing_dies_of_attempts() -> None:
    """Nor of length, in a queue that has none."""
    for reason in ("max-attempts", "max-length"):
        tale = failed(3)
        tale.look("letters", QUEUE, "m", reason=reason)
        assert tale.errors() == ["DLQ-premature"]


def test_a_full_queue_may_drop() -> None:
    """Dead of its limit."""
    tale = story(max_length=1, overflow="drop-head")
    tale.look("letters", QUEUE, "m", reason="max-length")
    assert tale.errors() == []


def test_a_letter_without_a_reason_needs_a_cause() -> None:
    """Any of those that there can be; none at all is premature."""
    tale = failed(1)
    tale.look("letters", QUEUE, "m", reason=None)
    assert tale.errors() == ["DLQ-premature"]
    tale = failed(1, "reject")
    tale.look("letters", QUEUE, "m", reason=None)
    assert tale.errors() == []


def test_a_reason_of_another_kind_is_not_judged() -> None:
    """What nobody knows is not wrong."""
    tale = story()
    tale.look("letters", QUEUE, "m", reason="delivery_limit")
    assert tale.errors() == []


def test_what_a_dead_letter_queue_delivers_is_a_letter() -> None:
    """Judged like what observers see; not where it was sent itself, or where it may come from another queue."""
    tale = story()
    tale.consumer("u", LETTERS).one("m", death="rejected")
    assert tale.errors() == ["DLQ-premature"]
    tale = story()
    tale.producer("q").send("m", dest=LETTERS)
    tale.consumer("u", LETTERS).one("m")
    assert tale.errors() == []
    tale = story()
    tale.queue("queue:other", dead_letter=LETTERS)
    tale.producer("q").send("m", dest="queue:other")
    tale.consumer("u", LETTERS).one("m", death="rejected")
    assert tale.errors() == []


def test_one_finding_a_message() -> None:
    """However often it is seen."""
    tale = story()
    for _ in range(3):
        tale.look("letters", QUEUE, "m")
    assert tale.errors() == ["DLQ-premature"]


# --- ttl-early


@pytest.mark.parametrize(
    ("spec", "send"),
    [({"message_ttl_s": 10}, {}), ({}, {"expires_in_s": 10}), ({"message_ttl_s": 10}, {"expires_in_s": 60})],
)
def test_nothing_expires_before_its_time(spec: dict[str, Any], send: dict[str, Any]) -> None:
    """By the smaller of the queue's time and its own; afterwards it may."""
    for seconds, errors in ((9, ["ttl-early"]), (11, [])):
        tale = story(send=send, **spec)
        tale.wait(seconds)
        tale.look("letters", QUEUE, "m", reason="expired")
        assert tale.errors() == errors


def test_a_message_for_ever_does_not_expire() -> None:
    """It has no time at all."""
    tale = story()
    tale.wait(100)
    tale.look("letters", QUEUE, "m", reason="expired")
    assert tale.errors() == ["ttl-early"]


def test_a_letter_without_a_reason_and_before_its_time() -> None:
    """If only its time could have killed it, it was too early."""
    tale = story(message_ttl_s=10)
    tale.look("letters", QUEUE, "m", reason=None)
    assert tale.errors() == ["ttl-early"]


def test_a_hair_is_no_anomaly() -> None:
    """Brokers count in milliseconds, by clocks of their own."""
    tale = story(message_ttl_s=1)
    tale.wait(0.96)
    tale.look("letters", QUEUE, "m", reason="expired")
    assert tale.errors() == []


# --- dlq-dup


def test_one_message_leaves_one_letter() -> None:
    """Two at one time are one too many; seen twice, one after another, it is one."""
    tale = failed(1, "reject")
    tale.look("letters", QUEUE, "m")
    tale.look("letters", QUEUE, "m")
    assert tale.errors() == []
    tale.look("letters", QUEUE, "m", "m")
    tale.look("letters", QUEUE, "m", "m")
    assert tale.errors() == ["dlq-dup"]


def test_two_messages_leave_two() -> None:
    """Sent twice."""
    tale = story("m", "m")
    taker = tale.consumer()
    for _ in range(2):
        taker.one("m").reject()
    tale.look("letters", QUEUE, "m", "m")
    assert tale.errors() == []


@pytest.mark.parametrize("what", ["broker", "consumer"])
def test_what_dies_in_trouble_may_leave_two(what: str) -> None:
    """A broker that failed, a consumer that died: counted."""
    tale = story()
    victim = tale.consumer(proc="w")
    victim.one("m").reject()
    if what == "broker":
        tale.fault("kill", "broker")
    else:
        victim.kill()
    tale.look("letters", QUEUE, "m", "m")
    assert (tale.errors(), tale.counted()) == ([], ["dlq-dup"])


def test_old_letters_of_an_engine_that_copies() -> None:
    """Taken and given back, a letter is written anew, and the old one may still be seen; untouched, it may not."""
    for taken, errors in ((True, []), (False, ["dlq-dup"])):
        tale = failed(1, "reject", claims=COPYING)
        if taken:
            undertaker = tale.consumer("u", LETTERS)
            undertaker.one("m").release()
            undertaker.close()
        tale.look("letters", QUEUE, "m", "m")
        assert tale.errors() == errors
