"""Where records of logs come from: what nobody sent is found, whoever saw it; copies and dead letters are not."""

from __future__ import annotations

import pytest

from mqbridge_conformance.checkers.log_origin import log_origin
from mqbridge_conformance.history import Payload
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story, anomalies, findings, value

CHECKS = (log_origin,)
OF_ANOTHER_RUN = Payload("ruin", TOPIC, "k", "p", 1).encode().decode()
DAMAGED_MARKER = value(1).replace("mqp1", "mqp!", 1)


def found(story: Story) -> set[str]:
    return anomalies(story.history(), CHECKS)


def test_what_was_sent_is_no_phantom() -> None:
    """Whether it was confirmed, has no known outcome, or was sent twice; whoever saw it, however often."""
    story = Story().filled(3)
    story.send(value(3), 3, outcome="info")
    for off in (4, 5):
        story.send(value(4), off)
    story.consumer()
    story.poll("c", *range(6))
    story.look()
    assert found(story) == set()
    assert log_origin(story.history(), ALL_CLAIMED).looked_at == {"records": 12}


@pytest.mark.parametrize("strange", ["what nobody sent", OF_ANOTHER_RUN, DAMAGED_MARKER, value(7)])
@pytest.mark.parametrize("seen_by", ["consumer", "replay", "observer"])
def test_what_nobody_sent_is_a_phantom(strange: str, seen_by: str) -> None:
    """Plain bytes, a payload of another run, one whose marker is damaged, a number that was never sent; told once."""
    story = Story().filled(3)
    story.put(3, strange)
    if seen_by == "observer":
        story.look()
        story.look()
    elif seen_by == "replay":
        story.replay()
        story.poll("r", *range(4), lease=None)
    else:
        story.consumer()
        story.poll("c", *range(4))
    (finding,) = findings(story.history(), CHECKS)
    assert (finding.anomaly, finding.where, finding.legal) == ("phantom", f"{TOPIC}/0", "")
    assert [event.val for event in finding.witness] == [strange]
    assert ("it comes from run 'ruin'" in finding.text) is (strange == OF_ANOTHER_RUN)


def test_what_is_there_before_it_was_sent_is_a_phantom() -> None:
    """An effect before its cause; its send is shown too."""
    story = Story().filled(1)
    story.put(1, value(1))
    story.look()
    story.send(value(1), 1)
    (finding,) = findings(story.history(), CHECKS)
    assert [event.f for event in finding.witness] == ["stored", "send"]
    assert "before it was sent" in finding.text


def test_a_null_that_nobody_sent_is_a_phantom() -> None:
    """And one that was sent is none."""
    story = Story().filled(1)
    story.say("ok", "stored", dest=TOPIC, part=0, off=1, key="k", val=None)
    assert found(story) == {"phantom"}
    story = Story().filled(1)
    op = story.say("invoke", "send", client="p", dest=TOPIC, key="k", val=None)
    story.end(op, 1)
    story.say("ok", "stored", dest=TOPIC, part=0, off=1, key="k", val=None)
    assert found(story) == set()


def test_what_others_speak_of_is_left_to_them() -> None:
    """A wrong checksum is damage, and what says that it belongs elsewhere is in a wrong place."""
    story = Story().filled(1)
    story.put(1, value(1).replace("run", "ruin"))
    story.put(2, value(1, dest="topic:u"))
    story.look()
    assert found(story) == set()


def test_a_topic_of_dead_letters_holds_what_was_sent_elsewhere() -> None:
    """By its name or because a consumer was told of it; what was sent nowhere is a phantom there too."""
    story = Story().filled(1)
    story.consumer(dead_letter="topic:buried")
    for dest in (f"{TOPIC}.g.dlq", "topic:buried"):
        story.declare(dest, partitions=1)
        story.put(0, value(0), dest=dest)
        story.look(dest)
    assert found(story) == set()
    story.put(1, OF_ANOTHER_RUN, dest="topic:buried")
    story.look("topic:buried")
    (finding,) = findings(story.history(), CHECKS)
    assert (finding.anomaly, finding.where) == ("phantom", "topic:buried/0")
