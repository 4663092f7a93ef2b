"""``mqbridge produce`` and ``mqbridge consume``: messages as lines.

The rule: what is reported as sent is confirmed, and what is settled has been written out and flushed.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click

import mqbridge as mq
from mqbridge.cli import records
from mqbridge.cli.arguments import DESTINATION, DURATION, ESCAPED, HEADER, MOMENT, DestinationType, Moment
from mqbridge.cli.context import Command, front
from mqbridge.cli.errors import FAILED, INTERRUPTED, named_queue
from mqbridge.cli.output import counted, on_terminal, printable, say
from mqbridge.cli.reading import GroupReader, QueueReader, Reader, TopicReader
from mqbridge.cli.records import Record, RecordError
from mqbridge.cli.stopping import Stop, stopping

if TYPE_CHECKING:
    Destination = mq.Topic[bytes] | mq.Queue[bytes] | mq.Exchange

WINDOW = 10_000
"""Sends whose end is not looked at yet."""
SHOWN = 5
QUEUE_BATCH = 100
"""Messages of a queue that are printed and acked together."""
SOURCE = DestinationType("topic", "queue")
EARLIEST = Moment("earliest", "earliest")
_HEADING = f"{'time':<24} {'place':>14}  {'key':<20} value\n".encode()


# --- produce


class Sending:
    """Lines on their way: counts what is confirmed, and stops at the first failure that it sees."""

    def __init__(self, producer: mq.Producer, destination: Destination) -> None:
        self._send = producer.send
        self._destination = destination
        self._window: deque[tuple[int, mq.Receipt]] = deque()
        self.confirmed = 0
        self.failures: list[tuple[int, Exception]] = []

    def send(self, number: int, record: Record, routing_key: str) -> None:
        receipt = self._send(
            self._destination,
            record.value,
            key=record.key,
            headers=record.headers or None,
            routing_key=record.routing_key or routing_key,
            timestamp=record.timestamp,
            message_id=record.message_id,
        )
        self._window.append((number, receipt))
        if len(self._window) >= WINDOW:
            self.look(WINDOW // 2)

    def look(self, count: int | None = None) -> None:
        """Wait for the end of the `count` oldest sends, or of all."""
        for _ in range(len(self._window) if count is None else count):
            number, receipt = self._window.popleft()
            error = receipt.exception()
            if error is None:
                self.confirmed += 1
            else:
                self.failures.append((number, error))

    def pending_failed(self) -> bool:
        """Has one of the sends that ended failed? Looks without waiting."""
        while self._window and self._window[0][1].done:
            self.look(1)
        return bool(self.failures)


@click.command(cls=Command, short_help="Send the lines of stdin to a topic, queue or exchange.")
@click.argument("destination", type=DESTINATION)
@click.option("--key", help="The key of all messages.")
@click.option("--key-separator", type=ESCAPED, help=r"A line is KEY, this, VALUE; for instance '\t'.")
@click.option("--header", "headers", type=HEADER, multiple=True, help="A header of all messages; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="A line is an object, as `consume --output jsonl` writes it.")
@click.option("--routing-key", default="", help="For an exchange.")
def produce(
    destination: Destination,
    key: str | None,
    key_separator: bytes | None,
    headers: tuple[tuple[str, bytes], ...],
    as_json: bool,
    routing_key: str,
) -> None:
    """Send the lines of stdin to DESTINATION (topic:orders, queue:emails, exchange:events), a message a line.

    A line is bytes up to its line break, of any encoding; an empty one is an empty message. With --json a line is
    {"value": ..., "key": ..., "headers": {...}, "timestamp_ms": ..., "message_id": ...}, where value and key are text,
    {"base64": "..."} or null. How many were confirmed is said on stderr; reading stops at the first failure.
    """
    if as_json and (key is not None or key_separator is not None):
        raise click.UsageError('with --json the key is in the line: {"key": ...}')
    if key is not None and key_separator is not None:
        raise click.UsageError("--key and --key-separator contradict each other")
    keyless = 0
    whole_key = None if key is None else key.encode(errors="surrogateescape")

    def parse(line: bytes) -> Record:
        nonlocal keyless
        line = line[:-1] if line[-1:] == b"\n" else line
        if as_json:
            record = records.from_line(line)
            return record._replace(headers=record.headers + headers) if headers else record
        if key_separator is not None:
            before, separator, value = line.partition(key_separator)
            if separator:
                return Record(value, before, headers)
            keyless += 1
            return Record(line, None, headers)
        return Record(line, whole_key, headers)

    with stopping() as stop, front().bus(sends=True) as bus, bus.producer() as producer:
        sending = Sending(producer, destination)
        try:
            _send_lines(_stdin(), parse, sending, routing_key, stop)
        finally:
            sending.look()
            say(f"{counted(sending.confirmed, 'message')} confirmed by {destination}")
            if keyless and key_separator is not None:
                shown = key_separator.decode(errors="backslashreplace")
                say(f"{counted(keyless, 'line')} had no separator {shown!r} and so no key: all of it is the value")
    if sending.failures:
        _report_failures(sending)
    if stop.is_set():
        raise click.exceptions.Exit(INTERRUPTED)


def _stdin() -> BinaryIO:
    if sys.stdin.isatty():
        say("reading lines from the terminal; Ctrl-D ends it")
    return sys.stdin.buffer


def _send_lines(
    lines: BinaryIO, parse: Callable[[bytes], Record], sending: Sending, routing_key: str, stop: Stop
) -> None:
    number = 0
    readline = lines.readline
    while not stop.is_set():
        try:
            stop.may_block()
            line = readline()
        except KeyboardInterrupt:
            return
        finally:
            stop.blocked = False
        if not line:
            return
        number += 1
        try:
            sending.send(number, parse(line), routing_key)
        except RecordError as error:
            sending.failures.append((number, error))
        except (mq.InvalidSpec, mq.Rejected, mq.OperationTimeout) as error:
            sending.failures.append((number, error))
        if sending.failures or (number & 255 == 0 and sending.pending_failed()):
            return


def _report_failures(sending: Sending) -> NoReturn:
    unknown = sum(1 for _, error in sending.failures if getattr(error, "outcome", "") == "unknown")
    outcome = f", {unknown} of them may have been applied" if unknown else ", not applied"
    sending.failures.sort(key=lambda pair: pair[0])
    say(f"error: {counted(len(sending.failures), 'line')} failed{outcome}; what follows them was not read")
    for number, error in sending.failures[:SHOWN]:
        say(f"  line {number}: {error}")
    first, error = sending.failures[0]
    say(f"try:   {_mending(error, first)}, and send again from there on (tail -n +{first})")
    raise click.exceptions.Exit(FAILED)


def _mending(error: Exception, line: int) -> str:
    """What to do before line `line` is sent again: only some failures are the line's fault."""
    if isinstance(error, RecordError | mq.InvalidSpec):
        return f"mend line {line}"
    full = named_queue(error) if isinstance(error, mq.Rejected) and " is full" in str(error) else None
    if full is not None:
        return f"make room (for instance {front().program} consume queue:{full} --max 100)"
    return f"mend what line {line} failed for"


# --- consume


class Printer:
    """Writes deliveries to stdout in the chosen form; what `write` has returned for is out of our hands."""

    def __init__(self, form: str | None, key_separator: bytes | None, stop: Stop) -> None:
        self._out = sys.stdout.buffer
        self._stop = stop
        self._separator = key_separator
        self._line: Callable[[mq.Delivery[bytes]], bytes] = {
            None: self._shown if on_terminal() else self._text,
            "jsonl": self._json,
            "json": self._json,
            "table": self._row,
        }[form]
        self._array = form == "json"
        self._heading = _HEADING if form == "table" else b""
        self.count = 0
        self.nulls = 0

    def write(self, batch: list[mq.Delivery[bytes]]) -> None:
        lines = [self._line(delivery) for delivery in batch]
        if self._array:
            lines = [b", " + line if self.count or place else b"[ " + line for place, line in enumerate(lines)]
        if self._heading:
            lines.insert(0, self._heading)
            self._heading = b""
        self._put(b"".join(lines))
        self.count += len(batch)

    def end(self) -> None:
        if self._array:
            self._put(b"]\n" if self.count else b"[]\n")

    def _put(self, data: bytes) -> None:
        try:
            self._stop.may_block()
            self._out.write(data)
            self._out.flush()
        finally:
            self._stop.blocked = False

    def _text(self, delivery: mq.Delivery[bytes]) -> bytes:
        value = delivery.raw
        if value is None:
            self.nulls += 1
            value = b""
        if self._separator is not None:
            return (delivery.key or b"") + self._separator + value + b"\n"
        return value + b"\n"

    def _shown(self, delivery: mq.Delivery[bytes]) -> bytes:
        return printable(self._text(delivery)[:-1]).encode(errors="replace") + b"\n"

    @staticmethod
    def _json(delivery: mq.Delivery[bytes]) -> bytes:
        return records.to_line(records.of(delivery), records.about(delivery))

    @staticmethod
    def _row(delivery: mq.Delivery[bytes]) -> bytes:
        where = f"#{delivery.attempt}" if delivery.partition is None else f"{delivery.partition}/{delivery.offset}"
        try:
            when = delivery.timestamp.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
        except OverflowError:
            when = f"{delivery.timestamp_ms} ms"
        key = "-" if delivery.key is None else printable(delivery.key)
        value = "-" if delivery.raw is None else printable(delivery.raw)
        return f"{when:<24} {where:>14}  {key:<20} {value}\n".encode(errors="replace")


@click.command(cls=Command, short_help="Print the messages of a topic or queue.")
@click.argument("source", type=SOURCE)
@click.option("--from", "start", type=MOMENT, help="Topics: where to begin. Default: earliest.")
@click.option("--max", "limit", type=click.IntRange(min=1), help="End after so many messages.")
@click.option("--group", help="Topics: consume in this group, from where it is, and commit what was printed.")
@click.option("--follow", "-f", is_flag=True, help="Wait for more instead of ending.")
@click.option("--partition", type=click.IntRange(min=0), help="Topics without a group: only this partition.")
@click.option("--key-separator", type=ESCAPED, help=r"Print KEY, this, VALUE; for instance '\t'.")
@click.option("--idle", type=DURATION, default="1s", show_default=True, help="Queues: end after so long without any.")
def consume(
    source: mq.Topic[bytes] | mq.Queue[bytes],
    start: Moment | None,
    limit: int | None,
    group: str | None,
    follow: bool,
    partition: int | None,
    key_separator: bytes | None,
    idle: float,
) -> None:
    """Print the messages of SOURCE (topic:orders, queue:emails).

    A topic is read to its end as it is now, disturbing nobody; with --group it is consumed, and what was printed is
    committed. A queue is consumed until nothing comes for --idle; a message is acked when it has been printed and
    flushed: for a reader that stops early say --max rather than `| head`.

    Default output is the values, a line each: raw bytes in a pipe, control characters made visible on a terminal.
    --output jsonl has everything, and `produce --json` takes it back byte for byte. --from takes earliest, latest, an
    offset (with --partition), -5 (the last five of each partition), -10m (ten minutes ago) or an ISO time.
    """
    form = front().form
    if key_separator is not None and form is not None:
        raise click.UsageError("--key-separator is for the default output; --output has the key in its own field")
    with stopping() as stop, front().bus() as bus:
        reader: Reader
        if isinstance(source, mq.Queue):
            _only_for_topics(start=start, group=group, partition=partition)
            reader = QueueReader(bus, source, stop, follow=follow, idle_s=idle, limit=limit, batch=QUEUE_BATCH)
        elif group is not None:
            if partition is not None:
                raise click.UsageError("a group shares all partitions; --partition goes without --group")
            reader = grouped = GroupReader(bus, source, group, start or EARLIEST, stop, follow=follow, limit=limit)
            if grouped.resumed and start is not None:
                say(
                    f"group {group} goes on at its committed offsets; --from {start.text} counts where it has none "
                    "(`mqbridge group reset` moves it)"
                )
        else:
            reader = TopicReader(
                bus, source, start or EARLIEST, stop, partition=partition, follow=follow, limit=limit, batch=5000
            )
        printer = Printer(form, key_separator, stop)
        try:
            for batch in reader.batches():
                if batch:
                    printer.write(batch)
                    reader.settle(batch)
            printer.end()
        except KeyboardInterrupt:
            stop.asked = True
        finally:
            reader.close()
    if printer.nulls:
        say(f"{printer.nulls} null values were printed as empty lines; --output jsonl tells them apart")
    if stop.is_set():
        raise click.exceptions.Exit(INTERRUPTED)


def _only_for_topics(**options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            option = "from" if name == "start" else name
            raise click.UsageError(f"--{option} is for topics; a queue has one place, its head")
