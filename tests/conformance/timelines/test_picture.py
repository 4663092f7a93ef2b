"""A finding as a picture."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree as ET

import pytest

from mqbridge_conformance.history import Event
from mqbridge_conformance.timelines.picture import STYLE, picture
from tests.conformance.timelines.made import QUEUE, Story, lost, twice, value


def drawn(witness: tuple[Event, ...], events: list[Event]) -> ET.Element:
    """Parsed as XML, so that what is not well formed fails."""
    return ET.fromstring(picture(witness, [event for event in events if event not in witness]))


def of_class(svg: ET.Element, name: str) -> list[ET.Element]:
    return [element for element in svg.iter() if name in (element.get("class") or "").split()]


def number(element: ET.Element, name: str) -> float:
    return float(element.get(name) or "nan")


def test_a_lane_for_each_client_and_one_mark_an_act() -> None:
    """The clients of one process are neighbours; labels are the words of the text."""
    history, witness = twice()
    svg = drawn(witness, [event for event in history if event.f != "run"])
    who = [element.text for element in of_class(svg, "who")]
    assert who == ["main/producer-1", "share-1/queue-consumer-1", "share-2/queue-consumer-1"]
    labels = [element.text for element in of_class(svg, "label")]
    assert sorted(filter(None, labels)) == [
        "ack p1#0 mails tag 1",
        "commit",
        "deliver p1#0 mails tag 1",
        "deliver p1#0 mails tag 1 attempt 2 again",
        "send p1#0 queue:mails",
    ]
    assert len(of_class(svg, "strong")) == len(of_class(svg, "ring")) == 3


def test_time_goes_from_left_to_right_and_is_told() -> None:
    """In the true order, a longer gap wider, each time above its place."""
    history, witness = twice()
    svg = drawn(witness, [event for event in history if event.f != "run"])
    acts = of_class(svg, "act")
    places = {act.findtext("text"): number(act.findall("text")[-1], "x") for act in acts}
    send, deliver, again = (
        places[text]
        for text in ("send p1#0 queue:mails", "deliver p1#0 mails tag 1", "deliver p1#0 mails tag 1 attempt 2 again")
    )
    assert send < deliver < places["ack p1#0 mails tag 1"] < places["commit"] < again
    assert again - places["commit"] > deliver - send > places["ack p1#0 mails tag 1"] - deliver
    assert [element.text for element in of_class(svg, "time")][-1] == "79.8 ms"


def test_a_fault_shades_the_time_in_which_it_is_in_force() -> None:
    """Behind all lanes, with its name; what happened before and after is not in its shade."""
    history, witness = lost()
    svg = drawn(witness, list(history))
    (shade,) = svg.iter("rect")
    begin, end = number(shade, "x"), number(shade, "x") + number(shade, "width")
    assert [element.text for element in of_class(svg, "fault-name")] == ["fault kill -9 broker"]
    x = {label.text: number(label, "x") for label in of_class(svg, "label")}
    assert x["send p1#5 key customer-1 topic:orders: no end: nobody knows"] < begin
    assert begin < end < x["send p1#6 key customer-0 topic:orders: failed rejected: not applied"]
    assert number(shade, "height") > max(number(label, "y") for label in of_class(svg, "label")) - 30


def test_a_fault_that_was_not_healed_shades_all_that_comes() -> None:
    """A process that was killed is not alive again."""
    story = Story()
    story.say("main", "ok", "fault", more={"what": "sigkill", "at": "share-1"})
    last = story.say("main", "ok", "deliver", 500, client="c", dest=QUEUE, tag=1, val=value(QUEUE, 1))
    svg = drawn((last,), story.events)
    (shade,) = svg.iter("rect")
    (mark,) = of_class(svg, "ring")
    assert number(shade, "x") + number(shade, "width") > number(mark, "cx")


def test_names_of_faults_do_not_run_into_each_other() -> None:
    """Of the same, many in a moment, the first is named; another one is named beside it. All have their shade."""
    story = Story()
    for turn in range(20):
        story.say("main", "ok", "sabotage", 0.01, more={"code": "M02", "turn": turn})
    story.say("main", "ok", "fault", 0.01, more={"what": "sigkill", "at": "share-1"})
    last = story.say("main", "ok", "deliver", 500, client="c", dest=QUEUE, tag=1, val=value(QUEUE, 1))
    svg = drawn((last,), story.events)
    assert len(list(svg.iter("rect"))) == 21
    names = sorted((number(text, "x"), text.text or "") for text in of_class(svg, "fault-name"))
    assert len({text for _, text in names}) == 2
    assert len(names) < 10
    for (x, text), (after, _) in itertools.pairwise(names):
        assert after >= x + 5 * len(text)


def test_how_an_operation_ended_is_drawn_and_not_by_colour_alone() -> None:
    """A stroke, a cross, a question mark; and in the words of its label."""
    history, witness = lost()
    svg = drawn(witness, list(history))
    assert len(of_class(svg, "cross")) == 1
    assert len(of_class(svg, "unknown")) == 2
    assert of_class(svg, "done")


def test_the_way_of_the_message_is_drawn() -> None:
    """From the send to the first delivery, its ack, and the second."""
    history, witness = twice()
    svg = drawn(witness, [event for event in history if event.f != "run"])
    (way,) = of_class(svg, "way")
    assert way.findtext("title") == "p1#0"
    assert len((way.get("points") or "").split()) == 4


def test_labels_do_not_run_into_each_other() -> None:
    """Whatever is crowded stands in rows of its own, and all of it inside the picture."""
    story = Story()
    for n in range(12):
        story.say("main", "ok", "deliver", 0.001, client="c", dest=QUEUE, tag=n, val=value(QUEUE, n))
    svg = drawn((story.events[3],), story.events)
    rows: dict[float, list[tuple[float, float]]] = {}
    for label in of_class(svg, "label"):
        x = number(label, "x")
        rows.setdefault(number(label, "y"), []).append((x, x + 6.32 * len(label.text or "")))
    for spans in rows.values():
        assert all(first[1] < second[0] for first, second in zip(sorted(spans), sorted(spans)[1:], strict=False))
    assert max(end for spans in rows.values() for _, end in spans) <= number(svg, "width")
    assert max(rows) <= number(svg, "height")


def test_whoever_points_at_a_mark_is_told_all_of_its_event() -> None:
    """As the history has it, escaped."""
    story = Story()
    event = story.say("main", "ok", "deliver", client="c", dest=QUEUE, tag=1, val="<script>&")
    markup = picture((event,))
    assert "<script>" not in markup
    (act,) = of_class(ET.fromstring(markup), "act")
    assert '"val":"<script>&"' in (act.findtext("title") or "")


@pytest.mark.parametrize("events", [[], [Story().say("main", "ok", "fault", more={"what": "x", "at": "y"})]])
def test_little_is_drawn_as_little(events: list[Event]) -> None:
    """Nothing for nothing; a fault alone is a picture too."""
    markup = picture((), events)
    assert (markup == "") is (not events)
    if events:
        assert of_class(ET.fromstring(markup), "fault-name")


def test_every_colour_is_the_page_s() -> None:
    """So that dark is dark; no literal colour anywhere."""
    assert not re.search(r"#[0-9a-f]{3}|rgb", STYLE)
