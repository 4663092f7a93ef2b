"""Running engines beside each other: most of a run is waiting, and each waits for its own broker.

The rule: the targets of one engine come one after the other, in one lane, for they may share a broker; what each lane
finds is put into the report by the one who asked, result by result. Whoever wants no more has all lanes end after what
is under way in them.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

from mqbridge_conformance.results import Report, ScenarioResult
from mqbridge_conformance.runner import PATIENCE_S, results
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.targets import Target

__all__ = ["beside"]

_Found = ScenarioResult | BaseException | None


def beside(
    report: Report,
    targets: Sequence[Target],
    scenarios: Sequence[Scenario],
    *,
    repeat: int = 1,
    seed: int | None = None,
    keep: Path | None = None,
    patience_s: float = PATIENCE_S,
) -> Generator[ScenarioResult, None, None]:
    """As `results`, with a lane for each engine; in the end the report is in the order of the targets."""
    engines: dict[str, list[Target]] = {}
    for target in targets:
        engines.setdefault(target.engine, []).append(target)
    first = report.seed if seed is None else seed
    lanes: list[_Lane] = []
    for own in engines.values():
        part = Report()
        found = results(part, own, scenarios, repeat=repeat, seed=first, keep=keep, patience_s=patience_s)
        lanes.append(_Lane(part, found))
    before = len(report.results)
    try:
        yield from _together(report, lanes)
    finally:
        for lane in lanes:
            lane.end()
            report.unasked |= lane.report.unasked
            report.versions |= lane.report.versions
            report.unusable |= lane.report.unusable
        order = {target.name: number for number, target in enumerate(targets)}
        report.results[before:] = sorted(report.results[before:], key=lambda result: order[result.target])


def _together(report: Report, lanes: list[_Lane]) -> Generator[ScenarioResult, None, None]:
    told: queue.SimpleQueue[tuple[_Lane, _Found]] = queue.SimpleQueue()
    for lane in lanes:
        lane.begin(told)
    running = len(lanes)
    while running:
        lane, found = told.get()
        if found is None:
            running -= 1
        elif isinstance(found, BaseException):
            raise found
        else:
            report.add(found, lane.report.claims.get(found.target))
            yield found


class _Lane:
    """The targets of one engine, on a thread; what it finds is in a report of its own first."""

    def __init__(self, report: Report, found: Generator[ScenarioResult, None, None]) -> None:
        self.report = report
        self._found = found
        self._enough = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, told: queue.SimpleQueue[tuple[_Lane, _Found]]) -> None:
        self._thread = threading.Thread(target=self._run, args=(told,), name="conformance-lane", daemon=True)
        self._thread.start()

    def _run(self, told: queue.SimpleQueue[tuple[_Lane, _Found]]) -> None:
        try:
            with contextlib.closing(self._found):  # which stops the target that it is at
                for result in self._found:
                    told.put((self, result))
                    if self._enough.is_set():
                        break
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised to the one who asked
            told.put((self, error))
        else:
            told.put((self, None))

    def end(self) -> None:
        """Nothing else begins; what is under way comes to its end."""
        self._enough.set()
        if self._thread is not None:
            self._thread.join()
