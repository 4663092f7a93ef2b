"""What became of confirmed messages, judged: lost, not redelivered, dead without a letter."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers import Outcome, Profile
from mqbridge_conformance.checkers.queue_fate import check_fate
from tests.conformance.checkers.queue_tale import COPYING, DIRECT, LETTERS, QUEUE, Tale


def story(*vals: str, claims: dict[str, str] | None = None, send: dict[str, Any] | None = None, **spec: Any) -> Tale:
    """Messages that were confirmed."""
    tale = Tale(claims)
    tale.queue(**spec)
    tale.producer().send(*(vals or ("m",)), **(send or {}))
    return tale


def emptied(tale: Tale) -> None:
    """Somebody asks until nothing comes, and says so."""
    taker = tale.consumer("drainer")
    taker.nothing()
    taker.close()
    tale.drained()


# --- lost


def test_what_is_confirmed_and_nowhere_is_lost() -> None:
    """Everything was asked for and it did not come; the witness is its send and who looked."""
    tale = story()
    emptied(tale)
    (found,) = [found for judgement in tale.judgements() for found in judgement.errors]
    assert (found.anomaly, found.where) == ("lost", QUEUE)
    assert [(event.f, event.kind) for event in found.witness] == [
        ("send", "invoke"),
        ("send", "ok"),
        ("drained", "ok"),
    ]


@pytest.mark.parametrize("outcome", ["fail", "info", None])
def test_what_was_not_confirmed_is_not_lost(outcome: str | None) -> None:
    """Failed, unknown, without an end."""
    tale = story(send={"outcome": outcome})
    emptied(tale)
    assert tale.errors() == []


def test_what_came_is_not_lost() -> None:
    """Acked, or held still."""
    for settle in (True, False):
        tale = story()
        taken = tale.consumer("holder").one("m")
        if settle:
            taken.ack()
        emptied(tale)
        assert tale.errors() == []


def test_nobody_looked() -> None:
    """Without a look nothing is lost."""
    assert story().errors() == []


def test_a_look_before_it_was_there_says_nothing() -> None:
    """Drained, and sent afterwards."""
    tale = Tale()
    tale.queue()
    emptied(tale)
    tale.producer().send("m")
    assert tale.errors() == []


def test_one_who_did_not_ask_may_have_it() -> None:
    """A consumer that is open, and did not poll since, may have it in its hands."""
    tale = story("m", "other")
    idle = tale.consumer("idle")
    idle.one("other").ack()
    emptied(tale)
    idle.take()
    assert tale.errors() == []


def test_one_who_asked_in_vain_has_it_not() -> None:
    """The same, but it polled and got nothing."""
    tale = story()
    tale.consumer("busy").nothing()
    emptied(tale)
    tale.write("main", "invoke", "poll", client="busy", dest=QUEUE)
    assert tale.errors() == ["lost"]


@pytest.mark.parametrize("f", ["looked", "left"])
def test_an_observer_that_sees_nothing_shows_a_loss(f: str) -> None:
    """An empty queue, in values or in numbers, some time after the send; numbers may be old, and need more time."""
    more = {"ready": 0, "unsettled": 0} if f == "left" else {}
    for seconds, errors in ((0.9, []), (1.1, ["lost"] if f == "looked" else []), (5.9, None), (6.1, ["lost"])):
        tale = story()
        tale.wait(seconds)
        tale.look(f, QUEUE, **more)
        assert tale.errors() == errors or errors is None


def test_an_observer_that_sees_it_shows_none() -> None:
    """It is stored, or counted."""
    for f, vals, more in (("looked", ("m",), {}), ("left", (), {"ready": 0, "unsettled": 1})):
        tale = story()
        tale.wait(7)
        tale.look(f, QUEUE, *vals, **more)
        assert tale.errors() == []


def test_what_was_seen_once_and_is_counted_no_more_is_lost() -> None:
    """It was stored when somebody looked, nobody was given it, and later the queue is empty, in numbers alone."""
    for ready, errors in ((0, ["lost"]), (1, [])):
        tale = story()
        tale.look("looked", QUEUE, "m")
        tale.wait(7)
        tale.look("left", QUEUE, ready=ready, unsettled=0)
        assert tale.errors() == errors


def test_fewer_left_than_there_must_be() -> None:
    """Of three that can be nowhere else, two are left: one is lost, whichever it is."""
    for left, errors in ((2, ["lost"]), (3, [])):
        tale = story("a", "b", "x")
        tale.wait(5.9)
        tale.look("left", QUEUE, ready=left, unsettled=0)
        assert tale.errors() == []
        tale.wait(0.1)
        tale.look("left", QUEUE, ready=left, unsettled=0)
        assert tale.errors() == errors


def test_a_count_that_could_not_be_told_says_nothing() -> None:
    """Without both numbers the look is none."""
    for more in ({"unsettled": 0}, {"ready": 0}):
        tale = story()
        tale.wait(7)
        tale.look("left", QUEUE, **more)
        assert tale.errors() == []


def test_copies_are_counted() -> None:
    """Confirmed twice and seen once: one is lost. Seen twice: none."""
    for takes, errors in ((1, ["lost"]), (2, [])):
        tale = story("m", "m")
        taker = tale.consumer()
        for _ in range(takes):
            taker.one("m").ack()
        taker.close()
        emptied(tale)
        assert tale.errors() == errors


@pytest.mark.parametrize("f", ["purge", "delete"])
def test_what_was_removed_is_not_lost(f: str) -> None:
    """By an operator, before the look; one who comes after the look removes nothing from sight."""
    tale = story()
    tale.done("main", f, dest=QUEUE)
    emptied(tale)
    assert tale.errors() == []
    tale = story()
    emptied(tale)
    tale.done("main", f, dest=QUEUE)
    assert tale.errors() == ["lost"]


def test_a_purge_that_never_ended_may_remove_at_any_time() -> None:
    """Its outcome is unknown."""
    tale = Tale()
    tale.queue()
    tale.write("main", "invoke", "purge", dest=QUEUE)
    tale.producer().send("m")
    emptied(tale)
    assert tale.errors() == []


@pytest.mark.parametrize(
    ("spec", "send"),
    [
        ({"message_ttl_s": 1}, {}),
        ({}, {"expires_in_s": 1}),
        ({"expires_s": 600}, {}),
        ({"max_length": 1, "overflow": "drop-head"}, {}),
        ({"max_bytes": 1, "overflow": "drop-head"}, {}),
    ],
)
def test_what_its_policy_may_have_dropped_is_not_lost(spec: dict[str, Any], send: dict[str, Any]) -> None:
    """Expired, by the queue or by itself; a queue that may itself expire; one that drops its oldest."""
    tale = story(dead_letter=None, send=send, **spec)
    tale.wait(2)
    emptied(tale)
    assert tale.errors() == []


def test_before_its_time_it_is_lost_all_the_same() -> None:
    """A message that is to live for a minute is not gone after two seconds."""
    tale = story(dead_letter=None, message_ttl_s=60)
    tale.wait(2)
    emptied(tale)
    assert tale.errors() == ["lost"]


def test_a_full_queue_that_refuses_drops_nothing() -> None:
    """Its limit excuses no loss."""
    tale = story(max_length=1)
    emptied(tale)
    assert tale.errors() == ["lost"]


def test_what_is_not_due_yet_is_not_lost() -> None:
    """A delayed message comes later; once it is due it is missed."""
    for seconds, errors in ((1, []), (61, ["lost"])):
        tale = story(send={"delay_s": 60})
        tale.wait(seconds)
        emptied(tale)
        assert tale.errors() == errors


def test_a_queue_nobody_declared_may_have_any_policy() -> None:
    """So nothing is said of it; nor of one that was declared in two ways."""
    tale = Tale()
    tale.producer().send("m")
    emptied(tale)
    assert tale.errors() == []
    tale = story(max_attempts=3)
    tale.queue(max_attempts=4)
    emptied(tale)
    assert tale.errors() == []


def test_at_most_once_may_lose_with_its_consumer() -> None:
    """What was handed to one that settles before it shows, and that died, is gone lawfully, and counted."""
    tale = story()
    tale.consumer(proc="w", ack="before").kill()
    emptied(tale)
    assert (tale.errors(), tale.counted()) == ([], ["lost"])


def test_at_most_once_does_not_lose_while_its_consumer_is_well() -> None:
    """It asked long after the message was confirmed, and got nothing."""
    tale = story()
    taker = tale.consumer(ack="before")
    tale.wait(2)
    taker.nothing()
    tale.drained()
    taker.nothing()
    assert tale.errors() == ["lost"]


def test_what_an_exchange_surely_carried_can_be_lost() -> None:
    """Through a binding older than the send; through one that was just removed, or by a sender that resolves bindings
    itself, perhaps it never came."""
    for unbound, claims, errors in ((False, DIRECT, ["lost"]), (True, DIRECT, []), (False, COPYING, [])):
        tale = Tale(claims)
        tale.queue()
        tale.exchange()
        tale.bind("exchange:e", QUEUE, "k")
        end = tale.producer().begin("m", "exchange:e", routing_key="k")
        if unbound:
            tale.bind("exchange:e", QUEUE, "k", f="unbind")
        end()
        emptied(tale)
        assert tale.errors() == errors


def test_what_an_exchange_did_not_carry_here_is_not_lost() -> None:
    """Another key."""
    tale = Tale()
    tale.queue()
    tale.queue("queue:other")
    tale.exchange()
    tale.bind("exchange:e", QUEUE, "k")
    tale.bind("exchange:e", "queue:other", "other")
    tale.producer().send("m", dest="exchange:e", routing_key="other")
    emptied(tale)
    assert tale.errors() == []


# --- missing-redelivery


@pytest.mark.parametrize("verb", ["release", "retry"])
def test_what_is_given_back_comes_again(verb: str) -> None:
    """Or it is missing, if everything was asked for."""
    tale = story()
    taker = tale.consumer()
    taker.one("m").settle(verb)
    taker.close()
    emptied(tale)
    assert tale.errors() == ["missing-redelivery"]
    tale = story()
    taker = tale.consumer()
    taker.one("m").settle(verb)
    taker.one("m", attempt=1 + (verb == "retry"), redelivered=True).ack()
    taker.close()
    emptied(tale)
    assert tale.errors() == []


@pytest.mark.parametrize("end", ["close", "kill", "lost"])
def test_what_its_consumer_left_comes_again(end: str) -> None:
    """Closed or killed with it in its hands, or told that the lease was lost."""
    tale = story()
    taker = tale.consumer(proc="w")
    taken = taker.one("m")
    if end == "lost":
        taken.ack("fail")
        taker.nothing()
    else:
        getattr(taker, end)()
    emptied(tale)
    if end == "lost":
        taker.nothing()
    assert tale.errors() == ["missing-redelivery"]


@pytest.mark.parametrize("how", ["held", "silent", "stopped", "perhaps acked"])
def test_what_may_still_be_held_is_not_missing(how: str) -> None:
    """Its consumer lives, or may live, or may have settled it."""
    tale = story()
    taker = tale.consumer(proc="w")
    taken = taker.one("m")
    if how == "stopped":
        tale.fault("stop", "w")
    elif how == "perhaps acked":
        taken.ack(None)
        taker.kill()
    emptied(tale)
    if how == "held":
        taker.nothing()
    assert tale.errors() == []


def test_a_delayed_return_is_not_due() -> None:
    """Given back for later, by the verb or by the queue's backoff."""
    later: dict[str, Any] = {"retry_backoff": {"first_delay_s": 1, "max_delay_s": 60}}
    for verb, spec in (({"delay_s": 60}, {}), ({}, later)):
        for seconds, errors in ((1, []), (61, ["missing-redelivery"])):
            tale = story(**spec)
            taker = tale.consumer()
            taker.one("m").retry(**verb)
            taker.close()
            tale.wait(seconds)
            emptied(tale)
            assert tale.errors() == errors


def test_what_was_given_back_may_be_stored() -> None:
    """An observer sees it."""
    tale = story()
    taker = tale.consumer()
    taker.one("m").release()
    taker.close()
    tale.wait(2)
    tale.look("looked", QUEUE, "m")
    assert tale.errors() == []
    tale.look("looked", QUEUE)
    assert tale.errors() == ["missing-redelivery"]


def test_what_run_settled_without_a_word_is_not_missing() -> None:
    """A handler that failed under `run`: nobody knows what was done with it."""
    tale = story()
    taker = tale.consumer()
    taker.shown("m", 1, False, handler=True)
    taker.close()
    emptied(tale)
    assert tale.errors() == []


# --- dlq-lost


def rejected(known: bool = True, **spec: Any) -> Tale:
    """A message that was rejected, by a consumer that is closed."""
    tale = story(**spec)
    taker = tale.consumer()
    taker.one("m").reject()
    if known:
        taker.commit()
    taker.close()
    return tale


def test_what_was_rejected_is_among_the_letters() -> None:
    """Or it is lost; a look just after the verb is too soon to say."""
    tale = rejected()
    tale.look("letters", QUEUE)
    assert tale.errors() == []
    tale.wait(2)
    tale.look("letters", QUEUE)
    assert tale.errors() == ["dlq-lost"]
    tale = rejected()
    tale.wait(2)
    tale.look("letters", QUEUE, "m")
    assert tale.errors() == []


def test_a_rejection_that_the_broker_may_not_have() -> None:
    """It may be in its queue still, until that is ruled out too."""
    tale = rejected(known=False)
    tale.wait(2)
    tale.look("letters", QUEUE)
    assert tale.errors() == []
    emptied(tale)
    assert tale.errors() == ["dlq-lost"]


def test_a_letter_that_was_taken_is_not_lost() -> None:
    """Its dead-letter queue delivered it."""
    tale = rejected()
    undertaker = tale.consumer("u", LETTERS)
    undertaker.one("m").ack()
    undertaker.commit()
    undertaker.close()
    tale.wait(2)
    tale.look("letters", QUEUE)
    assert tale.errors() == []


def test_a_letter_may_be_with_an_undertaker() -> None:
    """One who has not asked may have it in his hands."""
    tale = rejected()
    undertaker = tale.consumer("u", LETTERS)
    undertaker.take()
    tale.producer("q").send("x", dest=LETTERS)
    undertaker.one("x").ack()
    taken = tale.consumer("again")
    taken.close()
    tale.wait(2)
    tale.look("letters", QUEUE)
    undertaker.nothing()
    assert tale.errors() == ["dlq-lost"]  # it asked in vain, after the rejection
    tale = rejected()
    undertaker = tale.consumer("u", LETTERS)
    tale.wait(2)
    tale.look("letters", QUEUE)
    undertaker.nothing()
    assert tale.errors() == []


@pytest.mark.parametrize("f", ["purge", "delete", "redrive"])
def test_letters_that_were_removed_are_not_lost(f: str) -> None:
    """By an operator, from the dead-letter queue; or moved back."""
    tale = rejected()
    tale.done("main", f, dest=QUEUE if f == "redrive" else LETTERS)
    tale.wait(2)
    tale.look("letters", QUEUE)
    assert tale.errors() == []


def test_letters_that_expire_are_not_lost() -> None:
    """A dead-letter queue with a policy of its own may drop."""
    tale = Tale()
    tale.queue()
    tale.queue(LETTERS, dead_letter=None, message_ttl_s=1)
    tale.producer().send("m")
    taker = tale.consumer()
    taker.one("m").reject()
    taker.commit()
    tale.wait(2)
    tale.look("letters", QUEUE)
    assert tale.errors() == []


def test_what_failed_as_often_as_it_may_is_among_the_letters() -> None:
    """The last retry dead-letters; one before it does not."""
    for attempt, errors in ((3, ["dlq-lost"]), (2, ["missing-redelivery"])):
        tale = story(max_attempts=3)
        taker = tale.consumer()
        for number in range(1, attempt + 1):
            taker.one("m", attempt=number, redelivered=number > 1).retry()
            taker.commit()
        taker.close()
        tale.wait(2)
        emptied(tale)
        tale.look("letters", QUEUE)
        assert tale.errors() == errors


def test_what_killed_its_last_consumer_is_among_the_letters() -> None:
    """A death at the last attempt counts."""
    tale = story(max_attempts=1)
    tale.consumer(proc="w").take("m")
    tale.fault("sigkill", "w")
    tale.wait(2)
    emptied(tale)
    tale.look("letters", QUEUE)
    assert tale.errors() == ["dlq-lost"]


def test_what_expired_is_among_the_letters() -> None:
    """Its queue dead-letters, so it is not gone for good."""
    tale = story(message_ttl_s=1)
    tale.wait(2)
    emptied(tale)
    assert tale.errors() == []  # nobody looked among the letters
    tale.wait(2)
    tale.look("letters", QUEUE)
    assert tale.errors() == ["dlq-lost"]


def test_a_queue_that_drops_its_oldest_may_lose_letters() -> None:
    """Counted, not an error."""
    tale = story(max_length=1, overflow="drop-head")
    emptied(tale)
    tale.wait(2)
    tale.look("letters", QUEUE)
    assert (tale.errors(), tale.counted()) == ([], ["dlq-lost"])


def test_an_engine_without_dead_letters_loses_none() -> None:
    """What is not claimed is counted."""
    tale = rejected(claims={**DIRECT, "DEAD_LETTER": "unsupported"})
    tale.wait(2)
    tale.look("letters", QUEUE)
    assert (tale.errors(), tale.counted()) == ([], ["dlq-lost"])


# --- nobody looked


def judged(tale: Tale) -> tuple[Outcome, str]:
    judgement = check_fate(tale.history, Profile.of(tale.history))
    return judgement.outcome, judgement.reason


UNLOOKED = (Outcome.UNKNOWN, f"1 were confirmed in {QUEUE}, and nobody looked there afterwards")


def test_what_nobody_looked_for_nobody_can_tell() -> None:
    """Unknown: confirmed, and nobody was shown anything of the queue from then on. It is no loss and not valid."""
    tale = story()
    tale.consumer().nothing()
    assert (judged(tale), tale.errors()) == (UNLOOKED, [])


@pytest.mark.parametrize("by", ["looked", "left", "another"])
def test_one_look_afterwards_is_enough(by: str) -> None:
    """Whoever it was; and what is confirmed after it is unknown again."""
    tale = story("m", "another")
    if by == "another":
        tale.consumer().one("another").ack()
    elif by == "left":
        tale.look("left", QUEUE, ready=2, unsettled=0)
    else:
        tale.look("looked", QUEUE, "m", "another")
    assert judged(tale) == (Outcome.VALID, "")
    tale.producer("later").send("n")
    assert judged(tale) == UNLOOKED


def test_what_need_not_be_there_needs_no_look() -> None:
    """What failed or has no known outcome, what came before its end was told, what somebody removed, what its queue may
    drop."""
    tale = Tale()
    tale.queue()
    producer = tale.producer()
    producer.send("a", outcome="fail")
    producer.send("b", outcome="info")
    end = producer.begin("m")
    tale.consumer().one("m").ack()
    end()
    assert judged(tale) == (Outcome.VALID, "")
    tale = story()
    tale.done("main", "purge", dest=QUEUE)
    assert judged(tale) == (Outcome.VALID, "")
    tale = Tale()
    tale.queue(max_length=1, overflow="drop-head")
    tale.producer().send("m")
    assert judged(tale) == (Outcome.VALID, "")
