"""Stalls: a member that keeps what it does not ask for starves its group; one that lets go in time starves nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mqbridge_conformance.checkers.log_progress import log_progress
from tests.conformance.checkers.stories import TOPIC, Story, anomalies, findings, value

CHECKS = (log_progress,)
SHORT: dict[str, Any] = {"session_timeout_s": 2.0, "max_poll_interval_s": 1.0}


def found(story: Story) -> set[str]:
    return anomalies(story.history(), CHECKS)


def begun(**options: Any) -> Story:
    """One member is given the first of three records and polls no more; another one has come."""
    story = Story().filled(3)
    for who in ("a/c", "b/c"):
        story.consumer(who, **{**SHORT, **options})
    story.poll("a/c", 0)
    return story


def asked(story: Story, seconds: float, *, who: str = "b/c", every_s: float = 0.5) -> Story:
    """The other polls in vain for so long."""
    for _ in range(int(seconds / every_s)):
        story.poll(who, ms=every_s * 1000)
    return story


def test_a_member_that_does_not_ask_and_keeps_its_partition_starves_the_others() -> None:
    """starvation: longer than twice its interval and its session; who held it, who asked, what waited."""
    story = asked(begun(), 8)
    (finding,) = findings(story.history(), CHECKS)
    assert (finding.anomaly, finding.where, finding.legal) == ("starvation", f"{TOPIC}/0 in group g", "")
    assert finding.text.startswith("a/c did not poll for 7.")
    assert [(event.f, event.who) for event in finding.witness] == [
        ("send", "main/p"),
        ("send", "main/None"),
        ("deliver", "a/c"),
        ("poll", "b/c"),
        ("poll", "b/c"),
    ]


@pytest.mark.parametrize(("options", "seconds"), [({}, 5.5), ({"session_timeout_s": 10.0}, 20), ({}, 0)])
def test_a_stall_that_is_no_longer_than_it_may_be(options: dict[str, Any], seconds: float) -> None:
    """The bound is what the members were opened with."""
    assert found(asked(begun(**options), seconds)) == set()


def test_the_bound_is_that_of_the_slowest_member() -> None:
    """One that may stall for five minutes gives the group as much time."""
    story = Story().filled(3)
    story.consumer("a/c", session_timeout_s=2.0, max_poll_interval_s=300.0)
    story.consumer("b/c", **SHORT)
    story.poll("a/c", 0)
    assert found(asked(story, 30)) == set()


def test_a_stall_that_ended_in_time_starves_nobody() -> None:
    """The stalled member polls again, or is closed, or its partition goes to the other."""
    story = asked(begun(), 4)
    story.poll("a/c", 1)
    assert found(asked(story, 4)) == set()
    story = asked(begun(), 4)
    story.did("close", "a/c")
    assert found(asked(story, 4)) == set()
    story = asked(begun(), 4)
    story.poll("b/c", 1, lease=2)
    assert found(asked(story, 10)) == set()


def test_nobody_is_starved_who_does_not_ask() -> None:
    """A group of one; another that polls now and then, that came late, or that is of another group."""
    story = Story().filled(3)
    story.consumer("a/c", **SHORT)
    story.poll("a/c", 0)
    assert found(story.wait(60_000)) == set()
    assert found(asked(begun(), 12, every_s=4)) == set()
    story = Story().filled(3)
    story.consumer("a/c", **SHORT)
    story.poll("a/c", 0)
    story.wait(20_000)
    story.consumer("b/c", **SHORT)
    assert found(asked(story, 4)) == set()
    story = Story().filled(3)
    story.consumer("a/c", **SHORT)
    story.consumer("b/c", group="other", **SHORT)
    story.poll("a/c", 0)
    assert found(asked(story, 8)) == set()


def test_nothing_waits() -> None:
    """All of it was given, it was confirmed only just now, or it lies in front of where the group began; what was
    confirmed first counts."""
    story = begun()
    story.poll("a/c", 1, 2)
    assert found(asked(story, 8)) == set()
    story = Story().filled(1)
    for who in ("a/c", "b/c"):
        story.consumer(who, **SHORT)
    story.poll("a/c", 0)
    asked(story, 4)
    story.send(value(1), 1)
    assert found(asked(story, 4)) == set()
    assert found(asked(story, 4)) == {"starvation"}
    story = Story().filled(1)
    for who in ("a/c", "b/c"):
        story.consumer(who, **SHORT)
    slow = story.begin(value(1))
    story.send(value(2), 2)
    story.poll("a/c", 0)
    asked(story, 7)
    story.end(slow, 1)
    assert found(asked(story, 1)) == {"starvation"}
    story = begun(start={"offsets": {"0": 9}})
    assert found(asked(story, 8)) == set()


EXCUSES: dict[str, Callable[[Story], Any]] = {
    "a fault": lambda story: story.fault("b"),
    "a seek": lambda story: story.did("seek", "a/c", dest=TOPIC, part=0, off=0),
    "a pause": lambda story: story.did("pause", "a/c"),
    "another came": lambda story: story.consumer("d/c", **SHORT),
}


@pytest.mark.parametrize("what", EXCUSES)
def test_what_excuses_it(what: str) -> None:
    """What broke something, moved or paused the group, or made it come together anew meanwhile."""
    story = asked(begun(), 4)
    EXCUSES[what](story)
    assert found(asked(story, 4)) == set()


def test_a_member_that_streams_asks_without_polls() -> None:
    """Nothing is known of when it asked, whether it polled before or not."""
    for polled in (False, True):
        story = Story().filled(3)
        for who in ("a/c", "b/c"):
            story.consumer(who, **SHORT)
        if polled:
            story.poll("a/c", 0)
        facts: dict[str, Any] = {"client": "c", "group": "g", "dest": TOPIC, "part": 0, "lease": 1}
        story.say("ok", "deliver", "a", **facts, off=1, key="k", val=value(1), more={"handler": True})
        assert found(asked(story, 8)) == set()
