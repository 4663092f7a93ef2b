"""Places of groups: lost, regressed, hurried and skipping ones are found, moves and careful bounds are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mqbridge_conformance.checkers import Outcome
from mqbridge_conformance.checkers.log_commits import log_commits
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story, anomalies, findings

CHECKS = (log_commits,)


def found(story: Story) -> set[str]:
    return anomalies(story.history(), CHECKS)


def half(**options: Any) -> Story:
    """A member has settled and committed offsets 0 to 2 of 8."""
    story = Story().filled(8)
    story.consumer("a/c", **options)
    story.poll("a/c", 0, 1, 2, 3)
    story.settle("a/c", 0, 1, 2)
    story.commit("a/c")
    return story


def test_the_next_owner_begins_at_what_was_committed() -> None:
    """Neither commit-lost nor handover-gap."""
    story = half()
    story.committed(3)
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", 3, 4)
    assert found(story) == set()


def test_a_commit_that_counted_is_not_lost() -> None:
    """commit-lost: the next owner begins below it, or an observer sees less."""
    story = half()
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", 2, 3)
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "commit-lost"
    assert [event.f for event in finding.witness] == ["ack", "commit", "deliver"]
    story = half()
    story.committed(2)
    assert found(story) == {"commit-lost"}


def test_an_owner_that_got_it_before_the_commit_may_begin_below() -> None:
    """No commit-lost for a lease that may have begun, or a look that began, before the commit was answered."""
    story = Story().filled(8)
    story.consumer("a/c")
    story.consumer("b/c")
    story.poll("a/c", 0, 1, 2)
    story.settle("a/c", 0, 1, 2)
    story.poll("b/c")
    look = story.say("invoke", "committed", group="g")
    story.commit("a/c")
    story.say("ok", "committed", op=look, group="g", dest=TOPIC, part=0, off=0)
    story.poll("b/c", 0)
    assert found(story) == set()


@pytest.mark.parametrize("outcome", ["fail", "info"])
def test_a_commit_that_did_not_succeed_promises_nothing(outcome: str) -> None:
    """No commit-lost."""
    story = Story().filled(8)
    story.consumer("a/c")
    story.poll("a/c", 0, 1)
    story.settle("a/c", 0, 1)
    story.commit("a/c", outcome=outcome)  # type: ignore[arg-type]
    story.commit("a/c")
    story.committed(0)
    assert found(story) == set()


def test_only_the_settled_prefix_is_promised() -> None:
    """No commit-lost below a delivery that was not settled, given back, or settled after the commit was asked for."""
    for verb in (None, "release", "retry", "reject"):
        story = Story().filled(8)
        story.consumer("a/c")
        story.poll("a/c", 0, 1, 2)
        story.settle("a/c", 0, 2)
        if verb is not None:
            story.settle("a/c", 1, verb=verb)
        op = story.say("invoke", "commit", "a", client="c", group="g")
        if verb is None:
            story.settle("a/c", 1)
        story.say("ok", "commit", "a", op=op, client="c", group="g")
        story.committed(1)
        assert found(story) == set()
        story.committed(0)
        assert found(story) == {"commit-lost", "commit-regression"}


def test_a_seek_ends_what_was_settled_before_it() -> None:
    """No commit-lost for what was acked under the same lease before a seek: only what comes after it is promised."""
    story = Story().filled(8)
    story.consumer("a/c")
    story.poll("a/c", 0, 1, 2)
    story.settle("a/c", 0, 1)
    story.did("seek", "a/c", dest=TOPIC, part=0, off=0)
    story.poll("a/c", 0, 1)
    story.settle("a/c", 0)
    story.commit("a/c")
    story.committed(1)
    assert found(story) == set()
    story.did("commit", "a/c")
    story.committed(0)
    assert found(story) == {"commit-lost", "commit-regression"}


@pytest.mark.parametrize("f", ["seek", "reset", "delete"])
def test_a_place_that_was_moved_is_not_lost(f: str) -> None:
    """Neither commit-lost nor commit-regression after a seek, a reset, or the group's deletion."""
    story = half()
    story.committed(3)
    if f == "seek":
        story.did("seek", "a/c", dest=TOPIC, part=0, off=0)
    elif f == "reset":
        story.did("reset", group="g", dest=TOPIC, more={"to": {"name": "EARLIEST"}})
    else:
        story.did("delete", group="g")
    story.committed(0)
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", 0)
    assert found(story) == set()


def test_a_move_of_another_partition_excuses_nothing() -> None:
    """commit-lost and commit-regression in spite of a reset and a seek elsewhere."""
    story = half()
    story.committed(3)
    story.did("reset", group="g", dest=TOPIC, more={"offsets": {"1": 0}})
    story.did("seek", "a/c", dest=TOPIC, part=1, off=0)
    story.committed(1)
    assert found(story) == {"commit-lost", "commit-regression"}


def test_a_promise_after_a_move_counts_though_it_is_lower() -> None:
    """commit-lost of what was committed after a reset, below what was committed before it."""
    story = half()
    story.did("reset", group="g", dest=TOPIC, more={"to": {"name": "EARLIEST"}})
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", 0, 1)
    story.settle("b/c", 0, 1)
    story.commit("b/c")
    story.committed(2)
    assert found(story) == set()
    story.committed(1)
    assert found(story) == {"commit-lost", "commit-regression"}


def test_what_is_known_is_told_once() -> None:
    """One finding for one promise, and one for one record, however often it is seen."""
    story = half()
    for _ in range(3):
        story.committed(4)
    for _ in range(3):
        story.committed(2)
    told = [finding.anomaly for finding in findings(story.history(), CHECKS)]
    assert sorted(told) == ["commit-lost", "commit-regression", "committed-too-far"]


def test_a_place_does_not_go_back() -> None:
    """commit-regression, seen from outside."""
    story = Story().filled(8)
    story.consumer()
    story.poll("c", 0, 1, 2)
    story.settle("c", 0, 1, 2)
    story.committed(2)
    story.committed(3)
    assert found(story) == set()
    story.committed(1)
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "commit-regression"
    assert [event.off for event in finding.witness] == [3, 1]


def test_two_looks_at_the_same_time_have_no_order() -> None:
    """No commit-regression where the lower one may have been the first."""
    story = Story().filled(8)
    story.consumer()
    story.poll("c", 0, 1, 2)
    story.settle("c", 0, 1, 2)
    slow = story.say("invoke", "committed", "other", group="g")
    story.committed(3)
    story.say("ok", "committed", "other", op=slow, group="g", dest=TOPIC, part=0, off=1)
    assert found(story) == set()


def test_the_next_owner_skips_nothing_unsettled() -> None:
    """handover-gap: given to one, settled by nobody, and passed over by the next; or given to nobody at all."""
    for begins, wanted in ((3, set()), (4, {"handover-gap"}), (5, {"handover-gap"})):
        story = half()
        story.consumer("b/c")
        story.poll("b/c")
        story.poll("b/c", begins)
        assert found(story) == wanted, begins


@pytest.mark.parametrize("verb", ["ack", "retry", "reject"])
def test_what_somebody_began_to_settle_may_be_settled(verb: str) -> None:
    """No handover-gap, and none committed too far: the verb was begun, and its process died in it."""
    story = half()
    story.say("invoke", verb, "a", client="c", group="g", dest=TOPIC, part=0, off=3, lease=1)
    story.committed(4)
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", 4)
    assert found(story) == set()


def test_a_release_settles_nothing() -> None:
    """handover-gap: it was given back, not settled."""
    story = half()
    story.settle("a/c", 3, verb="release")
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", 4)
    assert found(story) == {"handover-gap"}


def test_a_place_is_not_above_what_is_unsettled() -> None:
    """committed-too-far: while it is being handled, and before it was given to anybody."""
    story = half()
    story.committed(3)
    assert found(story) == set()
    story.committed(4)
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "committed-too-far"
    assert finding.text == "offset 4 is committed, and 3 is not settled"


@pytest.mark.parametrize("mode", ["before", "auto"])
def test_who_asked_for_less_is_counted(mode: str) -> None:
    """At most once may skip and hurry, which is counted; what it was shown is settled."""
    story = Story().filled(8)
    story.consumer("a/c", ack=mode)
    story.poll("a/c", 0, 1)
    story.committed(2)
    assert not findings(story.history(), CHECKS)
    story.committed(4)
    story.consumer("b/c", ack=mode)
    story.poll("b/c")
    story.poll("b/c", 4)
    assert found(story) == set()
    assert {finding.anomaly for finding in findings(story.history(), CHECKS)} == {"committed-too-far", "handover-gap"}


def test_workers_settle_by_themselves() -> None:
    """No handover-gap over what a handler of run() was given."""
    story = Story().filled(8)
    story.consumer("a/c")
    story.poll("a/c", 0, 1, 2, more={"handler": True})
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", 3)
    assert found(story) == set()


def test_workers_begin_in_any_order() -> None:
    """No poll-skip where the handler of a later record was faster to begin."""
    story = Story().filled(4)
    story.consumer("a/c", start={"name": "EARLIEST"})
    story.poll("a/c", 2, 0, 1, 3, more={"handler": True})
    assert found(story) == set()


def test_the_first_owner_begins_at_the_start() -> None:
    """poll-skip: asked to begin at the earliest record, it was not given it; with another start it is none."""
    for start, wanted in (({"name": "EARLIEST"}, {"poll-skip"}), ({"name": "LATEST"}, set())):
        story = Story().filled(8)
        story.consumer(start=start)
        story.poll("c", 2, 3)
        assert found(story) == wanted


def test_records_that_may_be_gone_are_no_gap() -> None:
    """No handover-gap over deleted records, nor in topics that shrink."""
    story = half()
    story.did("delete_records", dest=TOPIC, more={"before": {"0": 5}})
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", 5)
    assert found(story) == set()
    story = Story(cleanup="compact").filled(8)
    story.look()
    story.consumer()
    story.poll("c", 2)
    assert found(story) == set()


def test_a_group_that_was_told_to_jump_may_jump() -> None:
    """No handover-gap where its place was removed and it goes on at the end; without the option it is one."""
    for on_gap, wanted in (("latest", set()), ("earliest", {"handover-gap"})):
        story = half(on_gap=on_gap)
        story.did("delete_records", dest=TOPIC, more={"before": {"0": 5}})
        story.consumer("b/c", on_gap=on_gap)
        story.poll("b/c")
        story.poll("b/c", 7)
        assert found(story) == wanted


# --- all the places of a group, and nobody who looked


def answer(story: Story, *places: tuple[str, int, int], group: str = "g") -> None:
    """An observer is told all the places of a group."""
    op = story.say("invoke", "committed", group=group)
    for dest, part, off in places:
        story.say("ok", "committed", op=op, group=group, dest=dest, part=part, off=off)
    story.say("ok", "committed", op=op, group=group)


def test_a_place_that_is_not_there_is_lost() -> None:
    """commit-lost: an observer is told all, or that there are none, and not what was promised."""
    for places in ((), (("topic:u", 0, 3),), ((TOPIC, 1, 3),)):
        story = half()
        story.declare("topic:u", partitions=1)
        answer(story, *places)
        (finding,) = findings(story.history(), CHECKS)
        assert (finding.anomaly, finding.where) == ("commit-lost", f"{TOPIC}/0 in group g")
        assert finding.text == "a/c committed up to offset 3; afterwards the group has no place there"
        assert [event.f for event in finding.witness] == ["ack", "commit", "committed"]


def test_a_place_that_is_there_is_not_lost() -> None:
    """Nor one of another group, one that could not be told, that was promised later, or that somebody removed."""
    story = half()
    answer(story, (TOPIC, 0, 3))
    answer(story, group="another")
    story.say("invoke", "committed", group="g")
    assert found(story) == set()
    for dest, group in ((TOPIC, None), (None, "g")):
        story = half()
        story.did("delete", dest=dest, group=group)
        answer(story)
        assert found(story) == set()
    story = Story().filled(2)
    op = story.say("invoke", "committed", group="g")
    story.consumer("a/c")
    story.poll("a/c", 0)
    story.settle("a/c", 0)
    story.commit("a/c")
    story.say("ok", "committed", op=op, group="g")
    assert found(story) == set()


def test_where_nobody_looked_nobody_can_tell() -> None:
    """Unknown, until somebody begins to look, or owns it, after the last commit; not of what was removed."""
    story = half()
    judgement = log_commits(story.history(), ALL_CLAIMED)
    told = "nobody looked where groups stand in 1 partitions after they had committed there"
    assert (judgement.outcome, judgement.reason) == (Outcome.UNKNOWN, told)
    answer(story, (TOPIC, 0, 3))
    assert log_commits(story.history(), ALL_CLAIMED).outcome is Outcome.VALID
    story.settle("a/c", 3)
    story.commit("a/c")
    assert log_commits(story.history(), ALL_CLAIMED).outcome is Outcome.UNKNOWN
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", 4)
    assert log_commits(story.history(), ALL_CLAIMED).outcome is Outcome.VALID
    for dest, group in ((TOPIC, None), (None, "g")):
        story = half()
        story.did("delete", dest=dest, group=group)
        assert log_commits(story.history(), ALL_CLAIMED).outcome is Outcome.VALID


# --- what was settled long ago


def settled(seconds: float, **options: Any) -> Story:
    """A member acks offsets 0 and 1 of 4, commits nothing, and polls each second for so long."""
    story = Story().filled(4)
    story.consumer("a/c", **options)
    story.poll("a/c", 0, 1)
    story.settle("a/c", 0, 1)
    for _ in range(int(seconds)):
        story.poll("a/c", ms=1000)
    return story


def heir(story: Story, first: int = 0) -> set[str]:
    story.consumer("b/c")
    story.poll("b/c")
    story.poll("b/c", *range(first, 4))
    return found(story)


def test_what_was_settled_long_ago_is_not_lost() -> None:
    """commit-lost: nobody committed it, and the member had had the time to tell it by itself."""
    story = settled(12)
    story.committed(0)
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "commit-lost"
    assert finding.text == "a/c settled, 11 s before it polled again, up to offset 2; afterwards the group is seen at 0"
    assert [event.f for event in finding.witness] == ["ack", "poll", "committed"]
    assert heir(settled(12)) == {"commit-lost"}
    assert heir(settled(12), first=2) == set()
    assert log_commits(settled(12).history(), ALL_CLAIMED).outcome is Outcome.VALID


@pytest.mark.parametrize("options", [{}, {"settle_interval_s": 30.0}])
def test_what_was_settled_just_now_may_come_again(options: dict[str, Any]) -> None:
    """As long as its member may wait, and ten seconds more."""
    assert heir(settled(9 if not options else 38, **options)) == set()
    assert heir(settled(12 if not options else 42, **options)) == {"commit-lost"}


EXCUSES: dict[str, Callable[[Story], object]] = {
    "a fault": lambda story: story.fault("a"),
    "a broker's fault": lambda story: story.fault("broker"),
    "revoked": lambda story: story.say("ok", "revoked", "a", client="c", group="g", dest=TOPIC, part=0, lease=1),
    "lost": lambda story: story.say("ok", "lost", "a", client="c", group="g", dest=TOPIC, part=0, lease=1),
    "assigned anew": lambda story: story.say("ok", "assigned", "a", client="c", group="g", dest=TOPIC, part=0, lease=2),
    "a seek": lambda story: story.did("seek", "a/c", dest=TOPIC, part=0, off=0),
    "a failed commit": lambda story: story.commit("a/c", "fail"),
    "silence": lambda story: story.wait(6000),
}


@pytest.mark.parametrize("what", EXCUSES)
def test_what_excuses_that_it_was_not_told(what: str) -> None:
    """The lease was over, the place was moved, something was broken, or the member was silent or heard that it was too
    late."""
    story = settled(5)
    EXCUSES[what](story)
    for _ in range(7):
        story.poll("a/c", ms=1000)
    assert heir(story) == set()


def test_an_assignment_of_another_partition_excuses_nothing() -> None:
    """Nor a lease of another topic that ended, nor the news that it still has its lease."""
    story = settled(5)
    for dest, part, f, lease in (("topic:u", 0, "revoked", 1), (TOPIC, 1, "lost", 1), (TOPIC, 0, "assigned", 1)):
        story.say("ok", f, "a", client="c", group="g", dest=dest, part=part, lease=lease)
    for _ in range(7):
        story.poll("a/c", ms=1000)
    assert heir(story) == {"commit-lost"}
