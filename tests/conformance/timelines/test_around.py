"""What is shown around the events that prove a finding."""

from __future__ import annotations

from typing import Any

from mqbridge_conformance.checkers import Finding
from mqbridge_conformance.history import Event
from mqbridge_conformance.timelines import before_the_end, what_to_show
from mqbridge_conformance.timelines.acts import acts_of, lane_of, words
from mqbridge_conformance.timelines.around import AT_MOST, around
from tests.conformance.timelines.made import QUEUE, TOPIC, Story, lost, twice, value


def finding(*witness: Event, anomaly: str = "lost-write") -> Finding:
    return Finding(anomaly, TOPIC, "it is not there", witness)


def test_who_sent_and_who_read_and_what_was_broken_are_around_a_loss() -> None:
    """The other half of each operation too, and nothing of the witness twice."""
    history, witness = lost()
    found = around(history, finding(*witness))
    assert not [event for event in found if event in witness]
    told = {event.f for event in found}
    assert {"send", "deliver", "ack", "assigned", "fault", "heal", "looked", "stored"} <= told
    assert {event.f for event in found if event.kind == "invoke"} >= {"send", "ack", "fault", "heal", "looked"}
    assert list(found) == [event for event in history if event in found], "in their order"


def test_the_whole_story_of_the_message_comes_before_anything_else() -> None:
    """Among a thousand others that were nearer in time."""
    story = Story()
    val = value(QUEUE, 0)
    sent = story.say("main", "invoke", "send", client="producer-1", dest=QUEUE, val=val)
    for number in range(1000):
        story.say("main", "ok", "deliver", client="consumer-1", dest=QUEUE, tag=number, val=value(QUEUE, number + 1))
    first = story.say("main", "ok", "deliver", client="consumer-1", dest=QUEUE, tag=5000, val=val)
    for number in range(1000):
        story.say("main", "ok", "deliver", client="consumer-1", dest=QUEUE, tag=number, val=value(QUEUE, number + 2000))
    second = story.say("other", "ok", "deliver", client="consumer-1", dest=QUEUE, tag=1, val=val)
    found = around(story.history, finding(second))
    assert sent in found
    assert first in found
    assert len(acts_of(story.history)) > len(found) == AT_MOST - 1
    assert min(event.t for event in found if event not in (sent, first)) > first.t, "the rest is what is nearest"


def test_the_neighbours_in_the_log_come_before_what_is_only_near_in_time() -> None:
    """Three offsets on either side, whoever saw them and however long ago."""
    story = Story()
    place: dict[str, Any] = {"client": "consumer-1", "dest": TOPIC, "part": 0}
    for off in range(100, 120):
        story.say("main", "ok", "deliver", **place, off=off, val=value(TOPIC, off))
    for off in range(1000):
        story.say("main", "ok", "deliver", **place, off=1000 + off, val=value(TOPIC, 1000 + off))
    seen = story.say("main", "ok", "deliver", **place, off=110, val=value(TOPIC, 5000))
    found = [event.off for event in around(story.history, finding(seen)) if (event.off or 0) < 1000]
    assert found == [107, 108, 109, 110, 111, 112, 113]


def test_a_witness_longer_than_what_is_shown_is_shown_alone_and_whole() -> None:
    """It is the proof; only what lies around it is cut."""
    story = Story()
    witness = [story.say("main", "ok", "deliver", dest=QUEUE, tag=n, val=value(QUEUE, n)) for n in range(AT_MOST + 5)]
    story.say("main", "ok", "deliver", dest=QUEUE, tag=99, val=value(QUEUE, 99))
    assert around(story.history, finding(*witness)) == ()


def test_a_witness_of_another_history_has_nothing_around_it() -> None:
    """Nothing to be wrong about."""
    history, _ = lost()
    _, witness = twice()
    assert around(history, finding(witness[0])) == ()


def test_one_of_each_anomaly_is_shown_before_two_of_one() -> None:
    """Forty duplicates must not hide the loss."""
    history, witness = lost()
    errors = [finding(witness[0], anomaly=name) for name in ("duplicate", "duplicate", "lost-write", "reordered")]
    shown = what_to_show(history, errors, at_most=4)
    assert [one.finding.anomaly for one in shown] == ["duplicate", "lost-write", "reordered", "duplicate"]
    assert len(what_to_show(history, errors)) == 3


def test_before_the_end_is_what_was_done_last() -> None:
    """Not the taking down, and of fifty looks at a queue the last one."""
    story = Story()
    for number in range(100):
        story.say("main", "ok", "deliver", client="c", dest=QUEUE, tag=number, val=value(QUEUE, number))
    for number in range(50):
        story.end(story.say("main", "invoke", "left", dest=QUEUE), dest=QUEUE, more={"ready": number})
    story.end(story.say("main", "invoke", "close", client="c"))
    failure = Finding("", "", "it did not come", ())
    (shown,) = before_the_end(story.history, failure)
    assert shown.finding is failure
    delivered = [event.tag for event in shown.around if event.f == "deliver"]
    assert delivered == list(range(100 - AT_MOST // 2, 100))
    looks = [event for event in shown.around if event.f != "deliver"]
    assert [(event.f, event.kind, event.more.get("ready")) for event in looks] == [
        ("left", "invoke", None),
        ("left", "ok", 49),
    ]
    assert before_the_end(Story().history, failure) == ()


def test_lanes_and_words_survive_being_cut_out() -> None:
    """What is around is shown without the rest of its history."""
    history, witness = lost()
    alone = acts_of(type(history)([*witness, *around(history, finding(*witness))]))
    whole = {(lane_of(act), words(act)) for act in acts_of(history)}
    assert {(lane_of(act), words(act)) for act in alone} <= whole
