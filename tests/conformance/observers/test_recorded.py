"""Looks that are written down: what was told, and that nothing more was; what could not be told has no end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mqbridge_conformance.history import Recorder, load
from mqbridge_conformance.observers import Counts, Letter, Names, Observer, Record, RecordedObserver


class Told(Observer):
    """An observer that was told this of every group."""

    def __init__(self, places: dict[str, int] | None, groups: Sequence[str] = ()) -> None:
        self.places = places
        self.groups = groups

    def committed(self, group: str) -> dict[str, int] | None:
        return self.places

    def names(self) -> Names:
        return Names(topics={"t": 1}, queues=["q"], exchanges=["e"], groups=list(self.groups))

    def records(self, topic: str) -> list[Record]:
        raise NotImplementedError

    def counts(self, queue: str) -> Counts:
        raise NotImplementedError

    def letters(self, queue: str) -> list[Letter]:
        raise NotImplementedError

    def snapshot(self) -> dict[str, Any]:
        raise NotImplementedError


@pytest.mark.parametrize("places", [{"a/0": 3, "b/1": 4}, {}])
def test_all_places_of_a_group_are_told(tmp_path: Path, places: dict[str, int]) -> None:
    """One event a place, and one that says that these are all: also if there are none."""
    recorder = Recorder(tmp_path, "main")
    assert RecordedObserver(Told(places), recorder).committed("g") == places
    recorder.close()
    history = load(tmp_path)
    (operation,) = history.operations("committed")
    said = history.said("committed")
    assert {f"{event.dest}/{event.part}": event.off for event in said[:-1]} == {
        f"topic:{place}": offset for place, offset in places.items()
    }
    assert (operation.end, said[-1].dest, said[-1].group) == (said[-1], None, "g")


def test_what_could_not_be_told_has_no_end(tmp_path: Path) -> None:
    """So that nobody takes it for an answer."""
    recorder = Recorder(tmp_path, "main")
    assert RecordedObserver(Told(None), recorder).committed("g") is None
    recorder.close()
    (operation,) = load(tmp_path).operations("committed")
    assert operation.end is None


def test_groups_of_others_tell_nothing(tmp_path: Path) -> None:
    """A broker may let go of one meanwhile; a group of this run that is still there is seen."""
    recorder = Recorder(tmp_path, "main")
    observer = Told(None, ["others", "ours"])
    recorded = RecordedObserver(observer, recorder, others=["others"])
    before = recorded.names()
    observer.groups = ["ours"]
    assert recorded.names() == before == Names(topics={"t": 1}, queues=["q"], exchanges=["e"], groups=["ours"])
    recorder.close()
