"""The front: finds commands, runs one, and turns its end into an exit code.

The rule: what somebody else registered (entry points of the group ``mqbridge.commands``) is loaded when it is called,
so that a broken one can only break itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

import mqbridge as mq
from mqbridge.cli import copying, demo, doctor, exchange, group, messages, queue, serve, topic
from mqbridge.cli.context import Front, common_options, front
from mqbridge.cli.errors import EXIT_CODES, FAILED, INTERRUPTED, OK, USAGE, report
from mqbridge.cli.output import say

COMMANDS = "mqbridge.commands"
"""The group of entry points by which other packages add commands."""


class Foreign(click.Command):
    """A command of another package, not loaded yet."""

    def __init__(self, point: EntryPoint) -> None:
        package = point.value.partition(":")[0].partition(".")[0]
        super().__init__(point.name, short_help=f"(of the package {package})", add_help_option=False)
        self.point = point

    def load(self) -> click.Command:
        try:
            found = self.point.load()
        except Exception as error:  # noqa: BLE001 - another package's code: whatever it raises, only this command fails
            why = f"{type(error).__name__}: {error}"
            say(f"error: the command {self.name!r} ({self.point.value}) cannot be loaded: {why}")
            say("try:   install or mend the package it comes from; all other commands work")
            raise click.exceptions.Exit(FAILED) from None
        if not isinstance(found, click.Command):
            say(f"error: {self.point.value}, registered as the command {self.name!r}, is no click command")
            say("try:   mend the package it comes from; all other commands work")
            raise click.exceptions.Exit(FAILED)
        return found


class FrontGroup(click.Group):
    """The command `mqbridge`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *(name for name in sorted(_foreign()) if name not in self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        point = _foreign().get(cmd_name)
        return None if point is None else Foreign(point)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Foreign) else command, rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except mq.MqbridgeError as error:
            raise click.exceptions.Exit(report(error, front(ctx).program, front(ctx).running)) from None
        except BrokenPipeError:
            close_quietly()
            raise click.exceptions.Exit(OK) from None
        except (KeyboardInterrupt, EOFError):
            say("interrupted")
            raise click.exceptions.Exit(INTERRUPTED) from None
        except OSError as error:
            say(f"error: {error}")
            raise click.exceptions.Exit(FAILED) from None
        return result


def _foreign() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=COMMANDS)}


def close_quietly() -> None:
    """Whoever read stdout is gone: what Python still flushes at its end must not be an error."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, number)
    os.close(devnull)


@click.group(
    "mqbridge",
    cls=FrontGroup,
    params=common_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=EXIT_CODES,
)
@click.version_option(mq.__version__, message="mqbridge %(version)s")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Topics, queues and exchanges: on the native engine, on Kafka, on RabbitMQ.

    The URL says where, and every command is the same there: native:./data is a folder on this machine and needs no
    server, kafka://localhost:9092 needs the extra kafka, amqp://localhost/ the extra rabbitmq. What an engine cannot do
    is refused before anything is done (exit code 5); `mqbridge doctor URL` tells what is there.

    Data goes to stdout, narration to stderr. What destroys (delete, purge, reset, redrive, delete-records) is a dry run
    unless --yes is given. NO_COLOR is honoured. Completion for bash: eval "$(_MQBRIDGE_COMPLETE=bash_source mqbridge)".
    """
    front(ctx)


for _command in (
    topic.topic,
    queue.queue,
    exchange.exchange,
    group.group,
    messages.produce,
    messages.consume,
    copying.copy,
    copying.digest,
    serve.serve,
    doctor.doctor,
    demo.demo,
):
    command.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code."""
    try:
        command.main(args=list(arguments), prog_name="mqbridge", obj=Front())
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    return OK
