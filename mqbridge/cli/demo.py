"""``mqbridge demo``: the demonstration in mqbridge.demo, which needs nothing installed."""

from __future__ import annotations

import click


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="An order service, run and checked; needs nothing installed.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Run the demonstration; ARGUMENTS are its own."""
    from mqbridge.demo import main

    raise click.exceptions.Exit(main(list(arguments)))
