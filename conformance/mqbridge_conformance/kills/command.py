"""``mqbridge conformance kills``."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from mqbridge_conformance.commands.arguments import FOLDER, NEW_FILE
from mqbridge_conformance.kills.running import DIARIES, run
from mqbridge_conformance.places import append_line
from mqbridge_conformance.runner import any_seed

__all__ = ["kills"]


@click.command("kills")
@click.option("--kills", "number", default=200, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--seed", type=int, help="Of whom and when; told where it is not given.")
@click.option("--folder", type=FOLDER, metavar="DIR", help="Keep everything here, not what failed alone.")
@click.option("--results", type=NEW_FILE, metavar="FILE", help="Append the report to this, a line of JSON.")
def kills(number: int, seed: int | None, folder: Path | None, results: Path | None) -> None:
    """SIGKILL producers, workers and hosts of the native engine at random moments under load, and judge.

    No confirmed message may be lost, no offset used twice, no order broken. The report is a line of JSON; the exit
    status is 1 if something was violated, and then all is kept.
    """
    if folder is not None and (folder / DIARIES).exists():
        raise click.BadParameter(f"{folder} is that of another run, which would be judged again", param_hint="--folder")
    where = folder or Path(tempfile.mkdtemp(prefix="mqbridge-kills-"))
    chosen = any_seed() if seed is None else seed
    click.echo(f"seed {chosen}", err=True)
    try:
        report = run(number, chosen, where, say=lambda text: click.echo(text, err=True))
    except KeyboardInterrupt:
        click.echo(f"interrupted, so nothing was judged; what was written down is in {where}", err=True)
        raise click.exceptions.Exit(130) from None
    told = asdict(report)
    click.echo(json.dumps(told))
    if results is not None:
        append_line(results, told)
    if report.violations:
        click.echo(f"{len(report.violations)} violations; all is kept in {where}", err=True)
        raise click.exceptions.Exit(1)
    if folder is None:
        shutil.rmtree(where)
