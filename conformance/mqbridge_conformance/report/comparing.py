"""What changed between two runs, of two versions of a broker or of the same one.

The rule: what is no longer shown is worse, not absent. A verdict that fell, a claim that was lowered, a scenario that
did not run again and a new one that is not green make it worse; counts that changed a lot are told, for a person to
judge. Of several runs of one cell the worst counts, and their counts are taken per run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from mqbridge_conformance.report.document import ClaimRow, Document, ResultRow
from mqbridge_conformance.report.table import level_of
from mqbridge_conformance.results import Verdict, worst

__all__ = ["Change", "Comparison", "compare"]

_ORDER: Final = list(Verdict)
_LEVELS: Final = ("direct", "emulated", "unsupported")
_A_LOT: Final = 2.0
_FEW: Final = 5.0
"""Counts that both are smaller change by chance."""


class Change(NamedTuple):
    """One thing that is not as it was. `kind` is ``verdict``, ``gone``, ``new``, ``claim``, ``anomaly`` or
    ``evidence``."""

    kind: str
    worse: bool
    text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """`first` and `second` say which runs were compared; `changes` has the worse ones first."""

    first: str
    second: str
    changes: tuple[Change, ...]

    @property
    def worse(self) -> bool:
        return any(change.worse for change in self.changes)

    def as_text(self) -> str:
        lines = [f"first   {self.first}", f"second  {self.second}", ""]
        for title, wanted in (("worse", True), ("changed", False)):
            told = [f"  {change.kind.ljust(8)}  {change.text}" for change in self.changes if change.worse is wanted]
            lines += [f"{title}:", *told, ""] if told else []
        if not self.changes:
            lines += ["nothing changed", ""]
        return "\n".join(lines)


def compare(first: Document, second: Document) -> Comparison:
    """What is different in the second run."""
    same = _paired(first, second)
    changes = [*_verdicts(first, second, same), *_claims(first, second), *_counts(first, second, same)]
    kinds = ("verdict", "gone", "new", "claim", "anomaly", "evidence")
    ordered = sorted(changes, key=lambda change: (not change.worse, kinds.index(change.kind)))
    return Comparison(_said(first), _said(second), tuple(ordered))


def _said(found: Document) -> str:
    run = found["run"]
    versions = [
        f"{target['name']} ({', '.join(f'{name} {at}' for name, at in target['versions'].items())})"
        if target["versions"]
        else target["name"]
        for target in found["targets"]
    ]
    return f"{run['began']}, {run['level']}, seed {run['seed']}: {'; '.join(versions)}"


def _paired(first: Document, second: Document) -> dict[str, str]:
    """Target of the first run -> the same of the second: by name, else the only other one of that engine, for the
    address of a broker is no part of what it is."""
    names = {target["name"] for target in second["targets"]}
    pairs = {target["name"]: target["name"] for target in first["targets"] if target["name"] in names}
    for target in first["targets"]:
        rest = [t["name"] for t in second["targets"] if t["name"] not in pairs and t["engine"] == target["engine"]]
        alone = [t["name"] for t in first["targets"] if t["name"] not in pairs and t["engine"] == target["engine"]]
        if alone == [target["name"]] and len(rest) == 1:
            pairs[target["name"]] = rest[0]
    return pairs


class _Cell(NamedTuple):
    scenario: str
    target: str


def _cells(found: Document, names: Callable[[str], str]) -> dict[_Cell, list[ResultRow]]:
    cells: dict[_Cell, list[ResultRow]] = {}
    for row in found["results"]:
        cells.setdefault(_Cell(row["scenario"], names(row["target"])), []).append(row)
    return cells


def _both(
    first: Document, second: Document, same: dict[str, str]
) -> tuple[dict[_Cell, list[ResultRow]], dict[_Cell, list[ResultRow]]]:
    """The cells of both, by the second run's names of targets."""
    return _cells(first, lambda name: same.get(name, name)), _cells(second, lambda name: name)


def _worst(rows: list[ResultRow]) -> Verdict:
    return worst(Verdict(row["verdict"]) for row in rows)


def _verdicts(first: Document, second: Document, same: dict[str, str]) -> Iterator[Change]:
    before, after = _both(first, second, same)
    why = {_Cell(row["scenario"], row["target"]): row["reason"] for row in second["unasked"]}
    why |= {_Cell(row["scenario"], row["target"]): f"NOT RUN ({row['reason']})" for row in second["not_run"]}
    for cell in [*before, *(cell for cell in after if cell not in before)]:
        where = f"{cell.scenario} on {cell.target}"
        if cell not in after:
            yield Change("gone", True, f"{where}: was {_worst(before[cell])}, {why.get(cell, 'did not run')}")
        elif cell not in before:
            found = _worst(after[cell])
            yield Change("new", not found.green, f"{where}: {found}{_because(after[cell], found)}")
        elif (was := _worst(before[cell])) is not (found := _worst(after[cell])):
            worse = _ORDER.index(found) > _ORDER.index(was)
            yield Change("verdict", worse, f"{where}: {was} -> {found}{_because(after[cell], found)}")


def _because(rows: list[ResultRow], found: Verdict) -> str:
    reason = next(row["reason"] for row in rows if row["verdict"] == found)
    return f" ({reason})" if reason else ""


def _claims(first: Document, second: Document) -> Iterator[Change]:
    before, after = ({(row["engine"], row["capability"]): row for row in run["claims"]} for run in (first, second))
    for (engine, capability), now in after.items():
        where = f"{capability} on {engine}"
        was = before.get((engine, capability))
        if was is None:
            continue
        if (was["level"], was["later"]) != (now["level"], now["later"]):
            yield Change("claim", _lower(was, now), f"{where}: {level_of(was)} -> {level_of(now)}")
        elif (was["conditions"], was["cost"]) != (now["conditions"], now["cost"]):
            yield Change("claim", False, f"{where}: {_terms(was)} -> {_terms(now)}")


def _lower(was: ClaimRow, now: ClaimRow) -> bool:
    if was["level"] != now["level"]:
        return _LEVELS.index(now["level"]) > _LEVELS.index(was["level"])
    return was["later"]  # what was to come is refused for good


def _terms(row: ClaimRow) -> str:
    return "; ".join(filter(None, [row["conditions"], f"costs: {row['cost']}" if row["cost"] else ""])) or "unqualified"


def _counts(first: Document, second: Document, same: dict[str, str]) -> Iterator[Change]:
    before, after = _both(first, second, same)
    for cell in before:
        if cell in after:
            where = f"{cell.scenario} on {cell.target}"
            for kind, counts in (("anomaly", _anomalies), ("evidence", _evidence)):
                was, now = _per_run(before[cell], counts), _per_run(after[cell], counts)
                for name in sorted({*was, *now}):
                    then, found = was.get(name, 0.0), now.get(name, 0.0)
                    if _differs(then, found):
                        yield Change(kind, False, f"{where}: {then:g} -> {found:g} {name}")


def _evidence(row: ResultRow) -> dict[str, int]:
    return row["evidence"]


def _anomalies(row: ResultRow) -> dict[str, int]:
    """Errors and what is legal: a duplicate that no engine promises to avoid may still have become frequent."""
    return {**dict.fromkeys(row["anomalies"], 1), **row["counted"]}


def _per_run(rows: list[ResultRow], counts: Callable[[ResultRow], dict[str, int]]) -> dict[str, float]:
    found = [counts(row) for row in rows]
    return {name: sum(each.get(name, 0) for each in found) / len(rows) for name in dict.fromkeys(chain(*found))}


def _differs(was: float, now: float) -> bool:
    """What came to be or ceased, and what is many and became twice as much or half of it."""
    if not was or not now:
        return was != now
    return max(was, now) >= _FEW and max(was, now) >= _A_LOT * min(was, now)
