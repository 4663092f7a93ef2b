"""Answers to sends, judged: unroutable and confirmed, never answered, taken by a full queue."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.checkers.queue_tale import COPYING, DIRECT, QUEUE, Tale


def routed(
    *bindings: str,
    key: str = "k",
    kind: str = "direct",
    outcome: str = "ok",
    claims: dict[str, str] | None = None,
    **spec: Any,
) -> Tale:
    """A message to an exchange with these bindings to a queue."""
    tale = Tale(claims)
    tale.queue()
    tale.exchange(type=kind, **spec)
    for pattern in bindings:
        tale.bind("exchange:e", QUEUE, pattern)
    tale.producer().send("m", dest="exchange:e", routing_key=key, outcome=outcome)
    return tale


# --- unroutable-confirmed


def test_what_no_binding_carries_is_not_confirmed() -> None:
    """No binding, or none that matches; its failure is what is due."""
    assert routed().errors() == ["unroutable-confirmed"]
    assert routed("other").errors() == ["unroutable-confirmed"]
    assert routed("other", outcome="fail").errors() == []
    assert routed("k").errors() == []


@pytest.mark.parametrize(
    ("pattern", "key", "carried"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "a.b", True),
        ("*.b", "a.b", True),
        ("a.#.c", "a.c", True),
        ("a.#.c", "a.b.c.d", False),
        ("#.b.#", "a.b.c", True),
        ("#.b.#", "a.c", False),
        ("a.b", "a.b", True),
        ("*", "", True),  # what an empty word is, brokers decide
        ("a..b", "a.b", True),
        ("a..b", "a..b", True),
    ],
)
def test_topic_patterns(pattern: str, key: str, carried: bool) -> None:
    """A word, any number of words, and what cannot be told."""
    assert (routed(pattern, kind="topic", key=key).errors() == []) == carried


def test_what_headers_decide_is_not_judged() -> None:
    """They are not in a history; without any binding there is nothing to decide."""
    assert routed("", kind="headers").errors() == []
    assert routed(kind="headers").errors() == ["unroutable-confirmed"]


def test_a_binding_that_ever_was_may_have_carried_it() -> None:
    """Removed before, made afterwards: other senders may see it late."""
    tale = Tale()
    tale.queue()
    tale.exchange()
    tale.bind("exchange:e", QUEUE, "k")
    tale.bind("exchange:e", QUEUE, "k", f="unbind")
    tale.producer().send("m", dest="exchange:e", routing_key="k")
    assert tale.errors() == []


def test_an_alternate_exchange_catches_it() -> None:
    """If it leads anywhere."""
    for caught, errors in ((True, []), (False, ["unroutable-confirmed"])):
        tale = Tale()
        tale.queue()
        tale.exchange("exchange:rest", type="fanout")
        if caught:
            tale.bind("exchange:rest", QUEUE)
        tale.exchange(alternate="exchange:rest")
        tale.producer().send("m", dest="exchange:e", routing_key="k")
        assert tale.errors() == errors


def test_exchanges_in_a_row() -> None:
    """Through another exchange to a queue, or nowhere; a circle ends."""
    for onward, errors in (("k", []), ("other", ["unroutable-confirmed"])):
        tale = Tale()
        tale.queue()
        tale.exchange()
        tale.exchange("exchange:second")
        tale.bind("exchange:e", "exchange:second", "k")
        tale.bind("exchange:second", QUEUE, onward)
        tale.bind("exchange:second", "exchange:e", "k")
        tale.producer().send("m", dest="exchange:e", routing_key="k")
        assert tale.errors() == errors


def test_an_exchange_nobody_declared_may_lead_anywhere() -> None:
    """Also as the second of two, or declared in two ways."""
    tale = Tale()
    tale.producer().send("m", dest="exchange:strange")
    assert tale.errors() == []
    tale = Tale()
    tale.exchange()
    tale.bind("exchange:e", "exchange:strange", "k")
    tale.producer().send("m", dest="exchange:e", routing_key="k")
    assert tale.errors() == []
    tale = Tale()
    tale.exchange()
    tale.exchange(type="fanout")
    tale.producer().send("m", dest="exchange:e", routing_key="k")
    assert tale.errors() == []


def test_without_the_claim_it_is_counted() -> None:
    """An engine that does not report them."""
    tale = routed(claims={**DIRECT, "UNROUTABLE_REPORTED": "unsupported"})
    assert (tale.errors(), tale.counted()) == ([], ["unroutable-confirmed"])


# --- confirm-never


def unanswered(**producer: Any) -> Tale:
    tale = Tale()
    tale.queue()
    tale.producer(**producer).begin("m")
    return tale


def test_a_flush_that_ended_well_has_heard_of_all() -> None:
    """A send before it that has no end some time later never will have one; just afterwards, or with an end, it may."""
    for seconds, errors in ((10, ["confirm-never"]), (0, [])):
        tale = Tale()
        tale.queue()
        producer = tale.producer()
        end = producer.begin("m")
        producer.done("flush")
        tale.wait(seconds)
        tale.queue("queue:another")
        assert tale.errors() == errors
        end()
        assert tale.errors() == []


def test_a_flush_is_believed_after_the_patience_of_the_run() -> None:
    """As the run tells it; where it tells none, only the limits of the producer count."""
    for patience_s, errors in ((60.0, []), (9.0, ["confirm-never"]), (None, [])):
        tale = Tale(patience_s=patience_s)
        producer = tale.producer()
        producer.begin("m")
        producer.done("flush")
        tale.wait(10)
        tale.queue("queue:another")
        assert tale.errors() == errors


def test_who_is_told_of_a_later_send_has_been_told_of_all_before_the_flush() -> None:
    """At once: callbacks come one after another. Not of a send that began before the flush had ended, of another
    producer's, or of one that has no end either or was refused, maybe by the call itself."""
    outcomes = {"after": "ok", "unanswered": None, "refused": "fail"}
    for later in ("after", "before", "another", "unanswered", "refused"):
        tale = Tale()
        tale.queue()
        producer = tale.producer()
        producer.begin("m")
        early = producer.begin("n") if later == "before" else None
        producer.done("flush")
        if early is not None:
            early()
        elif later == "another":
            tale.producer("q").send("n")
        else:
            producer.send("n", outcome=outcomes[later])
        assert tale.errors() == (["confirm-never"] if later == "after" else [])
    tale = Tale()
    producer = tale.producer()
    producer.begin("m")
    producer.done("flush")
    producer.send("n")
    producer.done("flush")
    (found,) = [found for judgement in tale.judgements() for found in judgement.errors]
    assert [(event.f, event.kind) for event in found.witness] == [("send", "invoke"), ("send", "ok")]


def test_a_flush_before_the_send_says_nothing() -> None:
    """It heard of what was before it."""
    tale = Tale()
    tale.queue()
    producer = tale.producer()
    producer.done("flush")
    producer.begin("m")
    tale.wait(10)
    tale.queue("queue:another")
    assert tale.errors() == []


def test_closing_is_a_flush() -> None:
    """It waits likewise."""
    tale = Tale()
    tale.queue()
    producer = tale.producer()
    producer.begin("m")
    producer.done("close")
    tale.wait(10)
    tale.queue("queue:another")
    assert tale.errors() == ["confirm-never"]


def test_time_limits_are_kept() -> None:
    """A send ends by its delivery time-out, after the time that it may block, whatever happens to the broker."""
    for seconds, errors in ((12, []), (30, ["confirm-never"])):
        tale = unanswered(delivery_timeout_s=5, max_block_s=2)
        tale.fault("kill", "broker")
        tale.wait(seconds)
        tale.queue("queue:another")
        assert tale.errors() == errors
    tale = unanswered()
    tale.wait(185)
    tale.queue("queue:another")
    assert tale.errors() == []
    tale.wait(10)
    tale.queue("queue:another")
    assert tale.errors() == ["confirm-never"]


def test_a_process_that_died_or_stood_still_hears_nothing() -> None:
    """Killed, or stopped for a while, or silent."""
    tale = unanswered(delivery_timeout_s=5, max_block_s=2)
    tale.fault("stop", "main")
    tale.wait(30)
    tale.queue("queue:another")
    assert tale.errors() == []
    tale = unanswered(delivery_timeout_s=5, max_block_s=2)
    tale.wait(30)
    tale.write("other", "ok", "run")
    assert tale.errors() == []


def test_without_the_claim_confirms_are_counted() -> None:
    """An engine without them."""
    tale = Tale({**DIRECT, "CONFIRMED_SEND": "unsupported"})
    tale.producer(delivery_timeout_s=5, max_block_s=2).begin("m")
    tale.wait(30)
    tale.queue("queue:another")
    assert (tale.errors(), tale.counted()) == ([], ["confirm-never"])


# --- limit-exceeded


def filled(number: int, claims: dict[str, str] | None = None, **spec: Any) -> Tale:
    """So many messages, one after another, to a queue of two."""
    tale = Tale(claims)
    tale.queue(**({"max_length": 2} | spec))
    producer = tale.producer()
    for n in range(number):
        producer.send(str(n))
    return tale


def test_a_full_queue_takes_no_more() -> None:
    """One that was just under way may slip in, the next may not."""
    assert filled(3).errors() == []
    assert filled(4).errors() == ["limit-exceeded"]
    assert filled(4, max_length=3).errors() == []


def test_what_was_under_way_together_may_be_taken() -> None:
    """None of them was confirmed when the others began."""
    tale = Tale()
    tale.queue(max_length=2)
    producer = tale.producer()
    ends = [producer.begin(str(n)) for n in range(9)]
    for end in ends:
        end()
    assert tale.errors() == []


@pytest.mark.parametrize("how", ["consumer", "purge", "ttl", "drop", "expires", "delay"])
def test_what_may_have_left_is_not_counted(how: str) -> None:
    """A consumer, a purge, a time to live, a queue that drops or expires, messages that are not ready."""
    specs: dict[str, dict[str, Any]] = {
        "ttl": {"message_ttl_s": 60},
        "drop": {"overflow": "drop-head"},
        "expires": {"expires_s": 60},
    }
    tale = filled(2, **specs.get(how, {}))
    if how == "consumer":
        tale.consumer()
    elif how == "purge":
        tale.done("main", "purge", dest=QUEUE)
    producer = tale.producer("q")
    for n in range(9):
        producer.send(f"more-{n}", delay_s=60 if how == "delay" else 0)
    assert tale.errors() == []


def test_a_consumer_that_came_later_took_nothing_before() -> None:
    """If it tells when it was asked for."""
    tale = filled(4)
    tale.consumer(asked_t=tale.now + 1)
    assert tale.errors() == ["limit-exceeded"]


@pytest.mark.parametrize("overflow", ["reject", "drop-head"])
def test_no_more_is_seen_than_there_may_be(overflow: str) -> None:
    """By an observer, before anybody took anything; what is out does not count."""
    for ready, errors in ((3, []), (4, ["limit-exceeded"])):
        tale = filled(1, overflow=overflow)
        tale.look("left", QUEUE, ready=ready, unsettled=9)
        assert tale.errors() == errors
    tale = filled(1, overflow=overflow)
    tale.consumer()
    tale.look("left", QUEUE, ready=9, unsettled=0)
    assert tale.errors() == []


def test_without_the_claim_limits_are_counted() -> None:
    """An engine without them."""
    tale = filled(4, claims=COPYING)
    assert (tale.errors(), tale.counted()) == ([], ["limit-exceeded"])
