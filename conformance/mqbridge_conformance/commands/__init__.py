"""``mqbridge conformance``: the suite on the command line, found by the entry point ``mqbridge.commands``.

The rule: a command is imported when it is called, so that none of them waits for what another needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, cast

import click

from mqbridge_conformance.results import CannotTell

__all__ = ["conformance"]

_PACKAGE: Final = "mqbridge_conformance"
_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "list": ("commands.running:list_scenarios", "show the scenarios"),
    "run": ("commands.running:run_command", "run them on a target, and report"),
    "table": ("commands.running:table_command", "capability by engine, as Markdown"),
    "compare": ("commands.reading:compare_command", "what changed between two runs"),
    "page": ("commands.reading:page_command", "several runs as one page"),
    "judge": ("commands.reading:judge_command", "judge a history that was kept"),
    "saboteurs": ("saboteurs.command:teeth", "break the engine on purpose: is it found?"),
    "proofs": ("proofs.command:proofs", "configure brokers badly on purpose: is it found?"),
    "differential": ("differential.command:differential", "the same script on two engines"),
    "restarts": ("restarts.command:restarts", "stop a broker under traffic"),
    "kills": ("kills.command:kills", "SIGKILL hosts and workers of the native engine"),
}


class _Unreachable(click.ClickException):
    """A broker cannot be had; the exit status that `mqbridge` has for it."""

    exit_code = 4


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """In a line each, and none is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, what) in _COMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        return cast(click.Command, getattr(import_module(f"{_PACKAGE}.{module}"), name))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CannotTell as error:
            raise _Unreachable(str(error)) from error


@click.group("conformance", cls=_Commands)
def conformance() -> None:
    """Run the conformance scenarios against an engine, look at runs that were, and prove that the suite bites."""
