"""``python -m mqbridge_conformance.proofs [NAME]...``: show them, and write the table for the suite's README.

The rule: one line of Markdown a proof, with the command that shows it; the exit status is 0 if all were made.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mqbridge_conformance.proofs.table import PROOFS, Proof, Shown, show, target_of
from mqbridge_conformance.targets import Target

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mqbridge_conformance.proofs", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROOFS)}; all if none is given")
    parser.add_argument("--results", type=Path, default=None, help="append each proof to this file, as a line of JSON")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in PROOFS]
    if unknown:
        parser.error(f"there is no proof {unknown[0]!r}; there are {', '.join(PROOFS)}")
    proofs = [PROOFS[name] for name in chosen.names or PROOFS]
    _say("| configuration | what it does | found | as it should be | command |")
    _say("| --- | --- | --- | --- | --- |")
    made = True
    for proof in proofs:
        with target_of(proof) as target:
            made &= _shown(proof, target, chosen.results)
    return 0 if made else 1


def _shown(proof: Proof, target: Target, results: Path | None) -> bool:
    shown = show(proof, target)
    _say(row(shown))
    if results is not None:
        with open(results, "a") as file:
            told = {"proof": proof.name, "made": shown.made, "strikes": shown.strikes, "found": shown.found}
            halves = {"bad": shown.bad, "good": shown.good}
            told |= {name: [f"{one.verdict} {one.reason}" for one in half] for name, half in halves.items()}
            file.write(json.dumps(told) + "\n")
    return shown.made


def row(shown: Shown) -> str:
    """One line of the table; what was not shown says so."""
    proof, tries = shown.proof, len(shown.bad)
    failed = sum(not result.verdict.green for result in shown.bad)
    found = f"{', '.join(shown.found) or 'nothing'} ({failed} of {tries})"
    passed = f"{shown.good[0].verdict} ({sum(result.verdict.green for result in shown.good)} of {tries})"
    command = f"`python -m mqbridge_conformance.proofs {proof.name}`"
    cells = [f"{proof.engine}: {proof.name}", proof.says, found, passed, command]
    return f"| {' | '.join(cells)} |" + ("" if shown.made else " NOT SHOWN")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
