"""What logs hold: each anomaly is found in its plain form, and what only looks like it is left alone."""

from __future__ import annotations

from mqbridge_conformance.checkers import Outcome, Profile
from mqbridge_conformance.checkers.log_writes import log_writes
from tests.conformance.checkers.stories import ALL_CLAIMED, Story, anomalies, findings, value

CHECKS = (log_writes,)


def found(story: Story) -> set[str]:
    return anomalies(story.history(), CHECKS)


def test_what_is_in_order_is_valid_and_was_looked_at() -> None:
    """Nothing is found in a plain run, and the counts say how much was looked at."""
    story = Story().filled(6)
    story.consumer()
    story.poll("c", 0, 1, 2, 3, 4, 5)
    story.look()
    judgement = log_writes(story.history(), ALL_CLAIMED)
    assert judgement.outcome is Outcome.VALID
    assert not judgement.findings
    assert judgement.looked_at["sends"] == judgement.looked_at["confirmed"] == 6
    assert judgement.looked_at["reads"] == 12


def test_two_readers_of_one_offset_see_one_value() -> None:
    """inconsistent-offsets: the two sightings are the witness."""
    story = Story().filled(3)
    story.consumer()
    story.poll("c", 0, 1, 2)
    assert found(story) == set()
    story.consumer("d", group="other")
    story.poll("d", 0, 1, vals={1: value(77)})
    (finding, *_) = findings(story.history(), CHECKS)
    assert finding.anomaly == "inconsistent-offsets"
    assert finding.where == "topic:t/0"
    told = [(event.f, event.off, event.val) for event in finding.witness]
    assert told == [("deliver", 1, value(1)), ("deliver", 1, value(77))]


def test_what_is_confirmed_at_an_offset_is_read_there() -> None:
    """inconsistent-offsets between a confirmation and a reader, counted where it did not wait for all."""
    for acks, wanted in (("all", {"inconsistent-offsets"}), ("leader", set())):
        story = Story()
        story.producer(acks=acks)
        story.send(value(0), 0)
        story.put(0, value(9))
        story.look()
        assert found(story) == wanted
        assert {finding.anomaly for finding in findings(story.history(), CHECKS)} == {"inconsistent-offsets"}


def test_an_offset_is_confirmed_once() -> None:
    """inconsistent-offsets between two confirmations; in another partition it is another offset."""
    story = Story().filled(2)
    story.producer("q")
    story.end(story.begin(value(0, producer="q"), "q"), 1, "q")
    assert found(story) == {"inconsistent-offsets"}
    for first, second in (("leader", "all"), ("all", "leader")):
        story = Story()
        story.producer("p", acks=first)
        story.producer("q", acks=second)
        one, two = story.begin(value(0)), story.begin(value(0, producer="q"), "q")
        story.end(one, 1)
        story.end(two, 1, "q")
        assert found(story) == set()
    story = Story().filled(2)
    story.send(value(2), 1, part=1)
    assert "inconsistent-offsets" not in found(story)


def test_a_message_sent_once_is_stored_once() -> None:
    """duplicate: unless the producer was told to send again, or the application itself did."""
    for options, twice, wanted in (
        ({}, False, {"duplicate"}),
        ({"on_unknown": "resend"}, False, set()),
        ({"idempotent": False}, False, set()),
        ({"acks": "leader"}, False, set()),  # idempotence needs acks='all'
        ({}, True, set()),
    ):
        story = Story()
        story.producer(**options)
        story.send(value(0), 0)
        if twice:
            story.send(value(0), 1)
        story.put(1, value(0))
        story.look()
        assert found(story) == wanted, (options, twice)


def test_a_message_is_where_its_confirmation_says() -> None:
    """duplicate, too: confirmed at one place and read at another."""
    story = Story()
    story.producer()
    story.end(story.begin(value(0)), 5)
    story.put(0, value(0))
    story.look()
    assert "duplicate" in found(story)


def test_a_duplicate_is_counted_where_nothing_is_known_of_its_producer() -> None:
    """Where the event that might excuse it is missing, there is no error."""
    story = Story()
    story.send(value(0), 0)
    story.put(1, value(0))
    story.look()
    assert found(story) == set()
    assert [finding.anomaly for finding in findings(story.history(), CHECKS)] == ["duplicate"]


def test_what_failed_is_not_there() -> None:
    """G1a: a send that was not applied is read; one whose outcome is unknown may be."""
    for outcome, wanted in (("fail", {"G1a"}), ("info", set()), ("ok", set())):
        story = Story()
        story.producer()
        story.send(value(0), 0, outcome=outcome)  # type: ignore[arg-type]
        story.consumer()
        story.poll("c", 0)
        assert found(story) == wanted, outcome


def test_what_was_aborted_is_not_read() -> None:
    """G1a of a transaction: by a reader of committed records only, and never by an observer's look."""
    for commit, isolation, wanted in (
        (False, "read_committed", {"G1a"}),
        (False, "read_uncommitted", set()),
        (True, "read_committed", set()),
        (None, "read_committed", {"G1a"}),
    ):
        story = Story()
        story.producer()
        story.did("begin", "p", txn="t1")
        story.send(value(0), 0, txn="t1")
        if commit is not None:
            story.did("end", "p", txn="t1", more={"commit": commit})
        story.look()
        assert not findings(story.history(), CHECKS)
        story.consumer(isolation=isolation)
        story.poll("c", 0)
        assert found(story) == wanted, (commit, isolation)


def test_what_failed_within_a_transaction_is_not_there_either() -> None:
    """G1a, though the rest was committed."""
    story = Story()
    story.producer()
    story.consumer(isolation="read_uncommitted")
    story.did("begin", "p", txn="t1")
    story.send(value(0), 0, txn="t1", outcome="fail")
    story.did("end", "p", txn="t1", more={"commit": True})
    story.poll("c", 0)
    assert found(story) == {"G1a"}


def test_nothing_is_read_before_its_transaction_is_to_be_committed() -> None:
    """precommitted-read; while the commit is under way it may be seen."""
    for early, wanted in ((True, {"precommitted-read"}), (False, set())):
        story = Story()
        story.producer()
        story.consumer()
        story.did("begin", "p", txn="t1")
        story.send(value(0), 0, txn="t1")
        if early:
            story.poll("c", 0)
        op = story.say("invoke", "end", client="p", txn="t1", more={"commit": True})
        if not early:
            story.poll("c", 0)
        story.say("ok", "end", op=op, client="p", txn="t1", more={"commit": True})
        assert found(story) == wanted


def test_a_write_lies_above_all_that_was_confirmed_before_it() -> None:
    """realtime-order: two sends at the same time may lie either way, one after the other may not."""
    story = Story()
    story.producer()
    story.producer("q")
    story.send(value(0), 7)
    story.send(value(0, producer="q"), 3, "q")
    assert found(story) == {"realtime-order"}
    story = Story()
    story.producer()
    story.producer("q")
    one, two = story.begin(value(0)), story.begin(value(0, producer="q"), "q")
    story.end(one, 7)
    story.end(two, 3, "q")
    assert found(story) == set()


def test_one_wrong_confirmation_is_one_finding() -> None:
    """realtime-order: not each of those that lie below it; and a weak one proves nothing."""
    for acks, told in (("all", 1), ("leader", 0)):
        story = Story()
        story.producer()
        story.producer("q", acks=acks)
        story.send(value(0), 1000)
        for number in range(5):
            story.send(value(number, producer="q"), number, "q")
        named = [found for found in findings(story.history(), CHECKS) if not found.legal]
        assert [finding.anomaly for finding in named] == ["realtime-order"] * told


def test_a_write_of_unknown_outcome_lies_above_too_if_it_shows_up() -> None:
    """realtime-order: it was invoked after the other was confirmed."""
    for off, wanted in ((1, {"realtime-order"}), (6, set())):
        story = Story()
        story.producer()
        story.producer("q")
        story.send(value(0), 5)
        story.end(story.begin(value(0, producer="q"), "q"), None, "q", outcome="info")
        story.put(off, value(0, producer="q"))
        story.look()
        assert found(story) == wanted


def test_what_a_producer_sends_lies_in_its_order() -> None:
    """nonmonotonic-send: both on their way at once, numbered by the application."""
    for offsets, options, wanted in (
        ((4, 3), {}, {"nonmonotonic-send"}),
        ((3, 4), {}, set()),
        ((4, 3), {"on_unknown": "resend"}, set()),
        ((4, 3), {"acks": "leader"}, set()),
    ):
        story = Story()
        story.producer(**options)
        one, two = story.begin(value(0)), story.begin(value(1))
        story.end(one, offsets[0])
        story.end(two, offsets[1])
        assert found(story) == wanted


def test_what_came_late_is_no_measure_for_what_comes_next() -> None:
    """No nonmonotonic-send after a send of unknown outcome that lies above; and none of an unknown producer."""
    story = Story()
    story.producer()
    story.send(value(0), 5)
    story.end(story.begin(value(1)), None, outcome="info")
    story.put(9, value(1))
    two = story.begin(value(2))
    story.end(two, 7)
    story.look()
    assert found(story) == set()
    story = Story()
    one, two = story.begin(value(0)), story.begin(value(1))
    story.end(one, 4)
    story.end(two, 3)
    assert found(story) == set()
    assert [finding.anomaly for finding in findings(story.history(), CHECKS)] == ["nonmonotonic-send"]


def test_two_threads_of_one_producer_have_no_order() -> None:
    """What names two producers in its payloads, or none, says nothing of who came first."""
    story = Story()
    story.producer()
    one, two = story.begin(value(0, producer="a")), story.begin(value(1, producer="b"))
    three, four = story.begin("x"), story.begin("y")
    for op, off in ((one, 4), (two, 3), (three, 2), (four, 1)):
        story.end(op, off)
    assert found(story) == set()


def test_within_a_transaction_order_holds_and_others_may_come_between() -> None:
    """int-nonmonotonic-send is an error, int-send-skip is counted."""
    for offsets, errors, counted in (
        ((4, 3), {"int-nonmonotonic-send"}, {"int-nonmonotonic-send"}),
        ((3, 5), set(), {"int-send-skip"}),
        ((3, 4), set(), set()),
    ):
        story = Story()
        story.producer()
        story.producer("q")
        story.did("begin", "p", txn="t1")
        one, two = story.begin(value(0), txn="t1"), story.begin(value(1), txn="t1")
        other = story.begin(value(0, producer="q"), "q")
        story.end(one, offsets[0])
        story.end(two, offsets[1])
        story.end(other, 4 if offsets == (3, 5) else 9, "q")
        story.did("end", "p", txn="t1", more={"commit": True})
        assert found(story) == errors
        assert {finding.anomaly for finding in findings(story.history(), CHECKS)} == counted


def test_outside_of_transactions_others_may_come_between() -> None:
    """Neither int-send-skip nor anything else; within one the order holds for values that are no payloads, too."""
    story = Story()
    story.producer()
    story.producer("q")
    for off, (number, who) in enumerate(((0, "p"), (0, "q"), (1, "p"))):
        story.send(value(number, producer=who), off, who)
    assert not findings(story.history(), CHECKS)
    story.did("begin", "p", txn="t1")
    for off, val in ((4, "x"), (3, "y")):
        story.end(story.begin(val, txn="t1"), off)
    story.did("end", "p", txn="t1", more={"commit": True})
    assert found(story) == {"int-nonmonotonic-send", "realtime-order"}


def test_what_the_engine_does_not_claim_is_counted() -> None:
    """Order in partitions, not claimed, is no promise."""
    story = Story()
    story.producer()
    one, two = story.begin(value(0)), story.begin(value(1))
    story.end(one, 4)
    story.end(two, 3)
    judgement = log_writes(story.history(), Profile())
    assert judgement.outcome is Outcome.VALID
    assert judgement.counts == {"nonmonotonic-send": 1}


def test_a_topic_that_was_made_again_has_two_lives() -> None:
    """Nothing is said of a destination that was deleted and declared anew."""
    story = Story().filled(2)
    story.look()
    story.did("delete", dest="topic:t")
    story.declare("topic:t", partitions=1)
    story.put(0, value(8))
    story.look()
    judgement = log_writes(story.history(), ALL_CLAIMED)
    assert not judgement.findings
    assert judgement.looked_at["made_again"] == 1
