"""The kill matrix on the command line: ``mqbridge conformance saboteurs``.

The rule: what is shown is what the results file has, so that a run that was cut short goes on where it ended.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import click

from mqbridge_conformance.commands.arguments import DURATION, FOLDER, NEW_FILE, PROBABILITY, TARGET, only_scenarios
from mqbridge_conformance.saboteurs import matrix, showing
from mqbridge_conformance.saboteurs.catalogue import SABOTEURS
from mqbridge_conformance.saboteurs.killers import is_killer
from mqbridge_conformance.saboteurs.strikes import EVERY
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import targets_for

__all__ = ["teeth"]

HUNG: Final = 3
UNSPOILT: Final = (matrix.UNBROKEN, EVERY)
"""Runs that count at any probability, for nobody strikes in them."""
PATIENCE_S: Final = 3.0
"""Short: most runs end by waiting for what a broken engine never gives."""


@click.command("saboteurs")
@click.argument("target", default="native", type=TARGET)
@click.option("--quick", is_flag=True, help="Each saboteur with the one scenario that is named as its killer.")
@click.option(
    "--level", default="quick", show_default=True, type=click.Choice(["quick", "full"]), help="Of the scenarios."
)
@click.option("--p", "probability", default=1.0, show_default=True, type=PROBABILITY)
@click.option(
    "--tries",
    default=matrix.TRIES,
    show_default=True,
    type=click.IntRange(min=1),
    help="Runs of a rare saboteur, until one kills it.",
)
@click.option("--seed", default=0, show_default=True, help="For the chance of rare saboteurs, and of the scenarios.")
@click.option("--saboteur", "codes", multiple=True, metavar="CODE", help="Only this one; may be given several times.")
@only_scenarios
@click.option(
    "--patience",
    default=PATIENCE_S,
    show_default=True,
    type=DURATION,
    help="Seconds to wait for what must happen, beyond what the scenario takes unbroken.",
)
@click.option("--results", type=NEW_FILE, metavar="FILE", help="Every run, one line each; what is there counts.")
@click.option("--keep", type=FOLDER, metavar="FOLDER", help="Histories of what failed.")
@click.option("--markdown", is_flag=True, help="The matrix as Markdown.")
def teeth(
    target: str,
    quick: bool,
    level: str,
    probability: float,
    tries: int,
    seed: int,
    codes: tuple[str, ...],
    names: tuple[str, ...],
    patience: float,
    results: Path | None,
    keep: Path | None,
    markdown: bool,
) -> None:
    """Run each scenario on TARGET with each of its engine's promises broken, and show which breach is found.

    TARGET is one of those of `run`; of native, a scenario about processes runs in a folder and all others in memory.
    A saboteur is killed by a scenario that fails with the anomaly it is named for. The exit status is 0 if every
    saboteur is killed, those alone that are named if some are; and, if none is named, every scenario kills one that the
    engine does not refuse.
    """
    unknown = [code for code in codes if code not in SABOTEURS]
    if unknown:
        raise click.BadParameter(
            f"there is no {unknown[0]!r}; there are {', '.join(SABOTEURS)}", param_hint="--saboteur"
        )
    try:
        known = matrix.resume(results) if results is not None else []
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--results") from error
    for one in targets_for(target):
        with one:  # told here, once, where there is no way to it
            pass
    of_level = [scenario for scenario in ALL if level == "full" or scenario.level == level]
    scenarios = [scenario for scenario in (ALL if names else of_level) if not names or scenario.name in names]
    saboteurs = [saboteur for code, saboteur in SABOTEURS.items() if not codes or code in codes]
    with tempfile.TemporaryDirectory() as folder:
        file = results or Path(folder) / "results.jsonl"
        try:
            for trial in matrix.trials(
                lambda: targets_for(target),
                scenarios,
                saboteurs,
                wanted=is_killer if quick else lambda _scenario, _saboteur: True,
                probability=probability,
                seed=seed,
                tries=tries,
                patience_s=patience,
                known=known,
                keep=keep,
            ):
                matrix.write(trial, file)
                click.echo(showing.line(trial), err=True)
        except matrix.Hung as hung:
            matrix.write(hung.trial, file)
            click.echo(f"{showing.line(hung.trial)}: run the same again with --results to go on", err=True)
            os._exit(HUNG)  # its threads would hold up the end of this process
        columns = {made.name for made in targets_for(target)}
        runs = [
            trial
            for trial in matrix.read(file)
            if trial.target in columns and (trial.code in UNSPOILT or trial.probability == probability)
        ]
    found = matrix.Matrix(runs, matrix.asked_of(lambda: targets_for(target), scenarios), saboteurs)
    click.echo(showing.as_markdown(found) if markdown else showing.as_text(found, toothless=not codes))
    if found.alive() or (not codes and found.toothless()) or not found.broken:
        raise click.exceptions.Exit(1)
