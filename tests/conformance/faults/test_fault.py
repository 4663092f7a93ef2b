"""A fault is told before and when it is there, is healed once, and never passes for one when it could not be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mqbridge_conformance.faults.fault import inject
from mqbridge_conformance.history import Event, Recorder
from mqbridge_conformance.results import CannotTell

Told = Callable[[], list[Event]]


def lines(told: Told) -> list[tuple[str, str]]:
    return [(event.kind, event.f) for event in told()]


def test_a_fault_is_told_around_its_beginning_and_its_end(recorder: Recorder, told: Told) -> None:
    """The invoke stands before anything is done, the ok after it, for the healing likewise; with what was seen."""
    seen: list[list[tuple[str, str]]] = []

    def do() -> None:
        seen.append(lines(told))

    def undo() -> dict[str, int]:
        seen.append(lines(told))
        return {"cut": 3}

    with inject(recorder, "cut", "link", do, undo, why="test") as fault:
        assert not fault.healed
    begun = [("invoke", "fault")]
    assert seen == [begun, [*begun, ("ok", "fault"), ("invoke", "heal")]]
    assert lines(told) == [*seen[1], ("ok", "heal")]
    first, *_, last = told()
    assert first.more == {"what": "cut", "at": "link", "why": "test"}
    assert last.more == {"what": "cut", "at": "link", "cut": 3}
    assert [event.op for event in told()] == [None, 1, None, 3]


def test_healing_happens_once(recorder: Recorder, told: Told) -> None:
    """A scenario heals, and so does the end of the run: a broker is not started twice."""
    count = 0

    def undo() -> None:
        nonlocal count
        count += 1

    fault = inject(recorder, "kill", "broker", lambda: None, undo)
    fault.heal()
    fault.heal()
    assert (count, len(told())) == (1, 4)


def test_what_could_not_be_brought_about_is_no_fault(recorder: Recorder, told: Told) -> None:
    """Neither is what could not be healed over; both say so and raise, and healing may be tried again."""

    def cannot() -> None:
        raise CannotTell("no such broker")

    with pytest.raises(CannotTell, match="no such broker"):
        inject(recorder, "kill", "broker", cannot)
    assert lines(told) == [("invoke", "fault"), ("info", "fault")]
    ways: Iterator[Callable[[], None]] = iter([cannot, lambda: None])
    fault = inject(recorder, "kill", "broker", lambda: None, lambda: next(ways)())
    with pytest.raises(CannotTell):
        fault.heal()
    assert not fault.healed
    fault.heal()
    assert lines(told)[-4:] == [("invoke", "heal"), ("info", "heal"), ("invoke", "heal"), ("ok", "heal")]
