"""Capabilities by engines: what is claimed, and what was seen of it.

The rule: what is claimed as an emulation is never a plain pass, a refusal is proven by whoever asks for it, and a claim
that no scenario speaks for has no verdict.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mqbridge import Capability, Level, Support
from mqbridge_conformance.results import Claims, Report, Verdict, worst

__all__ = ["EngineVersion", "Proof", "columns", "proof_of"]

_REFUSALS: Final = "refusals"
"""The scenario that asks for every refused capability, and so speaks for all of them."""


class EngineVersion(NamedTuple):
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


def columns(report: Report) -> dict[str, EngineVersion]:
    """By a name that tells them apart: the engine's, with its version if it ran in several."""
    found: dict[tuple[str, str], EngineVersion] = {}
    for target, engine in report.targets().items():
        if target in report.claims:
            version = report.versions.get(target, {}).get(engine, "")
            before = found[engine, version].targets if (engine, version) in found else ()
            found[engine, version] = EngineVersion(engine, version, (*before, target), report.claims[target])
    engines = [engine for engine, _ in found]
    return {
        f"{engine} {version}".strip() if engines.count(engine) > 1 else engine: column
        for (engine, version), column in found.items()
    }


def proof_of(report: Report, column: EngineVersion, capability: Capability) -> Proof:
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
