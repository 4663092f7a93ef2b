"""Effects, transactions and outboxes, judged."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers import Judgement, Outcome, Profile
from mqbridge_conformance.checkers.exactly_once import (
    EXACTLY_ONCE_CHECKERS,
    check_effects,
    check_outbox,
    check_transactions,
)
from mqbridge_conformance.history import Event
from tests.conformance.checkers.queue_tale import LETTERS, QUEUE, Taker, Tale
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story

TABLE = "table:payments"
OUT = "topic:out"


def errors(judgement: Judgement) -> list[str]:
    return sorted(finding.anomaly for finding in judgement.errors)


# --- effects


def handled(*vals: str, guarantee: str = "effectively-once", drained: bool = True, **send: Any) -> Tale:
    """Messages, each taken, written to a table, and acked; then the queue is drained."""
    tale = Tale(guarantee=guarantee)
    tale.queue()
    tale.producer().send(*vals, **send)
    taker = tale.consumer("c")
    for val in vals:
        taken = taker.one(val)
        effect(tale, val)
        taken.ack()
    if drained:
        tale.drained()
    return tale


def effect(tale: Tale, val: str | None, kind: str | None = "ok", dest: str = TABLE) -> None:
    """Something is written because of a message; `kind` None is one whose end nobody saw."""
    op = tale.write("main", "invoke", "effect", val=val, dest=dest)
    if kind is not None:
        tale.write("main", kind, "effect", op=op.seq, val=val, dest=dest)


def judged(tale: Tale) -> Judgement:
    return check_effects(tale.history, Profile.of(tale.history))


def test_one_effect_a_message_is_right() -> None:
    """And it was looked at."""
    judgement = judged(handled("a", "b"))
    assert (errors(judgement), judgement.looked_at) == ([], {"effects": 2})


def test_two_effects_of_one_message() -> None:
    """An error where once was asked for, a count at least once; the witness is the send and both effects."""
    tale = handled("a", "b")
    effect(tale, "a")
    judgement = judged(tale)
    assert errors(judgement) == ["EOS-dup"]
    (found,) = judgement.errors
    assert (found.where, [event.f for event in found.witness]) == (TABLE, ["send", "effect", "effect"])
    tale = handled("a", guarantee="at-least-once")
    effect(tale, "a")
    judgement = judged(tale)
    assert (errors(judgement), judgement.counts) == ([], {"EOS-dup": 1})


@pytest.mark.parametrize("guarantee", ["at-most-once", "transactional"])
def test_no_other_guarantee_allows_two(guarantee: str) -> None:
    """Only at least once does."""
    tale = handled("a", guarantee=guarantee)
    effect(tale, "a")
    assert errors(judged(tale)) == ["EOS-dup"]


@pytest.mark.parametrize("kind", ["fail", "info", None])
def test_an_effect_that_is_not_certain_is_no_second_one(kind: str | None) -> None:
    """Rolled back, or of unknown outcome."""
    tale = handled("a")
    effect(tale, "a", kind)
    assert errors(judged(tale)) == []


def test_an_effect_elsewhere_is_its_own() -> None:
    """Each place is judged by itself."""
    tale = handled("a")
    effect(tale, "a", dest="table:other")
    assert errors(judged(tale)) == []


def test_a_message_sent_twice_may_have_two_effects() -> None:
    """Also if one of the sends has no known outcome; a send that failed gives leave for none."""
    for outcome, found in (("ok", []), ("info", []), ("fail", ["EOS-dup"])):
        tale = handled("a")
        tale.producer("again").send("a", outcome=outcome)
        effect(tale, "a")
        assert errors(judged(tale)) == found


def test_an_effect_of_nothing_is_one_too_many() -> None:
    """Nobody sent it."""
    tale = handled("a")
    effect(tale, "strange")
    assert errors(judged(tale)) == ["EOS-dup"]


def test_each_group_has_effects_of_its_own() -> None:
    """A topic that two groups read."""
    story = Story()
    story.producer()
    story.send("a", 0)
    for who, group in (("c", "g"), ("d", "h")):
        story.consumer(who, group)
        story.poll(who, 0)
        story.did("effect", val="a", dest=TABLE)
    profile = Profile(guarantee="effectively-once")
    assert errors(check_effects(story.history(), profile)) == []
    story.did("effect", val="a", dest=TABLE)
    assert errors(check_effects(story.history(), profile)) == ["EOS-dup"]


def test_each_queue_of_a_fanout_has_effects_of_its_own() -> None:
    """One send, two queues, two effects; not three."""
    tale = Tale(guarantee="effectively-once")
    tale.exchange(type="fanout")
    for dest in (QUEUE, "queue:other"):
        tale.queue(dest)
        tale.bind("exchange:e", dest)
    tale.producer().send("a", dest="exchange:e")
    for _ in range(2):
        effect(tale, "a")
    assert errors(judged(tale)) == []
    effect(tale, "a")
    assert errors(judged(tale)) == ["EOS-dup"]


def unhandled(tale: Tale, verb: str | None = "ack", **options: Any) -> Taker:
    """Another message that is taken and has no effect."""
    tale.producer("q").send("x")
    taker = tale.consumer("d", **options)
    taken = taker.one("x")
    if verb is not None:
        taken.settle(verb)
    return taker


def test_a_message_without_an_effect_is_lost() -> None:
    """Acked and never done: lawful at most once only. The witness is its send and the drain."""
    for guarantee, found in (
        ("effectively-once", ["EOS-lost"]),
        ("at-least-once", ["EOS-lost"]),
        ("at-most-once", []),
    ):
        tale = handled("a", guarantee=guarantee, drained=False)
        unhandled(tale)
        tale.drained()
        judgement = judged(tale)
        assert errors(judgement) == found
        assert judgement.counts == {"EOS-lost": 1}
    assert [event.f for event in judgement.findings[0].witness] == ["send", "send", "drained"]


def test_what_never_came_had_no_effect_either() -> None:
    """Confirmed, drained, and never given to anybody."""
    tale = handled("a", drained=False)
    tale.producer("q").send("x")
    tale.drained()
    assert errors(judged(tale)) == ["EOS-lost"]


@pytest.mark.parametrize("how", ["close", "kill"])
def test_what_its_handler_died_with_had_no_effect(how: str) -> None:
    """Taken by one who has ended, and not settled."""
    tale = handled("a", drained=False)
    getattr(unhandled(tale, None, proc="w"), how)()
    tale.drained()
    assert errors(judged(tale)) == ["EOS-lost"]


@pytest.mark.parametrize("verb", [None, "release", "retry", "reject"])
def test_what_is_held_or_given_back_may_still_be_done(verb: str | None) -> None:
    """By one who lives, or by whoever gets it next, or it died."""
    tale = handled("a", drained=False)
    unhandled(tale, verb)
    tale.drained()
    assert errors(judged(tale)) == []


@pytest.mark.parametrize(
    "how", ["undrained", "too early", "unconfirmed", "maybe", "elsewhere", "purged", "dead", "ttl"]
)
def test_what_need_not_have_been_done_is_not_lost(how: str) -> None:
    """Nobody drained, or only before it; it was not confirmed; its effect may be there; it is in a queue that has
    nothing to do with that place; it may have been purged, may be dead, or may have expired."""
    tale = handled("a", drained=False)
    if how == "ttl":
        tale.queue(QUEUE, message_ttl_s=60)
    if how == "too early":
        tale.drained()
    if how == "elsewhere":
        tale.queue("queue:other")
    dest = "queue:other" if how == "elsewhere" else QUEUE
    tale.producer("q").send("x", dest=dest, outcome="info" if how == "unconfirmed" else "ok")
    if how == "maybe":
        effect(tale, "x", None)
    elif how == "purged":
        tale.done("main", "purge", dest=QUEUE)
    elif how == "dead":
        tale.consumer("u", LETTERS).one("x", death="expired")
    if how not in ("undrained", "too early"):
        tale.drained(dest)
    assert errors(judged(tale)) == []


def test_records_of_a_topic_without_an_effect() -> None:
    """A topic is drained likewise; one that keeps for a time only, or was shortened, proves nothing."""
    for spec, shortened, found in (
        ({}, False, ["EOS-lost"]),
        ({"retention": {"max_age_s": 1}}, False, []),
        ({}, True, []),
    ):
        story = Story(**spec)
        story.producer()
        story.send("a", 0)
        story.send("x", 1)
        story.consumer("c")
        story.poll("c", 0, 1)
        story.did("effect", val="a", dest=TABLE)
        for off, val in enumerate("ax"):
            story.did("ack", "c", dest=TOPIC, part=0, off=off, val=val)
        if shortened:
            story.did("delete_records", dest=TOPIC, more={"before": {"0": 1}})
        story.drained()
        assert errors(check_effects(story.history(), Profile())) == found


# --- transactions


class Work:
    """A program that takes a record, sends two of its own and acks, all in one transaction."""

    def __init__(self, *outs: tuple[str, int | None], end: str | None = "ok", commit: bool = True) -> None:
        self.story = story = Story()
        story.declare(OUT, partitions=1)
        story.producer()
        story.send("in", 0)
        story.consumer("c")
        story.poll("c", 0)
        story.did("begin", txn="t1")
        for val, off in outs:
            story.send(val, off, dest=OUT, txn="t1", told=False)
        story.did("ack", "c", dest=TOPIC, part=0, off=0, val="in", txn="t1")
        more = {"commit": commit}
        if end is None:
            story.say("invoke", "end", txn="t1", more=more)
        else:
            story.did("end", txn="t1", outcome=end, more=more)  # type: ignore[arg-type]

    def looked(self, ms: float = 2000) -> Work:
        """An observer looks at what came out."""
        self.story.wait(ms)
        self.story.look(OUT)
        return self

    def again(self) -> Work:
        """The record comes again, to the next member of its group."""
        self.story.consumer("d")
        self.story.poll("d", 0, lease=2)
        return self

    @property
    def found(self) -> list[str]:
        return errors(check_transactions(self.story.history(), ALL_CLAIMED))


def test_all_of_a_transaction_is_whole() -> None:
    """Both sends there, the record not given again."""
    assert Work(("a", 0), ("b", 1)).looked().found == []


def test_nothing_of_a_transaction_is_whole() -> None:
    """Aborted or unknown, and nothing is there; the record comes again."""
    for work in (Work(("a", None), commit=False), Work(("a", None), end="info"), Work(("a", None), end=None)):
        assert work.looked().again().found == []


def test_one_send_without_the_other_is_torn() -> None:
    """Committed, or of unknown outcome; the witness is its beginning, what is there, and who did not see the rest."""
    assert Work(("a", 0), ("b", None)).looked().found == ["torn-transaction"]
    assert Work(("a", 0), ("b", None), end="info").looked().found == ["torn-transaction"]
    work = Work(("a", 0), ("b", None)).looked()
    (finding,) = check_transactions(work.story.history(), ALL_CLAIMED).errors
    assert finding.where == "t1"
    assert [event.f for event in finding.witness] == ["send", "stored", "looked"]


def test_a_look_may_come_too_soon() -> None:
    """A commit may need a moment to show in all its places."""
    assert Work(("a", 0), ("b", None)).looked(ms=0).found == []


def test_sends_without_offsets_are_torn() -> None:
    """Committed, and the record comes again."""
    assert Work(("a", 0)).looked().again().found == ["torn-transaction"]
    assert Work(("a", 0), end="info").looked().again().found == ["torn-transaction"]


def test_offsets_without_sends_are_torn() -> None:
    """Committed, and what it sent is not there."""
    assert Work(("a", None)).looked().found == ["torn-transaction"]


def test_a_record_taken_before_the_end_is_not_given_again() -> None:
    """A poll that began while the transaction was under way says nothing of it."""
    work = Work(("a", 0), end=None)
    work.story.consumer("d")
    op = work.story.say("invoke", "poll", client="d", group="g", dest=TOPIC)
    work.story.say("ok", "end", op=_end_invoke(work.story).seq, txn="t1", more={"commit": True})
    work.story.say("ok", "deliver", op=op, client="d", group="g", dest=TOPIC, part=0, off=0, val="in")
    assert work.looked().found == []


def _end_invoke(story: Story) -> Event:
    return next(event for event in story.events if event.f == "end")


@pytest.mark.parametrize("how", ["seek", "reset", "other group", "aborted"])
def test_a_record_may_come_again_for_other_reasons(how: str) -> None:
    """It was sought, the group was reset, another group reads it, the transaction was aborted."""
    work = Work(("a", None if how == "aborted" else 0), commit=how != "aborted")
    if how == "other group":
        work.story.consumer("d", "h")
        work.story.poll("d", 0)
    else:
        if how in ("seek", "reset"):
            work.story.did(how, "c", dest=TOPIC, part=0, off=0)
        work.again()
    assert work.looked().found == []


def test_a_send_that_failed_is_not_part_of_it() -> None:
    """What was refused need not be there."""
    story = Work(("a", 0)).story
    story.events = [event for event in story.events if event.f != "end"]
    story.send("b", None, dest=OUT, txn="t1", outcome="fail")
    story.did("end", txn="t1", more={"commit": True})
    story.wait(2000)
    story.look(OUT)
    assert errors(check_transactions(story.history(), ALL_CLAIMED)) == []


def test_a_topic_that_shrinks_proves_nothing() -> None:
    """What is not there may have been there."""
    for spec, shortened in (({"retention": {"max_age_s": 1}}, False), ({}, True)):
        work = Work(("a", 0), ("b", None))
        work.story.declare(OUT, **spec)
        if shortened:
            work.story.did("delete_records", dest=OUT, more={"before": {"0": 1}})
        assert work.looked().found == []


def test_without_the_claim_it_is_counted() -> None:
    """An engine without transactions."""
    history = Work(("a", 0), ("b", None)).looked().story.history()
    judgement = check_transactions(history, Profile())
    assert (errors(judgement), judgement.counts) == ([], {"torn-transaction": 1})


# --- outbox


class Outbox:
    """Rows of an outbox and the topic that a relay publishes them to."""

    def __init__(self) -> None:
        self.story = Story()
        self._off = 0

    def row(self, val: str, outcome: str | None = "ok", key: str = "order-1", dest: str | None = None) -> Outbox:
        if outcome is None:
            self.story.say("invoke", "row", val=val, key=key, dest=dest)
        else:
            self.story.did("row", val=val, key=key, dest=dest, outcome=outcome)  # type: ignore[arg-type]
        return self

    def publish(self, *vals: str, told: bool = True) -> Outbox:
        """By the relay, whose sends are told or not."""
        for val in vals:
            if told:
                self.story.send(val, self._off)
            else:
                self.story.put(self._off, val)
            self._off += 1
        return self

    def seen(self) -> Outbox:
        """A reader reads all of it and says so."""
        self.story.consumer("c")
        self.story.poll("c", *range(self._off))
        self.story.drained()
        return self

    @property
    def judgement(self) -> Judgement:
        return check_outbox(self.story.history(), ALL_CLAIMED)

    @property
    def found(self) -> list[str]:
        return errors(self.judgement)


def test_each_committed_row_is_a_message() -> None:
    """And no other."""
    outbox = Outbox().row("a").row("b", "fail").row("x", "info").publish("a").seen()
    assert (outbox.found, outbox.judgement.counts, outbox.judgement.looked_at) == ([], {}, {"rows": 1})


def test_a_committed_row_that_is_no_message_is_lost() -> None:
    """The others of its outbox went there, and it was drained; or it says itself where it goes."""
    assert Outbox().row("a").row("b").publish("a").seen().found == ["outbox-lost"]
    assert Outbox().row("b", dest=TOPIC).seen().found == ["outbox-lost"]


def test_rows_that_nobody_looked_for_nobody_can_tell() -> None:
    """Unknown: committed, and nothing was seen or drained anywhere; not of rows that may not have been."""
    judgement = Outbox().row("a").row("b").row("c", "fail").judgement
    told = "2 rows were committed, and nobody looked at what came of them"
    assert (judgement.outcome, judgement.reason, judgement.findings) == (Outcome.UNKNOWN, told, ())
    drained, unsure = Outbox().row("a", dest=TOPIC).seen(), Outbox().row("a", "info")
    for outbox in (unsure, drained, Outbox().row("a").publish("a").seen()):
        assert outbox.judgement.outcome is not Outcome.UNKNOWN


def test_a_row_that_may_still_be_published_is_not_lost() -> None:
    """Nobody drained, or only before; nobody knows where it goes; it goes elsewhere; its outcome is unknown."""
    outbox = Outbox().row("a").row("b").publish("a")
    outbox.story.consumer("c")
    outbox.story.poll("c", 0)
    assert outbox.found == []
    assert Outbox().row("a").publish("a").seen().row("b").found == []
    assert Outbox().row("b").seen().found == []
    assert Outbox().row("a").row("b", dest="topic:other").publish("a").seen().found == []
    for outcome in ("info", None):
        assert Outbox().row("a").row("b", outcome).publish("a").seen().found == []


def test_a_row_of_several_places_is_lost_if_all_were_drained() -> None:
    """One that was not may have it."""
    outbox = Outbox().row("a").row("b").row("y").publish("a").seen()
    outbox.story.say("ok", "deliver", client="x", dest="queue:q", val="y")
    assert outbox.found == []
    outbox.story.say("ok", "drained", dest="queue:q")
    assert outbox.found == ["outbox-lost"]


def test_a_row_rolled_back_and_published_is_a_phantom() -> None:
    """Unless it was written again, and that may have been committed."""
    assert Outbox().row("a", "fail").publish("a").seen().found == ["outbox-phantom"]
    for again in ("ok", "info", None):
        assert Outbox().row("a", "fail").row("a", again).publish("a").seen().found == []


def test_a_row_that_is_only_told_counts_too() -> None:
    """Without an invoke."""
    outbox = Outbox()
    outbox.story.say("fail", "row", val="a", key="k")
    assert outbox.publish("a").seen().found == ["outbox-phantom"]


def test_one_row_and_two_messages_are_counted() -> None:
    """Never an error; two rows of one value are two messages."""
    outbox = Outbox().row("a").publish("a", "a").seen()
    assert (outbox.found, outbox.judgement.counts) == ([], {"outbox-dup": 1})
    assert Outbox().row("a").row("a").publish("a", "a").seen().judgement.counts == {}
    assert Outbox().row("a").row("a", "info").publish("a", "a").seen().judgement.counts == {}


def test_two_sends_to_a_queue_are_two_messages() -> None:
    """A queue has no offsets to tell them apart."""
    tale = Tale()
    tale.queue()
    tale.done("main", "row", val="a", key="k")
    producer = tale.producer()
    producer.send("a")
    producer.send("a", outcome="info")
    assert check_outbox(tale.history, ALL_CLAIMED).counts == {}
    producer.send("a")
    assert check_outbox(tale.history, ALL_CLAIMED).counts == {"outbox-dup": 1}


@pytest.mark.parametrize("told", [True, False])
def test_rows_of_one_aggregate_keep_their_order(told: bool) -> None:
    """By when they were sent, or, if that is not told, by their offsets."""
    assert Outbox().row("a").row("b").publish("a", "b", told=told).seen().found == []
    assert Outbox().row("a").row("b").publish("b", "a", told=told).seen().found == ["outbox-reorder"]


def test_what_was_published_again_keeps_its_first_place() -> None:
    """A repetition behind a later one is no reordering."""
    for told in (True, False):
        assert Outbox().row("a").row("b").publish("a", "b", "a", told=told).seen().found == []


def test_other_rows_have_no_order() -> None:
    """Of other aggregates, written at the same time, of one value, or not committed."""
    assert Outbox().row("a").row("b", key="order-2").publish("b", "a").seen().found == []
    outbox = Outbox()
    ops = [outbox.story.say("invoke", "row", val=val, key="k") for val in "ab"]
    for op, val in zip(ops, "ab", strict=True):
        outbox.story.say("ok", "row", op=op, val=val, key="k")
    assert outbox.publish("b", "a").seen().found == []
    assert Outbox().row("a").row("b").row("a").publish("b", "a").seen().found == []
    assert Outbox().row("a", "info").row("b").publish("b", "a").seen().found == []


def test_partitions_have_no_order_between_them() -> None:
    """Offsets of two are not compared."""
    outbox = Outbox().row("a").row("b")
    for val, part, off in (("a", 0, 5), ("b", 1, 2)):
        outbox.story.say("ok", "stored", dest=TOPIC, part=part, off=off, val=val)
    assert outbox.found == []


def test_a_history_without_any_of_it_is_valid() -> None:
    """Nothing to look at, nothing to say."""
    tale = handled("a")
    tale.events = [event for event in tale.events if event.f != "effect"]
    for checker in EXACTLY_ONCE_CHECKERS:
        judgement = checker(tale.history, Profile.of(tale.history))
        assert (judgement.findings, judgement.looked_at.get("effects", 0)) == ((), 0)
