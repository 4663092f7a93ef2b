"""Small things that decide about queues: what comes first hides nothing behind it, and what is no proof is none."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers import Finding
from mqbridge_conformance.checkers.queue_routes import Routes
from tests.conformance.checkers.queue_tale import COPYING, DIRECT, LETTERS, QUEUE, Taker, Tale


def named(tale: Tale, anomaly: str) -> list[Finding]:
    return [found for judged in tale.judgements() for found in judged.findings if found.anomaly == anomaly]


def told(tale: Tale, anomaly: str) -> list[bool]:
    """Of each that is found: is it an error?"""
    return [not found.legal for found in named(tale, anomaly)]


def looked_at(tale: Tale, checker: str) -> dict[str, int]:
    (judged,) = [judged for judged in tale.judgements() if judged.checker == checker]
    return dict(judged.looked_at)


def closing(taker: Taker) -> Any:
    """A close under way; call what it gives to end it."""
    tale, client = taker.tale, taker.who["client"]
    op = tale.write(taker.proc, "invoke", "close", client=client)
    return lambda: tale.write(taker.proc, "ok", "close", op=op.seq, client=client)


# --- order


def test_one_that_is_closing_gives_in_any_order() -> None:
    """What it had not shown may go back, and come again."""
    tale = Tale()
    tale.queue()
    tale.producer().send("first", "second")
    taker = tale.consumer()
    end = closing(taker)
    for val in ("second", "first"):
        taker.shown(val, 1, False)
    end()
    assert told(tale, "fifo-inversion") == []


def test_a_producer_of_several_threads_hides_no_other() -> None:
    """Its own messages come in any order, those of another do not."""
    tale = Tale()
    tale.queue()
    tale.producer("threads", threads=2).send("any")
    tale.producer("p").send("first", "second")
    tale.consumer().take("any", "second", "first")
    assert told(tale, "fifo-inversion") == [True]


def priorities(*sends: tuple[str, int | None], taken: str, **consumer: Any) -> Tale:
    """Messages, each with its priority, and the order in which they come."""
    tale = Tale()
    tale.queue(max_priority=5)
    producer = tale.producer()
    for val, priority in sends:
        producer.begin(val, QUEUE, **({} if priority is None else {"priority": priority}))()
    taker = tale.consumer(asked_t=tale.now + 1, **consumer)
    taker.take(*taken.split())
    return tale


@pytest.mark.parametrize("first", [("none", None), ("top", 5), ("mid", 4)])
def test_what_comes_first_hides_no_inversion_behind_it(first: tuple[str, int | None]) -> None:
    """A message without a priority, one of the highest, or one that nothing higher waited for; then one too early."""
    tale = priorities(first, ("low", 1), ("high", 3), taken=f"{first[0]} low high")
    assert told(tale, "priority-inversion") == [True]


def test_a_message_that_may_be_two_hides_none_that_waited() -> None:
    """It is not looked at, and the one that was sent after it is."""
    sends = (("twice", 3), ("twice", 3), ("low", 1), ("high", 3))
    assert told(priorities(*sends, taken="low high twice"), "priority-inversion") == [True]


def test_the_first_that_waited_is_the_one_that_counts() -> None:
    """A later one of its priority was sent too late to come before."""
    tale = Tale()
    tale.queue(max_priority=5)
    producer = tale.producer()
    producer.send("low", priority=1)
    producer.send("high", priority=3)
    taker = tale.consumer(asked_t=tale.now + 1)
    producer.send("late", priority=3)
    taker.take("low", "high", "late")
    (found,) = named(tale, "priority-inversion")
    assert "high" in {event.val for event in found.witness}


def test_what_was_sent_after_the_consumer_asked_came_too_late() -> None:
    """A window of one that is filled without a verb, as at most once fills it, tells nothing of when."""
    tale = Tale()
    tale.queue(max_priority=5)
    producer = tale.producer()
    producer.send("other", "low", priority=1)
    taker = tale.consumer(asked_t=tale.now + 1, prefetch=1, ack="before")
    producer.send("high", priority=3)
    for val in ("other", "low", "high"):
        taker.one(val)
    assert told(tale, "priority-inversion") == []


# --- attempts


def test_where_messages_are_written_anew_a_first_delivery_may_be_a_second() -> None:
    """One that died while it had it unseen need not be in the history."""
    for claims, found in ((COPYING, []), (DIRECT, [True])):
        tale = Tale(claims)
        tale.queue()
        tale.producer().send("m")
        tale.consumer().one("m", attempt=2)
        assert told(tale, "attempt-wrong") == found


def test_what_failed_too_often_is_not_excused_by_a_later_send() -> None:
    """There was one of it when it came again."""
    tale = Tale()
    tale.queue(max_attempts=1)
    producer = tale.producer()
    producer.send("m")
    taker = tale.consumer()
    taker.one("m").retry()
    taker.commit()
    taker.one("m", redelivered=True)
    assert told(tale, "delivery-limit") == [True]
    producer.send("m")
    assert told(tale, "delivery-limit") == [True]


def test_a_delivery_without_a_number_is_beyond_no_limit() -> None:
    """It counts as the first."""
    tale = Tale()
    tale.queue(max_attempts=1)
    tale.producer().send("m")
    taker = tale.consumer()
    tale.write(taker.proc, "ok", "deliver", **taker.who, tag=1, val="m")
    assert told(tale, "delivery-limit") == []


# --- letters


def test_every_letter_is_counted() -> None:
    """Those of a queue of which nothing is known too."""
    tale = Tale()
    for _ in range(2):
        tale.look("letters", QUEUE, "m")
    assert looked_at(tale, "queue-letters") == {"letters": 2}


def test_a_letter_that_does_not_say_why_hides_none_that_does() -> None:
    """There is a cause for the first, and none for the second."""
    tale = Tale()
    tale.queue()
    tale.producer().send("m")
    tale.consumer().one("m").reject()
    tale.look("letters", QUEUE, "m", reason=None)
    tale.look("letters", QUEUE, "m", reason="max-length")
    assert told(tale, "DLQ-premature") == [True]


def test_releases_kill_where_they_count() -> None:
    """And nowhere else."""
    for claims, found in (({**DIRECT, "RELEASE_UNCOUNTED": "unsupported"}, []), (DIRECT, [True])):
        tale = Tale(claims)
        tale.queue(max_attempts=2)
        tale.producer().send("m")
        taker = tale.consumer()
        for attempt in (1, 2):
            taker.one("m", attempt=attempt, redelivered=attempt > 1).release()
        taker.close()
        tale.look("letters", QUEUE, "m", reason="max-attempts")
        assert told(tale, "DLQ-premature") == found


def test_letters_that_may_be_seen_twice_hide_none_that_may_not() -> None:
    """Where the library writes them: one that was taken, and then one that was not."""
    tale = Tale(COPYING)
    tale.queue()
    tale.producer().send("taken", "m")
    taker = tale.consumer()
    for taken in taker.take("taken", "m"):
        taken.reject()
    taker.commit()
    tale.consumer("undertaker", LETTERS).one("taken", death="rejected")
    tale.look("letters", QUEUE, "taken", "taken", "m", "m")
    assert [found.witness[0].val for found in named(tale, "dlq-dup")] == ["m"]


def test_letters_that_are_moved_back_may_be_seen_twice() -> None:
    """Where the library writes them: as they are moved, the old ones are there for a time."""
    for claims, found in ((COPYING, []), (DIRECT, [True])):
        tale = Tale(claims)
        tale.queue()
        tale.producer().send("m")
        taker = tale.consumer()
        taker.one("m").reject()
        taker.close()
        tale.done("main", "redrive", dest=QUEUE)
        tale.look("letters", QUEUE, "m", "m", "m")
        assert told(tale, "dlq-dup") == found


# --- routes


def test_every_way_is_followed() -> None:
    """From one exchange to two others, and on to a queue from each."""
    tale = Tale()
    for name in "efg":
        tale.exchange(f"exchange:{name}", type="fanout")
    for name in "fg":
        tale.bind("exchange:e", f"exchange:{name}")
        tale.bind(f"exchange:{name}", f"queue:{name}")
    assert Routes(tale.history).queues(["queue:f", "queue:g", "queue:h"], "exchange:e") == ["queue:f", "queue:g"]


def test_a_binding_that_is_made_while_a_message_is_sent_may_carry_it() -> None:
    """It was not there when the send began."""
    tale = Tale()
    tale.exchange("exchange:e")
    end = tale.producer().begin("m", "exchange:e", routing_key="k")
    begun = tale.events[-1]
    tale.bind("exchange:e", QUEUE, "k")
    end()
    assert Routes(tale.history).reach(begun, tale.now, QUEUE) == "maybe"


# --- what is settled


def test_one_that_is_closing_may_have_given_back_what_it_had() -> None:
    """Another one then has it by right."""
    tale = Tale()
    tale.queue()
    tale.producer().send("m")
    taker = tale.consumer()
    taker.one("m")
    end = closing(taker)
    tale.consumer("d").one("m")
    end()
    assert told(tale, "concurrent-lease") == []


def test_two_copies_of_one_message_may_be_had_by_two() -> None:
    """Where the library writes messages anew, and it lay there for longer than a lease is safe."""
    for wait, error in ((20.0, False), (0.0, True)):
        tale = Tale(COPYING)
        tale.queue()
        tale.producer().send("m")
        tale.wait(wait)
        tale.consumer().one("m")
        tale.consumer("d").one("m")
        assert told(tale, "concurrent-lease") == [error]


def acked(tale: Tale, client: str, commit: bool = True) -> None:
    """A consumer has the message, and has done with it."""
    taker = tale.consumer(client)
    taker.one("m").ack()
    if commit:
        taker.commit()


def test_what_was_done_twice_is_not_excused_by_a_later_send() -> None:
    """The broker had the first settlement, and there was one of it."""
    tale = Tale()
    tale.queue()
    producer = tale.producer()
    producer.send("m")
    for client in "cd":
        acked(tale, client)
    assert told(tale, "duplicate") == [True]
    producer.send("m")
    assert told(tale, "duplicate") == [True]


def test_as_many_as_were_sent_until_the_last_may_be_done() -> None:
    """Two messages, of which the broker had one settlement when it came for the third time."""
    tale = Tale()
    tale.queue()
    producer = tale.producer()
    producer.send("m")
    acked(tale, "c")
    acked(tale, "d", commit=False)
    producer.send("m")
    acked(tale, "e")
    assert told(tale, "duplicate") == [False]


def test_what_is_written_anew_before_the_last_may_be_two() -> None:
    """A consumer died between the second time and the third."""
    tale = Tale(COPYING)
    tale.queue()
    tale.producer().send("m")
    for client in "cd":
        acked(tale, client)
    tale.consumer("victim", proc="other")
    tale.fault("sigkill", "other")
    acked(tale, "e")
    assert told(tale, "duplicate") == [False]


def test_a_verb_that_had_no_time_to_be_told_is_a_mark() -> None:
    """Though its consumer lived on for long afterwards."""
    for seconds, error in ((5, False), (15, True)):
        tale = Tale()
        tale.queue()
        tale.producer().send("m")
        taker = tale.consumer()
        taker.one("m").ack()
        tale.wait(seconds)
        tale.consumer("d").one("m", redelivered=True)
        tale.wait(20)
        taker.nothing()
        assert told(tale, "redelivery-after-settle") == [error]


def test_what_should_have_died_and_came_again_is_no_wrong_number() -> None:
    """After its last attempt it is the same once more; before that it has to be the next."""
    for limit, found in ((2, []), (3, [True])):
        tale = Tale()
        tale.queue(max_attempts=limit)
        tale.producer().send("m")
        taker = tale.consumer()
        taker.one("m").retry()
        taker.commit()
        taker.one("m", attempt=2, redelivered=True).retry()
        taker.commit()
        taker.one("m", attempt=2, redelivered=True)
        assert told(tale, "attempt-wrong") == found


def test_what_was_there_before_it_was_sent_is_not_counted() -> None:
    """A phantom, which is told as one: how many there may be nobody knows."""
    tale = Tale()
    tale.queue()
    tale.consumer().one("m").ack()
    tale.producer().send("m")
    tale.consumer("d").one("m").ack()
    assert [told(tale, name) for name in ("redelivery-after-settle", "duplicate", "phantom")] == [[], [], [True]]
