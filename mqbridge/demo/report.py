"""The report: for a person, in 80 columns and one screen, or as JSON for a script.

The rule of this room: it only says what the record and the checks hold; no number is made here.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mqbridge as mq
from mqbridge.demo.orders import BURST, MAX_ATTEMPTS, SYNCHRONOUS_S
from mqbridge.demo.record import Record
from mqbridge.demo.scenario import Result
from mqbridge.demo.screen import Glyphs, clean, counted, paint

__all__ = ["as_json", "checks_only", "percentile", "render"]

WIDTH = 80
BAR = 38
SHOWN_DEAD = 3


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: a value that was measured, never one between two."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


class _Page:
    """Lines with a few painted words."""

    def __init__(self, glyphs: Glyphs, colour: bool) -> None:
        self.glyphs = glyphs
        self._colour = colour
        self._lines: list[str] = []

    def paint(self, text: str, style: str) -> str:
        return paint(self.glyphs.fit(clean(text)), style, self._colour)

    def add(self, *parts: str | tuple[str, str]) -> None:
        """A line of plain and (text, style) parts, cut at the width."""
        room = WIDTH
        line = ""
        for part in parts:
            text, style = part if isinstance(part, tuple) else (part, "")
            text = self.glyphs.fit(clean(text))[:room]
            room -= len(text)
            line += paint(text, style, self._colour) if style else text
        self._lines.append(line.rstrip())

    def add_whole(self, indent: str, text: str) -> None:
        """A line that is copied by hand and so is not cut."""
        self._lines.append(indent + self.paint(text, "accent"))

    def wrapped(self, text: str, indent: str = "  ", style: str = "") -> None:
        for line in textwrap.wrap(clean(text), WIDTH - len(indent)):
            self.add(indent, (line, style) if style else line)

    def gap(self) -> None:
        self._lines.append("")

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"


def render(result: Result, glyphs: Glyphs, colour: bool) -> str:
    """The whole report."""
    page = _Page(glyphs, colour)
    record = result.record
    heading = f"{record.engine} {glyphs.dot} {record.shape} {glyphs.dot} {record.duration_s:.1f} s"
    title = "mqbridge demo: one order service, twice"
    page.add((title, "bold"), " " * (WIDTH - len(title) - len(heading)), (heading, "dim"))
    page.add((glyphs.rule * WIDTH, "dim"))
    _responses(page, result)
    _moments(page, result)
    _services(page, result)
    _dead(page, result)
    _checks(page, result)
    _next(page, result)
    return str(page)


def checks_only(result: Result, glyphs: Glyphs, colour: bool) -> str:
    """The checks of a kept run."""
    page = _Page(glyphs, colour)
    _checks(page, result)
    return str(page)


def _responses(page: _Page, result: Result) -> None:
    record = result.record
    before, after = statistics.median(record.synchronous_ms), statistics.median(record.response_ms)
    page.add(("The customer waits", "bold"), (f"  (median; stated: {_stated(record.scale)})", "dim"))
    quicker = f", {before / after:.0f}{page.glyphs.times} sooner"
    for label, value, style, facts in (
        ("synchronous", before, "warn", f"{len(record.synchronous_ms)} orders"),
        (
            "asynchronous",
            after,
            "good",
            f"{len(record.response_ms)} orders, p95 {_p95(record.response_ms)} ms{quicker}",
        ),
    ):
        bar = page.glyphs.full * max(1, round(BAR * value / max(before, after)))
        page.add(f"  {label:<12}{value:>7.0f} ms  ", (bar, style), (f"  {facts}", "dim"))
    remarks: list[str] = []
    if len(record.sent) > BURST:
        rest = len(record.sent) - BURST
        remarks.append(f"{counted(rest, 'more order')} went as a stream, all confirmed in {record.stream_s:.2f} s.")
    if record.source is not None:
        lines = f"Events: {counted(len(record.sent) - 1, 'line')} of {record.source}, and a poison order."
        left_out = f" Left out as too long: {counted(record.too_long, 'line')}." if record.too_long else ""
        remarks.append(lines + left_out + (" The rest of the file was not read (--max)." if record.cut else ""))
    if record.worker_scale != record.scale:
        remarks.append(f"Workers' service times are scaled by {record.worker_scale:.3g}.")
    page.wrapped(" ".join(remarks))
    page.gap()


def _p95(values: Sequence[float]) -> str:
    return f"{percentile(values, 0.95):.0f}"


def _stated(scale: float) -> str:
    stated = f"{SYNCHRONOUS_S * 1000:.0f} and 55 ms"
    return stated if scale == 1.0 else f"{stated}, all times scaled by {scale:g}"


def _moments(page: _Page, result: Result) -> None:
    page.add(("What happened", "bold"))
    for moment in result.record.moments:
        first, *rest = textwrap.wrap(clean(moment.text), WIDTH - 11)
        page.add((f"  {moment.at_s:5.2f} s  ", "accent"), first)
        for line in rest:
            page.add(" " * 11, line)
    page.gap()


def _services(page: _Page, result: Result) -> None:
    heads = (
        f"  {'service':<11}{'time':>8}{'processes':>13}{'handled':>10}{'failed':>9}{'came again':>13}{'suppressed':>13}"
    )
    page.add((heads, "bold"))
    for row in result.tallies:
        killed = " (1 killed)" if result.record.takeover and row.service.name == "payment" else ""
        time_ms = row.service.service_time_s * result.record.worker_scale * 1000
        page.add(
            f"  {row.service.label:<11}{_ms(time_ms):>8}{row.service.processes:>2}{killed:<11}{row.handled:>10}"
            f"{row.failed_attempts or '-':>9}{row.again or '-':>13}{row.suppressed or '-':>13}"
        )
    page.gap()


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _dead(page: _Page, result: Result) -> None:
    page.add(("Dead letters", "bold"), (f"  (after {MAX_ATTEMPTS} attempts)", "dim"))
    for letter in result.dead[:SHOWN_DEAD]:
        page.add(f"  {letter.key} ({letter.origin}): ", (letter.error, "warn"))
    if len(result.dead) > SHOWN_DEAD:
        page.add((f"  and {len(result.dead) - SHOWN_DEAD} more", "dim"))
    page.gap()


def _checks(page: _Page, result: Result) -> None:
    page.add(("Checked from outside the workers", "bold"))
    for check in result.checks:
        mark = (page.glyphs.good, "good") if check.ok else (page.glyphs.bad, "bad")
        first, *rest = textwrap.wrap(clean(check.name), WIDTH - 4)
        page.add("  ", mark, f" {first}")
        for line in rest:
            page.add("    ", line)
        if not check.ok:
            page.wrapped(f"expected {check.expected}", "      ", "bad")
            page.wrapped(f"found {check.found}", "      ", "bad")
    page.gap()


def _next(page: _Page, result: Result) -> None:
    program = command_name()
    if result.kept is not None:
        page.add(("Kept: look at it", "bold"))
        for command in _looking(program, result.record, result.kept):
            page.add_whole("  ", command)
        return
    other, what = ("queue", "queues") if result.record.shape == "topic" else ("topic", "a topic and groups")
    page.add(("Next", "bold"))
    if result.record.prefix:
        page.add("  ", (f"{program} demo", "accent"), ("   # the same, on an engine that needs no server", "dim"))
    else:
        page.add("  ", (f"{program} demo --shape {other}", "accent"), (f"   # the same on {what}", "dim"))
        page.add("  ", (f"{program} demo kafka://localhost:9092", "accent"), ("   # or amqp://localhost/", "dim"))
    page.add("  ", (f"{program} demo --input FILE", "accent"), ("   # your own events, any text", "dim"))


def _looking(program: str, record: Record, folder: Path) -> Iterator[str]:
    own = folder / "broker"
    look = (
        f"group describe {record.prefix}payment"
        if record.shape == "topic"
        else f"queue dead-letters {record.prefix}payment"
    )
    yield f"{program} --url {f'native:{own}' if own.exists() else 'URL'} {look}"
    yield f"sqlite3 {folder}/payment.db 'SELECT * FROM ledger'"
    yield f"{program} demo{'' if own.exists() else ' URL'} --check {folder}"


def command_name() -> str:
    """How this program was called, as a person would type it."""
    name = os.path.basename(sys.argv[0])
    return name if name == "mqbridge" else "python -m mqbridge"


def as_json(result: Result) -> str:
    """The report for a script: ``ok``, the measured times in milliseconds, what each service did, every check."""
    record = result.record
    takeover = record.takeover
    report: dict[str, Any] = {
        "ok": result.ok,
        "version": mq.__version__,
        "engine": record.engine,
        "shape": record.shape,
        "duration_s": round(record.duration_s, 3),
        "scale": record.scale,
        "worker_scale": record.worker_scale,
        "source": record.source,
        "lines_too_long": record.too_long,
        "cut": record.cut,
        "synchronous_ms": _spread(record.synchronous_ms),
        "asynchronous_ms": _spread(record.response_ms),
        "orders": {"sent": len(record.sent), "good": len(record.good), "poison": len(record.poison)},
        "takeover": None if takeover is None else asdict(takeover),
        "moments": [asdict(moment) for moment in record.moments],
        "services": {
            row.service.name: {
                "processes": row.service.processes,
                "handled": row.handled,
                "failed_attempts": row.failed_attempts,
                "again": row.again,
                "suppressed": row.suppressed,
            }
            for row in result.tallies
        },
        "dead_letters": [asdict(letter) for letter in result.dead],
        "checks": [asdict(check) for check in result.checks],
        "folder": None if result.kept is None else str(result.kept),
    }
    return json.dumps(report, indent=2) + "\n"


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "count": len(values),
        "p50": round(statistics.median(values), 3),
        "p95": round(percentile(values, 0.95), 3),
        "max": round(max(values), 3),
    }
