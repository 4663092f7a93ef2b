"""The order of a queue, judged: first in, first out, and higher priorities first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.checkers.queue_tale import COPYING, DIRECT, QUEUE, Taker, Tale


def sent(*vals: str, claims: dict[str, str] | None = None, producer: dict[str, Any] | None = None, **spec: Any) -> Tale:
    """Messages that one producer sent in that order."""
    tale = Tale(claims)
    tale.queue(**spec)
    tale.producer(**(producer or {})).send(*vals)
    return tale


def done(taker: Taker, *vals: str) -> None:
    """Taken and acked, one after another."""
    for val in vals:
        taker.one(val).ack()


def seen_again(taker: Taker) -> None:
    """The consumer's process lives on."""
    taker.nothing()


# --- fifo-inversion


def test_first_in_first_out() -> None:
    """In order it is fine; the other way round it is not, and both sends and both deliveries show it."""
    tale = sent("a", "b", "x")
    taker = tale.consumer()
    done(taker, "a", "b", "x")
    seen_again(taker)
    assert tale.errors() == []
    tale = sent("a", "b")
    taker = tale.consumer()
    done(taker, "b", "a")
    seen_again(taker)
    (found,) = [found for judgement in tale.judgements() for found in judgement.errors]
    assert found.anomaly == "fifo-inversion"
    assert [(event.f, event.val) for event in found.witness] == [
        ("send", "a"),
        ("send", "b"),
        ("deliver", "b"),
        ("deliver", "a"),
    ]


def test_workers_tell_in_any_order() -> None:
    """What a consumer's handlers tell of, each in its own thread, says nothing about the order in which it came."""
    tale = sent("a", "b")
    taker = tale.consumer()
    for val in ("b", "a"):
        taker.shown(val, 1, False, handler=True).ack()
    seen_again(taker)
    assert tale.errors() == []


def test_order_is_by_when_they_were_sent() -> None:
    """Pipelined: not by when they were confirmed."""
    tale = Tale()
    tale.queue()
    producer = tale.producer()
    first, second = producer.begin("a"), producer.begin("b")
    second()
    first()
    taker = tale.consumer()
    done(taker, "a", "b")
    seen_again(taker)
    assert tale.errors() == []


def test_each_message_that_is_late_is_found() -> None:
    """The last that was overtaken, not only the first."""
    tale = sent("a", "b", "x")
    taker = tale.consumer()
    done(taker, "x", "a", "b")
    seen_again(taker)
    assert tale.errors() == ["fifo-inversion", "fifo-inversion"]


def test_two_producers_have_no_order() -> None:
    """Each has its own."""
    tale = sent("a")
    tale.producer("q").send("b")
    taker = tale.consumer()
    done(taker, "b", "a")
    seen_again(taker)
    assert tale.errors() == []


def test_threads_of_one_producer_have_no_order() -> None:
    """It says that several use it."""
    tale = sent("a", "b", producer={"threads": 2})
    taker = tale.consumer()
    done(taker, "b", "a")
    seen_again(taker)
    assert tale.errors() == []


def test_priorities_have_an_order_each() -> None:
    """A higher one overtakes a lower one; equals do not."""
    for second, errors in ((2, []), (1, ["fifo-inversion"])):
        tale = Tale()
        tale.queue(max_priority=3)
        producer = tale.producer()
        producer.send("a", priority=1)
        producer.send("b", priority=second)
        taker = tale.consumer()
        done(taker, "b", "a")
        seen_again(taker)
        assert tale.errors() == errors


def test_competing_consumers_have_no_order() -> None:
    """One more that was there, whether it got any or not."""
    tale = sent("a", "b")
    tale.consumer("other").close()
    taker = tale.consumer()
    done(taker, "b", "a")
    seen_again(taker)
    assert tale.errors() == []


@pytest.mark.parametrize("how", ["release", "retry", "lost", "run"])
def test_what_goes_back_ends_the_order(how: str) -> None:
    """From then on anything may come first."""
    tale = sent("z", "a", "b")
    taker = tale.consumer()
    taken = taker.shown("z", 1, False, handler=True) if how == "run" else taker.one("z")
    if how == "lost":
        taken.ack("fail")
    elif how != "run":
        taken.settle(how)
    done(taker, "b", "a")
    seen_again(taker)
    assert tale.errors() == []


def test_what_went_back_later_excuses_nothing() -> None:
    """The inversion was before."""
    tale = sent("a", "b", "z")
    taker = tale.consumer()
    done(taker, "b", "a")
    taker.one("z").release()
    seen_again(taker)
    assert tale.errors() == ["fifo-inversion"]


@pytest.mark.parametrize("how", ["broker", "stop"])
def test_trouble_ends_the_order(how: str) -> None:
    """A broker, or the consumer's process."""
    tale = sent("a", "b")
    taker = tale.consumer(proc="w")
    tale.fault("kill", "broker" if how == "broker" else "w")
    done(taker, "b", "a")
    seen_again(taker)
    assert tale.errors() == []


def test_delayed_and_unconfirmed_messages_have_no_place() -> None:
    """Held back, failed and sent again, or of unknown outcome."""

    def delayed(tale: Tale) -> None:
        tale.producer().send("a", delay_s=1)

    def unknown(tale: Tale) -> None:
        tale.producer().send("a", outcome="info")

    def twice(tale: Tale) -> None:
        producer = tale.producer()
        producer.send("a", outcome="fail")
        producer.send("a")

    tellings: tuple[Callable[[Tale], None], ...] = (delayed, unknown, twice)
    for first in tellings:
        tale = Tale()
        tale.queue()
        first(tale)
        tale.producer().send("b")
        taker = tale.consumer()
        done(taker, "b")
        tale.wait(1)
        done(taker, "a")
        seen_again(taker)
        assert tale.errors() == []


def test_only_first_deliveries_have_an_order() -> None:
    """A second one comes when it comes."""
    tale = sent("a", "b")
    taker = tale.consumer()
    taken = taker.one("a")
    done(taker, "b")
    taken.release()
    taker.one("a", redelivered=True).ack()
    seen_again(taker)
    assert tale.errors() == []


def test_without_the_claim_order_is_counted() -> None:
    """An engine that promises none."""
    tale = sent("a", "b", claims=COPYING)
    taker = tale.consumer()
    done(taker, "b", "a")
    seen_again(taker)
    assert (tale.errors(), tale.counted()) == ([], ["fifo-inversion"])


def test_order_through_an_exchange() -> None:
    """One producer, one exchange, one queue."""
    tale = Tale()
    tale.queue()
    tale.exchange(type="fanout")
    tale.bind("exchange:e", QUEUE)
    tale.producer().send("a", "b", dest="exchange:e")
    taker = tale.consumer()
    done(taker, "b", "a")
    seen_again(taker)
    assert tale.errors() == ["fifo-inversion"]


# --- priority-inversion


def prioritised(claims: dict[str, str] | None = None, **spec: Any) -> Tale:
    """A low and then a high one."""
    tale = Tale(claims)
    tale.queue(**({"max_priority": 9} | spec))
    producer = tale.producer()
    producer.send("low", priority=1)
    producer.send("high", priority=5)
    return tale


def asked(tale: Tale, **options: Any) -> Taker:
    """A consumer that tells when it was asked for."""
    return tale.consumer(asked_t=tale.now + 1, **options)


def test_the_higher_comes_first() -> None:
    """Both were there when the consumer was asked for."""
    for order, errors in ((("high", "low"), []), (("low", "high"), ["priority-inversion"])):
        tale = prioritised()
        taker = asked(tale)
        done(taker, *order)
        seen_again(taker)
        assert tale.errors() == errors


def test_what_may_have_been_fetched_before_is_no_inversion() -> None:
    """The higher one came later, or nobody knows when the consumer began."""
    tale = prioritised()
    taker = tale.consumer()
    done(taker, "low", "high")
    seen_again(taker)
    assert tale.errors() == []
    tale = Tale()
    tale.queue(max_priority=9)
    producer = tale.producer()
    producer.send("low", priority=1)
    taker = asked(tale)
    producer.send("high", priority=5)
    done(taker, "low", "high")
    seen_again(taker)
    assert tale.errors() == []


def test_a_window_of_one_fetches_when_it_settles() -> None:
    """So what came in before that must be considered, and what came in after it need not be."""
    for early, errors in ((True, ["priority-inversion"]), (False, [])):
        tale = Tale()
        tale.queue(max_priority=9)
        producer = tale.producer()
        producer.send("first", "low", priority=1)
        taker = asked(tale, prefetch=1)
        taken = taker.one("first")
        if not early:
            taken.ack()
        producer.send("high", priority=5)
        if early:
            taken.ack()
        done(taker, "low", "high")
        seen_again(taker)
        assert tale.errors() == errors


def test_equals_and_those_without_one_are_not_compared() -> None:
    """Capped alike, or with none at all."""
    for low, high, most in ((5, 7, 5), (None, 5, 9), (1, None, 9)):
        tale = Tale()
        tale.queue(max_priority=most)
        producer = tale.producer()
        producer.send("low", priority=low)
        producer.send("high", priority=high)
        taker = asked(tale)
        done(taker, "low", "high")
        seen_again(taker)
        assert tale.errors() == []


def test_priorities_that_nobody_asked_for_are_counted() -> None:
    """A queue without them, an engine without them."""
    tales = (prioritised(max_priority=None), prioritised({**DIRECT, "PRIORITY": "unsupported"}))
    for tale in tales:
        taker = asked(tale)
        done(taker, "low", "high")
        seen_again(taker)
        assert (tale.errors(), tale.counted()) == ([], ["priority-inversion"])


def test_one_that_has_come_is_not_waiting() -> None:
    """Of several priorities, only those that are still there count."""
    tale = Tale()
    tale.queue(max_priority=9)
    producer = tale.producer()
    for val, priority in (("a", 1), ("b", 3), ("x", 2), ("y", 3)):
        producer.send(val, priority=priority)
    taker = asked(tale)
    done(taker, "b", "y", "x", "a")
    seen_again(taker)
    assert tale.errors() == []


def test_a_higher_one_that_was_delayed_is_not_there() -> None:
    """Nor one whose send has no known outcome."""
    told: tuple[dict[str, Any], ...] = ({"delay_s": 1}, {"outcome": "info"})
    for more in told:
        tale = Tale()
        tale.queue(max_priority=9)
        producer = tale.producer()
        producer.send("low", priority=1)
        producer.send("high", priority=5, **more)
        taker = asked(tale)
        done(taker, "low")
        tale.wait(1)
        done(taker, "high")
        seen_again(taker)
        assert tale.errors() == []
