"""Small things that decide about logs: what comes first hides nothing behind it, and what is no proof is none."""

from __future__ import annotations

from mqbridge_conformance.checkers import Profile
from mqbridge_conformance.checkers.log_cycles import log_cycles
from mqbridge_conformance.checkers.log_order import log_order
from mqbridge_conformance.checkers.log_writes import log_writes
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story, findings, value


def claimed_without(capability: str) -> Profile:
    return Profile(claims={**ALL_CLAIMED.claims, capability: "unsupported"})


def named(story: Story, *anomalies: str) -> list[tuple[str, bool]]:
    """Of these anomalies: each that is found, and whether it is an error."""
    found = findings(story.history(), (log_order, log_writes, log_cycles))
    return [(finding.anomaly, not finding.legal) for finding in found if finding.anomaly in anomalies]


# --- order


def test_a_key_that_was_given_twice_hides_nothing_behind_it() -> None:
    """A record comes again, and after it two come in the wrong order."""
    story = Story().filled(3)
    story.consumer()
    story.poll("c", 0, 0, 2, 1)
    assert named(story, "key-order") == [("key-order", True)]


def test_two_with_one_number_are_in_no_order() -> None:
    """Only a smaller number was sent before."""
    story = Story()
    story.producer()
    for off, key in enumerate("ab"):
        story.send(value(1, key=key), off)
    story.consumer()
    story.poll("c", 1, 0)
    assert named(story, "key-order") == []


def test_where_only_the_order_of_keys_is_not_claimed_it_is_a_count() -> None:
    """The order of partitions is claimed."""
    story = Story().filled(3)
    story.consumer()
    story.poll("c", 0, 2, 1)
    found = findings(story.history(), (log_order,), claimed_without("ORDER_PER_KEY"))
    assert [bool(finding.legal) for finding in found if finding.anomaly == "key-order"] == [True]


# --- transactions among each other


def interleaved(*offsets: int, commit: bool = True) -> Story:
    """Transactions a and b write in turns at these offsets of one partition; a commits, and b if it is said."""
    story = Story()
    story.producer()
    for txn in "ab":
        story.did("begin", "p", txn=txn)
    for number, off in enumerate(offsets):
        story.send(value(number), off, txn="ab"[number % 2])
    for txn, committed in {"a": True, "b": commit}.items():
        story.did("end", "p", txn=txn, more={"commit": committed})
    return story


def test_writes_interleave_in_one_partition() -> None:
    """Three places, one after another; what was aborted is between nothing."""
    assert named(interleaved(0, 1, 2), "G0") == [("G0", False)]
    assert named(interleaved(0, 1, 2, commit=False), "G0") == []


def reading(edges: str) -> list[str]:
    """Of transactions of which each reads of another, ``xy`` if y reads of x: those in the circle that is told."""
    pairs = edges.split()
    names = sorted(set(edges) - {" "})
    story = Story()
    story.producer()
    story.consumer()
    for off, txn in enumerate(names):
        story.did("begin", "p", txn=txn)
        story.send(value(off), off, txn=txn)
    for pair in pairs:
        story.poll("c", names.index(pair[0]), txn=pair[1])
    for txn in names:
        story.did("end", "p", txn=txn, more={"commit": True})
    (found,) = [finding for finding in findings(story.history(), (log_cycles,)) if finding.anomaly == "G1c"]
    return sorted(event.txn or "" for event in found.witness if event.f == "send")


def test_a_circle_of_three() -> None:
    """All of it is the witness."""
    assert reading("ab bc ca") == ["a", "b", "c"]


def test_the_shortest_circle_is_told() -> None:
    """By whichever name it goes; and a longer way to where one has been already is none."""
    assert reading("ab bx xa ac ca") == ["a", "c"]
    assert reading("es sb sc cd db bf fg ge") == ["b", "e", "f", "g", "s"]


# --- writes


def test_a_read_without_a_place_hides_no_other() -> None:
    """Two then read two values at one offset."""
    story = Story()
    story.consumer()
    story.say("ok", "deliver", client="c", group="g", dest=TOPIC, val=value(0))
    story.put(0, value(0))
    story.poll("c", 0)
    story.poll("c", 0, vals={0: value(7)})
    assert named(story, "inconsistent-offsets") == [("inconsistent-offsets", True)]


def test_a_send_without_a_place_hides_no_other() -> None:
    """Two are then confirmed at one offset, and nobody reads."""
    story = Story()
    story.producer()
    story.producer("q")
    story.end(story.begin(value(0)), None, outcome="info")
    story.send(value(1), 4)
    story.send(value(0, producer="q"), 4, "q")
    assert named(story, "inconsistent-offsets") == [("inconsistent-offsets", True)]


def test_what_failed_is_in_no_order() -> None:
    """It is below one that was confirmed before, and what is wrong is that it is there."""
    story = Story()
    story.producer()
    story.producer("q")
    story.send(value(0), 7)
    story.send(value(0, producer="q"), 3, "q", outcome="fail")
    story.look()
    assert named(story, "realtime-order", "nonmonotonic-send", "G1a") == [("G1a", True)]


def test_what_was_seen_below_needs_no_good_confirmation() -> None:
    """Of one who asked for none, the place is what others saw; unseen, it is a count."""
    for seen in (True, False):
        story = Story()
        story.producer()
        story.producer("q", acks=1)
        story.send(value(0), 7)
        story.send(value(0, producer="q"), 3, "q")
        if seen:
            story.look()
        assert named(story, "realtime-order") == [("realtime-order", seen)]


def test_a_place_that_its_confirmation_does_not_tell_may_be_that_of_a_copy() -> None:
    """It was seen above, and nothing says that it was there when it was confirmed."""
    story = Story()
    story.producer()
    story.producer("q")
    story.send(value(0), 7, told=False)
    story.send(value(0, producer="q"), 3, "q")
    story.look()
    assert named(story, "realtime-order") == []


def test_a_message_without_a_value_is_in_no_order() -> None:
    """Nobody could say which of them was seen."""
    story = Story()
    story.producer()
    story.say("ok", "send", op=story.say("invoke", "send", client="p", dest=TOPIC, key="k"), part=0, off=7)
    story.send(value(0), 3)
    assert named(story, "realtime-order", "nonmonotonic-send") == []
