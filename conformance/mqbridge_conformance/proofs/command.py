"""``mqbridge conformance proofs``: show them, and write the table for the suite's README.

The rule: one line of Markdown a proof, with the command that shows it; the exit status is 0 if all were made.
"""

from __future__ import annotations

from pathlib import Path

import click

from mqbridge_conformance.commands.arguments import NEW_FILE
from mqbridge_conformance.places import append_line
from mqbridge_conformance.proofs.table import PROOFS, Proof, ProofRuns, show, target_of
from mqbridge_conformance.targets import Target

__all__ = ["proofs", "row"]


@click.command("proofs")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--results", type=NEW_FILE, metavar="FILE", help="Append each proof to this, a line of JSON.")
def proofs(names: tuple[str, ...], results: Path | None) -> None:
    """Configure real brokers badly on purpose, and show that the suite finds it, and nothing once it is mended.

    NAME is the first column of the table, without its engine; all if none is given. Brokers are containers. The exit
    status is 0 if every proof was made.
    """
    unknown = [name for name in names if name not in PROOFS]
    if unknown:
        raise click.BadParameter(f"there is no proof {unknown[0]!r}; there are {', '.join(PROOFS)}", param_hint="NAME")
    click.echo("| configuration | what it does | found | as it should be | command |")
    click.echo("| --- | --- | --- | --- | --- |")
    made = True
    for proof in [PROOFS[name] for name in names or PROOFS]:
        with target_of(proof) as target:
            made &= _shown(proof, target, results)
    if not made:
        raise click.exceptions.Exit(1)


def _shown(proof: Proof, target: Target, results: Path | None) -> bool:
    shown = show(proof, target)
    click.echo(row(shown))
    if results is not None:
        told = {"proof": proof.name, "made": shown.made, "strikes": shown.strikes, "found": shown.found}
        halves = {"bad": shown.bad, "good": shown.good}
        told |= {name: [f"{one.verdict} {one.reason}" for one in half] for name, half in halves.items()}
        append_line(results, told)
    return shown.made


def row(shown: ProofRuns) -> str:
    """One line of the table; what was not shown says so."""
    proof, tries = shown.proof, len(shown.bad)
    failed = sum(not result.verdict.green for result in shown.bad)
    found = f"{', '.join(shown.found) or 'nothing'} ({failed} of {tries})"
    passed = f"{shown.good[0].verdict} ({sum(result.verdict.green for result in shown.good)} of {tries})"
    command = f"`mqbridge conformance proofs {proof.name}`"
    cells = [f"{proof.engine}: {proof.name}", proof.says, found, passed, command]
    return f"| {' | '.join(cells)} |" + ("" if shown.made else " NOT SHOWN")
