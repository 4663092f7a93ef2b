"""Delays and times to live, judged."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.checkers.queue_tale import COPYING, DIRECT, QUEUE, Tale


def sent(claims: dict[str, str] | None = None, spec: dict[str, Any] | None = None, **send: Any) -> Tale:
    """One message."""
    tale = Tale(claims)
    tale.queue(**(spec or {}))
    tale.producer().send("m", **send)
    return tale


# --- delay-early


def test_a_delayed_message_does_not_come_before_its_time() -> None:
    """Counted from when its send began; a hair early is no anomaly."""
    for seconds, errors in ((9, ["delay-early"]), (9.97, []), (10, [])):
        tale = sent(delay_s=10)
        tale.wait(seconds)
        tale.consumer().one("m")
        assert tale.errors() == errors


@pytest.mark.parametrize("verb", ["release", "retry"])
def test_nor_does_one_that_is_given_back_for_later(verb: str) -> None:
    """By the verb's own delay; without one it may come at once."""
    for delay_s, errors in ((10, ["delay-early"]), (0, [])):
        tale = sent()
        taker = tale.consumer()
        taker.one("m").settle(verb, delay_s=delay_s)
        taker.one("m", attempt=1 + (verb == "retry"), redelivered=True)
        taker.nothing()
        assert tale.errors() == errors


def test_a_verb_that_may_have_been_lost_delays_nothing() -> None:
    """Its consumer died, the broker was in trouble, or nobody knows whether it was taken."""
    for how in ("kill", "broker", "half"):
        tale = sent()
        taker = tale.consumer(proc="w")
        taker.one("m").settle("retry", None if how == "half" else "ok", delay_s=10)
        if how == "kill":
            taker.kill()
        elif how == "broker":
            tale.fault("kill", "broker")
        tale.consumer("d").one("m", attempt=2, redelivered=True)
        taker.nothing()
        assert "delay-early" not in tale.errors()


def test_two_copies_have_a_delay_each() -> None:
    """They are not told apart."""
    tale = sent(delay_s=10)
    tale.producer("q").send("m")
    tale.consumer().one("m")
    assert tale.errors() == []


def test_without_the_claim_delays_are_counted() -> None:
    """An engine without delays, in sends and in verbs."""
    tale = sent({**DIRECT, "DELAYED_SEND": "unsupported"}, delay_s=10)
    tale.consumer().one("m")
    assert (tale.errors(), tale.counted()) == ([], ["delay-early"])
    tale = sent({**DIRECT, "DELAYED_RETRY": "unsupported"})
    taker = tale.consumer()
    taker.one("m").retry(delay_s=10)
    taker.one("m", attempt=2, redelivered=True)
    taker.nothing()
    assert (tale.errors(), tale.counted()) == ([], ["delay-early"])


# --- ttl-late


@pytest.mark.parametrize(("spec", "send"), [({"message_ttl_s": 10}, {}), ({}, {"expires_in_s": 10})])
def test_what_has_expired_is_not_delivered(spec: dict[str, Any], send: dict[str, Any]) -> None:
    """Not to one who came after its time; one who was there before may have had it."""
    for seconds, errors in ((12, ["ttl-late"]), (10, [])):
        tale = sent(spec=spec, **send)
        tale.wait(seconds)
        tale.consumer(asked_t=tale.now).one("m")
        assert tale.errors() == errors
    tale = sent(spec=spec, **send)
    taker = tale.consumer(asked_t=tale.now)
    tale.wait(12)
    taker.one("m")
    assert tale.errors() == []


def test_a_time_may_begin_when_a_delay_is_over() -> None:
    """Ten seconds after ten seconds."""
    tale = sent(delay_s=10, expires_in_s=10)
    tale.wait(15)
    tale.consumer(asked_t=tale.now).one("m")
    assert tale.errors() == []


def test_what_is_not_known_does_not_expire() -> None:
    """A queue declared in two ways, a send without an answer, a broker that stood still, a consumer that does not tell
    when it came."""
    for how in ("policy", "unknown", "broker", "untold"):
        tale = sent(spec={"message_ttl_s": 10}, outcome="info" if how == "unknown" else "ok")
        if how == "policy":
            tale.queue(QUEUE, message_ttl_s=20)
        elif how == "broker":
            tale.fault("pause", "broker")
        tale.wait(30)
        tale.consumer(asked_t=-1 if how == "untold" else tale.now).one("m")
        assert tale.errors() == []


def test_without_the_claim_expiry_is_counted() -> None:
    """An engine without it."""
    tale = sent({**COPYING, "MESSAGE_TTL": "unsupported"}, expires_in_s=10)
    tale.wait(30)
    tale.consumer(asked_t=tale.now).one("m")
    assert (tale.errors(), tale.counted()) == ([], ["ttl-late"])
