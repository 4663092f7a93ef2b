"""``mqbridge topic``: logs, their partitions and offsets."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, cast

import click

import mqbridge as mq
from mqbridge.cli.arguments import DURATION, SIZE, TIME, TOPIC
from mqbridge.cli.context import YES, Noun, dry_run_or, front
from mqbridge.cli.output import say

if TYPE_CHECKING:
    from mqbridge.spi import TopicDescription

Topic = mq.Topic[bytes]


@click.group(cls=Noun)
def topic() -> None:
    """Logs: partitions, offsets, retention."""


@topic.command()
@click.argument("name", type=TOPIC)
@click.option("--partitions", type=click.IntRange(min=1), help="Default: the engine's, which is 1.")
@click.option("--retention-age", type=DURATION, help="Remove records that are older, for instance 7d.")
@click.option("--retention-bytes", type=SIZE, help="Keep at most so much of each partition, for instance 1GiB.")
@click.option("--cleanup", type=click.Choice(["delete", "compact"]), help="compact keeps the last record of each key.")
@click.option("--replication", type=click.IntRange(min=1), help="Copies of each partition.")
@click.option("--min-insync", type=click.IntRange(min=1), help="Copies that must have a record before it is confirmed.")
def create(
    name: Topic,
    partitions: int | None,
    retention_age: float | None,
    retention_bytes: int | None,
    cleanup: Any,
    replication: int | None,
    min_insync: int | None,
) -> None:
    """Create a topic.

    It is no error if it is there already, and as specified.
    """
    limited = retention_age is not None or retention_bytes is not None
    specified = mq.Topic(
        name.name,
        partitions=partitions,
        replication=replication,
        min_insync=min_insync,
        retention=mq.Retention(retention_age, retention_bytes) if limited else None,
        cleanup=cleanup,
    )
    with front().bus(creates=True) as bus:
        created = make(bus, specified)
        described = _described(bus, specified)
    front().output.item({**_facts(described), "created": created})


def make(bus: mq.Bus, destination: mq.Topic[Any] | mq.Queue[Any] | mq.Exchange) -> bool:
    """`ensure` it; says whether it is new. `Mismatch` where something else stands there."""
    new = bus.admin.plan(destination)[-1].action == "create"
    bus.admin.ensure(destination)
    say(f"{'created' if new else 'there already:'} {destination}")
    return new


@topic.command(name="list")
def list_() -> None:
    """All topics, with what they hold."""
    columns = ("topic", "partitions", "records_at_most", "cleanup", "max_age_s", "max_bytes")
    rows = []
    with front().bus() as bus:
        for found in sorted(bus.admin.list_topics(), key=lambda one: one.name):
            try:
                offsets = bus.admin.offsets(found)
            except mq.NotFound:  # deleted in between
                continue
            kept = found.retention or mq.Retention()
            records = sum(item.end - item.start for item in offsets.values())
            rows.append((found.name, len(offsets), records, found.cleanup, kept.max_age_s, kept.max_bytes))
    front().output.rows(columns, rows, empty=f"no topics yet; make one: {front().program} topic create NAME")


@topic.command()
@click.argument("name", type=TOPIC)
def describe(name: Topic) -> None:
    """What a topic is, partition by partition."""
    with front().bus() as bus:
        described = _described(bus, name)
    columns = ("partition", "start", "end", "records_at_most", "last_stable")
    rows = [
        (number, item.start, item.end, item.end - item.start, item.last_stable)
        for number, item in sorted(described.partitions.items())
    ]
    front().output.item(_facts(described), partitions=(columns, rows))


def _described(bus: mq.Bus, name: mq.Topic[Any]) -> TopicDescription:
    return cast("TopicDescription", bus.admin.describe(name))


def _facts(described: TopicDescription) -> dict[str, Any]:
    found = described.topic
    kept = found.retention or mq.Retention()
    return {
        "topic": found.name,
        "partition_count": len(described.partitions),
        "replication": found.replication,
        "min_insync": found.min_insync,
        "cleanup": found.cleanup,
        "max_age_s": kept.max_age_s,
        "max_bytes": kept.max_bytes,
        "stored_bytes": described.size_bytes,
    }


@topic.command()
@click.argument("name", type=TOPIC)
@click.option("--at", type=TIME, help="Also the first offset at or after this time.")
def offsets(name: Topic, at: dt.datetime | None) -> None:
    """Start, end and last stable offset of each partition.

    Offsets may have gaps: end - start is an upper bound of the count.
    """
    with front().bus() as bus:
        known = bus.admin.offsets(name)
        found = {} if at is None else bus.admin.offset_at(name, at)
    columns = ("partition", "start", "end", "high_watermark", "last_stable", *(("at",) if at is not None else ()))
    rows = [
        (p, item.start, item.end, item.high_watermark, item.last_stable, *((found.get(p),) if at is not None else ()))
        for p, item in sorted(known.items())
    ]
    front().output.rows(columns, rows, empty=f"{name} has no partitions")


@topic.command(name="add-partitions")
@click.argument("name", type=TOPIC)
@click.argument("partitions", type=click.IntRange(min=1))
def add_partitions(name: Topic, partitions: int) -> None:
    """Grow a topic to PARTITIONS in all. Keys move: order per key does not hold across this moment."""
    with front().bus() as bus:
        before = len(bus.admin.offsets(name))
        bus.admin.add_partitions(name, partitions)
    say("Keys move: most existing keys go to another partition from now on.")
    front().output.item({"topic": name.name, "partitions_before": before, "partitions": partitions})


@topic.command()
@click.argument("name", type=TOPIC)
@YES
def delete(name: Topic, yes: bool) -> None:
    """Delete a topic and all its records. A dry run without --yes."""
    with front().bus() as bus:
        known = bus.admin.offsets(name)
        records = sum(item.end - item.start for item in known.values())
        if yes:
            bus.admin.delete(name)
    dry_run_or(
        yes, {"action": "delete", "destination": str(name), "partitions": len(known), "records_at_most": records}
    )


@topic.command(name="delete-records")
@click.argument("name", type=TOPIC)
@click.option("--before", type=click.IntRange(min=0), help="This offset becomes the first. See --partition.")
@click.option("--partition", type=click.IntRange(min=0), help="Only this one; due with an offset if there are several.")
@click.option("--before-time", type=TIME, help="What is older than this time, in all partitions (or in --partition).")
@YES
def delete_records(
    name: Topic, before: int | None, partition: int | None, before_time: dt.datetime | None, yes: bool
) -> None:
    """Remove the oldest records for good. A dry run without --yes.

    The start of each partition moves to the given place.
    """
    if (before is None) == (before_time is None):
        raise click.UsageError("say either --before OFFSET or --before-time TIME")
    with front().bus() as bus:
        known = bus.admin.offsets(name)
        if partition is not None and partition not in known:
            raise click.UsageError(f"{name} has {len(known)} partitions; there is no partition {partition}")
        chosen = list(known) if partition is None else [partition]
        if before_time is not None:
            found = bus.admin.offset_at(name, before_time)
            starts = {p: known[p].end if (at := found.get(p)) is None else at for p in chosen}
        elif len(chosen) > 1:
            raise click.UsageError(f"an offset is meant in one partition, and there are {len(chosen)}: say --partition")
        else:
            starts = dict.fromkeys(chosen, before or 0)
        if yes:
            bus.admin.delete_records(name, starts)
    columns = ("partition", "start", "new_start", "records_removed_at_most")
    rows = [
        (p, known[p].start, max(start, known[p].start), max(0, min(start, known[p].end) - known[p].start))
        for p, start in sorted(starts.items())
    ]
    front().output.item(
        {"action": "delete-records", "destination": str(name), "applied": yes}, partitions=(columns, rows)
    )
    if not yes:
        say("Nothing was changed: this was a dry run. Say it again with --yes to do it.")
