"""``mqbridge conformance differential``."""

from __future__ import annotations

import click

from mqbridge_conformance.commands.arguments import TARGET
from mqbridge_conformance.differential.running import differ
from mqbridge_conformance.targets import targets_for

__all__ = ["differential"]


@click.command("differential")
@click.argument("first", type=TARGET)
@click.argument("second", type=TARGET)
@click.option("--seed", default=1, show_default=True, help="Of the first script.")
@click.option("--scripts", default=1, show_default=True, type=click.IntRange(min=1), help="How many; seeds count on.")
@click.option("--length", default=25, show_default=True, type=click.IntRange(min=1), help="Steps of a script.")
def differential(first: str, second: str, seed: int, scripts: int, length: int) -> None:
    """Run the same seeded script on two targets, FIRST being the reference, and compare what was seen.

    A target is one of those of `run`. The exit status is 1 if something is different that is not on the list of what
    may be.
    """
    (reference, *_), (other, *_) = targets_for(first), targets_for(second)
    differences = 0
    with reference, other:
        for chosen in range(seed, seed + scripts):
            found = differ(reference, other, chosen, length)
            differences += len(found.differences)
            click.echo(
                f"seed {chosen}: {found.compared} steps compared, {found.left_out} left out, legitimate "
                f"{dict(found.legitimate)}, different {len(found.differences)}"
            )
            for difference in found.differences:
                click.echo(f"  {difference}")
    if differences:
        raise click.exceptions.Exit(1)
