"""``mqbridge conformance restarts``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from mqbridge_conformance.brokers.provided import ENGINES
from mqbridge_conformance.commands.arguments import NEW_FILE
from mqbridge_conformance.places import append_line
from mqbridge_conformance.restarts.running import run

__all__ = ["restarts"]


@click.command("restarts")
@click.argument("engine", type=click.Choice(ENGINES))
@click.option("--times", default=5, show_default=True, type=click.IntRange(min=1), help="How often it is stopped.")
@click.option(
    "--how", default="restart", show_default=True, type=click.Choice(["restart", "kill"]), help="In order, or SIGKILL."
)
@click.option("--results", type=NEW_FILE, metavar="FILE", help="Append the report to this, a line of JSON.")
def restarts(engine: str, times: int, how: str, results: Path | None) -> None:
    """Stop the broker of ENGINE, a container, under traffic, again and again, while nobody helps its clients.

    All of them must go on by themselves, and nothing confirmed may be lost. The report is a line of JSON; the exit
    status is 1 if something was violated.
    """
    report = run(engine, times, how)
    told = asdict(report)
    click.echo(json.dumps(told))
    if results is not None:
        append_line(results, told)
    if report.violations:
        raise click.exceptions.Exit(1)
