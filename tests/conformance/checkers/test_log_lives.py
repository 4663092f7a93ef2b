"""Topics that were deleted and made again: what is wrong in one life is found, and what may belong to either is not."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers import Finding, Judgement, Outcome, Profile
from mqbridge_conformance.checkers.log_catalogue import LOG_CHECKERS
from mqbridge_conformance.checkers.log_lives import Lives, born_as
from mqbridge_conformance.history import Kind
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story, findings, value

SECOND = f"{TOPIC}, life 2"


def errors(story: Story, profile: Profile = ALL_CLAIMED) -> list[Finding]:
    return [finding for finding in findings(story.history(), LOG_CHECKERS, profile) if not finding.legal]


def found(story: Story) -> list[str]:
    return sorted({finding.anomaly for finding in errors(story)})


def judged(story: Story) -> list[Judgement]:
    history = story.history()
    return [checker(history, ALL_CLAIMED) for checker in LOG_CHECKERS]


def deleted(story: Story, outcome: Kind = "ok") -> Story:
    """And made again."""
    story.did("delete", dest=TOPIC, outcome=outcome)
    story.records.clear()
    story.declare(TOPIC, partitions=1)
    return story


def twice(second: int = 3) -> Story:
    """Offsets 0 to 3 in one life, and other values at the same offsets in the next."""
    story = deleted(looked(Story().filled(4)))
    for off in range(second):
        story.send(value(10 + off), off)
    return story


def looked(story: Story, without: tuple[int, ...] = ()) -> Story:
    story.look(without=without)
    return story


def test_two_lives_are_two_topics() -> None:
    """The same offsets, the keys, the groups begin anew: nothing is wrong."""
    story = twice()
    story.consumer()
    story.poll("c", 0, 1, 2)
    story.settle("c", 0, 1, 2)
    story.commit("c")
    story.committed(3)
    story.replay()
    story.poll("r", 0, 1, 2, lease=None)
    story.read_out()
    story.look()
    assert found(story) == []


def test_a_history_without_a_second_life_is_left_as_it_is() -> None:
    """Not deleted, deleted for good, or a deletion that failed."""
    story = looked(Story().filled(2))
    assert story.history().derived(Lives).made_again == 0
    story.did("delete", dest=TOPIC, outcome="fail")
    story.look()
    story.did("delete", dest=TOPIC)
    history = story.history()
    assert history.derived(Lives).history is history


@pytest.mark.parametrize("life", [1, 2])
def test_what_is_wrong_in_one_of_them_is_found(life: int) -> None:
    """lost-write, phantom, inconsistent-offsets: where it was, by the events as they were told."""
    story = Story().filled(4)
    if life == 2:
        story = twice(4)
    story.put(2, "nobody sent this")
    story.look(without=(1,))
    if life == 1:
        deleted(story)
    wrong = errors(story)
    assert {finding.anomaly for finding in wrong} == {"lost-write", "phantom", "inconsistent-offsets"}
    assert {born_as(finding.where).partition("/")[0] for finding in wrong} == {TOPIC}
    assert all(finding.where.startswith(SECOND) == (life == 2) for finding in wrong)
    told = set(map(id, story.events))
    assert all(id(event) in told for finding in wrong for event in finding.witness)


def test_what_the_first_life_had_is_not_in_the_second() -> None:
    """phantom: it was sent before the topic was deleted, and is there afterwards."""
    story = twice()
    story.put(3, value(1))
    story.look()
    assert found(story) == ["phantom"]


def test_a_group_is_judged_in_each_life() -> None:
    """What a consumer that was opened in the second was not given: lost-write, poll-skip, unseen; committed-too-far."""
    story = twice()
    story.consumer()
    story.poll("c", 0)
    story.poll("c", 2)
    story.committed(3)
    story.drained()
    assert found(story) == ["committed-too-far", "lost-write", "poll-skip", "unseen"]


def test_what_may_belong_to_either_is_left_out() -> None:
    """A send, a look and a poll that were under way, and a consumer that was opened before."""
    story = Story().filled(2)
    story.consumer()
    story.poll("c", 0)
    send = story.begin(value(5))
    story.begin(value(7))
    look = story.say("invoke", "looked", dest=TOPIC)
    deleted(story)
    story.end(send, 0)
    for off, val in ((0, value(5)), (1, "old")):
        story.say("ok", "stored", op=look, dest=TOPIC, part=0, off=off, key="k", val=val)
    story.say("ok", "looked", op=look, dest=TOPIC)
    story.put(0, value(5))
    story.put(1, value(6))
    story.put(2, value(7))
    story.poll("c", 1, vals={1: "left over"})
    story.send(value(6), 1)
    story.look()
    assert found(story) == []


@pytest.mark.parametrize("end", ["info", None])
def test_a_deletion_of_which_nobody_knows(end: Kind | None) -> None:
    """The first life is judged until it began, and nothing after that."""
    story = looked(Story().filled(2), without=(1,))
    if end is None:
        story.say("invoke", "delete", dest=TOPIC)
        story.declare(TOPIC, partitions=1)
    else:
        deleted(story, end)
    story.put(0, "whatever")
    story.look()
    assert found(story) == ["lost-write"]


@pytest.mark.parametrize("end", ["info", None])
def test_what_nobody_knows_excuses_nothing(end: Kind | None) -> None:
    """Sends that were confirmed, and are neither there nor handed out: no checker says that this is well."""
    story = Story()
    story.producer()
    story.say("invoke", "delete", dest=TOPIC) if end is None else story.did("delete", dest=TOPIC, outcome=end)
    story.declare(TOPIC, partitions=1)
    assert {one.outcome for one in judged(story)} == {Outcome.VALID}, "there was nothing to judge yet"
    for off in range(6):
        story.send(value(off), off)
    story.look(without=range(6))
    story.consumer()
    story.drained()
    for judgement in judged(story):
        assert judgement.outcome is Outcome.UNKNOWN
        assert judgement.reason == f"nobody knows whether {TOPIC} was deleted"


def stayed(*, closes: bool = False, second: str = "g") -> Story:
    """A member that was there before the deletion takes what its topic holds afterwards, and another one gets the
    rest."""
    story = Story().filled(2)
    story.consumer()
    story.poll("c", 0)
    if closes:
        story.did("close", "c")
    deleted(story)
    for off in range(4):
        story.send(value(10 + off), off)
    if not closes:
        story.poll("c", 0, 1, lease=2)
        story.settle("c", 0, 1, lease=2)
        story.commit("c")
        story.did("close", "c")
    story.consumer("d", second)
    story.poll("d", 2, 3, lease=3)
    story.settle("d", 2, 3, lease=3)
    story.commit("d")
    story.committed(4, second)
    story.drained(second)
    story.look()
    return story


def test_a_group_whose_member_stayed_is_not_judged_in_the_next_life() -> None:
    """What that member took the others did not get; each checker says that it cannot tell, and finds nothing."""
    story = stayed()
    assert found(story) == []
    for judgement in judged(story):
        assert judgement.outcome is Outcome.UNKNOWN
        assert judgement.reason == f"{TOPIC} was deleted under a member of g, and nobody knows what it took"


def test_the_log_is_judged_all_the_same() -> None:
    """Whoever stayed."""
    story = stayed()
    story.look(without=(3,))
    assert found(story) == ["lost-write"]


@pytest.mark.parametrize("options", [{"closes": True}, {"second": "h"}])
def test_a_group_without_such_a_member_is_judged(options: dict[str, Any]) -> None:
    """One that had left before, and another group: two records were never given to it."""
    assert found(stayed(**options)) == ["committed-too-far", "poll-skip", "unseen"]


def test_a_member_that_died_before_did_not_stay() -> None:
    """It said nothing afterwards, and took nothing."""
    story = Story().filled(2)
    story.consumer("x/c")
    story.poll("x/c", 0)
    deleted(story)
    for off in range(4):
        story.send(value(10 + off), off)
    story.consumer("d")
    story.poll("d", 1, 2, 3)
    story.drained()
    assert "unseen" in found(story)


def test_who_stayed_for_one_topic_is_judged_for_the_other() -> None:
    """A consumer that is opened afterwards for both."""
    story = Story().filled(2)
    story.declare("topic:u", partitions=1)
    story.send(value(1, dest="topic:u"), 0, dest="topic:u")
    story.consumer()
    deleted(story)
    story.did("close", "c")
    story.consumer("d", sources=[TOPIC, "topic:u"])
    story.poll("d", dest="topic:u")
    story.drained()
    story.drained(dest="topic:u")
    (finding,) = errors(story)
    assert (finding.anomaly, finding.where) == ("unseen", "topic:u in group g")


def test_a_third_life_and_a_consumer_of_two_topics() -> None:
    """Each deletion begins another; who reads from several topics reads from each of them as it is then."""
    story = deleted(twice())
    story.declare("topic:u", partitions=1)
    more: dict[str, Any] = {"sources": [TOPIC, "topic:u"]}
    story.consumer(**more)
    story.send(value(20), 0)
    story.send(value(21), 1)
    story.send(value(1, dest="topic:u"), 0, dest="topic:u")
    story.poll("c", 0, 1)
    story.poll("c", 0, dest="topic:u")
    story.drained()
    story.drained(dest="topic:u")
    assert found(story) == []
    story.send(value(22), 2)
    story.poll("c")
    story.drained()
    (finding,) = errors(story)
    assert (finding.anomaly, finding.where) == ("unseen", f"{TOPIC}, life 3 in group g")


# --- which event belongs where


def told(story: Story, f: str) -> list[tuple[str, str | None]]:
    """Kind and destination of the events of that name that are judged, after the topic was made again."""
    return [(event.kind, event.dest) for event in story.history().derived(Lives).history.of(f)]


@pytest.mark.parametrize(
    "f", ["deliver", "ack", "release", "retry", "reject", "assigned", "revoked", "lost", "seek", "committed"]
)
def test_what_one_does_who_was_there_before_is_left_out(f: str) -> None:
    """Of all that a consumer does; not what an observer sees."""
    story = Story().filled(1)
    story.consumer(group="h")
    story = deleted(story)
    story.say("ok", f, client=None if f == "committed" else "c", dest=TOPIC, part=0, off=0, val=value(0))
    assert told(story, f) == ([("ok", SECOND)] if f == "committed" else [])


def test_what_was_sent_meanwhile_is_left_out_for_everybody() -> None:
    """Also for a consumer that was opened afterwards."""
    story = Story()
    story.producer()
    send = story.begin(value(5))
    deleted(story)
    story.end(send, 0)
    story.put(0, value(5))
    story.consumer()
    story.poll("c", 0)
    assert told(story, "deliver") == []


def test_a_deletion_belongs_to_the_life_that_it_ends() -> None:
    """Both that it began and that it was done."""
    assert told(deleted(Story().filled(1)), "delete") == [("invoke", TOPIC), ("ok", TOPIC)]


def test_of_a_group_that_stayed_nothing_is_judged() -> None:
    """Neither that another member came nor where it is seen."""
    story = Story().filled(1)
    story.consumer()
    story = deleted(story)
    story.consumer("d")
    story.committed(0)
    story.say("ok", "commit", client="c")
    opened = [event.client for event in story.history().derived(Lives).history.of("open")]
    assert (opened, told(story, "committed")) == (["p", "c"], [("invoke", None)])


def test_a_consumer_is_opened_for_the_life_that_is() -> None:
    """Under its name, if a destination is told; one that came while the topic was deleted is left out."""
    story = deleted(Story().filled(1))
    story.consumer("one")
    story.say("ok", "open", client="both", group="g", more={"role": "topic-consumer", "sources": [TOPIC, "topic:u"]})
    op = story.say("invoke", "delete", dest=TOPIC)
    story.consumer("meanwhile", "h")
    story.say("ok", "delete", op=op, dest=TOPIC)
    story.declare(TOPIC)
    opened = {event.client: event for event in story.history().derived(Lives).history.of("open")}
    assert {who: (event.dest, event.more.get("sources")) for who, event in opened.items()} == {
        "p": (None, None),
        "one": (SECOND, [SECOND]),
        "both": (None, [SECOND, "topic:u"]),
    }


@pytest.mark.parametrize("f", ["declare", "deliver", "stored"])
def test_a_topic_is_there_again_as_soon_as_something_shows_it(f: str) -> None:
    """It need not be declared."""
    story = Story()
    story.did("delete", dest=TOPIC)
    assert story.history().derived(Lives).made_again == 0
    story.say("ok", f, client="c", dest=TOPIC, part=0, off=0, val=value(0))
    assert story.history().derived(Lives).made_again == 1


def test_a_group_is_known_by_the_options_of_its_member_too() -> None:
    """Who was opened with it stayed, though none of its events tells the group."""
    story = Story().filled(1)
    story.say("ok", "open", client="c", dest=TOPIC, more={"role": "topic-consumer", "options": {"group": "g"}})
    story = deleted(story)
    story.consumer("d")
    assert [event.client for event in story.history().derived(Lives).history.of("open")] == ["p", "c"]
