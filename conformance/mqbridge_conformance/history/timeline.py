"""A finding as a picture in text: who did what, when, and what lies around it.

The rule: a person who knows nothing of the run reads from it what happened. What proves the finding is marked; the rest
is there because it belongs to the same messages or places: their sends, deliveries and settlements, the owners of the
partition, the commits of those who took part, and the faults that were in force. Nothing is judged here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from mqbridge_conformance.history.events import Event
from mqbridge_conformance.history.loading import History
from mqbridge_conformance.history.payload import Damaged, Payload

__all__ = ["timeline"]

MS: Final = 1_000_000
MOST: Final = 40
"""Rows beside those that prove it."""
SHOWN: Final = 5
"""Offsets of one partition whose neighbours are shown."""
WIDEST: Final = 160
"""Columns are given up where the picture would be wider."""
LIFE: Final = ("send", "deliver", "ack", "release", "retry", "reject", "letter", "stored", "effect", "row")
OBSERVED: Final = ("stored", "letter", "committed", "assigned", "revoked", "lost")
OWNING: Final = ("assigned", "revoked", "lost", "committed", "seek")
MOVING: Final = ("reset", "delete", "delete_records", "purge", "redrive", "add_partitions")


class _Shown(Protocol):
    """What is shown of a finding."""

    @property
    def anomaly(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def witness(self) -> tuple[Event, ...]: ...
    @property
    def legal(self) -> str: ...


class _Row(NamedTuple):
    proof: bool
    event: Event
    end: Event | None
    """What ended it, where nothing came between."""


def timeline(history: History, finding: _Shown, around: int = 3) -> str:
    """The finding in a few lines, the events in columns, and for a log the `around` offsets on both sides."""
    rows = _merged(history, _chosen(history, finding), finding)
    lines = [f"{finding.anomaly} at {finding.where}: {finding.text}"]
    if finding.legal:
        lines.append(f"legal: {finding.legal}")
    if rows:
        lines += ["", *_picture(rows), *_faults(history, rows)]
    for (dest, part), offsets in _places(history, finding.witness).items():
        lines += ["", *_neighbours(history, dest, part, offsets, around)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


# --- which events


def _chosen(history: History, finding: _Shown) -> list[Event]:
    """The witness, and what belongs to the same messages, places and clients, in order."""
    witness = finding.witness
    proof = {_identity(event) for event in witness}
    values = {event.val for event in witness if event.val is not None}
    tags = {(event.who, event.tag) for event in witness if event.tag is not None}
    places = {(_dest(history, event), event.part, event.off) for event in witness if event.off is not None}
    owned: set[tuple[str | None, int | None]] = {(dest, part) for dest, part, _ in places}
    groups = {event.group for event in witness if event.group is not None}
    who = {event.who for event in witness if event.client is not None}
    low = min((event.t for event in witness), default=0)
    high = max((event.t for event in witness), default=0)
    invokes = {_identity(invoke) for event in witness if (invoke := history.invoke_of(event)) is not None}
    found: list[Event] = []
    more: list[Event] = []
    for event in history:
        if _identity(event) in proof:
            found.append(event)
        elif _identity(event) in invokes and event.f != "poll":
            found.append(event)
        elif event.f in LIFE:
            here = (event.dest, event.part, event.off) in places and event.part is not None
            of_log = event.f == "stored" and event.part is not None  # those who saw it are told with its neighbours
            if not of_log and (here or event.val in values or (event.who, event.tag) in tags):
                more.append(event)
        elif low <= event.t <= high and _belongs(event, owned, groups, who):
            more.append(event)
    kept = sorted(more, key=lambda event: _distance(event, witness))[:MOST]
    ends = [end for event in kept if event.kind == "invoke" and (end := history.end_of(event)) is not None]
    every = {_identity(event): event for event in (*found, *kept, *ends)}
    return sorted(every.values(), key=lambda event: (event.t, event.proc, event.seq))


def _belongs(event: Event, owned: set[tuple[str | None, int | None]], groups: set[str], who: set[str]) -> bool:
    if event.f in OWNING:
        return (event.dest, event.part) in owned and (event.group in groups or event.who in who)
    if event.f == "commit":
        return event.who in who
    return event.f in MOVING and any(dest == event.dest for dest, _ in owned)


def _distance(event: Event, witness: Iterable[Event]) -> float:
    return min((abs(event.t - other.t) for other in witness), default=0)


def _identity(event: Event) -> tuple[str, int]:
    return event.proc, event.seq


def _merged(history: History, events: Sequence[Event], finding: _Shown) -> list[_Row]:
    """An operation that nothing interrupts is one row."""
    proof = {_identity(event) for event in finding.witness}
    rows: list[_Row] = []
    skip = False
    for number, event in enumerate(events):
        if skip:
            skip = False
            continue
        following = events[number + 1] if number + 1 < len(events) else None
        end = following if following is not None and history.end_of(event) is following else None
        skip = end is not None
        shown = _identity(event) in proof or (end is not None and _identity(end) in proof)
        if event.op is not None and event.val is None and event.f == "send":
            event = event._replace(val=getattr(history.invoke_of(event), "val", None))
        rows.append(_Row(shown, event, end))
    return rows


# --- how they are shown


def _picture(rows: Sequence[_Row]) -> Iterator[str]:
    names = list(dict.fromkeys(_name(row.event) for row in rows))
    cells = [(_name(row.event), _cell(row)) for row in rows]
    width = {name: max(len(name), *(len(cell) for other, cell in cells if other == name)) for name in names}
    began = rows[0].event.t
    yield "times in ms; > marks what proves it"
    if sum(width.values()) + 3 * len(names) + 14 > WIDEST:
        wide = max(map(len, names))
        for row, (name, cell) in zip(rows, cells, strict=True):
            yield f"{_margin(row, began)}  {name:{wide}}  {cell}"
        return
    yield "             " + "   ".join(f"{name:{width[name]}}" for name in names)
    for row, (name, cell) in zip(rows, cells, strict=True):
        line = "   ".join(f"{cell if other == name else '.':{width[other]}}" for other in names)
        yield f"{_margin(row, began)}  {line}"


def _margin(row: _Row, began: int) -> str:
    return f"{'>' if row.proof else ' '}{(row.event.t - began) / MS:10.3f}"


def _name(event: Event) -> str:
    return event.proc if event.client is None else event.who


def _cell(row: _Row) -> str:
    event = row.event
    text = _said(event)
    if event.kind != "invoke":
        return text
    if row.end is None:
        return f"{text} ..."
    after = f" -> {row.end.kind}"
    if row.end.part is not None and event.off is None:
        after += f" {_place(row.end)}"
    if row.end.err is not None:
        after += f" {row.end.err.code}"
    return f"{text}{after} in {(row.end.t - event.t) / MS:.3f}"


def _said(event: Event) -> str:
    """What an event says, in few words."""
    place, value = _place(event), _value(event.val)
    if event.f == "send":
        return f"send {value}{_to(event)}" if event.kind == "invoke" else f"send {value} {event.kind} {place}".rstrip()
    if event.f == "deliver":
        told = f"given {place} {value}"
        marks = [f"lease {event.lease}"] if event.lease is not None else []
        marks += [f"attempt {event.attempt}"] if event.attempt is not None and event.attempt > 1 else []
        marks += ["redelivered"] if event.redelivered else []
        return f"{told} ({', '.join(marks)})" if marks else told
    if event.f in ("fault", "heal"):
        return f"{event.f.upper()} {event.more.get('what', '')} at {event.more.get('at', '')}"
    words = [event.f, place]
    words += [value] if event.val is not None else []
    words += [f"lease {event.lease}"] if event.lease is not None and event.f in OWNING else []
    words += [f"group {event.group}"] if event.group is not None and event.f in ("committed", "reset") else []
    ended = event.kind not in ("invoke", "ok") or (event.op is not None and event.f not in OBSERVED)
    words += [event.kind] if ended else []
    words += [event.err.code] if event.err is not None else []
    return " ".join(word for word in words if word)


def _to(event: Event) -> str:
    return f" to {event.dest}" if event.dest is not None else ""


def _place(event: Event) -> str:
    if event.part is not None:
        return f"{event.part}/{event.off}" if event.off is not None else f"{event.part}"
    return f"tag {event.tag}" if event.tag is not None else ""


def _value(value: str | None) -> str:
    """A payload by its producer and number, anything else by its beginning."""
    if value is None:
        return "null"
    try:
        payload = Payload.decode(value)
    except Damaged:
        return f"DAMAGED {value[:24]!r}"
    if payload is not None:
        return f"{payload.producer}#{payload.number}"
    return repr(value) if len(value) <= 24 else f"{value[:24]!r}..."


def _faults(history: History, rows: Sequence[_Row]) -> Iterator[str]:
    """Those in force between the first row and the last."""
    low, high = rows[0].event.t, rows[-1].event.t
    healed: Mapping[str, list[int]] = defaultdict(list)
    for event in history.said("heal"):
        healed[str(event.more.get("at", ""))].append(event.t)
    for event in history.said("fault"):
        until = min((t for t in healed[str(event.more.get("at", ""))] if t >= event.t), default=math.inf)
        if event.t <= high and until >= low:
            end = "to the end" if until == math.inf else f"until {(until - low) / MS:.3f}"
            yield f"in force: {event.more.get('what')} at {event.more.get('at')} from {(event.t - low) / MS:.3f} {end}"


# --- what lies around


def _dest(history: History, event: Event) -> str | None:
    """Where an event is; the end of an operation may leave that to its invoke."""
    if event.dest is not None:
        return event.dest
    invoke = history.invoke_of(event)
    return None if invoke is None else invoke.dest


def _places(history: History, witness: Iterable[Event]) -> dict[tuple[str, int], set[int]]:
    """The offsets that the witness is about, by topic and partition."""
    found: dict[tuple[str, int], set[int]] = defaultdict(set)
    for event in witness:
        dest = _dest(history, event)
        if event.part is not None and event.off is not None and dest is not None and event.f != "committed":
            found[dest, event.part].add(event.off)
    return found


def _neighbours(history: History, dest: str, part: int, offsets: set[int], around: int) -> Iterator[str]:
    """Each offset as far away as that, what lies there, and who says so."""
    shown = sorted(offsets)[:SHOWN]
    window = {off for middle in shown for off in range(middle - around, middle + around + 1)}
    near: dict[int, dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for event in history.of("send", "deliver", "stored"):
        if event.kind == "ok" and event.part == part and event.off in window and _dest(history, event) == dest:
            invoke = history.invoke_of(event) if event.f == "send" else None
            value = _value(event.val if invoke is None else invoke.val)
            how = {"send": "confirmed", "stored": "seen by an observer"}.get(event.f, f"given to {event.who}")
            near[event.off or 0][value][how] = None
    told = ", ".join(map(str, shown)) + (" ..." if len(offsets) > SHOWN else "")
    yield f"around offset{'s' if len(shown) > 1 else ''} {told} of {dest}/{part}:"
    for off in sorted(near):
        for value, ways in near[off].items():
            yield f"{'>' if off in offsets else ' '}{off:10}  {value}: {', '.join(ways)}"
