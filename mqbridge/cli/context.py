"""What every command has: the URL, the form of output, a bus when it asks, and the base classes of commands.

The rule: ``--url``, ``--output`` and ``-v`` mean the same wherever they stand, before the noun or after the verb.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import mqbridge as mq
from mqbridge.cli.errors import suggest
from mqbridge.cli.output import Format, Output, say

FOLDER = "native:./data"
"""The URL that help and errors show."""
URLS = (FOLDER, "kafka://localhost:9092", "amqp://localhost/")
"""One of each engine."""
EXTRAS = {"kafka": "kafka", "kafkas": "kafka", "amqp": "rabbitmq", "amqps": "rabbitmq"}
"""What an engine needs installed, by the scheme of its URLs."""
NO_URL = f"no URL: say which engine with --url, or set MQBRIDGE_URL; for instance {', '.join(URLS)}"


class Front:
    """One run of the command line."""

    def __init__(self) -> None:
        self.url: str | None = os.environ.get("MQBRIDGE_URL") or None
        self.url_was_typed = False
        self.form: Format | None = None
        self.verbosity = 0
        self.running = "mqbridge"
        """The path of the running command, for errors to name."""

    @property
    def output(self) -> Output:
        return Output(self.form)

    @property
    def program(self) -> str:
        """How to call this front again; a URL that may hold a password is not repeated, nor one of memory, in which
        the next command would find nothing."""
        if self.url and (self.url_was_typed or is_memory(self.url)):
            return program_at(self.url)
        return "mqbridge"

    def need_url(self) -> str:
        if not self.url:
            raise click.UsageError(NO_URL)
        return self.url

    @contextmanager
    def bus(self, url: str | None = None, *, creates: bool = False, sends: bool = False) -> Iterator[mq.Bus]:
        """A connection. Only what makes something (`creates`) makes the folder of a native URL, too: a mistyped path is
        an error, not an empty broker. What makes or `sends` is told if it does so in memory."""
        text = url if url is not None else self.need_url()
        if not creates:
            _check_folder(text)
        if (creates or sends) and is_memory(text):
            say(f"{text} is memory that ends with this command: what it makes or sends is gone; --url {FOLDER} keeps")
        try:
            opened = mq.connect(text)
        except mq.InvalidSpec:
            raise
        except mq.ConfigurationError as error:
            suggest(error, mending(text, error))
            raise
        with opened as bus:
            yield bus

    def be_verbose(self, level: int) -> None:
        self.verbosity = max(self.verbosity, level)
        if self.verbosity:
            logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
            logging.getLogger("mqbridge").setLevel(logging.DEBUG if self.verbosity > 1 else logging.INFO)


def scheme_of(url: str) -> str:
    return url.partition(":")[0].lower()


def mending(url: str, error: mq.ConfigurationError) -> str:
    """What to do about a URL that leads nowhere: install its engine, or write another."""
    extra = EXTRAS.get(scheme_of(url))
    if extra is not None and isinstance(error.__cause__, ModuleNotFoundError):
        return f"pip install '.[{extra}]' in mqbridge's tree"
    return f"mend the URL; one looks like {', '.join(URLS)}"


def is_memory(url: str) -> bool:
    """Is it a native broker without a folder, which ends with this process?"""
    return scheme_of(url) == "native" and native_folder(url) is None


def program_at(url: str) -> str:
    """How to call this front at a URL."""
    if "@" in url or "password" in url:
        return "mqbridge --url URL"
    return f"mqbridge --url {FOLDER if is_memory(url) else url}"


def native_folder(url: str) -> Path | None:
    """The folder of a native URL, or None for memory and for other engines."""
    scheme, _, rest = url.partition(":")
    path = rest.partition("?")[0]
    return Path(path) if scheme.lower() == "native" and path else None


def _check_folder(url: str) -> None:
    folder = native_folder(url)
    if folder is not None and not folder.exists():
        raise mq.NotFound(
            f"there is no folder {folder}, so nothing is stored there. Nothing was made; creating something there, and "
            "`serve`, make the folder.",
            next_command="topic create NAME",
        )


def front(ctx: click.Context | None = None) -> Front:
    """The front of the running command."""
    context = ctx or click.get_current_context()
    found = context.find_object(Front)
    if found is None:
        found = context.find_root().obj = Front()
    return found


def _set_url(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        it = front(ctx)
        it.url, it.url_was_typed = value, True


def _complete_url(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """For a shell: how the URL of each engine begins."""
    return [url for url in URLS if url.startswith(incomplete)]


def _set_output(ctx: click.Context, _param: click.Parameter, value: Format | None) -> None:
    if value is not None:
        front(ctx).form = value


def _set_verbose(ctx: click.Context, _param: click.Parameter, value: int) -> None:
    if value:
        front(ctx).be_verbose(value)


def common_options() -> list[click.Parameter]:
    """The three options that every command takes."""
    return [
        click.Option(
            ["--url"],
            metavar="URL",
            expose_value=False,
            callback=_set_url,
            shell_complete=_complete_url,
            help="Which engine: native:./folder (or native: for memory), kafka://host:9092, amqp://host/vhost  "
            "[default: $MQBRIDGE_URL]",
        ),
        click.Option(
            ["--output", "-o"],
            type=click.Choice(["table", "json", "jsonl"]),
            metavar="FORM",
            expose_value=False,
            callback=_set_output,
            help="Of what goes to stdout: table, json or jsonl  [default: table]",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_set_verbose,
            help="Log to stderr; twice for more.",
        ),
    ]


class Command(click.Command):
    """A verb."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(common_options())

    def invoke(self, ctx: click.Context) -> Any:
        front(ctx).running = ctx.command_path
        return super().invoke(ctx)


class Noun(click.Group):
    """A noun: a group of verbs."""

    command_class = Command


YES = click.option("--yes", is_flag=True, help="Do it. Without this it is a dry run that only says what it would do.")


def dry_run_or(done: bool, what: dict[str, Any]) -> None:
    """Report something destructive: `what` it does, and whether it was done."""
    it = front()
    it.output.item({**what, "applied": done})
    if not done:
        say("Nothing was changed: this was a dry run. Say it again with --yes to do it.")
