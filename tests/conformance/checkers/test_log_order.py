"""How logs are read: steps back and over records are found, redeliveries, seeks and new leases are not."""

from __future__ import annotations

import pytest

from mqbridge_conformance.checkers.log_order import log_order
from tests.conformance.checkers.stories import TOPIC, Story, anomalies, findings, value

CHECKS = (log_order,)


def found(story: Story) -> set[str]:
    return anomalies(story.history(), CHECKS)


@pytest.mark.parametrize(
    ("polls", "wanted"),
    [
        ([(0, 1, 2), (3, 4)], set()),
        ([(0, 2, 3)], {"int-poll-skip"}),
        ([(0, 1), (3, 4)], {"poll-skip"}),
        ([(0, 2, 1)], {"int-nonmonotonic-poll", "key-order"}),
        ([(0, 1, 1)], {"int-nonmonotonic-poll"}),
        ([(0, 1), (1, 2)], {"nonmonotonic-poll"}),
        ([(0, 1, 2), (0, 1, 2)], {"nonmonotonic-poll"}),
        ([(1, 2), ()], set()),
    ],
)
def test_a_reader_goes_up_one_by_one(polls: list[tuple[int, ...]], wanted: set[str]) -> None:
    """Within a poll and from poll to poll."""
    story = Story().filled(6)
    story.consumer()
    for offsets in polls:
        story.poll("c", *offsets)
    assert found(story) == wanted


def test_a_skip_names_what_was_skipped_and_who_knows_that_it_is_there() -> None:
    """Its witness: the deliveries on both sides, and the confirmed send."""
    story = Story().filled(4)
    story.consumer()
    story.poll("c", 0)
    story.poll("c", 2)
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "poll-skip"
    assert [(event.f, event.kind) for event in finding.witness] == [
        ("send", "invoke"),
        ("send", "ok"),
        ("deliver", "ok"),
        ("deliver", "ok"),
    ]
    assert finding.witness[0].val == value(1)


def test_offsets_may_have_gaps() -> None:
    """No poll-skip over offsets at which nothing lies."""
    story = Story()
    story.producer()
    for number, off in enumerate((0, 3, 9)):
        story.send(value(number), off)
    story.consumer()
    story.poll("c", 0, 3)
    story.poll("c", 9)
    assert found(story) == set()


@pytest.mark.parametrize("verb", ["release", "retry", "reject"])
def test_what_was_given_back_comes_again(verb: str) -> None:
    """A redelivery within the consumer is no step back; without the verb it is."""
    story = Story().filled(4)
    story.consumer()
    story.poll("c", 0, 1)
    story.settle("c", 0, verb=verb)
    story.poll("c", 0)
    story.poll("c", 2, 3)
    assert found(story) == set()
    story.poll("c", 1)
    assert found(story) == {"nonmonotonic-poll"}


def test_another_attempt_is_no_step_back() -> None:
    """A handler that failed is called again with the attempt counted; that a delivery says of itself that it comes
    again excuses nothing."""
    for more, wanted in (({"handler": True}, set()), ({}, {"nonmonotonic-poll"})):
        story = Story().filled(4)
        story.consumer()
        story.poll("c", 0, 1)
        story.poll("c", 0, attempt=2, redelivered=True, more=more)
        story.poll("c", 2)
        assert found(story) == wanted


def test_a_first_delivery_is_one_whatever_it_says_of_itself() -> None:
    """poll-skip is not hidden by an attempt that was counted elsewhere, nor made by it."""
    story = Story().filled(4)
    story.consumer()
    story.poll("c", 0)
    story.poll("c", 1, attempt=2, redelivered=True)
    story.poll("c", 2)
    assert found(story) == set()


def test_a_new_lease_may_begin_anywhere() -> None:
    """Where the next lease begins is judged by commits."""
    story = Story().filled(6)
    story.consumer()
    story.poll("c", 0, 1, lease=1)
    story.poll("c", 0, 1, 2, lease=2)
    story.poll("c", 4, lease=3)
    assert found(story) == set()


def test_a_seek_is_gone_where_it_was_to_go() -> None:
    """A seek excuses every step but one elsewhere: one further is a skip, one before is a step back."""
    for off, begins, wanted in ((3, 3, set()), (0, 0, set()), (3, 4, {"poll-skip"}), (3, 2, {"nonmonotonic-poll"})):
        story = Story().filled(6)
        story.consumer()
        story.poll("c", 0, 1)
        story.did("seek", "c", dest=TOPIC, part=0, off=off)
        story.poll("c", begins)
        assert found(story) == wanted, (off, begins)


def test_a_seek_that_failed_or_was_overtaken_says_nothing() -> None:
    """Neither poll-skip nor a step back where the seek was refused, or a new lease came before the next delivery."""
    story = Story().filled(6)
    story.consumer()
    story.did("seek", "c", outcome="fail", dest=TOPIC, part=0, off=3)
    story.poll("c", 0)
    assert found(story) == set()
    story = Story().filled(6)
    story.consumer()
    story.did("seek", "c", dest=TOPIC, part=0, off=1)
    story.poll("c", 4, lease=2)
    assert found(story) == set()


def test_a_replay_begins_where_it_was_to_begin() -> None:
    """Off by one in either direction is found."""
    for begins, wanted in ((2, set()), (3, {"poll-skip"}), (1, {"nonmonotonic-poll"})):
        story = Story().filled(6)
        story.replay(start=2)
        story.poll("r", *range(begins, 6), lease=None)
        assert found(story) == wanted


def test_what_somebody_else_wrote_is_there_when_somebody_was_given_it() -> None:
    """poll-skip over a record that nobody sent as far as is known: an observer alone may see what was aborted."""
    story = Story().filled(2)
    story.put(2, "raw")
    story.send(value(2), 3)
    story.consumer()
    story.poll("c", 1)
    story.poll("c", 3)
    story.look()
    assert found(story) == set()
    story.consumer("d", group="other", isolation="read_uncommitted")
    story.poll("d", 2)
    assert found(story) == set()
    story.consumer("e", group="another")
    story.poll("e", 2)
    assert found(story) == {"poll-skip"}


def test_what_was_removed_or_never_committed_is_no_gap() -> None:
    """No poll-skip over deleted, aborted, failed or unknown records, nor over what a look shows to be lost."""
    story = Story().filled(1)
    story.send(value(1), 1, outcome="fail")
    story.did("begin", "p", txn="t1")
    story.send(value(2), 2, txn="t1")
    story.did("end", "p", txn="t1", more={"commit": False})
    story.end(story.begin(value(3)), None, outcome="info")
    story.send(value(4), 4)
    story.send(value(5), 5)
    story.consumer()
    story.poll("c", 0)
    story.poll("c", 5)
    story.look(without=(4,))
    assert found(story) == set()
    story.look()
    assert found(story) == {"poll-skip"}
    story.did("delete_records", dest=TOPIC, more={"before": {"0": 5}})
    assert found(story) == set()


@pytest.mark.parametrize("spec", [{"cleanup": "compact"}, {"retention": {"max_age_s": 1.0, "max_bytes": None}}])
def test_a_topic_that_shrinks_has_gaps(spec: dict[str, object]) -> None:
    """No poll-skip where records go by themselves, but one over what is still there afterwards."""
    story = Story(**spec).filled(6)
    story.consumer()
    story.poll("c", 0)
    story.poll("c", 5)
    assert found(story) == set()
    story.look(without=(1, 2, 3, 4))
    assert found(story) == set()
    story.look(without=(1, 2, 3))
    assert found(story) == {"poll-skip"}
    story = Story(**spec).filled(6)
    story.consumer()
    story.poll("c", 0)
    story.look()
    story.poll("c", 5)
    assert found(story) == set()


def test_workers_take_turns() -> None:
    """What handlers of run() are given comes in any order between keys."""
    story = Story().filled(4)
    story.consumer()
    story.poll("c", 1, 0, 3, more={"handler": True})
    assert found(story) == set()


def test_a_key_is_delivered_in_order() -> None:
    """key-order as delivered; a redelivery does not count, and each lease is for itself."""
    story = Story(partitions=1).filled(4)
    story.consumer()
    story.poll("c", 0, 1)
    story.settle("c", 0, verb="retry")
    story.poll("c", 0, attempt=2)
    story.poll("c", 0, 1, 2, lease=2)
    assert found(story) == set()
    story.poll("c", 0, 1, lease=3, vals={0: value(3), 1: value(2)})
    assert found(story) == {"key-order"}


def test_a_key_is_delivered_in_the_order_in_which_it_was_sent() -> None:
    """No key-order where the application numbers backwards, nor for what came late without a confirmation."""
    story = Story()
    story.producer()
    story.send(value(5), 0)
    story.send(value(3), 1)
    late = story.begin(value(7))
    story.send(value(8), 2)
    story.put(3, value(7))
    story.end(late, None, outcome="info")
    story.consumer()
    story.poll("c", 0, 1, 2, 3)
    assert found(story) == set()


def test_two_replays_of_a_range_are_the_same() -> None:
    """replay-mismatch: another value, or one record less; a replay that covers less is none."""
    story = Story().filled(6)
    story.replay("r")
    story.poll("r", 0, 1, 2, 3, 4, 5, lease=None)
    story.replay("s", 2)
    story.poll("s", 2, 3, lease=None)
    assert found(story) == set()
    story.replay("u")
    story.poll("u", 0, 1, lease=None, vals={1: value(88)})
    assert found(story) == {"replay-mismatch"}


def test_a_replay_without_a_record_that_another_was_given() -> None:
    """replay-mismatch, whichever of the two came first; not where it was removed in between."""
    for first, second in (((0, 1, 2), (0, 2)), ((0, 2), (0, 1, 2))):
        story = Story().filled(4)
        story.replay("r")
        story.poll("r", *first, lease=None)
        story.replay("s")
        story.poll("s", *second, lease=None)
        assert "replay-mismatch" in found(story)
        story.did("delete_records", dest=TOPIC, more={"before": {"0": 2}})
        assert found(story) == set()


def test_replays_of_a_topic_that_shrinks_may_differ() -> None:
    """No replay-mismatch for a record that compaction may have taken in between."""
    story = Story(cleanup="compact").filled(4)
    for who, offsets in (("r", (0, 1, 2)), ("s", (0, 2))):
        story.replay(who)
        story.poll(who, *offsets, lease=None)
    story.look(without=(1,))
    assert found(story) == set()


def test_a_reader_that_was_told_to_jump_may_jump() -> None:
    """No poll-skip where its place was removed under it and it goes on at the end."""
    for on_gap, wanted in (("latest", set()), ("earliest", {"poll-skip"})):
        story = Story().filled(8)
        story.consumer(on_gap=on_gap)
        story.poll("c", 0)
        story.did("delete_records", dest=TOPIC, more={"before": {"0": 3}})
        story.poll("c", 7)
        assert found(story) == wanted
