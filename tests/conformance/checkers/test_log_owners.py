"""Ownership: two owners at once and a commit of a stale one are found, late news and excused zombies are not."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers.log_owners import log_owners
from tests.conformance.checkers.stories import Story, anomalies, findings

CHECKS = (log_owners,)


def found(story: Story) -> set[str]:
    return anomalies(story.history(), CHECKS)


def members(**options: Any) -> Story:
    story = Story().filled(8)
    story.consumer("a/c", **options)
    story.consumer("b/c", **options)
    return story


def test_one_then_the_other_is_a_handover() -> None:
    """No double-ownership, even if each has had it twice, with leases of their own."""
    story = members()
    story.poll("a/c", 0, 1, lease=1)
    story.poll("b/c", 0, 1, lease=1)
    story.poll("a/c", 2, lease=2)
    story.poll("b/c", 3, lease=2)
    assert found(story) == set()


def test_one_then_the_other_then_the_one_again_under_its_lease() -> None:
    """double-ownership: the three deliveries are the witness; in other groups it is none."""
    story = members()
    story.poll("a/c", 0, 1, lease=1)
    story.poll("b/c", 0, 1, lease=1)
    story.poll("a/c", 2, lease=1)
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "double-ownership"
    assert [event.proc for event in finding.witness] == ["a", "b", "a"]
    story = Story().filled(8)
    story.consumer("a/c", group="g")
    story.consumer("b/c", group="h")
    for who, off in (("a/c", 0), ("b/c", 0), ("a/c", 1)):
        story.poll(who, off)
    assert found(story) == set()


def test_whose_assignment_was_heard_of_first_does_not_matter() -> None:
    """double-ownership: the other one is given something first; the witness is what lies nearest around it."""
    story = members()
    poll = story.say("invoke", "poll", "a", client="c", group="g")
    story.say("ok", "assigned", "a", client="c", group="g", dest="topic:t", part=0, lease=1)
    story.say("ok", "poll", "a", op=poll, client="c", group="g", more={"count": 0})
    for who, off in (("b/c", 0), ("b/c", 1), ("a/c", 2), ("b/c", 3), ("b/c", 4)):
        story.poll(who, off, lease=1)
    (finding,) = findings(story.history(), CHECKS)
    assert [(event.proc, event.off) for event in finding.witness] == [("b", 1), ("a", 2), ("b", 3)]


def test_who_is_not_known_may_be_excused() -> None:
    """No double-ownership of members whose options nobody told: they may have been silent for too long."""
    story = Story().filled(8)
    for proc, off in (("a", 0), ("b", 0), ("a", 1)):
        facts: dict[str, Any] = {"client": "c", "group": "g", "dest": "topic:t"}
        poll = story.say("invoke", "poll", proc, **facts)
        story.say("ok", "deliver", proc, op=poll, **facts, part=0, off=off, lease=1, val="x")
        story.say("ok", "poll", proc, op=poll, **facts, more={"count": 1})
    assert found(story) == set()


def test_a_long_poll_is_not_silence() -> None:
    """double-ownership, though the one waited half a minute in a poll."""
    story = members()
    story.poll("b/c")
    story.poll("a/c", 0, lease=1)
    story.poll("a/c", lease=1, ms=30_000)
    story.poll("b/c", ms=30_000)
    story.poll("b/c", 0, lease=1)
    story.poll("a/c", lease=1, ms=30_000)
    story.poll("a/c", 1, lease=1)
    assert found(story) == set(), "B was silent while A waited"
    story = members()
    story.poll("a/c", 0, lease=1)
    poll = story.say("invoke", "poll", "a", client="c", group="g")
    story.poll("b/c", ms=30_000)
    story.poll("b/c", 0, lease=1)
    story.say("ok", "poll", "a", op=poll, client="c", group="g", more={"count": 0})
    story.poll("a/c", 1, lease=1)
    assert found(story) == {"double-ownership"}


def test_what_is_told_late_is_no_overlap() -> None:
    """A poll that began before the other's delivery may have been answered before it."""
    story = members()
    story.poll("a/c", 0, lease=1)
    poll = story.say("invoke", "poll", "a", client="c", group="g")
    story.poll("b/c", 0, lease=1)
    story.say("ok", "deliver", "a", op=poll, client="c", group="g", dest="topic:t", part=0, off=1, lease=1)
    story.say("ok", "poll", "a", op=poll, client="c", group="g", more={"count": 1})
    assert found(story) == set()


@pytest.mark.parametrize("at", ["a", "b", "broker", "link"])
def test_a_fault_excuses_it(at: str) -> None:
    """A fault on one of the two, or on what all share, may have made the one believe that it owns it still."""
    story = members()
    story.poll("a/c", 0, lease=1)
    story.fault(at)
    story.poll("b/c", 0, lease=1)
    story.heal(at)
    story.poll("a/c", 1, lease=1)
    assert found(story) == set()


def test_a_fault_elsewhere_or_long_ago_does_not() -> None:
    """double-ownership in spite of a fault on a third process, or of one whose consequences are over."""
    story = members()
    story.consumer("z/c", group="other")
    story.fault("z")
    story.fault("a")
    story.heal("a")
    for _ in range(20):
        story.wait(1000)
        story.poll("a/c")
        story.poll("b/c")
    story.poll("a/c", 0, lease=1)
    story.poll("b/c", 0, lease=1)
    story.poll("a/c", 1, lease=1)
    assert found(story) == {"double-ownership"}


@pytest.mark.parametrize("silent", ["a", "b"])
def test_silence_excuses_it(silent: str) -> None:
    """A member that did not poll for a session is taken for dead, and may be given a rest afterwards."""
    story = members(session_timeout_s=6.0)
    story.poll("b/c")
    if silent == "a":
        story.poll("a/c", 0, lease=1)
        story.wait(8000)
        story.poll("b/c", 0, lease=1)
    else:
        story.wait(8000)
        story.poll("a/c")
        story.poll("a/c", 0, lease=1)
        story.poll("b/c", 0, lease=1)
    story.poll("a/c", 1, lease=1)
    assert found(story) == set()


def test_a_fault_that_could_not_be_made_excuses_nothing() -> None:
    """double-ownership."""
    story = members()
    story.poll("a/c", 0, lease=1)
    story.say("fail", "fault", more={"what": "pause", "at": "a"})
    story.poll("b/c", 0, lease=1)
    story.poll("a/c", 1, lease=1)
    assert found(story) == {"double-ownership"}


def test_what_a_stream_gives_may_have_been_fetched_at_any_time() -> None:
    """No double-ownership by deliveries that belong to no poll."""
    story = members()
    for proc, off in (("a", 0), ("b", 0), ("a", 1)):
        facts: dict[str, Any] = {"client": "c", "group": "g", "dest": "topic:t", "part": 0, "key": "k"}
        story.say("ok", "deliver", proc, **facts, off=off, lease=1, val="x")
    assert found(story) == set()


def test_an_interval_between_polls_that_is_over_excuses_it_too() -> None:
    """No double-ownership of a member that polls less often than it has promised."""
    for interval_s, wanted in ((3.0, set()), (300.0, {"double-ownership"})):
        story = members(session_timeout_s=60.0, max_poll_interval_s=interval_s)
        story.poll("b/c")
        story.poll("a/c", 0, lease=1)
        story.wait(2000)
        story.poll("b/c", 0, lease=1)
        story.poll("a/c", 1, lease=1)
        assert found(story) == wanted


def zombie(*, late: bool = False, newer: bool = True) -> Story:
    """A settles and commits under its lease; before, if `late`, B was given the partition."""
    story = members()
    if not newer:
        story.poll("b/c", lease=1)
        poll = story.say("invoke", "poll", "b", client="c", group="g")
    story.poll("a/c", 0, lease=1)
    if not newer:
        facts = {"client": "c", "group": "g", "dest": "topic:t", "part": 0}
        story.say("ok", "assigned", "b", **facts, lease=1)
        story.say("ok", "deliver", "b", op=poll, **facts, off=0, lease=1)
        story.say("ok", "poll", "b", op=poll, client="c", group="g", more={"count": 1})
    elif late:
        story.poll("b/c")
        story.poll("b/c", 0, lease=1)
    story.settle("a/c", 0)
    return story


def test_a_stale_commit_is_refused() -> None:
    """zombie-commit: it counts, although another had got the partition before it was settled, fault or no fault."""
    story = zombie(late=True)
    story.fault("a")
    story.commit("a/c")
    assert found(story) == {"zombie-commit"}
    story = zombie(late=True)
    story.commit("a/c", outcome="fail")
    assert found(story) == set()
    story = zombie()
    story.commit("a/c")
    assert found(story) == set()


def test_an_assignment_alone_takes_nothing_away() -> None:
    """No zombie-commit where the other one was never given anything."""
    story = members()
    story.poll("a/c", 0, lease=1)
    story.poll("b/c")
    story.say("ok", "assigned", "b", client="c", group="g", dest="topic:t", part=0, lease=1)
    story.settle("a/c", 0)
    story.commit("a/c")
    assert found(story) == set()


def test_a_member_may_outlive_its_own_lease() -> None:
    """zombie-commit of a delivery of the lease before, when it has got the partition anew."""
    story = members()
    story.poll("a/c", 0, lease=1)
    story.poll("a/c")
    story.poll("a/c", 0, lease=2)
    story.settle("a/c", 0, lease=1)
    story.commit("a/c")
    assert found(story) == {"zombie-commit"}


def test_an_owner_is_no_zombie_because_an_older_one_was_slow_to_tell() -> None:
    """No zombie-commit where the other's lease may be the older one."""
    story = zombie(newer=False)
    story.commit("a/c")
    assert found(story) == set()


def test_what_was_settled_before_the_handover_may_be_committed_after_it() -> None:
    """No zombie-commit for a verb that came in time: it may have been committed in the background."""
    story = members()
    story.poll("a/c", 0, lease=1)
    story.settle("a/c", 0)
    story.poll("b/c")
    story.poll("b/c", 1, lease=1)
    story.commit("a/c")
    assert found(story) == set()


# --- streams


def streamed(story: Story, who: str, *offs: int, ms: float = 100, **more: Any) -> None:
    """Deliveries without a poll, so long after each other."""
    proc = who.partition("/")[0]
    for off in offs:
        story.wait(ms)
        key, val = story.records["topic:t", 0, off]
        facts: dict[str, Any] = {"client": "c", "group": "g", "dest": "topic:t", "part": 0, "off": off, "lease": 1}
        story.say("ok", "deliver", proc, **facts, key=key, val=val, more=more)


def test_a_stream_that_goes_on_after_another_has_got_it() -> None:
    """double-ownership: the last one was asked for more than a moment after the other was given something."""
    story = members()
    streamed(story, "a/c", 0, 1)
    story.poll("b/c", 2, lease=1)
    streamed(story, "a/c", 3, 4, 5, ms=900)
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "double-ownership"
    assert [(event.proc, event.off) for event in finding.witness] == [("a", 1), ("b", 2), ("a", 5)]


def test_what_is_left_of_a_block_is_no_proof() -> None:
    """No double-ownership within a moment, of what workers take in turns, or of a stream that was silent."""
    story = members()
    streamed(story, "a/c", 0, 1)
    story.poll("b/c", 2, lease=1)
    streamed(story, "a/c", 3, 4, 5, ms=200)
    assert found(story) == set()
    story = members()
    streamed(story, "a/c", 0, 1, handler=True)
    story.poll("b/c", 2, lease=1)
    streamed(story, "a/c", 3, 4, 5, ms=900, handler=True)
    assert found(story) == set()
    story = members()
    streamed(story, "a/c", 0, 1)
    story.poll("b/c", 2, lease=1)
    streamed(story, "a/c", 3, 4, 5, ms=6000)
    assert found(story) == set()
