"""What is shown of a history, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.history import Error, Event
from mqbridge_conformance.history.events import FIELDS, Kind
from mqbridge_conformance.timelines.acts import Act, acts_of, kind_of, lane_of, outcome_words, short, words
from tests.conformance.timelines.made import TOPIC, Story, value


def only(story: Story) -> Act:
    (act,) = acts_of(story.history)
    return act


def test_an_operation_is_one_act_with_what_either_of_its_ends_said() -> None:
    """The invoke knows the client, the end the offset; both are events of it."""
    story = Story()
    invoke = story.say("main", "invoke", "send", client="producer-1", dest=TOPIC, key="k", val=value(TOPIC, 3))
    end = story.end(invoke, part=2, off=17)
    act = only(story)
    assert words(act) == "send p1#3 key k orders/2@17"
    assert (lane_of(act), outcome_words(act)) == ("main/producer-1", "")
    assert act.events == (invoke, end)
    assert (act.began_t, act.fact.t) == (invoke.t, end.t)


def test_a_delivery_does_not_end_its_poll() -> None:
    """Both are shown."""
    story = Story()
    poll = story.say("main", "invoke", "poll", client="consumer-1")
    story.say("main", "ok", "deliver", op=poll.seq, client="consumer-1", dest=TOPIC, part=0, off=1, val="v")
    story.end(poll)
    assert [words(act) for act in acts_of(story.history)] == ["poll", "deliver v orders/0@1"]


def test_every_committed_offset_of_one_look_is_shown() -> None:
    """Only the last of them ends the look; none is left out."""
    story = Story()
    look = story.say("main", "invoke", "committed", group="g")
    for part in (0, 1):
        story.end(look, group="g", dest=TOPIC, part=part, off=5)
    assert [words(act) for act in acts_of(story.history)] == ["committed orders/1@5", "committed orders/0@5"]


@pytest.mark.parametrize(
    ("kind", "err", "wanted"),
    [
        ("ok", None, ""),
        ("fail", Error("rejected", "not_applied", "no"), "failed rejected: not applied"),
        ("info", Error("timeout", "maybe_applied", "late"), "nobody knows timeout: maybe applied"),
        ("info", None, "nobody knows"),
    ],
)
def test_how_it_ended_is_told_where_it_did_not_simply_happen(kind: Kind, err: Error | None, wanted: str) -> None:
    """What failed for certain is told from what nobody knows."""
    story = Story()
    story.end(story.say("main", "invoke", "send", dest=TOPIC, val="v"), kind, err=err)
    assert outcome_words(only(story)) == wanted


def test_what_never_ended_says_so() -> None:
    """As the send of a process that was killed."""
    story = Story()
    story.say("main", "invoke", "send", dest=TOPIC, val="v")
    act = only(story)
    assert act.open
    assert outcome_words(act) == "no end: nobody knows"


@pytest.mark.parametrize(
    ("f", "fields", "wanted"),
    [
        ("deliver", {"dest": "queue:q", "tag": 4, "val": "v", "attempt": 1}, "deliver v q tag 4"),
        (
            "deliver",
            {"dest": "queue:q", "tag": 4, "attempt": 3, "redelivered": True},
            "deliver q tag 4 attempt 3 again",
        ),
        ("assigned", {"dest": TOPIC, "part": 1, "lease": 2, "off": 7}, "assigned orders/1 lease 2 from 7"),
        ("ack", {"dest": TOPIC, "part": 1, "off": 7, "lease": 2, "val": "v"}, "ack v orders/1@7"),
        ("fault", {"more": {"what": "sigkill", "at": "share-1"}}, "fault sigkill share-1"),
        ("sabotage", {"dest": TOPIC, "more": {"code": "M03"}}, "sabotage M03"),
        ("left", {"dest": "queue:q", "more": {"ready": 2, "unsettled": 0}}, "left queue:q 2 ready 0 unsettled"),
        ("letter", {"dest": "queue:q", "val": "v", "more": {"reason": "rejected"}}, "letter v queue:q rejected"),
        ("send", {"dest": TOPIC, "val": "v", "key": "-", "txn": "t1"}, "send v topic:orders in t1"),
    ],
)
def test_an_event_in_words(f: str, fields: dict[str, Any], wanted: str) -> None:
    """What matters of it, in the fewest; the run's token in the names left out."""
    story = Story()
    story.say("main", "ok", f, **fields)
    assert words(only(story)) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (value(TOPIC, 9), "p1#9"),
        (value(TOPIC, 9)[:-1] + "~", "a damaged payload"),
        ("x" * 30, "x" * 24 + "…"),
        (None, "null"),
    ],
)
def test_a_value_in_a_few_letters(text: str | None, wanted: str) -> None:
    """A payload by who sent it as the how-manieth; one that was damaged is told as such."""
    assert short(text) == wanted


def test_every_word_of_histories_can_be_shown() -> None:
    """A new one too: it has a kind and words."""
    for f in FIELDS:
        act = Act(Event(1, 1, "main", "ok", f), None, Event(1, 1, "main", "ok", f))
        assert kind_of(act)
        assert words(act).startswith(f)
