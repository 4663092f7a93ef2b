"""Small things that decide about groups: who owns what, what was promised, who starves, and what excuses it."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers import Finding, Profile
from mqbridge_conformance.checkers.log_commits import log_commits
from mqbridge_conformance.checkers.log_losses import log_losses
from mqbridge_conformance.checkers.log_order import log_order
from mqbridge_conformance.checkers.log_owners import log_owners
from mqbridge_conformance.checkers.log_progress import log_progress
from mqbridge_conformance.history import Event, Kind
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story, findings, value

CHECKERS = (log_commits, log_losses, log_order, log_owners, log_progress)
SHORT: dict[str, Any] = {"session_timeout_s": 2.0, "max_poll_interval_s": 1.0}


def named(story: Story, anomaly: str, profile: Profile = ALL_CLAIMED) -> list[Finding]:
    return [found for found in findings(story.history(), CHECKERS, profile) if found.anomaly == anomaly]


def errors(story: Story, anomaly: str) -> list[Finding]:
    return [found for found in named(story, anomaly) if not found.legal]


def proof(found: Finding) -> list[tuple[str, str]]:
    return [(event.f, event.kind) for event in found.witness]


def asks(story: Story, who: str, seconds: float, every_s: float = 1.0) -> Story:
    """It polls in vain for so long."""
    for _ in range(round(seconds / every_s)):
        story.poll(who, ms=every_s * 1000)
    return story


def polls(story: Story, who: str) -> list[Event]:
    """The beginnings of its polls."""
    return [event for event in story.events if (event.f, event.kind, event.who) == ("poll", "invoke", who)]


# --- owners


def members(**options: Any) -> Story:
    story = Story(partitions=2).filled(8)
    story.consumer("a/c", **options)
    story.consumer("b/c", **options)
    return story


def overlapping(story: Story, silent_ms: float = 0) -> bool:
    """A, then B, then A again under its lease, which polls no more in between for so long; is that found?"""
    story.poll("a/c", 0)
    story.poll("b/c", 0)
    story.wait(silent_ms)
    story.poll("b/c", 1)
    story.poll("a/c", 1)
    return bool(named(story, "double-ownership"))


def test_two_that_take_turns_are_told_once() -> None:
    """Not each as the other's."""
    story = members()
    for off in (0, 1):
        story.poll("a/c", off)
        story.poll("b/c", off)
    assert len(named(story, "double-ownership")) == 1


def test_silence_excuses_from_half_a_session_on() -> None:
    """Of the one that was silent, whatever the session of the other is."""
    assert not overlapping(members(session_timeout_s=2.0), 1500)
    assert overlapping(members(), 4000)
    story = Story().filled(8)
    story.consumer("a/c", session_timeout_s=2.0)
    story.consumer("b/c")
    assert not overlapping(story, 1500)


def test_silence_at_another_time_excuses_nothing() -> None:
    """Long before, or long after; also where the last poll before it lies just behind half a session."""
    story = members()
    for who in ("a/c", "b/c"):
        story.poll(who)
    story.wait(30_000)
    for who in ("a/c", "b/c"):
        story.poll(who)
    story.wait(3000)
    for _ in range(3):
        for who in ("a/c", "b/c"):
            story.poll(who, ms=500)
    assert overlapping(story)
    for who in ("a/c", "b/c"):
        story.poll(who)
    story.wait(30_000)
    for who in ("a/c", "b/c"):
        story.poll(who)
    assert named(story, "double-ownership")


def test_a_fault_excuses_for_ten_seconds() -> None:
    """Also where the sessions are shorter; one that failed does not, and hides none behind it."""
    for seconds, found in ((5, False), (12, True)):
        story = members(session_timeout_s=2.0)
        story.say("fail", "fault", more={"what": "pause", "at": "link"})
        story.fault("broker")
        story.heal("broker")
        for _ in range(seconds):
            for who in ("a/c", "b/c"):
                story.poll(who, ms=500)
        assert overlapping(story) is found


def zombie() -> Story:
    """A has two records, then B has the partition; A settles and commits each of them."""
    story = members()
    story.poll("a/c", 0, 1)
    story.poll("b/c")
    story.poll("b/c", 0)
    for off in (0, 1):
        story.settle("a/c", off)
        story.commit("a/c")
    return story


@pytest.mark.parametrize(("claimed", "legal"), [(True, False), (False, True)])
def test_each_commit_of_a_zombie_is_told(claimed: bool, legal: bool) -> None:
    """What it had, what the other was given, its verb and its commit; a count where no fencing is claimed."""
    claims = ALL_CLAIMED.claims if claimed else {**ALL_CLAIMED.claims, "COMMIT_FENCING": "unsupported"}
    found = named(zombie(), "zombie-commit", Profile(claims=claims))
    wanted = [("assigned", "ok"), ("deliver", "ok"), ("ack", "invoke"), ("commit", "ok")]
    assert [(proof(one), bool(one.legal)) for one in found] == [(wanted, legal)] * 2
    assert log_owners(zombie().history(), ALL_CLAIMED).looked_at["commits"] == 2


# --- counts and lags


def test_a_group_without_repeats_hides_none_with() -> None:
    """All that was given is counted."""
    story = Story().filled(2)
    for group in "gh":
        story.consumer(f"{group}/c", group)
        story.poll(f"{group}/c", 0, 1)
    story.poll("h/c", 0, lease=2)
    assert [found.where for found in named(story, "consume-counts")] == [f"{TOPIC} in group h"]
    assert log_progress(story.history(), ALL_CLAIMED).looked_at["delivered_to_groups"] == 4


def test_the_worst_lag_is_told() -> None:
    """Not the last; the send, and the poll that came too early, with its ends."""
    story = Story().filled(1)
    story.consumer()
    story.poll("c", 0)
    story.send(value(1), 1)
    story.wait(100)
    story.poll("c")
    story.poll("c", 1)
    story.send(value(2), 2)
    story.poll("c")
    (found,) = named(story, "realtime-lag")
    assert proof(found) == [("send", "invoke"), ("send", "ok"), ("poll", "invoke"), ("poll", "ok")]
    assert found.witness[0].val == value(1)
    assert log_progress(story.history(), ALL_CLAIMED).looked_at["empty_polls"] == 2


def test_what_was_lost_does_not_lag() -> None:
    """A partition that its reader has no more."""
    story = Story().filled(2)
    story.consumer()
    story.poll("c", 0)
    story.did("lost", "c", dest=TOPIC, part=0)
    story.poll("c")
    assert named(story, "realtime-lag") == []


# --- starvation


def hungry(**options: Any) -> Story:
    """A member is given one of two records."""
    story = Story().filled(2)
    story.consumer(**options)
    story.poll("c", 0)
    return story


def test_the_polls_in_that_time_are_shown() -> None:
    """The first after the last that was given, and the last."""
    story = asks(hungry(), "c", 40)
    (found,) = named(story, "starvation")
    asked = polls(story, "main/c")
    assert found.witness[-2:] == (asked[1], asked[-1])


def test_who_never_asks_does_not_starve() -> None:
    """A member without a poll."""
    story = Story().filled(2)
    story.consumer()
    assert named(story, "starvation") == []


@pytest.mark.parametrize(("seconds", "found"), [(38, False), (50, True)])
def test_hunger_is_twice_a_session(seconds: int, found: bool) -> None:
    """Where that is longer than half a minute."""
    assert bool(named(asks(hungry(session_timeout_s=20.0), "c", seconds), "starvation")) is found


@pytest.mark.parametrize("f", ["open", "close"])
def test_who_comes_or_leaves_excuses_no_hunger_before(f: str) -> None:
    """It begins a new time."""
    story = hungry()
    if f == "close":
        story.consumer("d")
        story.poll("d", 0)
        story.poll("c")
    for _ in range(35):
        story.poll("c", ms=500)
        if f == "close":
            story.poll("d", ms=500)
        else:
            story.wait(500)
    if f == "close":
        story.did("close", "d")
    else:
        story.consumer("d")
    asks(story, "c", 5)
    assert len(named(story, "starvation")) == 1


@pytest.mark.parametrize("f", ["open", "close"])
def test_a_member_for_another_topic_moves_the_group_too(f: str) -> None:
    """While it comes or leaves, nobody starves."""
    story = Story().filled(2)
    if f == "close":
        story.consumer("d", dest="topic:u")
    story.consumer()
    story.poll("c", 0)
    for number in range(40):
        story.poll("c", ms=500)
        if f == "close" and number <= 35:
            story.poll("d", ms=500, dest="topic:u")
        else:
            story.wait(500)
        if number == (35 if f == "close" else 20):
            if f == "close":
                story.did("close", "d")
            else:
                story.consumer("d", dest="topic:u")
    assert named(story, "starvation") == []


def test_a_pause_hides_no_hunger_after_it() -> None:
    """While it was paused it was to wait."""
    story = hungry()
    story.did("pause", "c")
    asks(story, "c", 35)
    assert named(story, "starvation") == []
    story.did("resume", "c")
    asks(story, "c", 35)
    assert len(named(story, "starvation")) == 1


def test_a_fault_that_is_just_over_excuses_hunger() -> None:
    """For as long as one has to wait for it to be called so."""
    for seconds, found in ((5, False), (40, True)):
        story = Story().filled(2)
        story.consumer()
        story.fault("broker")
        story.heal("broker")
        asks(story, "c", seconds)
        story.poll("c", 0)
        asks(story, "c", 35)
        assert bool(named(story, "starvation")) is found


def test_who_asks_now_and_then_asks() -> None:
    """Every nine seconds will do."""
    assert len(named(asks(hungry(), "c", 45, 9), "starvation")) == 1


# --- stalls


def stalling(*others: str, start: Any = None) -> Story:
    """A is given the first of three records and polls no more; B asks, and others are there."""
    story = Story().filled(3)
    for who in ("a/c", "b/c", *others):
        story.consumer(who, **SHORT, **({} if start is None else {"start": start}))
    story.poll("a/c", 0)
    return story


def test_the_last_that_asked_is_shown() -> None:
    """The first and the last poll of the other member in that time."""
    story = asks(stalling(), "b/c", 8, 0.5)
    (found,) = named(story, "starvation")
    assert found.witness[-2:] == (polls(story, "b/c")[0], polls(story, "b/c")[-1])


def test_a_member_that_leaves_meanwhile_excuses_a_stall() -> None:
    """The group had to come together again."""
    story = asks(stalling("d/c"), "b/c", 4, 0.5)
    story.did("close", "d/c")
    assert named(asks(story, "b/c", 4, 0.5), "starvation") == []


@pytest.mark.parametrize(("seconds", "found"), [(2, False), (20, True)])
def test_a_fault_before_a_stall(seconds: float, found: bool) -> None:
    """It excuses for as long as a stall may be."""
    story = Story().filled(3)
    story.fault("broker")
    story.heal("broker")
    for who in ("a/c", "b/c"):
        story.consumer(who, **SHORT)
    for _ in range(round(seconds * 2)):
        story.poll("a/c", ms=250)
        story.poll("b/c", ms=250)
    story.poll("a/c", 0)
    assert bool(named(asks(story, "b/c", 8, 0.5), "starvation")) is found


def test_a_stall_that_is_excused_hides_no_other() -> None:
    """Something was broken in the first, and nothing in the second."""
    story = asks(stalling(), "b/c", 4, 0.5)
    story.fault("broker")
    story.heal("broker")
    asks(story, "b/c", 4, 0.5)
    for _ in range(20):
        story.poll("a/c", ms=500)
        story.poll("b/c", ms=500)
    assert named(story, "starvation") == []
    assert len(named(asks(story, "b/c", 8, 0.5), "starvation")) == 1


def test_a_stall_before_it_had_anything_hides_no_other() -> None:
    """It was silent, then it was given something, and was silent again."""
    story = Story().filled(3)
    for who in ("a/c", "b/c"):
        story.consumer(who, **SHORT)
    story.poll("a/c")
    asks(story, "b/c", 8, 0.5)
    story.poll("a/c", 0)
    assert len(named(asks(story, "b/c", 8, 0.5), "starvation")) == 1


def test_one_that_was_given_nothing_may_stall_too() -> None:
    """It is shown by its assignment; another group that has its own leases hides nothing."""
    story = Story().filled(3)
    story.consumer("x/c", "other", **SHORT)
    story.poll("x/c", 0, 1, 2)
    story.did("close", "x/c")
    for who in ("a/c", "b/c"):
        story.consumer(who, **SHORT)
    poll = story.say("invoke", "poll", "a", client="c", group="g", dest=TOPIC)
    story.say("ok", "assigned", "a", client="c", group="g", dest=TOPIC, part=0, lease=1)
    story.say("ok", "poll", "a", op=poll, client="c", group="g", more={"count": 0})
    (found,) = named(asks(story, "b/c", 8, 0.5), "starvation")
    assert "assigned" in {event.f for event in found.witness}


def test_who_asked_before_a_stall_asked_not_in_it() -> None:
    """It has to ask for as long as a stall may be, from its beginning on; now and then will do."""
    story = Story().filled(3)
    for who in ("a/c", "b/c"):
        story.consumer(who, **SHORT)
    for _ in range(12):
        story.poll("a/c", ms=250)
        story.poll("b/c", ms=250)
    story.poll("a/c", 0)
    asks(story, "b/c", 3, 0.5)
    assert named(story.wait(8000), "starvation") == []
    assert len(named(asks(stalling(), "b/c", 9, 1.8), "starvation")) == 1


def test_a_group_that_began_at_an_offset_starves_as_well() -> None:
    """What lies above it is its due."""
    story = stalling(start={"offsets": {"0": 0}})
    assert len(named(asks(story, "b/c", 8, 0.5), "starvation")) == 1


# --- replays


def test_each_replay_is_counted_as_read_out_or_not() -> None:
    """Of two, one."""
    story = Story().filled(2)
    for who in ("r", "s"):
        story.replay(who)
        story.poll(who, 0, 1, lease=None)
    story.read_out("r")
    assert log_order(story.history(), ALL_CLAIMED).looked_at["read_out"] == 1


@pytest.mark.parametrize(
    ("start", "end", "missed"),
    [
        ({"offsets": {"0": 0}}, {"name": "NOW"}, True),
        ({"offsets": {"1": 0}}, {"name": "NOW"}, True),
        ({"offsets": {"1": 1}}, {"name": "LATEST"}, False),
        ({"name": "EARLIEST"}, {"name": "LATEST"}, True),
        ({"name": "EARLIEST"}, {"offsets": {"0": 1}}, False),
    ],
)
def test_where_a_replay_of_two_partitions_begins_and_ends(start: Any, end: Any, missed: bool) -> None:
    """One record in each, and it is given that of the first; a partition that is not named begins, and ends, at its
    start."""
    story = Story(partitions=2).filled(1)
    story.send(value(1), 0, part=1)
    story.replay("r", end=end)
    story.events[-1] = story.events[-1]._replace(more={**story.events[-1].more, "start": start})
    story.poll("r", 0, lease=None)
    story.read_out("r")
    assert bool(named(story, "replay-mismatch")) is missed


# --- seeks and starts


def test_a_seek_that_was_not_followed_is_shown() -> None:
    """With the group; one of which nobody knows whether it was done proves nothing."""
    outcomes: list[tuple[Kind, bool]] = [("ok", True), ("info", False)]
    for outcome, found in outcomes:
        story = Story().filled(5)
        story.consumer()
        story.poll("c", 0)
        story.did("seek", "c", outcome=outcome, dest=TOPIC, part=0, off=3)
        story.poll("c", 1)
        shown = named(story, "nonmonotonic-poll")
        assert bool(shown) is found
        if shown:
            assert (shown[0].where, proof(shown[0])[-1]) == (f"{TOPIC}/0 in group g", ("deliver", "ok"))
            assert proof(shown[0])[0][0] == "seek"


def unseen(story: Story) -> bool:
    story.drained()
    return bool(errors(story, "unseen"))


def test_the_first_record_is_due_as_well() -> None:
    """From the start, in a partition that a start does not name, and after a reset that does not name it."""
    story = Story().filled(1)
    story.consumer()
    assert unseen(story)
    story = Story().filled(1)
    story.consumer(start={"offsets": {"1": 0}})
    assert unseen(story)
    story = Story().filled(1)
    story.did("reset", group="g", dest=TOPIC, more={"offsets": {"offsets": {"1": 0}}})
    story.consumer()
    assert unseen(story)


def test_a_move_excuses_its_own_topic_and_group() -> None:
    """One of another topic does not; one that failed hides none that did not, told by its client alone."""
    story = Story().filled(2)
    story.consumer()
    story.did("reset", group="g", dest="topic:u", more={"to": {"name": "LATEST"}})
    story.poll("c", 0)
    assert unseen(story)
    story = Story().filled(2)
    story.consumer()
    story.did("seek", "c", outcome="fail", dest=TOPIC, part=0, off=9)
    op = story.say("invoke", "seek", client="c", dest=TOPIC, part=0, off=2)
    story.say("ok", "seek", op=op, client="c", dest=TOPIC, part=0, off=2)
    story.poll("c")
    assert not unseen(story)


# --- what was settled


def test_a_place_never_goes_back_twice_unseen() -> None:
    """Each time is told; two looks of which one began before the other was over have no order."""
    story = Story().filled(6)
    for off in (5, 3, 2):
        story.committed(off)
    assert len(named(story, "commit-regression")) == 2
    story = Story().filled(6)
    story.committed(5)
    op = story.say("invoke", "committed", "other", group="g")
    story.committed(5)
    story.say("ok", "committed", "other", op=op, group="g", dest=TOPIC, part=0, off=3)
    assert len(named(story, "commit-regression")) == 1


def test_a_verb_that_has_not_ended_may_have_settled() -> None:
    """Or one of which only its end is told; so a place above it is right."""
    for kind in ("invoke", "ok"):
        story = Story().filled(2)
        story.consumer()
        story.poll("c", 0)
        story.say(kind, "retry", client="c", group="g", dest=TOPIC, part=0, off=0, lease=1)
        story.committed(1)
        assert named(story, "committed-too-far") == []


def test_an_ack_that_failed_promises_nothing() -> None:
    """The next owner begins below it."""
    story = Story().filled(2)
    story.consumer("a/c")
    story.poll("a/c", 0)
    story.did("ack", "a/c", outcome="fail", dest=TOPIC, part=0, off=0, lease=1)
    story.commit("a/c")
    story.consumer("b/c")
    story.poll("b/c", 0)
    assert named(story, "commit-lost") == []


def test_events_that_do_not_tell_their_group_tell_their_client() -> None:
    """Which was opened for one: what it settled and committed is promised."""
    story = Story().filled(2)
    story.consumer("a/c")
    facts: dict[str, Any] = {"client": "c", "dest": TOPIC, "part": 0, "off": 0, "lease": 1}
    poll = story.say("invoke", "poll", "a", client="c")
    story.say("ok", "deliver", "a", op=poll, **facts, key="k", val=value(0))
    story.say("ok", "poll", "a", op=poll, client="c", more={"count": 1})
    ack = story.say("invoke", "ack", "a", **facts)
    story.say("ok", "ack", "a", op=ack, **facts)
    commit = story.say("invoke", "commit", "a", client="c")
    story.say("ok", "commit", "a", op=commit, client="c")
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", 0)
    assert len(named(story, "commit-lost")) == 1


def test_the_first_that_shows_it_is_told() -> None:
    """By time, not by how much its process has written: of a commit that is lost, and of one that is too far."""
    for settles, anomaly in ((True, "commit-lost"), (False, "committed-too-far")):
        story = Story().filled(4)
        story.consumer("a/c")
        story.poll("a/c", 0, 1, 2)
        if settles:
            story.settle("a/c", 0, 1, 2)
            story.commit("a/c")
        off = 1 if settles else 2
        story.committed(off)
        op = story.say("invoke", "committed", "other", group="g")
        story.say("ok", "committed", "other", op=op, group="g", dest=TOPIC, part=0, off=off)
        (found,) = named(story, anomaly)
        assert found.witness[-1].proc == "main"


# --- what nobody committed


def settled(seconds: float = 5, **options: Any) -> Story:
    """A has and acks two records, commits nothing, and polls on."""
    story = Story().filled(4)
    story.consumer("a/c", **options)
    story.poll("a/c", 0, 1)
    story.settle("a/c", 0, 1)
    return asks(story, "a/c", seconds)


def forgotten(story: Story) -> bool:
    """It polls for long enough, and the group is then seen at the start: is that found?"""
    asks(story, "a/c", 8)
    story.committed(0)
    return bool(named(story, "commit-lost"))


@pytest.mark.parametrize(
    ("options", "silent_ms", "found"),
    [({"session_timeout_s": 2.0}, 1500, False), ({"max_poll_interval_s": 2.0}, 1500, False), ({}, 4000, True)],
)
def test_silence_for_half_a_session_excuses_what_was_not_told(
    options: dict[str, float], silent_ms: float, found: bool
) -> None:
    """Or for half of what one may be without a poll."""
    assert forgotten(settled(**options).wait(silent_ms)) is found


def test_a_fault_just_before_the_verb_excuses_what_was_not_told() -> None:
    """It may have cost its member the lease."""
    story = Story().filled(4)
    story.consumer("a/c")
    story.fault("broker")
    story.heal("broker")
    asks(story, "a/c", 3)
    story.poll("a/c", 0, 1)
    story.settle("a/c", 0, 1)
    assert not forgotten(asks(story, "a/c", 5))


def test_a_partition_of_which_nothing_is_settled_hides_no_other() -> None:
    """In the first the second record was acked alone."""
    story = Story(partitions=2).filled(2)
    story.send(value(5, key="l"), 0, key="l", part=1)
    story.consumer("a/c")
    story.poll("a/c", 0, 1)
    story.poll("a/c", 0, part=1)
    story.settle("a/c", 1)
    story.settle("a/c", 0, part=1)
    asks(story, "a/c", 12)
    story.committed(0, part=1)
    assert len(named(story, "commit-lost")) == 1


def test_workers_settle_what_they_were_given() -> None:
    """And are judged by no turns; what comes from a queue hides nothing."""
    story = Story().filled(2)
    story.say("ok", "deliver", client="q", dest="queue:q", tag=1, val="x")
    story.consumer()
    story.poll("c", 0, more={"handler": True})
    story.committed(1)
    assert named(story, "committed-too-far") == []
    story = members()
    for who, off in (("a/c", 0), ("b/c", 0), ("a/c", 1)):
        story.poll(who, off, more={"handler": True})
    assert named(story, "double-ownership") == []


def test_a_replay_that_went_below_its_start_is_shown_as_it_was_opened() -> None:
    """Where it was asked to begin, and what it was given."""
    story = Story().filled(4)
    story.replay("r", 2)
    story.poll("r", 1, lease=None)
    (found,) = named(story, "nonmonotonic-poll")
    assert proof(found) == [("open", "ok"), ("deliver", "ok")]


def test_leases_are_told_apart_by_their_numbers() -> None:
    """From zero on."""
    story = Story().filled(2)
    story.consumer()
    for lease in (0, 1):
        story.poll("c", lease, lease=lease)
    assert log_owners(story.history(), ALL_CLAIMED).looked_at["leases"] == 2


def test_what_its_members_were_given_counts_for_their_group() -> None:
    """Though a delivery does not tell it."""
    story = Story().filled(1)
    story.consumer()
    for lease in (1, 2):
        story.say("ok", "deliver", client="c", dest=TOPIC, part=0, off=0, key="k", val=value(0), lease=lease)
    assert len(named(story, "consume-counts")) == 1
