"""A history, put together from the files of its processes, with its operations paired.

The rule: nothing is judged here and nothing is left out. The last line of a process that was killed may be cut short;
any other line that cannot be read is an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from mqbridge_conformance.history.events import Event, pack_event, unpack_event

__all__ = ["History", "Operation", "load"]

T = TypeVar("T")


class Operation(NamedTuple):
    """An invoke and what ended it; None where nothing did."""

    invoke: Event
    end: Event | None

    @property
    def outcome(self) -> Literal["ok", "fail", "info"]:
        """An operation that never ended may have happened."""
        kind = "info" if self.end is None else self.end.kind
        return "info" if kind == "invoke" else kind

    @property
    def ended_t(self) -> int | None:
        """When it was over; None if it never was."""
        return None if self.end is None else self.end.t


class History:
    """Events in the order of their times, and what can be looked up in them. Never changed after it was made."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.events: list[Event] = sorted(events, key=lambda event: (event.t, event.proc, event.seq))
        self._derived: dict[Callable[[History], Any], Any] = {}

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    @cached_property
    def header(self) -> Mapping[str, Any]:
        """What the run says of itself; empty if it says nothing."""
        return next((event.more for event in self.events if event.f == "run"), {})

    @cached_property
    def _by_f(self) -> Mapping[str, list[Event]]:
        found: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            found[event.f].append(event)
        return found

    def of(self, *names: str) -> list[Event]:
        """All events of these names, invokes included, in order."""
        if len(names) == 1:
            return self._by_f.get(names[0], [])
        return sorted(
            (event for name in names for event in self._by_f.get(name, [])),
            key=lambda event: (event.t, event.proc, event.seq),
        )

    @cached_property
    def _ends(self) -> Mapping[tuple[str, int], Event]:
        """(process, number of the invoke) -> its end. Other events may name an invoke too, as deliveries name their
        poll; they do not end it."""
        ends: dict[tuple[str, int], Event] = {}
        for event in self.events:
            if event.op is not None and event.kind != "invoke":
                invoke = self._invokes.get((event.proc, event.op))
                if invoke is not None and invoke.f == event.f:
                    ends[event.proc, event.op] = event
        return ends

    def end_of(self, invoke: Event) -> Event | None:
        """What ended an operation, or None."""
        return self._ends.get((invoke.proc, invoke.seq))

    def operations(self, f: str) -> list[Operation]:
        """All operations of that name, in the order in which they began."""
        return [Operation(event, self.end_of(event)) for event in self.of(f) if event.kind == "invoke"]

    def said(self, f: str) -> list[Event]:
        """Those events of that name that say that something is so: `ok`, with or without an invoke."""
        return [event for event in self.of(f) if event.kind == "ok"]

    @cached_property
    def _invokes(self) -> Mapping[tuple[str, int], Event]:
        return {(event.proc, event.seq): event for event in self.events if event.kind == "invoke"}

    def invoke_of(self, event: Event) -> Event | None:
        """The invoke that an event belongs to (for a delivery, the poll), or None."""
        return None if event.op is None else self._invokes.get((event.proc, event.op))

    def spec(self, dest: str) -> Mapping[str, Any]:
        """What a destination was declared as; the last word counts. Empty if nobody declared it."""
        found = [event.more for event in self.said("declare") if event.dest == dest]
        return found[-1] if found else {}

    def derived(self, make: Callable[[History], T]) -> T:
        """What `make` makes of this history, made once and kept with it, for all who ask."""
        if make not in self._derived:
            self._derived[make] = make(self)
        found: T = self._derived[make]
        return found

    def save(self, path: Path) -> None:
        """All of it as one file, in order: what is kept of a run that failed."""
        path.write_text("".join(pack_event(event) + "\n" for event in self.events))


def load(path: Path) -> History:
    """The history of a folder of files, or of one file. Errors: `ValueError` for a line that is none."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    return History(event for file in files for event in _events(file))


def _events(file: Path) -> Iterator[Event]:
    text = file.read_text()
    lines = text.split("\n")
    whole, rest = lines[:-1], lines[-1]  # what stands behind the last newline was being written when it was killed
    for number, line in enumerate(whole, 1):
        try:
            yield unpack_event(line)
        except ValueError as error:
            raise ValueError(f"{file.name}, line {number}: {error}") from error
    if rest:
        try:
            yield unpack_event(rest)
        except ValueError:
            return
