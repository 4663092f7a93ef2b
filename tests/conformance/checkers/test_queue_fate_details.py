"""Small things that decide what became of a message: who may have it, who looked, and when that was too early."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers import Outcome
from mqbridge_conformance.checkers.queue_clients import MANY, Trouble
from mqbridge_conformance.checkers.queue_facts import Facts
from mqbridge_conformance.checkers.queue_policies import policies
from tests.conformance.checkers.queue_tale import COPYING, DIRECT, LETTERS, QUEUE, Taker, Tale


def story(*vals: str, claims: dict[str, str] | None = None, **spec: Any) -> Tale:
    """Messages that were confirmed."""
    tale = Tale(claims)
    tale.queue(**spec)
    tale.producer().send(*(vals or ("m",)))
    return tale


def emptied(tale: Tale, dest: str = QUEUE) -> list[str]:
    """Somebody asks until nothing comes, and says so; the errors then."""
    taker = tale.consumer("drainer", dest)
    taker.nothing()
    taker.close()
    tale.drained(dest)
    return tale.errors()


def gone(tale: Tale, client: str = "c", **consumer: Any) -> Taker:
    """A consumer that came and went."""
    taker = tale.consumer(client, **consumer)
    taker.close()
    return taker


def rejected(**spec: Any) -> Tale:
    """A message that was rejected, by a consumer that is closed; some time ago."""
    tale = story(**spec)
    taker = tale.consumer()
    taker.one("m").reject()
    taker.commit()
    taker.close()
    tale.wait(2)
    return tale


# --- what was shown


def test_what_was_seen_and_is_nowhere_later_is_lost() -> None:
    """It lay there for an observer, and then it did not come; seen after all had been asked for, it is there."""
    tale = story()
    tale.look("looked", QUEUE, "m")
    assert emptied(tale) == ["lost"]
    tale.look("looked", QUEUE, "m")
    assert tale.errors() == []


def test_a_copy_that_came_and_one_that_lies_there() -> None:
    """Sent twice: that makes two."""
    for seen, errors in (("m",), []), ((), ["lost"]):
        tale = story("m", "m")
        taker = tale.consumer()
        taker.one("m").ack()
        taker.close()
        emptied(tale)
        tale.look("looked", QUEUE, *seen)
        assert tale.errors() == errors


def test_a_send_to_a_queue_is_for_that_queue() -> None:
    """Whether the engine routes or not."""
    assert emptied(story(claims=COPYING)) == ["lost"]


def test_a_letter_that_was_seen_and_taken_is_two_signs() -> None:
    """It is not lost because nobody sees it any more."""
    tale = rejected()
    tale.look("letters", QUEUE, "m")
    undertaker = tale.consumer("u", LETTERS)
    undertaker.one("m").ack()
    undertaker.commit()
    undertaker.close()
    tale.wait(2)
    tale.look("letters", QUEUE)
    assert tale.errors() == []


def test_what_is_rejected_without_a_place_for_letters_is_dropped() -> None:
    """As it was asked for."""
    assert emptied(rejected(dead_letter=None)) == []


def test_a_queue_that_was_purged_after_a_rejection_excuses_no_letter() -> None:
    """The broker had the rejection, so the message was not there."""
    tale = rejected()
    tale.done("main", "purge", dest=QUEUE)
    emptied(tale)
    tale.look("letters", QUEUE)
    assert tale.errors() == ["dlq-lost"]


def test_where_nobody_looked_it_is_counted() -> None:
    """In the queue, or among the letters."""
    for tale in (story(), rejected()):
        (judged,) = [judged for judged in tale.judgements() if judged.checker == "queue-fate"]
        assert judged.looked_at == {"confirmed": 1, "nobody_looked": 1}


# --- what may have died


def test_what_may_have_died_need_not_be_left() -> None:
    """Where the library counts attempts, one that died in between may have used them up."""
    for claims, errors in ((COPYING, []), (None, ["lost"])):
        tale = story("a", "b", claims=claims, max_attempts=3)
        tale.wait(6.1)
        tale.look("left", QUEUE, ready=1, unsettled=0)
        assert tale.errors() == errors


def test_what_expired_and_is_not_counted_is_among_the_letters() -> None:
    """Counts rule out its queue."""
    tale = story(message_ttl_s=1)
    tale.wait(8)
    tale.look("left", QUEUE, ready=0, unsettled=0)
    tale.look("letters", QUEUE)
    assert tale.errors() == ["dlq-lost"]


def test_what_was_never_delivered_has_failed_never() -> None:
    """With one attempt it is lost, not dead."""
    assert emptied(story(max_attempts=1)) == ["lost"]


def test_a_delivery_without_a_number_is_the_first() -> None:
    """Of two attempts one is left."""
    tale = story(max_attempts=2)
    taker = tale.consumer()
    taker.shown("m", 1, False)
    tale.events[-1] = tale.events[-1]._replace(attempt=None)
    taker.close()
    tale.wait(2)
    assert emptied(tale) == ["missing-redelivery"]


def test_one_who_died_may_have_had_it_unseen() -> None:
    """That was its only attempt, so it is among the letters, where nobody looked."""
    tale = story(max_attempts=1)
    tale.consumer("victim", proc="w")
    tale.fault("sigkill", "w")
    assert emptied(tale) == []


def test_what_died_with_its_consumer_came_to_its_end_by_a_bare_word_too() -> None:
    """A fault that is told as over at once."""
    tale = story()
    tale.consumer("victim", proc="w").take("m")
    tale.write("main", "ok", "fault", more={"what": "sigkill", "at": "w"})
    tale.wait(2)
    assert emptied(tale) == ["missing-redelivery"]


# --- at most once


def test_one_that_had_it_at_most_once_may_have_lost_it() -> None:
    """Whoever was there before; and what came of asking too soon after the send tells nothing."""
    for asks in (False, True):
        tale = story()
        gone(tale, "before")
        taker = tale.consumer("loose", ack="before")
        if asks:
            taker.nothing()
        taker.close()
        assert (emptied(tale), tale.counted()) == ([], ["lost"])


def test_one_that_died_after_it_had_asked_may_have_lost_it() -> None:
    """It may have asked again."""
    tale = story()
    taker = tale.consumer("loose", proc="w", ack="before")
    tale.wait(2)
    taker.nothing()
    tale.fault("sigkill", "w")
    assert (emptied(tale), tale.counted()) == ([], ["lost"])


# --- among the letters


@pytest.mark.parametrize("f", ["looked", "drained"])
@pytest.mark.parametrize("early", [True, False])
def test_who_asks_for_letters_themselves_can_tell(f: str, early: bool) -> None:
    """An observer of their queue, or somebody who took all of them; an earlier look that was too soon hides none."""
    tale = story()
    taker = tale.consumer()
    taker.one("m").reject()
    taker.commit()
    taker.close()
    if early:
        tale.look("letters", QUEUE)
    tale.wait(2)
    if f == "looked":
        tale.look("looked", LETTERS)
    else:
        emptied(tale, LETTERS)
    assert tale.errors() == ["dlq-lost"]


def test_an_undertaker_hides_letters_for_a_time() -> None:
    """While he may have one, a look tells nothing; the next one does."""
    tale = rejected()
    undertaker = tale.consumer("u", LETTERS)
    undertaker.take()
    tale.producer("q").send("x", dest=LETTERS)
    undertaker.one("x").ack()
    tale.events[:] = [
        event for event in tale.events if event.f != "poll" or event.client != "u" or event.more.get("count")
    ]
    tale.look("letters", QUEUE)
    assert tale.errors() == []
    undertaker.close()
    tale.look("looked", LETTERS)
    assert tale.errors() == ["dlq-lost"]


# --- when the broker had heard


def test_a_verb_is_told_in_time() -> None:
    """After its interval and a grace, unless a commit says so; not before."""
    for seconds, errors in ((2.5, []), (3.5, ["missing-redelivery"])):
        tale = story()
        taker = tale.consumer(settle_interval_s=2.0)
        taker.one("m").release()
        tale.wait(seconds)
        taker.nothing()
        assert emptied(tale) == errors


# --- facts


def test_what_dies_and_is_sent_is_two() -> None:
    """A letter, and a message that was sent to the queue of letters; one that did not die is one."""
    tale = story()
    tale.producer("q").send("m", "other", dest=LETTERS)
    facts = Facts(tale.history)
    assert [facts.copies(facts.story(LETTERS, val)) for val in ("m", "other")] == [2, 1]


def test_queues_that_dead_letter_to_each_other() -> None:
    """Nobody knows how many there are, and the first was sent when it was sent."""
    tale = Tale()
    for one, other in (("queue:a", "queue:b"), ("queue:b", "queue:a")):
        tale.write("main", "ok", "declare", dest=one, more={"dead_letter": other})
    tale.producer().send("m", dest="queue:a")
    sent = tale.events[-2]
    facts = Facts(tale.history)
    facts.story("queue:b", "m")
    assert facts.copies(facts.story("queue:a", "m")) == MANY
    assert facts.first_sent(facts.story("queue:a", "m")) == sent.t


def test_one_who_waits_in_a_poll_may_have_it() -> None:
    """It has not ended, and nothing was shown."""
    tale = story()
    taker = tale.consumer("waiting")
    tale.write("main", "invoke", "poll", **taker.who)
    assert emptied(tale) == []


def test_a_verb_that_is_told_as_done_was_tried() -> None:
    """Without an invoke."""
    tale = story()
    taker = tale.consumer()
    taker.one("m")
    done = tale.write("main", "ok", "ack", **taker.who, tag=1, val="m")
    (lease,) = Facts(tale.history).story(QUEUE, "m").leases
    assert (lease.tried, lease.verb) == (done, done)


def test_an_end_of_a_commit_alone_settles_nothing() -> None:
    """Nobody knows what it was asked for."""
    tale = story()
    taker = tale.consumer()
    taker.one("m").ack()
    tale.write("main", "ok", "commit", **taker.who)
    assert Facts(tale.history).story(QUEUE, "m").leases[0].known == 1 << 62


def test_a_look_without_an_end_saw_nothing() -> None:
    """And one that began too early tells nothing either."""
    tale = story()
    op = tale.write("main", "invoke", "looked", dest=QUEUE)
    tale.wait(2)
    tale.write("main", "invoke", "looked", dest=QUEUE)
    assert tale.errors() == []
    tale.write("main", "ok", "looked", op=op.seq, dest=QUEUE)
    assert tale.errors() == []


def test_what_is_delayed_is_left() -> None:
    """It counts as there."""
    tale = story()
    tale.wait(7)
    tale.look("left", QUEUE, ready=0, unsettled=0, delayed=1)
    assert tale.errors() == []


def test_what_was_purged_is_not_lost() -> None:
    """Also where only its end is told."""
    tale = story()
    tale.write("main", "ok", "purge", dest=QUEUE)
    assert emptied(tale) == []


@pytest.mark.parametrize("kind", ["ok", "bare", "info"])
def test_a_purge_takes_nothing_that_is_sent_afterwards(kind: str) -> None:
    """Unless nobody knows when it was done."""
    tale = Tale()
    tale.queue()
    if kind == "bare":
        tale.write("main", "ok", "purge", dest=QUEUE)
    else:
        op = tale.write("main", "invoke", "purge", dest=QUEUE)
        tale.write("main", "ok" if kind == "ok" else "info", "purge", op=op.seq, dest=QUEUE)
    tale.producer().send("m")
    assert emptied(tale) == ([] if kind == "info" else ["lost"])


def test_a_redrive_that_has_not_ended_may_have_moved_letters() -> None:
    """They are not lost."""
    tale = rejected()
    tale.write("main", "invoke", "redrive", dest=QUEUE)
    tale.look("letters", QUEUE)
    assert tale.errors() == []


# --- policies


def test_what_is_declared_twice_the_same_is_known() -> None:
    """So that findings may rest on it."""
    tale = Tale()
    tale.queue(max_attempts=3)
    tale.queue(max_attempts=3)
    tale.producer().send("m")
    assert emptied(tale) == ["lost"]


@pytest.mark.parametrize(
    ("backoff", "longest"),
    [({"first_delay_s": 2.0}, 2.0), ({"first_delay_s": 1.0, "max_delay_s": 4.0}, 4.0), ({}, 0.0), (None, 0.0)],
)
def test_the_longest_time_before_a_retry(backoff: dict[str, float] | None, longest: float) -> None:
    """The last delay, else the first one, else none."""
    tale = Tale()
    tale.queue(retry_backoff=backoff)
    assert policies(tale.history)[QUEUE].backoff_s == longest


@pytest.mark.parametrize(("header", "wait", "found"), [({"record_lock_s": 4.0}, 3, False), ({}, 12, True)])
def test_a_lease_is_safe_for_half_of_its_lock(header: dict[str, float], wait: float, found: bool) -> None:
    """As the run says, or half a minute."""
    tale = Tale(COPYING, **header)
    tale.queue()
    tale.producer().send("m")
    tale.consumer().one("m")
    tale.wait(wait)
    tale.consumer("d").one("m")
    assert ("concurrent-lease" in tale.errors()) is found


# --- limits


def test_what_may_expire_fills_no_queue() -> None:
    """It may have gone before the next one was taken."""
    for more, errors in (({"expires_in_s": 100}, []), ({}, ["limit-exceeded"])):
        tale = Tale()
        tale.queue(max_length=1)
        producer = tale.producer()
        for val in "abcd":
            producer.begin(val, QUEUE, **more)()
        assert tale.errors() == errors


def test_a_queue_of_no_length_may_notice_late() -> None:
    """The first one may be taken."""
    tale = Tale()
    tale.queue(max_length=0)
    tale.producer().send("a")
    assert tale.errors() == []


# --- origin


def findings(tale: Tale, anomaly: str) -> list[list[tuple[str, str]]]:
    """What shows each of them."""
    found = [found for judged in tale.judgements() for found in judged.findings if found.anomaly == anomaly]
    return [[(event.f, event.kind) for event in one.witness] for one in found]


def test_the_first_that_saw_it_is_the_first_in_time() -> None:
    """Not the one whose process has written less."""
    tale = Tale()
    tale.queue()
    producer = tale.producer()
    tale.consumer().one("m")
    producer.send("m")
    op = tale.write("watch", "invoke", "looked", dest=QUEUE)
    tale.write("watch", "ok", "stored", op=op.seq, dest=QUEUE, val="m")
    tale.write("watch", "ok", "looked", op=op.seq, dest=QUEUE)
    assert findings(tale, "phantom") == [[("deliver", "ok"), ("send", "invoke")]]


@pytest.mark.parametrize(("kind", "anomaly"), [("fail", "phantom"), ("info", "recovered")])
def test_what_came_though_it_did_not_go(kind: str, anomaly: str) -> None:
    """Its send with its end, and who was given it."""
    tale = Tale()
    tale.queue()
    tale.producer().send("m", outcome=kind)
    tale.consumer().one("m")
    assert findings(tale, anomaly) == [[("send", "invoke"), ("send", kind), ("deliver", "ok")]]


# --- times, limits, faults and exchanges


def test_a_delay_is_judged_whatever_is_sent_later() -> None:
    """And whatever was not delivered before it."""
    tale = Tale()
    tale.queue()
    tale.producer("q").send("waits")
    producer = tale.producer()
    producer.begin("m", QUEUE, delay_s=10)()
    tale.consumer().one("m")
    assert tale.errors() == ["delay-early"]
    producer.send("m")
    assert tale.errors() == ["delay-early"]


def test_a_limit_that_is_not_claimed_is_counted() -> None:
    """By what was confirmed, shown with its end, and by what is left."""
    tale = Tale({**DIRECT, "LENGTH_LIMIT": "unsupported"})
    tale.queue(max_length=1)
    tale.producer().send(*"abcd")
    tale.look("left", QUEUE, ready=4, unsettled=0)
    assert (tale.errors(), tale.counted()) == ([], ["limit-exceeded"] * 2)
    assert findings(tale, "limit-exceeded") == [[("send", "invoke"), ("send", "ok")], [("left", "ok")]]


def test_faults_that_overlap_are_one_from_the_first_on() -> None:
    """The first one began it."""
    tale = Tale()
    tale.fault("pause", "broker")
    first = tale.now
    tale.wait(5)
    tale.fault("cut", "link")
    tale.heal("pause", "broker")
    tale.heal("cut", "link")
    assert not Trouble(tale.history).calm(first + 1, first + 2)


def test_what_may_have_come_through_an_exchange_that_nobody_declared() -> None:
    """To every queue that there is; and by a producer that sends again, more often than once."""
    tale = Tale()
    tale.queue()
    tale.producer(on_unknown="resend").send("m", dest="exchange:unknown")
    facts = Facts(tale.history)
    assert facts.copies(facts.stories[QUEUE, "m"]) == MANY


def test_what_was_not_shown_hides_no_phantom() -> None:
    """A message that waits, and then one that nobody sent; one that came before it was sent is shown with its send."""
    tale = Tale()
    tale.queue()
    producer = tale.producer()
    producer.send("waits")
    taker = tale.consumer()
    taker.one("early")
    producer.send("early")
    taker.one("phantom")
    early, phantom = findings(tale, "phantom")
    assert (early, phantom) == ([("deliver", "ok"), ("send", "invoke")], [("deliver", "ok")])


# --- fewer left than there must be


def few(*states: str, left: int, dest: str = QUEUE, tale: Tale | None = None) -> Tale:
    """Messages that were given back and never came again, or were never shown; and how many are left."""
    tale = Tale() if tale is None else tale
    tale.queue(dest)
    for number, state in enumerate(states):
        tale.producer(f"p{dest}").send(f"m{number}", dest=dest)
        if state == "back":
            taker = tale.consumer(f"{number}{dest}", dest)
            taker.one(f"m{number}").release()
            taker.commit()
            taker.close()
    tale.wait(6.1)
    tale.look("left", dest, ready=left, unsettled=0)
    return tale


@pytest.mark.parametrize(
    ("states", "left", "anomaly"),
    [
        (("back", "new", "new"), 1, "lost"),
        (("back", "new"), 1, "missing-redelivery"),
        (("new", "back"), 1, "lost"),
    ],
)
def test_what_is_missing_is_called_by_what_it_must_be(states: tuple[str, ...], left: int, anomaly: str) -> None:
    """Lost, if more were never shown than are left; else as the first of them."""
    assert few(*states, left=left).errors() == [anomaly]


def test_a_queue_with_enough_hides_none_with_too_few() -> None:
    """Each is counted for itself."""
    assert few("new", "new", left=1, dest="queue:other", tale=few("new", left=1)).errors() == ["lost"]


def test_a_letter_before_its_confirmation_was_seen() -> None:
    """It died before its producer heard of it, so nobody has to look for it."""
    tale = Tale()
    tale.queue(max_length=1)
    end = tale.producer().begin("m")
    tale.look("letters", QUEUE, "m", reason="max-length")
    end()
    (judged,) = [judged for judged in tale.judgements() if judged.checker == "queue-fate"]
    assert judged.outcome is Outcome.VALID
