"""``mqbridge exchange``: routers and their bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

import mqbridge as mq
from mqbridge.cli.arguments import EXCHANGE, HEADER, DestinationType
from mqbridge.cli.context import YES, Noun, dry_run_or, front
from mqbridge.cli.output import say
from mqbridge.cli.topic import make

if TYPE_CHECKING:
    from mqbridge.spi import ExchangeDescription

TARGET = DestinationType("queue", "exchange")


@click.group(cls=Noun)
def exchange() -> None:
    """Routers: exchanges and bindings."""


@exchange.command()
@click.argument("name", type=EXCHANGE)
@click.option(
    "--type", "kind", type=click.Choice(["direct", "fanout", "topic", "headers"]), default="direct", show_default=True
)
@click.option("--alternate", type=EXCHANGE, help="Takes what no binding matches.")
def create(name: mq.Exchange, kind: Any, alternate: mq.Exchange | None) -> None:
    """Create an exchange.

    It is no error if it is there already, and as specified.
    """
    specified = mq.Exchange(name.name, type=kind, alternate=alternate)
    with front().bus(creates=True) as bus:
        created = make(bus, specified)
    front().output.item(
        {
            "exchange": specified.name,
            "type": kind,
            "alternate": None if alternate is None else alternate.name,
            "created": created,
        }
    )


@exchange.command(name="list")
def list_() -> None:
    """All exchanges."""
    with front().bus() as bus:
        found = sorted(bus.admin.list_exchanges(), key=lambda one: one.name)
        rows = [
            (item.name, item.type, None if item.alternate is None else item.alternate.name, len(_bindings(bus, item)))
            for item in found
        ]
    columns = ("exchange", "type", "alternate", "bindings")
    front().output.rows(columns, rows, empty=f"no exchanges yet; make one: {front().program} exchange create NAME")


def _bindings(bus: mq.Bus, name: mq.Exchange) -> tuple[mq.Binding, ...]:
    return cast("ExchangeDescription", bus.admin.describe(name)).bindings


@exchange.command()
@click.argument("name", type=EXCHANGE)
def describe(name: mq.Exchange) -> None:
    """An exchange and what is bound to it."""
    with front().bus() as bus:
        described = cast("ExchangeDescription", bus.admin.describe(name))
    found = described.exchange
    columns = ("destination", "key", "headers", "match")
    rows = [
        (str(item.destination), item.key, dict(item.headers or {}), item.match if item.headers else None)
        for item in described.bindings
    ]
    front().output.item(
        {
            "exchange": found.name,
            "type": found.type,
            "alternate": None if found.alternate is None else found.alternate.name,
        },
        bindings=(columns, rows),
    )


def _binding_options(fn: Any) -> Any:
    for option in (
        click.option(
            "--match",
            type=click.Choice(["all", "any", "all-with-x", "any-with-x"]),
            default="all",
            help="For a headers exchange: must all headers match, or any?",
        ),
        click.option(
            "--header", "headers", type=HEADER, multiple=True, help="For a headers exchange: name=value; repeatable."
        ),
        click.option("--key", default="", help="The binding key; in a topic exchange with * and #."),
        click.argument("destination", type=TARGET),
        click.argument("name", type=EXCHANGE),
    ):
        fn = option(fn)
    return fn


def _binding(
    name: mq.Exchange,
    destination: mq.Queue[bytes] | mq.Exchange,
    key: str,
    headers: tuple[tuple[str, bytes], ...],
    match: Any,
) -> mq.Binding:
    try:
        wanted = {header: value.decode() for header, value in headers}
    except UnicodeDecodeError:
        raise click.UsageError("a binding's header must be text") from None
    return mq.Binding(name, destination, key=key, headers=wanted or None, match=match)


@exchange.command()
@_binding_options
def bind(
    name: mq.Exchange,
    destination: mq.Queue[bytes] | mq.Exchange,
    key: str,
    headers: tuple[tuple[str, bytes], ...],
    match: Any,
) -> None:
    """Carry messages from exchange NAME to queue:Q or exchange:E."""
    with front().bus() as bus:
        bus.admin.bind(_binding(name, destination, key, headers, match))
    say(f"bound {destination} to {name}")


@exchange.command()
@_binding_options
def unbind(
    name: mq.Exchange,
    destination: mq.Queue[bytes] | mq.Exchange,
    key: str,
    headers: tuple[tuple[str, bytes], ...],
    match: Any,
) -> None:
    """Remove a binding, named by what was said when it was made."""
    binding = _binding(name, destination, key, headers, match)
    with front().bus() as bus:
        there = binding in _bindings(bus, name)
        bus.admin.unbind(binding)
    say(f"unbound {destination} from {name}" if there else f"there was no such binding of {destination} to {name}")


@exchange.command()
@click.argument("name", type=EXCHANGE)
@YES
def delete(name: mq.Exchange, yes: bool) -> None:
    """Delete an exchange and its bindings. A dry run without --yes."""
    with front().bus() as bus:
        bindings = len(_bindings(bus, name))
        if yes:
            bus.admin.delete(name)
    dry_run_or(yes, {"action": "delete", "destination": str(name), "bindings": bindings})
