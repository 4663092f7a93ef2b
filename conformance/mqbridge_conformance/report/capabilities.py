"""Capabilities by engines: what is claimed, and what was seen of it.

The rule: a claim without a scenario says so, and what qualifies a claim is a numbered note, never left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from mqbridge import Capability, Level, Support
from mqbridge_conformance.report.matrix import Notes, line
from mqbridge_conformance.results import Claims, Report, Verdict, worst

__all__ = ["SLICE", "Column", "Proof", "capability_table", "columns", "proof_of"]

_LEVELS: Final = {Level.DIRECT: "direct", Level.EMULATED: "emulated", Level.UNSUPPORTED: "refused"}

SLICE: Final = (
    Capability.ORDER_PER_KEY,
    Capability.GROUPS,
    Capability.REPLAY_BY_OFFSET,
    Capability.WORK_SHARING,
    Capability.RELEASE_UNCOUNTED,
    Capability.MAX_ATTEMPTS,
    Capability.DEAD_LETTER,
    Capability.PREFETCH,
    Capability.SEVERAL_PROCESSES,
    Capability.TOPIC_DEAD_LETTER,
    Capability.TRANSACTIONS,
    Capability.COMPACTION,
    Capability.TLS,
)
"""A dozen rows of every kind, for the top of a README."""
_REFUSALS: Final = "refusals"
"""The scenario that asks for every refused capability, and so speaks for all of them."""


class Column(NamedTuple):
    """An engine of one version, which all of these targets are."""

    engine: str
    version: str
    targets: tuple[str, ...]
    claims: Claims


class Proof(NamedTuple):
    """What a column's runs say of one capability. `verdict` is None where no scenario speaks for it."""

    support: Support
    verdict: Verdict | None
    scenarios: tuple[str, ...]


def columns(report: Report) -> dict[str, Column]:
    """By a name that tells them apart: the engine's, with its version if it ran in several."""
    found: dict[tuple[str, str], Column] = {}
    for target, engine in report.targets().items():
        if target in report.claims:
            version = report.versions.get(target, {}).get(engine, "")
            before = found[engine, version].targets if (engine, version) in found else ()
            found[engine, version] = Column(engine, version, (*before, target), report.claims[target])
    engines = [engine for engine, _ in found]
    return {
        f"{engine} {version}".strip() if engines.count(engine) > 1 else engine: column
        for (engine, version), column in found.items()
    }


def proof_of(report: Report, column: Column, capability: Capability) -> Proof:
    """A claim, and the worst of the runs that speak for it: what is claimed as an emulation is never a plain pass."""
    support = column.claims[capability]
    here = [result for result in report.results if result.target in column.targets]
    runs = [result for result in here if capability in result.proves]
    if support.level is Level.UNSUPPORTED:
        runs += [result for result in here if result.scenario == _REFUSALS]
        green = Verdict.PENDING if support.later else Verdict.REFUSED_PROVEN
    else:
        green = Verdict.PASS_EMULATED if support.level is Level.EMULATED else Verdict.PASS
    if not runs:
        return Proof(support, None, ())
    found = worst(result.verdict for result in runs)
    return Proof(support, green if found.green else found, tuple(dict.fromkeys(result.scenario for result in runs)))


def capability_table(report: Report, capabilities: Sequence[Capability] = tuple(Capability)) -> str:
    """Capability by engine, in Markdown: what is claimed, and the verdict of the scenarios that speak for it.

    What qualifies a claim (how it is emulated, what that costs, when it holds, what to use instead) is a numbered note
    below the table.
    """
    found, notes = columns(report), Notes()
    lines = [line(["capability", *found]), line(["---"] * (len(found) + 1))]
    for capability in capabilities:
        cells = [_cell(proof_of(report, column, capability), notes) for column in found.values()]
        lines.append(line([capability.value, *cells]))
    lines += ["", *(f"- [{number}] {text}" for number, text in enumerate(notes.texts, 1))] if notes.texts else []
    return "\n".join([*lines, ""])


def _cell(proof: Proof, notes: Notes) -> str:
    support = proof.support
    level = "later" if support.later else _LEVELS[support.level]
    said = [support.how] if support.level is not Level.DIRECT and support.how else []
    said += [f"costs: {support.cost}"] if support.cost else []
    said += [support.conditions] if support.conditions else []
    said += [f"instead: {support.instead}"] if support.instead else []
    mark = f" {notes.marks(['; '.join(said)])}" if said else ""
    seen = "no scenario yet" if proof.verdict is None else f"{proof.verdict} ({', '.join(proof.scenarios)})"
    return f"{level}{mark}: {seen}"
