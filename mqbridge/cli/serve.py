"""``mqbridge serve``: a host that stays."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

import click

import mqbridge.serving
from mqbridge.cli.context import Command, front
from mqbridge.cli.output import say


@click.command(cls=Command, short_help="Host a native folder until a signal.")
@click.argument("folder", required=False)
def serve(folder: str | None) -> None:
    """Host a native FOLDER (or the --url) until SIGINT or SIGTERM.

    Without it, whichever program opens a folder first hosts it, and another takes over when that one ends. While
    another process hosts, this one stands by.
    """
    if folder is None:
        url = front().need_url()
    else:
        url = folder if folder.startswith("native:") or "://" in folder else f"native:{folder}"
    stop = threading.Event()

    def end(number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        say(f"{signal.Signals(number).name}: closing")
        stop.set()

    def ready(facts: Mapping[str, Any]) -> None:
        front().output.item(facts)
        sys.stdout.flush()
        say("hosting; Ctrl-C ends it" if facts.get("role") == "host" else "another process hosts it; standing by")

    def changed(state: str, reason: str) -> None:
        say(f"{state}: {reason}")

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        mqbridge.serving.serve(url, stop, ready, on_state=changed)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    say("closed")
