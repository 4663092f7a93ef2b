"""``mqbridge conformance``: the suite on the command line, found by the entry point ``mqbridge.commands``."""

from __future__ import annotations

import click

from mqbridge import Capability
from mqbridge_conformance import matrix
from mqbridge_conformance.results import Report, ScenarioResult
from mqbridge_conformance.runner import PATIENCE_S, run
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import Target, targets_for

__all__ = ["conformance"]


@click.group(help="Run the conformance scenarios against an engine.")
def conformance() -> None:
    """The group; its commands are below."""


@conformance.command("list", help="Show the scenarios.")
def list_scenarios() -> None:
    """One line a scenario."""
    width = max(len(scenario.name) for scenario in ALL)
    for scenario in ALL:
        click.echo(f"{scenario.name.ljust(width)}  {scenario.title}")


@conformance.command("run")
@click.argument("target", nargs=-1, metavar="[TARGET]...")
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="Only this one; may be given several times.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(min=1), help="Runs of each; all count.")
@click.option("--patience", default=PATIENCE_S, show_default=True, help="Seconds to wait for what must happen.")
@click.option("--json", "shape", flag_value="json", help="Every run with its evidence, as JSON.")
@click.option("--markdown", "shape", flag_value="markdown", help="The matrix as Markdown.")
def run_command(
    target: tuple[str, ...], names: tuple[str, ...], repeat: int, patience: float, shape: str | None
) -> None:
    """Run the scenarios on each TARGET and show the matrix.

    TARGET is a URL, or memory, folder or client (three arrangements of the native engine), or native: all three,
    which is the default; or kafka or rabbitmq: a container, started for this run. The exit
    status is 0 if every result is green, 1 if one is FAIL or UNKNOWN.
    """
    chosen = _chosen(names)
    report = run(_targets(target), chosen, repeat=repeat, patience_s=patience, tell=_tell)
    shown = {"json": matrix.as_json, "markdown": matrix.as_markdown}.get(shape or "", matrix.as_text)
    click.echo(shown(report))
    _end(report)


@conformance.command("table")
@click.argument("target", nargs=-1, metavar="[TARGET]...")
@click.option("--slice", "only", is_flag=True, help="Only the rows that the top of a README has room for.")
def table_command(target: tuple[str, ...], only: bool) -> None:
    """Run all scenarios on each TARGET, as `run` does, and show capability by engine as Markdown.

    What is claimed comes from the engine, what is shown from this run. The exit status is that of `run`.
    """
    report = run(_targets(target), ALL, tell=_tell)
    click.echo(matrix.capability_table(report, matrix.SLICE if only else tuple(Capability)))
    _end(report)


def _chosen(names: tuple[str, ...]) -> list[Scenario]:
    known = {scenario.name: scenario for scenario in ALL}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(
            f"there is no scenario {unknown[0]!r}; there are {', '.join(known)}", param_hint="--scenario"
        )
    return [known[name] for name in names] or list(ALL)


def _targets(texts: tuple[str, ...]) -> list[Target]:
    try:
        return [target for text in texts or ("native",) for target in targets_for(text)]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from error


def _tell(result: ScenarioResult) -> None:
    """What is under way, to whoever watches; not part of the output."""
    click.echo(f"{result.target}: {result.scenario}: {result.verdict} in {result.seconds:.1f} s", err=True)


def _end(report: Report) -> None:
    if not report.green:
        raise click.exceptions.Exit(1)
