"""``mqbridge group``: consumer groups, their members, offsets and lag."""

from __future__ import annotations

import click

import mqbridge as mq
from mqbridge.cli.arguments import MOMENT, TOPIC, Moment
from mqbridge.cli.context import YES, Noun, dry_run_or, front
from mqbridge.cli.output import say


@click.group(cls=Noun)
def group() -> None:
    """Consumer groups: members, committed offsets, lag."""


@group.command(name="list")
def list_() -> None:
    """All groups."""
    with front().bus() as bus:
        found = sorted(bus.admin.list_groups(), key=lambda one: one.group)
    rows = [(item.group, item.state, item.protocol, item.members) for item in found]
    columns = ("group", "state", "protocol", "members")
    front().output.rows(columns, rows, empty="no groups: nobody has consumed a topic yet")


@group.command()
@click.argument("name", metavar="GROUP")
def describe(name: str) -> None:
    """Members, assignment, committed offsets and lag.

    A lag of - is unknown, which is not zero.
    """
    with front().bus() as bus:
        found = bus.admin.describe_group(name)
    owners = {place: member for member in found.members for place in member.assignment}
    places = sorted({*found.committed, *found.lag_messages, *owners})
    known = [lag for lag in found.lag_messages.values() if lag is not None]
    offsets = [
        (
            *place,
            found.committed.get(place),
            found.lag_messages.get(place),
            owners[place].member if place in owners else None,
        )
        for place in places
    ]
    members = [
        (item.member, item.instance_id, ", ".join(f"{topic}/{partition}" for topic, partition in item.assignment))
        for item in found.members
    ]
    front().output.item(
        {
            "group": found.group,
            "state": found.state,
            "protocol": found.protocol,
            "lag_messages": sum(known) if len(known) == len(places) else None,
        },
        offsets=(("topic", "partition", "committed", "lag_messages", "member"), offsets),
        members=(("member", "instance_id", "assignment"), members),
    )


@group.command()
@click.argument("name", metavar="GROUP")
@click.argument("topic", type=TOPIC)
@click.option("--to", "moment", type=MOMENT, required=True, help="Where it goes on. An offset needs --partition.")
@click.option("--partition", type=click.IntRange(min=0), help="For an offset: in which partition. Others stay.")
@YES
def reset(name: str, topic: mq.Topic[bytes], moment: Moment, partition: int | None, yes: bool) -> None:
    """Move where GROUP is on TOPIC. A dry run without --yes.

    Refused while the group has members.
    """
    if partition is not None and moment.kind != "offset":
        raise click.UsageError("--partition goes with --to OFFSET; other places are meant in all partitions")
    with front().bus() as bus:
        offsets = bus.admin.offsets(topic)
        position = moment.position(lambda: offsets, partition)
        if moment.kind == "offset":
            # At() would send the partitions that are not named to their start: here they stay where they are.
            stay = _committed(bus, name, topic)
            kept = {p: stay.get(p, item.start) for p, item in offsets.items()}
            position = mq.At({**kept, partition or 0: moment.number})
        plan = bus.admin.reset_offsets(name, topic, position, dry_run=not yes)
    rows = [
        (p, plan.before.get(p), after, None if (before := plan.before.get(p)) is None else after - before)
        for p, after in sorted(plan.after.items())
    ]
    front().output.item(
        {"action": "reset", "group": name, "topic": topic.name, "applied": plan.applied},
        partitions=(("partition", "before", "after", "change"), rows),
    )
    if not yes:
        say("Nothing was changed: this was a dry run. Say it again with --yes to do it.")


def _committed(bus: mq.Bus, name: str, topic: mq.Topic[bytes]) -> dict[int, int]:
    try:
        found = bus.admin.describe_group(name)
    except mq.NotFound:
        return {}
    return {partition: offset for (owner, partition), offset in found.committed.items() if owner == topic.name}


@group.command()
@click.argument("name", metavar="GROUP")
@YES
def delete(name: str, yes: bool) -> None:
    """Forget a group and its offsets. A dry run without --yes.

    Refused while it has members.
    """
    with front().bus() as bus:
        found = bus.admin.describe_group(name)
        if yes:
            bus.admin.delete_group(name)
    dry_run_or(
        yes,
        {"action": "delete", "group": name, "members": len(found.members), "committed_offsets": len(found.committed)},
    )
