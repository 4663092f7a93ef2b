"""``mqbridge conformance list``, ``run`` and ``table``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from mqbridge import Capability
from mqbridge_conformance import report as shown
from mqbridge_conformance import scenarios
from mqbridge_conformance.beside import beside
from mqbridge_conformance.commands.arguments import DURATION, FOLDER, NEW_FILE, OLD_FILE, TARGET, only_scenarios
from mqbridge_conformance.commands.reading import read
from mqbridge_conformance.opening import check_environment
from mqbridge_conformance.places import check_file
from mqbridge_conformance.results import Report, ScenarioResult
from mqbridge_conformance.runner import PATIENCE_S, any_seed, leave_out
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.soaking import Enough, soak
from mqbridge_conformance.targets import Target, targets_for

__all__ = ["list_scenarios", "run_command", "table_command"]

STDOUT: Final = "-"


@click.command("list", help="Show the scenarios.")
def list_scenarios() -> None:
    """One line a scenario."""
    width = max(len(scenario.name) for scenario in scenarios.ALL)
    for scenario in scenarios.ALL:
        click.echo(f"{scenario.name.ljust(width)}  {scenario.level.ljust(5)}  {scenario.title}")


@click.command("run")
@click.argument("target", nargs=-1, type=TARGET, metavar="[TARGET]...")
@click.option(
    "--level",
    default="quick",
    show_default=True,
    type=click.Choice(["quick", "full", "soak"]),
    help="Those that are quick; all of them; or all of them again and again, until one is not green or it is enough.",
)
@click.option("--rounds", type=click.IntRange(min=1), help="With --level soak: so many rounds are enough.")
@click.option("--minutes", type=DURATION, help="With --level soak: so many are enough.")
@only_scenarios
@click.option("--seed", type=int, help="For all chance in a run; told where it is not given. Later rounds count on.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(min=1), help="Runs of each; all count.")
@click.option(
    "--patience", default=PATIENCE_S, show_default=True, type=DURATION, help="Seconds to wait for what must happen."
)
@click.option(
    "--history", type=FOLDER, metavar="DIR", help="Keep the history of every run here, not of failures alone."
)
@click.option(
    "--json", "json_to", is_flag=False, flag_value=STDOUT, metavar="[FILE]", help="All of it as JSON; alone: to stdout."
)
@click.option("--html", "html_to", type=NEW_FILE, metavar="FILE", help="A page to look at.")
@click.option("--junit", "junit_to", type=NEW_FILE, metavar="FILE", help="JUnit XML, for CI servers.")
@click.option("--markdown", is_flag=True, help="The matrix as Markdown.")
def run_command(
    target: tuple[str, ...],
    level: str,
    rounds: int | None,
    minutes: float | None,
    names: tuple[str, ...],
    seed: int | None,
    repeat: int,
    patience: float,
    history: Path | None,
    json_to: str | None,
    html_to: Path | None,
    junit_to: Path | None,
    markdown: bool,
) -> None:
    """Run the scenarios on each TARGET and show the matrix.

    TARGET is a URL, or memory, folder or client (three arrangements of the native engine), or native: all three,
    which is the default; or kafka or rabbitmq: a container, started for this run, or kafka-cluster or rabbitmq-cluster:
    three. Engines run beside each other.
    The exit status is 0 if every result is green, 1 if one is FAIL or UNKNOWN.
    """
    if json_to not in (None, STDOUT):
        _check_json(str(json_to))
    _check_environment()
    enough = _enough(level, rounds, minutes, repeat)
    targets, chosen = _targets(target), _chosen(names, level)
    report = Report(level=level, seed=any_seed() if seed is None else seed)
    interrupted, tell = False, _Teller()
    try:
        if enough:
            soak(report, targets, chosen, enough, keep=history, patience_s=patience, tell=tell, tell_round=_round)
        else:
            _tell_seed(report)
            for result in beside(report, targets, chosen, repeat=repeat, keep=history, patience_s=patience):
                tell(result)
    except KeyboardInterrupt:
        interrupted = True
        for one in targets:
            for scenario in chosen:
                leave_out(report, one, scenario, "interrupted")
        click.echo("interrupted: what follows is what there was until then", err=True)
    _write(report, json_to, html_to, junit_to)
    if json_to != STDOUT:
        click.echo(shown.as_markdown(report) if markdown else shown.as_text(report))
    if interrupted:
        raise click.exceptions.Exit(130)
    _end(report)


def _enough(level: str, rounds: int | None, minutes: float | None, repeat: int) -> Enough | None:
    """How long to soak; None for one round."""
    if level != "soak":
        if rounds or minutes:
            raise click.UsageError("--rounds and --minutes are for --level soak")
        return None
    if not rounds and not minutes:
        raise click.UsageError("--level soak runs as long as it is asked to: give --rounds or --minutes")
    if repeat != 1:
        raise click.UsageError("--level soak repeats by rounds: give --rounds in place of --repeat")
    return Enough(rounds, minutes and minutes * 60)


def _check_environment() -> None:
    try:
        check_environment()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _check_json(json_to: str) -> None:
    """`--json memory` is a mistake that would otherwise run on another target and write a file of that name."""
    try:
        meant = bool(targets_for(json_to))
    except ValueError:
        meant = False
    if meant:
        raise click.BadParameter(f"{json_to!r} is a target: put --json last, or say --json=FILE", param_hint="--json")
    try:
        check_file(Path(json_to))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--json") from error


def _write(report: Report, json_to: str | None, html_to: Path | None, junit_to: Path | None) -> None:
    document = shown.document(report)
    if json_to == STDOUT:
        click.echo(shown.to_json(document), nl=False)
    elif json_to:
        Path(json_to).write_text(shown.to_json(document), encoding="utf-8")
    if html_to:
        html_to.write_text(shown.page([document]), encoding="utf-8")
    if junit_to:
        junit_to.write_text(shown.junit_xml(document), encoding="utf-8")


@click.command("table")
@click.argument("target", nargs=-1, type=TARGET, metavar="[TARGET]...")
@click.option("--slice", "only", is_flag=True, help="Only the rows that the top of a README has room for.")
@click.option(
    "--of", "runs_of", type=OLD_FILE, multiple=True, metavar="RUN.json",
    help="Of a run that was, several of several; nothing is run.",
)  # fmt: skip
def table_command(target: tuple[str, ...], only: bool, runs_of: tuple[Path, ...]) -> None:
    """Run all scenarios on each TARGET, as `run --level full` does, and show capability by engine as Markdown.

    What is claimed comes from the engine, what is shown from the run. The exit status is that of `run`.
    """
    if runs_of and target:
        raise click.UsageError("--of shows a run that was; give it without a TARGET")
    if runs_of:
        runs = [read(path) for path in runs_of]
    else:
        _check_environment()
        report, tell = Report(level="full", seed=any_seed()), _Teller()
        for result in beside(report, _targets(target), scenarios.ALL):
            tell(result)
        runs = [shown.document(report)]
    click.echo(shown.capability_table(runs, shown.SLICE if only else tuple(Capability)))
    if not all(run["run"]["green"] for run in runs):
        raise click.exceptions.Exit(1)


def _chosen(names: tuple[str, ...], level: str) -> list[Scenario]:
    """Those that are named, else those of the level."""
    known = {scenario.name: scenario for scenario in scenarios.ALL}
    return [known[name] for name in names] or scenarios.at_level(level)


def _targets(texts: tuple[str, ...]) -> list[Target]:
    """Each once, however often it is named."""
    found = [target for text in texts or ("native",) for target in targets_for(text)]
    return list({target.name: target for target in found}.values())


class _Teller:
    """What is under way, to whoever watches; not part of the output. What a target did not begin is told once."""

    def __init__(self) -> None:
        self._unusable: set[str] = set()

    def __call__(self, result: ScenarioResult) -> None:
        if result.began:
            click.echo(f"{result.target}: {result.scenario}: {result.verdict} in {result.seconds:.1f} s", err=True)
        elif result.target not in self._unusable:
            self._unusable.add(result.target)
            click.echo(f"{result.target}: {result.reason}", err=True)


def _tell_seed(report: Report) -> None:
    click.echo(f"seed {report.seed}", err=True)


def _round(number: int, seed: int) -> None:
    click.echo(f"round {number}, seed {seed}", err=True)


def _end(report: Report) -> None:
    if not report.green:
        raise click.exceptions.Exit(1)
