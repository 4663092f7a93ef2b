"""The command ``mqbridge demo``: arguments, signals, exit status.

The rule of this room: 0 the outcome was checked and is right, 1 it is not or the run broke off, 2 the call was wrong
and nothing was begun, 128 + N ended by signal N. Whatever the end, the screen is left clean.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import mqbridge as mq
from mqbridge.demo.orders import Feed, generate, read_feed
from mqbridge.demo.report import as_json, checks_only, render
from mqbridge.demo.scenario import Demo, check_again
from mqbridge.demo.screen import Glyphs, clean, colours, open_screen

DESCRIPTION = """\
The order service of the documents, twice: synchronous (an order waits for payment, inventory, e-mail, SMS and
analytics, about 1000 ms) and asynchronous (it is saved and published, about 55 ms, and worker processes do the rest).
One payment worker is killed with SIGKILL at the worst moment, one order is poison. The outcome is checked from outside
the workers."""
MAX_ORDERS = 5000


class _Ended(BaseException):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mqbridge demo", description=DESCRIPTION)
    add = parser.add_argument
    add(
        "url",
        nargs="?",
        metavar="URL",
        help="an engine to run on: native:FOLDER, kafka://localhost:9092, amqp://localhost/; default: native, in a "
        "temporary folder (MQBRIDGE_URL is not used)",
    )
    add(
        "--input",
        metavar="FILE",
        help="events instead of made-up orders: JSON lines or any text, '-' for standard input",
    )
    add(
        "--max",
        type=_count,
        default=MAX_ORDERS,
        metavar="N",
        help="events taken from FILE at most (default %(default)s)",
    )
    add("--orders", type=_count, default=40, metavar="N", help="made-up orders (default %(default)s)")
    add(
        "--shape",
        choices=("topic", "queue"),
        help="a topic with groups, or queues behind a fanout exchange; default: what the engine has of its own",
    )
    add("--scale", type=_scale, default=1.0, metavar="F", help="multiply all stated times, 0.1 to 1 (default 1)")
    add("--json", action="store_true", help="the report as JSON on standard output")
    add("--keep", action="store_true", help="keep the folder of the run and say where it is")
    add(
        "--check",
        metavar="FOLDER",
        type=Path,
        help="run nothing: check a kept run once more (with its URL, if it had one)",
    )
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError(f"{number} is not from 1 to 100000")
    return number


def _scale(text: str) -> float:
    number = float(text)
    if not 0.1 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f"{number:g} is not from 0.1 to 1")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status. `argv` is without the program's name; None is the process's own."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 2
    try:
        with _signals():
            return _check(options) if options.check is not None else _run(options)
    except _Ended as end:
        print(f"mqbridge demo: ended by {signal.Signals(end.number).name}; its workers are gone", file=sys.stderr)
        return 128 + end.number
    except (mq.ConfigurationError, mq.Unsupported) as error:
        return _refuse(error, 2)
    except (mq.MqbridgeError, OSError) as error:
        return _refuse(error, 1)


def _refuse(error: Exception, status: int) -> int:
    print(Glyphs(sys.stderr).fit(f"mqbridge demo: {clean(str(error))}"), file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(Glyphs(sys.stderr).fit(f"  {clean(note)}"), file=sys.stderr)
    return status


def _run(options: argparse.Namespace) -> int:
    url: str | None = options.url
    if url is not None and (url == "native:" or url.startswith("native:?")):
        raise mq.ConfigurationError(
            f"{url} is in the memory of one process, and the demo's workers are processes of their own. Nothing was "
            "begun; give native:FOLDER, or no URL for a temporary folder."
        )
    feed = _feed(options)
    with open_screen() as screen:
        result = Demo(url, options.shape, feed, options.scale, options.keep, screen).run()
    text = as_json(result) if options.json else render(result, Glyphs(sys.stdout), colours(sys.stdout))
    _write(text)
    return 0 if result.ok else 1


def _check(options: argparse.Namespace) -> int:
    result = check_again(options.check, options.url)
    _write(as_json(result) if options.json else checks_only(result, Glyphs(sys.stdout), colours(sys.stdout)))
    return 0 if result.ok else 1


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _feed(options: argparse.Namespace) -> Feed:
    if options.input is None:
        return Feed(generate(options.orders))
    try:
        if options.input == "-":
            feed = read_feed(sys.stdin.buffer, "standard input", options.max)
        else:
            with open(options.input, "rb") as file:
                feed = read_feed(file, options.input, options.max)
    except OSError as error:
        raise mq.ConfigurationError(f"cannot read the events: {error}. Nothing was begun.") from error
    if not any(event.cents is not None for event in feed.events):
        raise mq.ConfigurationError(
            f"{feed.source} holds no event that can be charged ({len(feed.events)} lines looked at). Nothing was "
            'begun; a line is a JSON object, with a price in "amount" if it has one, or any text.'
        )
    return feed


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the run in order; a second one does not disturb the cleaning up."""

    def end(number: int, _frame: FrameType | None) -> None:
        for other in chosen:
            signal.signal(other, signal.SIG_IGN)
        raise _Ended(number)

    asked = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    chosen = [number for number in asked if signal.getsignal(number) is not signal.SIG_IGN]  # nohup stays nohup
    before = {number: signal.signal(number, end) for number in chosen}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
