"""``mqbridge conformance``: the suite on the command line, found by the entry point ``mqbridge.commands``.

The rule: a command is imported when it is called or its help is shown, so that none of them waits for what another
needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, cast

import click

from mqbridge_conformance.results import CannotTell

__all__ = ["conformance"]

_PACKAGE: Final = "mqbridge_conformance"
_COMMANDS: Final = {
    "list": "commands.running:list_scenarios",
    "run": "commands.running:run_command",
    "table": "commands.running:table_command",
    "compare": "commands.reading:compare_command",
    "page": "commands.reading:page_command",
    "judge": "commands.reading:judge_command",
    "saboteurs": "saboteurs.command:teeth",
    "proofs": "proofs.command:proofs",
    "differential": "differential.command:differential",
    "restarts": "restarts.command:restarts",
    "kills": "kills.command:kills",
}


class _Unreachable(click.ClickException):
    """A broker cannot be had; the exit status that `mqbridge` has for it."""

    exit_code = 4


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = _COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, name = where.partition(":")
        return cast(click.Command, getattr(import_module(f"{_PACKAGE}.{module}"), name))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CannotTell as error:
            raise _Unreachable(str(error)) from error


@click.group("conformance", cls=_Commands)
def conformance() -> None:
    """Run the conformance scenarios against an engine, look at runs that were, and prove that the suite bites."""
