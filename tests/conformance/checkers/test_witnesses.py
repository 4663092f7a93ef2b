"""What proves a finding is shown whole: each of its events, in the order in which they happened, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers import Checker, Finding, Profile
from mqbridge_conformance.checkers.catalogue import ALL as CHECKERS
from mqbridge_conformance.checkers.exactly_once import check_outbox
from mqbridge_conformance.checkers.log_order import log_order
from mqbridge_conformance.checkers.log_writes import log_writes
from mqbridge_conformance.history import History
from tests.conformance.checkers.queue_tale import DIRECT, LETTERS, QUEUE, Tale
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story, value

CONFIRMED = [("send", "invoke"), ("send", "ok")]


def finding(story: Story, checker: Checker, anomaly: str, profile: Profile = ALL_CLAIMED) -> Finding:
    (found,) = [found for found in checker(story.history(), profile).findings if found.anomaly == anomaly]
    return found


def proof(found: Finding) -> list[tuple[str, str]]:
    times = [(event.t, event.proc, event.seq) for event in found.witness]
    assert times == sorted(set(times))
    return [(event.f, event.kind) for event in found.witness]


# --- writes


def test_an_offset_that_was_confirmed_twice() -> None:
    """Both sends, each with its end."""
    story = Story()
    story.producer()
    story.producer("q")
    story.end(story.begin(value(0)), 1)
    story.end(story.begin(value(0, producer="q"), "q"), 1, "q")
    assert proof(finding(story, log_writes, "inconsistent-offsets")) == CONFIRMED * 2


def test_another_value_than_was_confirmed() -> None:
    """The send with its end, and who saw the other one."""
    story = Story()
    story.producer()
    story.end(story.begin(value(0)), 0)
    story.put(0, value(7))
    story.look()
    assert proof(finding(story, log_writes, "inconsistent-offsets")) == [*CONFIRMED, ("stored", "ok")]


def test_a_message_that_lies_in_two_places() -> None:
    """The send with its end, and both sightings."""
    story = Story()
    story.producer()
    story.send(value(0), 0)
    story.put(1, value(0))
    story.look()
    assert proof(finding(story, log_writes, "duplicate")) == [*CONFIRMED, ("stored", "ok"), ("stored", "ok")]


def test_what_failed_and_was_read() -> None:
    """The send, its failure and the delivery; and who read it is named."""
    story = Story()
    story.producer()
    story.send(value(0), 0, outcome="fail")
    story.consumer()
    story.poll("c", 0)
    found = finding(story, log_writes, "G1a")
    assert proof(found) == [("send", "invoke"), ("send", "fail"), ("deliver", "ok")]
    assert found.where == f"{TOPIC}/0 in group g"


def test_what_failed_and_is_there() -> None:
    """Seen by an observer, who is in no group."""
    story = Story()
    story.producer()
    story.send(value(0), 0, outcome="fail")
    story.look()
    assert finding(story, log_writes, "G1a").where == f"{TOPIC}/0"


@pytest.mark.parametrize(("claims", "legal"), [(ALL_CLAIMED, False), (Profile(), True)])
def test_what_was_aborted_and_read(claims: Profile, legal: bool) -> None:
    """The send, the end of its transaction and the delivery; a count where nobody claims to hide it."""
    story = Story()
    story.producer()
    story.did("begin", "p", txn="t1")
    story.send(value(0), 0, txn="t1")
    story.did("end", "p", txn="t1", more={"commit": False})
    story.consumer()
    story.poll("c", 0)
    found = finding(story, log_writes, "G1a", claims)
    assert proof(found) == [*CONFIRMED, ("end", "ok"), ("deliver", "ok")]
    assert bool(found.legal) is legal


@pytest.mark.parametrize(("claims", "legal"), [(ALL_CLAIMED, False), (Profile(), True)])
def test_what_was_read_before_its_commit(claims: Profile, legal: bool) -> None:
    """The send, the delivery and the commit that came after it."""
    story = Story()
    story.producer()
    story.consumer()
    story.did("begin", "p", txn="t1")
    story.send(value(0), 0, txn="t1")
    story.poll("c", 0)
    story.did("end", "p", txn="t1", more={"commit": True})
    found = finding(story, log_writes, "precommitted-read", claims)
    assert proof(found) == [*CONFIRMED, ("deliver", "ok"), ("end", "invoke")]
    assert bool(found.legal) is legal


@pytest.mark.parametrize(("claims", "legal"), [(ALL_CLAIMED, False), (Profile(), True)])
def test_a_write_below_one_that_was_confirmed(claims: Profile, legal: bool) -> None:
    """Both sends, each with its end; a count where the engine claims no order."""
    story = Story()
    story.producer()
    story.producer("q")
    story.send(value(0), 7)
    story.send(value(0, producer="q"), 3, "q")
    found = finding(story, log_writes, "realtime-order", claims)
    assert proof(found) == CONFIRMED * 2
    assert bool(found.legal) is legal


def test_a_producer_that_goes_down() -> None:
    """Both sends, and the same place for both is no step up."""
    for offsets in ((4, 3), (4, 4)):
        story = Story()
        story.producer()
        one, two = story.begin(value(0)), story.begin(value(1))
        story.end(one, offsets[0])
        story.end(two, offsets[1])
        found = finding(story, log_writes, "nonmonotonic-send")
        assert proof(found) == [("send", "invoke"), ("send", "invoke"), ("send", "ok"), ("send", "ok")]


def test_what_nobody_can_place_hides_nothing_behind_it() -> None:
    """Sends without a value, without an answer and without a number, reads without a place: what comes after them is
    judged all the same."""
    story = Story()
    story.producer()
    story.producer("q")
    story.end(story.begin(value(5)), None, outcome="info")
    story.end(story.begin(value(6)), None, outcome="fail")
    story.send("no number", 1)
    story.say("ok", "deliver", client="x", dest=TOPIC, val=value(5))
    for number, off in ((0, 9), (1, 4)):
        story.send(value(number), off)
    story.put(11, value(0))
    story.put(9, value(3))
    story.send(value(0, producer="q"), 4, "q")
    story.look()
    named = {found.anomaly for found in log_writes(story.history(), ALL_CLAIMED).findings}
    assert named >= {"nonmonotonic-send", "realtime-order", "inconsistent-offsets", "duplicate"}


def test_what_was_committed_hides_no_abort_behind_it() -> None:
    """A record that may be read, and then one that may not."""
    story = Story()
    story.producer()
    story.send(value(0), 0)
    story.send(value(1), 1, outcome="fail")
    story.consumer()
    story.poll("c", 0, 1)
    assert finding(story, log_writes, "G1a").witness[0].val == value(1)


# --- order


@pytest.mark.parametrize(("claims", "legal"), [(ALL_CLAIMED, False), (Profile(), True)])
def test_a_key_in_another_order(claims: Profile, legal: bool) -> None:
    """Both sends as they began, and both deliveries; a record without a number hides nothing behind it."""
    story = Story()
    story.producer()
    story.send("no number", 0)
    for number in (1, 2):
        story.send(value(number), number)
    story.consumer()
    story.poll("c", 0, 2, 1)
    found = finding(story, log_order, "key-order", claims)
    assert proof(found) == [("send", "invoke"), ("send", "invoke"), ("deliver", "ok"), ("deliver", "ok")]
    assert bool(found.legal) is legal


def test_the_same_number_again_is_no_other_order() -> None:
    """What is given twice keeps the order of its key."""
    story = Story().filled(2)
    story.consumer()
    story.poll("c", 0, 0)
    assert "key-order" not in {found.anomaly for found in log_order(story.history(), ALL_CLAIMED).findings}


def test_a_replay_that_passed_something() -> None:
    """The one that another replay was given, and the first that came instead."""
    story = Story().filled(3)
    for who, offsets in (("r", (0, 1, 2)), ("s", (0, 2))):
        story.replay(who)
        story.poll(who, *offsets)
        story.read_out(who)
    found = finding(story, log_order, "replay-mismatch")
    assert [(event.client, event.off) for event in found.witness] == [("r", 1), ("s", 2)]


# --- outbox


class Outbox:
    """Rows, and what a reader of a topic was given of them."""

    def __init__(self) -> None:
        self.story = Story()
        self.story.consumer("c")

    def row(self, val: str, outcome: Any = "ok", dest: str | None = None) -> Outbox:
        self.story.did("row", val=val, key="k", outcome=outcome, dest=dest)
        return self

    def given(self, *places: tuple[str, int]) -> Outbox:
        for val, off in places:
            self.story.say("ok", "deliver", client="c", group="g", dest=TOPIC, part=0, off=off, val=val)
        return self

    def finding(self, anomaly: str) -> Finding:
        return finding(self.story, check_outbox, anomaly)


def test_a_row_that_was_rolled_back_and_published() -> None:
    """The end of the row, and the message; where it lies is told."""
    found = Outbox().row("a", "fail").given(("a", 0)).finding("outbox-phantom")
    assert proof(found) == [("row", "fail"), ("deliver", "ok")]
    assert found.where == TOPIC


def test_a_row_that_is_two_messages() -> None:
    """The end of the row, and both of them."""
    found = Outbox().row("a").given(("a", 0), ("a", 1)).finding("outbox-dup")
    assert proof(found) == [("row", "ok"), ("deliver", "ok"), ("deliver", "ok")]
    assert found.where == TOPIC


def test_a_row_that_is_none() -> None:
    """The row with its end, and who asked for all there was, in each place."""
    outbox = Outbox().row("a").row("b").row("c").given(("a", 0))
    outbox.story.say("ok", "deliver", client="x", dest="queue:q", val="b")
    outbox.story.say("ok", "drained", dest="queue:q")
    outbox.story.drained()
    found = outbox.finding("outbox-lost")
    assert proof(found) == [("row", "invoke"), ("row", "ok"), ("drained", "ok"), ("drained", "ok")]
    assert (found.witness[0].val, found.where) == ("c", f"queue:q, {TOPIC}")


def test_rows_in_another_order_by_where_they_lie() -> None:
    """The end of the older row, the newer one, and both messages; rows that are in order hide nothing behind them."""
    outbox = Outbox().row("a").row("b").row("c")
    found = outbox.given(("a", 0), ("c", 1), ("b", 2)).finding("outbox-reorder")
    assert [(event.f, event.kind, event.val) for event in found.witness] == [
        ("row", "ok", "b"),
        ("row", "invoke", "c"),
        ("deliver", "ok", "c"),
        ("deliver", "ok", "b"),
    ]
    assert found.where == TOPIC


def test_rows_in_another_order_by_when_they_were_sent() -> None:
    """The same with the sends of a relay."""
    outbox = Outbox().row("a").row("b")
    for val, off in (("b", 0), ("a", 1)):
        outbox.story.send(val, off)
    found = outbox.finding("outbox-reorder")
    assert [(event.f, event.kind, event.val) for event in found.witness] == [
        ("row", "ok", "a"),
        ("row", "invoke", "b"),
        ("send", "invoke", "b"),
        ("send", "invoke", "a"),
    ]


def test_rows_written_at_the_same_time_hide_nothing_behind_them() -> None:
    """Of two that overlap nobody knows the order; the third one came after both."""
    outbox = Outbox()
    ops = [outbox.story.say("invoke", "row", val=val, key="k") for val in "ab"]
    for op, val in zip(ops, "ab", strict=True):
        outbox.story.say("ok", "row", op=op, val=val, key="k")
    outbox.row("c").given(("a", 0), ("c", 1), ("b", 2))
    assert outbox.finding("outbox-reorder").witness[0].val == "b"


# --- all of them


def looked(history: History) -> dict[str, dict[str, int]]:
    judgements = [checker(history, ALL_CLAIMED) for checker in CHECKERS]
    return {judgement.checker: dict(judgement.looked_at) for judgement in judgements}


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.__name__)
def test_a_checker_says_who_it_is(checker: Checker) -> None:
    """By a name of its own, in lower case: what a report shows."""
    name = checker(History([]), Profile()).checker
    assert name == name.lower()
    assert "xx" not in name
    assert [other(History([]), Profile()).checker for other in CHECKERS].count(name) == 1


def test_what_was_looked_at_is_counted_by_its_name() -> None:
    """So that a run which gave a checker nothing to look at is not taken for one that it passed."""
    story = Story().filled(3)
    story.send(value(2), 3)
    story.send(value(1), 5)
    story.did("begin", "p", txn="t1")
    story.send(value(4), 4, txn="t1")
    story.did("end", "p", txn="t1", more={"commit": True})
    story.consumer()
    story.poll("c", 0, 1)
    story.did("begin", "p", txn="t2")
    for txn in ("t2", "t3"):
        facts: dict[str, Any] = {
            "client": "c",
            "group": "g",
            "dest": TOPIC,
            "part": 0,
            "off": 4,
            "val": value(4),
            "lease": 1,
        }
        story.say("ok", "deliver", **facts, txn=txn)
    for who in ("r", "s"):
        story.replay(who)
        story.poll(who, 0, 1)
        story.read_out(who)
    looked_at = looked(story.history())
    wanted = {"sends": 6, "reads": 8, "sent_more_than_once": 2, "confirmed": 6, "made_again": 0}
    assert looked_at["log-writes"] == wanted
    assert looked_at["log-order"] == {"runs": 3, "deliveries": 8, "keyed": 4, "replays": 2, "read_out": 2}
    assert looked_at["exactly-once-transactions"] == {"transactions": 1}
    assert looked_at["log-cycles"] == {"transactions": 2, "reads_within": 2}


def test_rows_that_were_looked_at_are_counted() -> None:
    """The same of an outbox."""
    tale = Tale()
    for val in "ab":
        tale.done("main", "row", val=val, key="k")
    assert looked(tale.history)["exactly-once-outbox"] == {"rows": 2}


# --- queues


def queue_findings(tale: Tale, anomaly: str) -> list[Finding]:
    return [found for judged in tale.judgements() for found in judged.findings if found.anomaly == anomaly]


def without(*names: str) -> dict[str, str]:
    return {**DIRECT, **dict.fromkeys(names, "unsupported")}


@pytest.mark.parametrize(("claims", "legal"), [(DIRECT, False), (without("MAX_ATTEMPTS"), True)])
def test_an_attempt_beyond_the_limit(claims: dict[str, str], legal: bool) -> None:
    """By its number, or by what failed before: all of that is the witness. A count where no limit is claimed."""
    tale = Tale(claims)
    tale.queue(max_attempts=2)
    tale.producer().send("m", "other")
    taker = tale.consumer()
    taker.one("other", attempt=3)
    for attempt in (1, 2):
        taker.one("m", attempt=attempt, redelivered=attempt > 1).retry()
        taker.commit()
    taker.one("m", attempt=2, redelivered=True)
    by_failures, by_number = queue_findings(tale, "delivery-limit")
    assert [event.f for event in by_number.witness] == ["deliver"]
    assert [event.f for event in by_failures.witness] == ["deliver", "retry", "deliver", "retry", "deliver"]
    assert [bool(found.legal) for found in (by_failures, by_number)] == [legal, legal]


@pytest.mark.parametrize(("claims", "legal"), [(DIRECT, False), (without("ATTEMPT_NUMBER"), True)])
def test_a_first_attempt_that_is_not_the_first(claims: dict[str, str], legal: bool) -> None:
    """The send and the delivery; a count where no numbers are claimed."""
    tale = Tale(claims)
    tale.queue()
    tale.producer().send("m")
    tale.consumer().one("m", attempt=2)
    (found,) = queue_findings(tale, "attempt-wrong")
    assert [(event.f, event.kind) for event in found.witness] == [("send", "invoke"), ("deliver", "ok")]
    assert bool(found.legal) is legal


def test_a_message_that_two_have() -> None:
    """Both deliveries, and what the first one did with it then."""
    tale = Tale()
    tale.queue()
    tale.producer().send("m")
    first = tale.consumer().one("m")
    tale.consumer("d").one("m")
    first.ack()
    (found,) = queue_findings(tale, "concurrent-lease")
    assert [(event.f, event.client) for event in found.witness] == [("deliver", "c"), ("deliver", "d"), ("ack", "c")]


def test_a_letter_that_is_taken_says_why_it_is_one() -> None:
    """As the one that is looked at does: of one that nobody rejected it is not true."""
    for death, found in (("rejected", 1), ("max-attempts", 0)):
        tale = Tale()
        tale.queue(max_attempts=1)
        tale.producer().send("m")
        tale.consumer().one("m").retry()
        tale.consumer("undertaker", LETTERS).one("m", death=death)
        assert len(queue_findings(tale, "DLQ-premature")) == found


def test_a_letter_that_is_right_hides_none_that_is_not() -> None:
    """The first one is there for a reason, the second one of the same message says another."""
    tale = Tale()
    tale.queue()
    tale.producer().send("m")
    tale.consumer().one("m").reject()
    tale.look("letters", QUEUE, "m", reason="rejected")
    tale.look("letters", QUEUE, "m", reason="max-length")
    (found,) = queue_findings(tale, "DLQ-premature")
    assert [event.f for event in found.witness] == ["send", "deliver", "reject", "letter"]


def test_two_letters_of_one_message() -> None:
    """Both, as one look saw them, and that look; a message with one letter hides nothing behind it."""
    tale = Tale()
    tale.queue()
    tale.producer().send("single", "m")
    taker = tale.consumer()
    for taken in taker.take("single", "m"):
        taken.reject()
    taker.commit()
    tale.look("letters", QUEUE, "single")
    tale.look("letters", QUEUE, "single", "m", "m")
    (found,) = queue_findings(tale, "dlq-dup")
    assert [(event.f, event.val) for event in found.witness] == [("letter", "m"), ("letter", "m"), ("letters", None)]


def test_what_is_sent_later_excuses_nothing_before() -> None:
    """Of one message there was one copy when two had it, when it was done twice, tried too often or dead twice; that it
    is sent again after all that changes nothing."""
    tale = Tale()
    tale.queue(max_attempts=1)
    producer = tale.producer()
    producer.send("m", "dead", "tried")
    first = tale.consumer().one("m")
    tale.consumer("d").one("m", attempt=2, redelivered=True).ack()
    first.ack()
    taker = tale.consumer("e")
    taker.one("dead").reject()
    taker.one("tried", attempt=2)
    taker.commit()
    tale.look("letters", QUEUE, "dead", "dead")
    found = {judged.checker: judged.counts for judged in tale.judgements() if judged.counts}
    producer.send("m", "dead", "tried")
    assert {judged.checker: judged.counts for judged in tale.judgements() if judged.counts} == found
    assert {anomaly for counts in found.values() for anomaly in counts} >= {
        *("concurrent-lease", "duplicate", "dlq-dup", "attempt-wrong", "delivery-limit"),
    }


def test_numbers_that_go_down_tell_of_two_threads() -> None:
    """Of two sends of one producer that overlap, the payloads say which came first; and nothing else does."""
    story = Story()
    story.producer()
    one, two = story.begin(value(1)), story.begin(value(0))
    story.end(one, 4)
    story.end(two, 3)
    assert not log_writes(story.history(), ALL_CLAIMED).findings
