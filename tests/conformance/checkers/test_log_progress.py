"""Progress: counts and lags are told as measures, starvation only where nothing excuses it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mqbridge_conformance.checkers.log_progress import log_progress
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story, anomalies, findings, value

CHECKS = (log_progress,)


def found(story: Story) -> set[str]:
    return anomalies(story.history(), CHECKS)


def counted(story: Story) -> list[str]:
    return [finding.anomaly for finding in findings(story.history(), CHECKS) if finding.legal]


def test_what_was_given_more_than_once_is_counted() -> None:
    """consume-counts: over leases and members, not what was given back, and each group for itself."""
    story = Story().filled(4)
    story.consumer("a/c")
    story.poll("a/c", 0, 1, 2)
    story.settle("a/c", 0, verb="release")
    story.poll("a/c", 0)
    story.consumer("b/c", group="other")
    story.poll("b/c", 0, 1, 2)
    assert counted(story) == []
    story.consumer("d/c")
    story.poll("d/c", 1, 2)
    (finding,) = findings(story.history(), CHECKS)
    assert finding.text == "2 of 3 records were given to it more than once, 0/1 2 times"
    assert [event.who for event in finding.witness] == ["a/c", "d/c"]


def test_at_most_once_is_not_twice() -> None:
    """consume-counts is an error where that was asked for, and nobody moved the group."""
    strict = replace(ALL_CLAIMED, guarantee="at-most-once")
    for profile, ack, moved, wanted in (
        (strict, "before", False, {"consume-counts"}),
        (strict, "before", True, set()),
        (strict, "explicit", False, set()),
        (ALL_CLAIMED, "before", False, set()),
    ):
        story = Story().filled(2)
        story.consumer("a/c", ack=ack)
        story.poll("a/c", 0, 1)
        if moved:
            story.did("reset", group="g", dest=TOPIC, more={"to": {"name": "EARLIEST"}})
        story.consumer("b/c", ack=ack)
        story.poll("b/c", 0, 1)
        assert anomalies(story.history(), CHECKS, profile) == wanted


def test_how_late_a_record_comes_is_measured() -> None:
    """realtime-lag: an empty poll after a confirmation; the worst one, as a measure."""
    story = Story().filled(1)
    story.consumer()
    story.poll("c", 0)
    story.poll("c")
    assert counted(story) == []
    story.send(value(1), 1)
    story.wait(5)
    story.poll("c")
    story.wait(100)
    story.poll("c")
    story.poll("c", 1)
    story.poll("c")
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "realtime-lag"
    assert finding.legal
    assert "gave nothing, 108.0 ms after" in finding.text


def test_a_record_is_known_by_those_that_lie_above_it() -> None:
    """realtime-lag counts from the first confirmation at or above the reader's place."""
    story = Story().filled(1)
    story.consumer()
    story.poll("c", 0)
    slow = story.begin(value(1))
    story.send(value(2), 2)
    story.wait(50)
    story.end(slow, 1)
    story.poll("c")
    (finding,) = findings(story.history(), CHECKS)
    assert "gave nothing, 52.0 ms after" in finding.text


@pytest.mark.parametrize("spec", [{"cleanup": "compact"}, {"retention": {"max_bytes": 9}}, {}])
def test_where_records_go_nobody_lags(spec: dict[str, Any]) -> None:
    """No realtime-lag in a topic that shrinks, or that was cut."""
    story = Story(**spec).filled(2)
    story.consumer()
    story.poll("c", 0)
    if not spec:
        story.did("delete_records", dest=TOPIC, more={"before": {"0": 2}})
    story.poll("c")
    assert counted(story) == []


@pytest.mark.parametrize("f", ["pause", "seek", "revoked"])
def test_who_is_not_there_to_be_given_does_not_lag(f: str) -> None:
    """No realtime-lag of a partition that was paused, left, or sought in."""
    story = Story().filled(2)
    story.consumer()
    story.poll("c", 0)
    story.did(f, "c", dest=TOPIC, part=0, off=5)
    story.poll("c")
    assert counted(story) == []


def hungry(seconds: int = 40, who: str = "c") -> Story:
    """A member is given one of two records, and then polls in vain, each second."""
    story = Story().filled(2)
    story.consumer(who)
    story.poll(who, 0)
    for _ in range(seconds):
        story.poll(who, ms=1000)
    return story


def test_a_group_that_asks_in_vain_starves() -> None:
    """starvation: a confirmed record waits, all is well, and nothing comes; short waits are none."""
    (finding,) = (found for found in findings(hungry().history(), CHECKS) if not found.legal)
    assert finding.anomaly == "starvation"
    assert [event.f for event in finding.witness] == ["send", "send", "poll", "poll"]
    assert found(hungry(25)) == set()


def test_who_has_had_everything_does_not_starve() -> None:
    """No starvation where nothing waits, or where it was confirmed only a moment ago."""
    story = Story().filled(1)
    story.consumer()
    story.poll("c", 0)
    for _ in range(40):
        story.poll("c", ms=1000)
    story.send(value(1), 1)
    story.poll("c", ms=1000)
    assert found(story) == set()


def test_a_fault_a_stranger_and_silence_excuse_hunger() -> None:
    """No starvation with a fault in force or just over, members that come, that do not poll, or whose polls fail."""
    story = hungry(0)
    story.fault("broker")
    for _ in range(40):
        story.poll("c", ms=1000)
    assert found(story) == set()
    story = hungry(10)
    story.consumer("b/c")
    for _ in range(29):
        story.poll("c", ms=1000)
        story.poll("b/c", ms=10)
    assert found(story) == set()
    story = hungry(5)
    story.consumer("b/c")
    for _ in range(40):
        story.poll("c", ms=1000)
    assert found(story) == set()
    story = hungry(0)
    story.wait(40_000)
    story.poll("c")
    assert found(story) == set()
    story = hungry(20)
    story.did("poll", "c", outcome="info")
    for _ in range(20):
        story.poll("c", ms=1000)
    assert found(story) == set()


def test_what_is_elsewhere_or_over_does_not_excuse_hunger() -> None:
    """starvation in spite of a fault long ago, and of what another group does."""
    story = Story().filled(2)
    story.fault("broker")
    story.heal("broker")
    story.consumer("b/c", group="other")
    story.did("pause", "b/c")
    story.wait(60_000)
    story.consumer()
    story.poll("c", 0)
    for number in range(40):
        story.poll("c", ms=1000)
        if number == 20:
            story.consumer("d/c", group="other")
            story.poll("d/c", 0, 1)
    assert found(story) == {"starvation"}


@pytest.mark.parametrize("why", ["lost", "deleted", "weak", "unknown place"])
def test_who_waits_for_what_need_not_be_there_does_not_starve(why: str) -> None:
    """No starvation for a record that is lost, was removed, was never promised, or lies where nobody knows."""
    story = Story()
    story.producer()
    story.producer("q", acks="leader")
    story.send(value(0), 0)
    story.send(value(1, producer="q"), 1, "q" if why == "weak" else "p", told=why != "unknown place")
    story.consumer(start={"name": "LATEST"} if why == "unknown place" else {"name": "EARLIEST"})
    story.poll("c", 0)
    for _ in range(40):
        story.poll("c", ms=1000)
    if why == "deleted":
        story.did("delete_records", dest=TOPIC, more={"before": {"0": 2}})
    if why == "lost":
        story.look(without=(1,))
    assert found(story) == set()


@pytest.mark.parametrize("f", ["seek", "pause"])
def test_who_moved_or_paused_does_not_starve(f: str) -> None:
    """No starvation of a group that was told to wait, or to pass by; what came before it is judged, and after it."""
    story = hungry(15)
    story.did(f, "c", dest=TOPIC, part=0, off=9)
    for _ in range(40):
        story.poll("c", ms=1000)
    assert found(story) == set()
    story = hungry(40)
    story.did(f, "c", dest=TOPIC, part=0, off=0)
    assert found(story) == {"starvation"}
    story = hungry(5)
    story.did(f, "c", dest=TOPIC, part=0, off=0)
    story.did("resume", "c")
    for _ in range(40):
        story.poll("c", ms=1000)
    assert found(story) == {"starvation"}


def test_what_is_resumed_in_part_is_paused_still() -> None:
    """Until all of it is, or its consumer is closed; a pause that never ended may last."""
    story = hungry(1)
    story.did("pause", "c")
    story.did("resume", "c", more={"places": [["t", 0]]})
    for _ in range(40):
        story.poll("c", ms=1000)
    assert found(story) == set()
    story = hungry(1)
    story.consumer("b/c")
    story.did("pause", "b/c")
    story.did("close", "b/c")
    for _ in range(40):
        story.poll("c", ms=1000)
    assert found(story) == {"starvation"}
