"""A finding as a picture: a lane for each client, time from left to right, marks where something happened.

The rule: nothing is told by colour alone, the order is true and the distances are not: a gap is as wide as the
logarithm of its time, and the times stand above. The picture is SVG that looks as the page around it says (`STYLE`),
and every mark tells all of its event to whoever points at it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from mqbridge_conformance.history import Event, History
from mqbridge_conformance.history.events import pack_event
from mqbridge_conformance.timelines.acts import Act, acts_of, kind_of, lane_of, outcome_words, short, words
from mqbridge_conformance.timelines.markup import Markup, tag
from mqbridge_conformance.timelines.text import MS, took

__all__ = ["LEGEND", "STYLE", "picture"]

_LETTER: Final = 6.4
"""Width of a letter of a label."""
_ROW: Final = 14.0
_LEFT: Final = 14.0
_HEAD: Final = 40.0
_MARK_AT: Final = 22.0
_LABEL_AT: Final = 38.0
_TICK_EVERY: Final = 52.0
_WIDE: Final = 900.0
_MOST_ROOM: Final = 2.5
_MESSAGES: Final = 4
"""Messages whose way is drawn; more would be a thicket."""


class _Placed(NamedTuple):
    """An act in the picture: where it begins and ends, and in which row of its lane its label stands."""

    act: Act
    strong: bool
    begin: float
    end: float
    row: int
    label: str


class _Lane(NamedTuple):
    name: str
    top: float
    height: float
    acts: list[_Placed]

    @property
    def line(self) -> float:
        return self.top + _MARK_AT


def picture(witness: Sequence[Event], around: Sequence[Event] = (), *, title: str = "") -> Markup:
    """The SVG; empty if there is nothing to draw."""
    acts = acts_of(History([*witness, *around]))
    if not acts:
        return Markup("")
    proof = {(event.proc, event.seq) for event in witness}
    x_of = _stretched(_scale(acts))
    right = max(x_of.values()) + 24
    lanes = _lanes(acts, proof, x_of, right)
    width = max([right, *(placed.begin + _width(placed.label) + 8 for lane in lanes for placed in lane.acts)])
    height = lanes[-1].top + lanes[-1].height + 6
    return tag(
        "svg",
        tag("title", title or "what happened, by client and in order"),
        _faults(acts, x_of, right, height),
        _ticks(acts, x_of, height),
        *(_stripe(lane, width) for lane in lanes),
        _ways(lanes, proof),
        *(_lead(placed, lane.line) for lane in lanes for placed in lane.acts if placed.row),
        *(_mark(placed, lane.line) for lane in lanes for placed in lane.acts),
        class_="timeline",
        role="img",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
    )


# --- where everything is


def _scale(acts: Sequence[Act]) -> dict[int, float]:
    """Time -> place: in order, a longer gap wider, and a long one not out of all proportion."""
    times = sorted({t for act in acts for t in (act.began_t, act.fact.t)})
    places, x, before = {}, _LEFT, times[0]
    for t in times:
        x += 8 * math.log10(1 + (t - before) / 1000) + (4 if t != before else 0)
        places[t], before = x, t
    return places


def _stretched(places: dict[int, float]) -> dict[int, float]:
    """Few acts have more room, so that fewer labels stand below each other."""
    factor = min(_MOST_ROOM, max(1.0, _WIDE / max(places.values())))
    return {t: _LEFT + (x - _LEFT) * factor for t, x in places.items()}


def _width(label: str) -> float:
    return len(label) * _LETTER


def _lanes(acts: Sequence[Act], proof: set[tuple[str, int]], x_of: dict[int, float], right: float) -> list[_Lane]:
    """One below the other, in the order in which they first did something; the clients of a process together."""
    names = list(dict.fromkeys(lane_of(act) for act in acts if kind_of(act) != "fault"))
    processes = list(dict.fromkeys(name.partition("/")[0] for name in names))
    names.sort(key=lambda name: processes.index(name.partition("/")[0]))
    lanes: list[_Lane] = []
    top = _HEAD
    for name in names or [lane_of(acts[0])]:
        own = [act for act in acts if lane_of(act) == name and kind_of(act) != "fault"]
        placed = _placed(own, proof, x_of, right)
        height = _LABEL_AT + _ROW * (1 + max((one.row for one in placed), default=0))
        lanes.append(_Lane(name, top, height, placed))
        top += height
    return lanes


def _placed(acts: Sequence[Act], proof: set[tuple[str, int]], x_of: dict[int, float], right: float) -> list[_Placed]:
    """Each label in the first row in which it does not run into the one before it."""
    rows: list[float] = []
    placed: list[_Placed] = []
    for act in acts:
        begin, end = x_of[act.began_t], right if act.open else x_of[act.fact.t]
        how = outcome_words(act)
        label = words(act) + (f": {how}" if how else "")
        row = next((number for number, taken in enumerate(rows) if taken <= begin), len(rows))
        rows[row : row + 1] = [begin + _width(label) + 12]
        strong = bool(proof & {(event.proc, event.seq) for event in act.events})
        placed.append(_Placed(act, strong, begin, end, row, label))
    return placed


# --- what is drawn


def _ticks(acts: Sequence[Act], x_of: dict[int, float], height: float) -> list[Markup]:
    """Times since the first act, as many as can be read."""
    zero, drawn, taken = acts[0].began_t, [], -_TICK_EVERY
    for t in sorted({act.began_t for act in acts}):
        x = x_of[t]
        if x - taken >= _TICK_EVERY:
            taken = x
            drawn.append(tag("line", class_="tick", x1=x, x2=x, y1=_HEAD - 8, y2=height))
            drawn.append(tag("text", f"{(t - zero) / MS:.1f} ms", class_="time", x=x, y=_HEAD - 12))
    return drawn


def _stripe(lane: _Lane, width: float) -> Markup:
    return tag(
        "g",
        tag("line", class_="edge", x1=0, x2=width, y1=lane.top, y2=lane.top),
        tag("line", class_="lane", x1=_LEFT, x2=width, y1=lane.line, y2=lane.line),
        tag("text", lane.name, class_="who", x=4, y=lane.top + 9),
    )


def _faults(acts: Sequence[Act], x_of: dict[int, float], right: float, height: float) -> list[Markup]:
    """A shade from where a fault begins to where it is healed, or to the end. A name that would run into the one before
    it is left out where it is the same, and moved on where it is another."""
    healed = [act for act in acts if act.fact.f == "heal"]
    drawn: list[Markup] = []
    taken, before = 0.0, ""
    for act in acts:
        if act.fact.f not in ("fault", "sabotage"):
            continue
        place = act.fact.more.get("at")
        later = [heal for heal in healed if heal.fact.more.get("at") == place and heal.fact.t >= act.fact.t]
        begin = x_of[act.began_t]
        lasts = act.fact.f == "fault"
        end = x_of[later[0].fact.t] if later else right if lasts else begin + 3
        name, x = words(act), max(begin, taken)
        shown = x == begin or name != before
        if shown:
            taken, before = x + _width(name) + 8, name
        drawn.append(
            tag(
                "g",
                _told(act),
                tag("rect", class_=act.fact.f, x=begin, y=18, width=max(3.0, end - begin), height=height - 18),
                tag("text", name, class_="fault-name", x=x, y=12) if shown else None,
            )
        )
    return drawn


def _ways(lanes: Sequence[_Lane], proof: set[tuple[str, int]]) -> list[Markup]:
    """The ways of those messages that the witness is about, from mark to mark."""
    marks = [(placed, lane.line) for lane in lanes for placed in lane.acts]
    messages = dict.fromkeys(placed.act.fact.val for placed, _ in marks if placed.strong and placed.act.fact.val)
    drawn: list[Markup] = []
    for number, value in enumerate(list(messages)[:_MESSAGES]):
        way = sorted((placed.begin, y) for placed, y in marks if placed.act.fact.val == value)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in way)
        if len(way) > 1:
            drawn.append(tag("polyline", tag("title", short(value)), class_=f"way way-{number}", points=points))
    return drawn


def _label_y(placed: _Placed, y: float) -> float:
    return y + _LABEL_AT - _MARK_AT + placed.row * _ROW


def _lead(placed: _Placed, y: float) -> Markup:
    """From a mark to its label, where that is not just below; behind all labels."""
    return tag("line", class_="lead", x1=placed.begin, x2=placed.begin, y1=y, y2=_label_y(placed, y))


def _mark(placed: _Placed, y: float) -> Markup:
    act, kind = placed.act, kind_of(placed.act)
    bad = " open" if act.open else {"fail": " failed", "info": " open"}.get(act.fact.kind, "")
    long = placed.end - placed.begin > 2
    return tag(
        "g",
        _told(act),
        tag("line", class_="span", x1=placed.begin, x2=placed.end, y1=y, y2=y) if long else None,
        _end(placed.end, y, bad) if long or bad else None,
        tag("circle", class_="ring", cx=placed.begin, cy=y, r=9.0) if placed.strong else None,
        tag("path", class_="mark", d=_SHAPES[kind], transform=f"translate({placed.begin:.1f} {y:.1f})"),
        tag("text", placed.label, class_="label", x=placed.begin + 2, y=_label_y(placed, y)),
        class_=f"act {kind}{bad}{' strong' if placed.strong else ''}",
    )


def _end(x: float, y: float, bad: str) -> Markup:
    """How an operation ended: a stroke; a cross where it failed; nothing closes what is open."""
    if bad == " failed":
        return tag("path", class_="cross", d="M-4-4L4 4M-4 4L4-4", transform=f"translate({x:.1f} {y:.1f})")
    if bad:
        return tag("text", "?", class_="unknown", x=x - 3, y=y - 5)
    return tag("line", class_="done", x1=x, x2=x, y1=y - 4, y2=y + 4)


def _told(act: Act) -> Markup:
    """All of it, for whoever points at it."""
    return tag("title", "\n".join([*map(pack_event, act.events), *filter(None, [took(act).strip()])]))


_SHAPES: Final = {
    "send": "M-5 5L0-5L5 5Z",
    "deliver": "M-5-5L5-5L0 5Z",
    "settle": "M-4-4H4V4H-4Z",
    "commit": "M0-6L6 0L0 6L-6 0Z",
    "lease": "M-2-6H2V6H-2Z",
    "seen": "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z",
    "other": "M-2.5 0A2.5 2.5 0 1 0 2.5 0A2.5 2.5 0 1 0-2.5 0Z",
}
LEGEND: Final = "▲ sent  ▼ delivered  ■ settled  ◆ committed  ▮ assigned  ● seen from outside; ✕ failed, ? nobody knows"

STYLE: Final = """
svg.timeline { font: 10.5px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.timeline text { fill: var(--ink); paint-order: stroke; stroke: var(--sheet); stroke-width: 3px; }
.timeline .who { font-weight: 600; }
.timeline .time { fill: var(--faint); font-size: 9.5px; }
.timeline .tick { stroke: var(--rule); stroke-dasharray: 1 4; }
.timeline .edge { stroke: var(--rule); }
.timeline .lane { stroke: var(--rule); stroke-width: 1; }
.timeline .lead { stroke: var(--rule); }
.timeline .span { stroke: var(--mark); stroke-width: 3; opacity: .45; }
.timeline .done { stroke: var(--mark); stroke-width: 2; }
.timeline .mark { fill: var(--mark); }
.timeline .label { fill: var(--faint); }
.timeline .strong .label { fill: var(--ink); font-weight: 700; }
.timeline .ring { fill: none; stroke: var(--bad); stroke-width: 2; }
.timeline .cross { stroke: var(--bad); stroke-width: 2.5; fill: none; }
.timeline .unknown { fill: var(--unknown); font-weight: 700; font-size: 13px; }
.timeline .open .span { stroke-dasharray: 5 4; }
.timeline rect.fault { fill: var(--bad); opacity: .13; }
.timeline rect.sabotage { fill: var(--unknown); opacity: .5; }
.timeline .fault-name { fill: var(--bad); font-weight: 600; }
.timeline .way { fill: none; stroke-width: 1.3; stroke-dasharray: 2 3; opacity: .9; }
.timeline .way-0 { stroke: var(--way-0); } .timeline .way-1 { stroke: var(--way-1); }
.timeline .way-2 { stroke: var(--way-2); } .timeline .way-3 { stroke: var(--way-3); }
.timeline .send { --mark: var(--send); } .timeline .deliver { --mark: var(--deliver); }
.timeline .settle { --mark: var(--settle); } .timeline .commit { --mark: var(--commit); }
.timeline .lease { --mark: var(--lease); } .timeline .seen { --mark: var(--seen); }
.timeline .other { --mark: var(--faint); }
"""
