"""``mqbridge copy`` and ``mqbridge digest``: messages between any two places, and the proof that they are the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, cast

import click

import mqbridge as mq
from mqbridge.cli.arguments import Moment
from mqbridge.cli.context import Command, Front, front, native_folder, program_at
from mqbridge.cli.errors import INTERRUPTED, suggest
from mqbridge.cli.output import counted, say
from mqbridge.cli.reading import PREFETCH_MOST, GroupReader, QueueReader, TopicReader
from mqbridge.cli.records import FIELDS, Digest
from mqbridge.cli.stopping import Stop, stopping
from mqbridge.cli.transfer import loop
from mqbridge.cli.transfer.places import Place, TextForm, parse
from mqbridge.cli.transfer.progress import Progress
from mqbridge.cli.transfer.sidecar import Sidecar
from mqbridge.cli.transfer.sinks import BusSink, FileSink, Sink
from mqbridge.cli.transfer.sources import FileSource, ReaderSource, Source

EARLIEST = Moment("earliest", "earliest")
LINE_BYTES = 128
"""What a line of a file is taken to be long, to read about --batch of them at once."""


def _fields(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    chosen = FIELDS if value is None else tuple(value.split(","))
    for name in chosen:
        if name not in FIELDS:
            raise click.BadParameter(f"{name!r} is no field; choose from {','.join(FIELDS)}")
    return tuple(name for name in FIELDS if name in chosen)


FORMAT = click.option("--format", "form", type=click.Choice(["text", "jsonl"]), help="Of files. Default: by suffix.")
FIELDS_OPTION = click.option(
    "--fields", callback=_fields, metavar="A,B", help=f"What sha256_records covers. Default: {','.join(FIELDS)}."
)


@click.command(cls=Command, short_help="Copy messages between any two places, at least once.")
@click.argument("places", nargs=-1, required=True, metavar="FROM_URL FROM_DEST TO_URL TO_DEST")
@click.option("--max", "limit", type=click.IntRange(min=1), help="End after so many; the next run goes on there.")
@click.option("--create", is_flag=True, help="Create the target if it is missing, like the source where that is known.")
@click.option("--partitions", type=click.IntRange(min=1), help="With --create: of the topic. Default: as the source.")
@click.option("--resume-group", metavar="NAME", help="The group that remembers the place in a source topic.")
@click.option("--batch", type=click.IntRange(1, 50_000), default=2_000, show_default=True, help="Records at a time.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes later, until interrupted.")
@click.option(
    "--partition-by",
    "by",
    type=click.Choice(["key", "source"]),
    help="In a target topic: where the key belongs, or the partition it came from. Default: see above.",
)
@click.option("--routing-key", default="", help="To an exchange: for records that bring none.")
@click.option("--digest", "wants_digest", is_flag=True, help="Also digests over what was copied; see `digest`.")
@click.option("--unique", is_flag=True, help="Also how many different values and records there were.")
@FIELDS_OPTION
@FORMAT
def copy(
    places: tuple[str, ...],
    limit: int | None,
    create: bool,
    partitions: int | None,
    resume_group: str | None,
    batch: int,
    follow: bool,
    by: Literal["source", "key"] | None,
    routing_key: str,
    wants_digest: bool,
    unique: bool,
    fields: tuple[str, ...],
    form: TextForm | None,
) -> None:
    """Copy messages between any two places, at least once; killed, the same command goes on where it was.

    A place is URL DEST, DEST alone (at the --url), or file:PATH; the two may be of two engines:

    \b
      mqbridge copy native:./data topic:orders kafka://localhost:9092 topic:orders --create
      mqbridge copy kafka://localhost:9092 topic:orders amqp://localhost/ topic:orders --create
      mqbridge copy amqp://localhost/ queue:emails file:emails.jsonl

    Value, key, headers (repeats too), timestamp and message id are kept; a text file keeps values alone. Priorities and
    what is left of a message's time to live are not, for no engine tells them to a consumer. Records are settled only
    when the target has confirmed them:

    \b
      a topic   its place is committed for a group, by default mqbridge-copy-DIGEST (of the target),
                and copied up to its end as it is at the start; the next run copies what has come since
      a queue   acked; until it is empty
      a file    its place is kept in FILE.mqbridge-copy-DIGEST.json until all of it is copied
      to a file appended and synced; a line torn by a kill is cut off, and comes again

    What was confirmed and not yet settled when a copy was killed comes twice; `digest --unique` counts it.

    A topic with as many partitions as its source is a mirror: each record goes to the partition it came from. With
    another count a record goes where producers put its key, which keeps the order of each key, and one without a key to
    partition N modulo the count. --partition-by says which of the two.
    """
    it = front()
    origin, target = parse(places, it.url, ("FROM", "TO"))
    if origin.identity == target.identity:
        raise click.UsageError(f"{origin} is both ends; a copy onto itself would never end")
    if follow and origin.is_file:
        raise click.UsageError("--follow is for topics and queues; a file is copied to its end")
    digesting = Digest(fields, distinct=unique) if wants_digest or unique else None
    with stopping() as stop, ExitStack() as stack:
        buses = Buses(it, stack)
        with _known(target, may_create=not create):
            sink_place = _target(buses, origin, target, create, partitions)
        with _known(origin):
            source = _source(buses, origin, target, stop, resume_group, form, follow=follow, limit=limit, batch=batch)
        sink = _sink(buses, sink_place, origin, form, routing_key, by or _placing(buses, origin, sink_place, source))
        with Progress(source.total, source.unit) as progress:
            _run(source, sink, progress, digesting, stop, limit)
    result: dict[str, Any] = {"from": str(origin), "to": str(target), "records": progress.records}
    seconds = max(progress.elapsed_s, 1e-9)
    result |= {"duration_s": round(seconds, 3), "records_per_second": round(progress.records / seconds)}
    if digesting is not None:
        result |= digesting.result()
    it.output.item(result)
    if not progress.records and origin.topic is not None and not stop.is_set():
        name = resume_group or _default_group(target)
        say(f"Nothing to copy: group {name} has reached the end. To copy all of it again, forget the group:")
        say(f"  mqbridge --url {origin.url if '@' not in origin.url else 'URL'} group delete {name} --yes")
    if stop.is_set():
        say("interrupted; the same command goes on from here")
        raise click.exceptions.Exit(INTERRUPTED)


def _run(
    source: Source, sink: Sink, progress: Progress, digesting: Digest | None, stop: Stop, limit: int | None
) -> None:
    complete = False
    try:
        loop.copy(source, sink, progress, digesting)
        complete = not stop.is_set() and (limit is None or progress.records < limit)
    finally:
        # The target first: what it still has in flight is confirmed before the source is told that this is the end.
        try:
            sink.close(complete=complete)
        finally:
            source.close(complete=complete)


class Buses:
    """The connections of one copy: one for each URL."""

    def __init__(self, it: Front, stack: ExitStack) -> None:
        self._it, self._stack = it, stack
        self._open: dict[str, mq.Bus] = {}

    def at(self, place: Place, *, creates: bool = False) -> mq.Bus:
        bus = self._open.get(place.url)
        if bus is None:
            try:
                bus = self._open[place.url] = self._stack.enter_context(self._it.bus(place.url, creates=creates))
            except (mq.Unreachable, mq.Denied) as error:
                suggest(error, f"{program_at(place.url)} doctor")
                raise
        return bus


@contextmanager
def _known(place: Place, *, may_create: bool = False) -> Iterator[None]:
    """What is missing is at this place: say where to look, and for a target how to have it made."""
    try:
        yield
    except mq.NotFound as error:
        found = place.destination
        if found is not None:
            folder = native_folder(place.url)
            there = f"{program_at(place.url)} {found.kind} list   (what is there)"
            if folder is not None and not folder.exists():
                there = f"mqbridge doctor {place.url}   (where that folder would be)"
            if may_create and isinstance(found, mq.Exchange):
                there += f"   or   {program_at(place.url)} exchange create {found.name}"
            elif may_create:
                there += "   or   the same copy with --create, which makes it"
            suggest(error, there)
        raise


def _default_group(target: Place) -> str:
    return f"mqbridge-copy-{target.digest}"


def _source(
    buses: Buses,
    origin: Place,
    target: Place,
    stop: Stop,
    resume_group: str | None,
    form: TextForm | None,
    *,
    follow: bool,
    limit: int | None,
    batch: int,
) -> Source:
    if origin.path is not None:
        sidecar = Sidecar(origin.path, target.digest)
        return FileSource(
            origin.path, origin.form(form), sidecar, stop, limit=limit, batch_bytes=batch * LINE_BYTES
        )
    bus = buses.at(origin)
    if isinstance(origin.destination, mq.Queue):
        # What may be out unsettled is bounded (PREFETCH_MOST): settle before that is reached, not when nothing comes.
        batch = min(batch, PREFETCH_MOST // 4)
        reads = QueueReader(bus, origin.destination, stop, follow=follow, limit=limit, batch=batch, prefetch=4 * batch)
        return ReaderSource(reads, window=2 * batch)
    topic = origin.topic
    if topic is None:
        raise click.UsageError(f"{origin.destination} only routes, it holds nothing to read; name a queue bound to it")
    name = resume_group or _default_group(target)
    reader = GroupReader(bus, topic, name, EARLIEST, stop, follow=follow, limit=limit, batch=batch)
    if reader.resumed and reader.left:
        say(
            f"going on where group {name} is, with at most {counted(reader.left, 'record')} to go; what a killed copy "
            "had written after its last commit arrives again"
        )
    return ReaderSource(reader)


def _sink(
    buses: Buses,
    target: Place,
    origin: Place,
    form: TextForm | None,
    routing_key: str,
    by: Literal["source", "key"],
) -> Sink:
    if target.path is not None:
        return FileSink(target.path, target.form(form), Sidecar(target.path, origin.digest))
    assert target.destination is not None
    return BusSink(buses.at(target), target.destination, routing_key=routing_key, by=by)


def _placing(buses: Buses, origin: Place, target: Place, source: Source) -> Literal["source", "key"]:
    """Keep the source's partitions where they are as many; a file that has them knows no count, and is taken to."""
    if target.topic is None:
        return "key"
    if origin.topic is None:
        return "source" if isinstance(source, FileSource) and source.partitioned else "key"
    counts = [len(buses.at(place).admin.offsets(topic)) for place in (origin, target) if (topic := place.topic)]
    return "source" if counts[0] == counts[1] else "key"


def _target(buses: Buses, origin: Place, target: Place, create: bool, partitions: int | None) -> Place:
    """The target, made if it is missing and that was asked for; `NotFound` before anything is read if it is missing."""
    if target.destination is None:
        return target
    bus = buses.at(target, creates=create)
    if not create or bus.admin.plan(target.destination)[-1].action != "create":
        bus.admin.describe(target.destination)
        return target
    specified = _like(buses, origin, target.destination, partitions)
    try:
        bus.admin.ensure(specified)
    except mq.Unsupported as error:
        kind, name = target.destination.kind, target.destination.name
        suggest(error, f"{program_at(target.url)} {kind} create {name}   as that engine can; then copy again")
        raise
    say(f"created {specified}" + (f", partitions: {specified.partitions}" if isinstance(specified, mq.Topic) else ""))
    return target


def _like(
    buses: Buses, origin: Place, wanted: mq.Topic[Any] | mq.Queue[Any] | mq.Exchange, partitions: int | None
) -> mq.Topic[Any] | mq.Queue[Any]:
    """A specification for the target: that of the source where both are of one kind."""
    known: Any = None
    if origin.destination is not None and origin.destination.kind == wanted.kind:
        with _known(origin):
            known = cast(Any, buses.at(origin).admin.describe(origin.destination))
    if isinstance(wanted, mq.Topic):
        if known is None:
            return mq.Topic(wanted.name, partitions=partitions or 1)
        found = known.topic
        count = partitions or len(known.partitions)
        return mq.Topic(wanted.name, partitions=count, retention=found.retention, cleanup=found.cleanup)
    if isinstance(wanted, mq.Queue):
        if known is None:
            return mq.Queue(wanted.name)
        said = {name: getattr(known.queue, name) for name in mq.Queue.fields if name not in ("codec", "dead_letter")}
        return mq.Queue(wanted.name, dead_letter=known.queue.dead_letter is not None, **said)
    raise click.UsageError(
        f"{wanted} would route nowhere without bindings; make it with `exchange create` and `exchange bind`"
    )


# --- digest


@click.command(cls=Command, short_help="Compare: digests over all records of a topic or a file.")
@click.argument("place", nargs=-1, required=True, metavar="URL DEST")
@click.option("--unique", is_flag=True, help="Also how many different values and records there are.")
@FIELDS_OPTION
@FORMAT
def digest(place: tuple[str, ...], unique: bool, fields: tuple[str, ...], form: TextForm | None) -> None:
    """Digests over all records of a topic or a file, the same in any order; nothing is consumed.

    \b
      sha256_values   over the values alone: also compares with a text file
      sha256_records  over --fields of each record

    Each is the sum, modulo 2**256, of the SHA-256 of each record in canonical form: for each field in the order
    value, key, headers, timestamp_ms, message_id a "-" for null, else length:bytes (numbers as N;, headers sorted by
    name, repeats in their order, with their count first). A copy may hold duplicates after a kill: --unique tells (with
    150 bytes of memory a record).
    """
    it = front()
    (where,) = parse(place, it.url, ("a place",))
    digesting = Digest(fields, distinct=unique)
    with stopping() as stop, _reading(it, where, stop, form) as source:
        with Progress(source.total, source.unit) as progress:
            for batch in source.batches():
                for record in batch.records:
                    digesting.add(record)
                moved = source.settle(batch) if where.is_file else len(batch.records)
                progress.step(len(batch.records), moved)
        if stop.is_set():
            say("interrupted: a digest over a part would say nothing")
            raise click.exceptions.Exit(INTERRUPTED)
    it.output.item({"place": str(where), **digesting.result()})


@contextmanager
def _reading(it: Front, where: Place, stop: Stop, form: TextForm | None) -> Iterator[Source]:
    if where.path is not None:
        source: Source = FileSource(where.path, where.form(form), None, stop, limit=None, batch_bytes=1 << 18)
        try:
            yield source
        finally:
            source.close(complete=False)
        return
    if where.topic is None:
        raise mq.Unsupported(
            f"{where.destination} cannot be read without taking its messages. Nothing was read. Copy it with "
            "--digest, or take the digest of a topic or a file.",
            capability="browse",
            instead="copy --digest",
        )
    with ExitStack() as stack:
        with _known(where):
            bus = stack.enter_context(it.bus(where.url))
            source = ReaderSource(TopicReader(bus, where.topic, EARLIEST, stop, batch=5_000))
        try:
            yield source
        finally:
            source.close(complete=True)


