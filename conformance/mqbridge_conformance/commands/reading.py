"""``mqbridge conformance compare``, ``judge`` and ``page``: of runs that were. The rule: nothing is run."""

from __future__ import annotations

from pathlib import Path

import click

from mqbridge_conformance import report as shown
from mqbridge_conformance.checkers import Outcome, judge
from mqbridge_conformance.commands.arguments import NEW_FILE, OLD_FILE
from mqbridge_conformance.history import History, load
from mqbridge_conformance.timelines import timeline
from mqbridge_conformance.timelines.around import around

__all__ = ["compare_command", "judge_command", "page_command", "read"]


@click.command("compare")
@click.argument("first", type=OLD_FILE, metavar="A.json")
@click.argument("second", type=OLD_FILE, metavar="B.json")
def compare_command(first: Path, second: Path) -> None:
    """Show what changed from one run to another, written by `run --json`: of two versions of a broker, or of a library.

    The exit status is 1 if something got worse: a verdict fell, a claim was lowered, a scenario did not run again, or
    a new one is not green.
    """
    found = shown.compare(read(first), read(second))
    click.echo(found.as_text(), nl=False)
    if found.worse:
        raise click.exceptions.Exit(1)


@click.command("judge")
@click.argument("history", type=OLD_FILE, metavar="FILE.jsonl")
def judge_command(history: Path) -> None:
    """Judge a history that was kept, or each of a folder of them, and show each error with its timeline.

    What is legal there is counted. The exit status is 1 if a checker finds an error or cannot tell, and if there is
    nothing in it to look at.
    """
    try:
        kept = _kept(history)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    valid = True
    for path, found in kept.items():
        if len(kept) > 1:
            click.echo(f"{path.name}:")
        valid &= _judged(path, found)
    if not valid:
        raise click.exceptions.Exit(1)


def _kept(path: Path) -> dict[Path, History]:
    """The histories there: what several processes wrote of one run is one, several runs are several."""
    if not path.is_dir():
        return {path: load(path)}
    found = {file: load(file) for file in sorted(path.glob("*.jsonl"))}
    return found if sum(bool(one.header) for one in found.values()) > 1 else {path: load(path)}


def _judged(path: Path, found: History) -> bool:
    """What each checker says, and each error with its timeline; is all of it valid?"""
    judgements = judge(found)
    for judgement in judgements:
        counts = ", ".join(f"{number} {name}" for name, number in {**judgement.looked_at, **judgement.counts}.items())
        reason = f" ({judgement.reason})" if judgement.reason else ""
        click.echo(f"{judgement.outcome.value.ljust(7)}  {judgement.checker}: {counts or 'nothing to look at'}{reason}")
    for finding in (error for judgement in judgements for error in judgement.errors):
        click.echo(f"\n{finding.anomaly} at {finding.where}: {finding.text}")
        click.echo(timeline(finding.witness, around(found, finding)))
    if not any(number for judgement in judgements for number in judgement.looked_at.values()):
        raise click.ClickException(f"{path}: nothing in it was looked at, so it shows nothing")
    return all(judgement.outcome is Outcome.VALID for judgement in judgements)


@click.command("page")
@click.argument("runs", nargs=-1, required=True, type=OLD_FILE, metavar="RUN.json...")
@click.option("--html", "html_to", required=True, type=NEW_FILE, metavar="FILE", help="The page.")
def page_command(runs: tuple[Path, ...], html_to: Path) -> None:
    """Show runs, written by `run --json`, as one page: versions of a broker side by side, for instance."""
    html_to.write_text(shown.page([read(path) for path in runs]), encoding="utf-8")


def read(path: Path) -> shown.Document:
    """The document of a run; a usage error if the file has none."""
    try:
        return shown.read_document(path)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
