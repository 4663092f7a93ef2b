"""``mqbridge queue``: work queues, their limits and their dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

import mqbridge as mq
from mqbridge.cli.arguments import DURATION, QUEUE, SIZE
from mqbridge.cli.context import YES, Noun, dry_run_or, front
from mqbridge.cli.topic import make

if TYPE_CHECKING:
    from mqbridge.spi import QueueDescription

Queue = mq.Queue[bytes]
MANY = 1_000_000


@click.group(cls=Noun)
def queue() -> None:
    """Work queues: limits, depth, dead letters."""


@queue.command()
@click.argument("name", type=QUEUE)
@click.option("--max-attempts", type=click.IntRange(min=1), help="Deliveries, the first included; then dead-lettered.")
@click.option("--dead-letter", type=QUEUE, help="Where dead letters go. Default: NAME.dlq, made with it.")
@click.option("--no-dead-letter", is_flag=True, help="Keep no dead letters: what is rejected or expires is dropped.")
@click.option("--message-ttl", type=DURATION, help="A message that waits longer expires, for instance 1h.")
@click.option("--expires", type=DURATION, help="The queue goes when nobody has used it for so long.")
@click.option("--max-length", type=click.IntRange(min=1), help="Ready messages at most.")
@click.option("--max-bytes", type=SIZE, help="Bytes of ready messages at most.")
@click.option("--overflow", type=click.Choice(["reject", "drop-head"]), default="reject", show_default=True)
@click.option("--max-priority", type=click.IntRange(1, 255), help="Priorities from 0 to this.")
@click.option("--single-active", is_flag=True, help="One consumer at a time; the others stand by.")
@click.option("--retry-delay", type=DURATION, help="Before the second attempt; doubled for each later one.")
def create(
    name: Queue,
    max_attempts: int | None,
    dead_letter: Queue | None,
    no_dead_letter: bool,
    message_ttl: float | None,
    expires: float | None,
    max_length: int | None,
    max_bytes: int | None,
    overflow: Any,
    max_priority: int | None,
    single_active: bool,
    retry_delay: float | None,
) -> None:
    """Create a queue, and the queue of its dead letters.

    It is no error if it is there already, and as specified.
    """
    if dead_letter is not None and no_dead_letter:
        raise click.UsageError("--dead-letter and --no-dead-letter contradict each other")
    backoff = None
    if retry_delay is not None:
        backoff = mq.RetryPolicy(max_attempts=None, first_delay_s=retry_delay, max_delay_s=max(30.0, retry_delay))
    specified = mq.Queue(
        name.name,
        max_attempts=max_attempts,
        dead_letter=None if no_dead_letter else dead_letter or True,
        message_ttl_s=message_ttl,
        expires_s=expires,
        max_length=max_length,
        max_bytes=max_bytes,
        overflow=overflow,
        max_priority=max_priority,
        single_active=single_active,
        retry_backoff=backoff,
    )
    with front().bus(creates=True) as bus:
        created = make(bus, specified)
        described = _described(bus, specified)
    front().output.item({**_facts(described), "created": created})


@queue.command(name="list")
def list_() -> None:
    """All queues, with what waits in them."""
    columns = ("queue", "ready", "out", "delayed", "consumers", "max_attempts", "dead_letter")
    rows = []
    with front().bus() as bus:
        for found in sorted(bus.admin.list_queues(), key=lambda one: one.name):
            try:
                item = _described(bus, found)
            except mq.NotFound:  # deleted in between
                continue
            dead = None if item.queue.dead_letter is None else item.queue.dead_letter.name
            rows.append(
                (found.name, item.ready, item.unsettled, item.delayed, item.consumers, item.queue.max_attempts, dead)
            )
    front().output.rows(columns, rows, empty=f"no queues yet; make one: {front().program} queue create NAME")


@queue.command()
@click.argument("name", type=QUEUE)
def describe(name: Queue) -> None:
    """What a queue is, and what waits in it."""
    with front().bus() as bus:
        described = _described(bus, name)
    front().output.item(_facts(described))


def _described(bus: mq.Bus, name: mq.Queue[Any]) -> QueueDescription:
    return cast("QueueDescription", bus.admin.describe(name))


def _facts(described: QueueDescription) -> dict[str, Any]:
    found = described.queue
    return {
        "queue": found.name,
        "ready": described.ready,
        "out": described.unsettled,
        "delayed": described.delayed,
        "consumers": described.consumers,
        "max_attempts": found.max_attempts,
        "dead_letter": None if found.dead_letter is None else found.dead_letter.name,
        "message_ttl_s": found.message_ttl_s,
        "expires_s": found.expires_s,
        "max_length": found.max_length,
        "max_bytes": found.max_bytes,
        "overflow": found.overflow,
        "max_priority": found.max_priority,
        "single_active": found.single_active,
        "retry_delay_s": None if found.retry_backoff is None else found.retry_backoff.first_delay_s,
        "type": found.type,
    }


@queue.command()
@click.argument("name", type=QUEUE)
@YES
def delete(name: Queue, yes: bool) -> None:
    """Delete a queue and all its messages. A dry run without --yes."""
    with front().bus() as bus:
        described = _described(bus, name)
        if yes:
            bus.admin.delete(name)
    dry_run_or(
        yes,
        {
            "action": "delete",
            "destination": str(name),
            "ready": described.ready,
            "out": described.unsettled,
            "delayed": described.delayed,
        },
    )


@queue.command()
@click.argument("name", type=QUEUE)
@YES
def purge(name: Queue, yes: bool) -> None:
    """Drop what waits in a queue. A dry run without --yes.

    What is out with a consumer stays.
    """
    with front().bus() as bus:
        messages = bus.admin.purge(name) if yes else _described(bus, name).ready
    dry_run_or(yes, {"action": "purge", "destination": str(name), "messages": messages})


@queue.command(name="dead-letters")
@click.argument("name", type=QUEUE)
@click.option("--max", "limit", type=click.IntRange(min=1), default=100, show_default=True)
def dead_letters(name: Queue, limit: int) -> None:
    """Look at the dead letters of queue NAME, taking none.

    The token is for `redrive`.
    """
    columns = ("token", "died_at", "reason", "attempts", "origin", "error", "key", "value", "message_id")
    with front().bus() as bus:
        found = bus.admin.dead_letters(name, max_messages=limit)
    rows = []
    for letter in found:
        death = letter.death
        story = (
            (None, None, None, None, None)
            if death is None
            else (death.at, death.reason, death.attempts, death.origin, death.error)
        )
        rows.append((letter.token, *story, letter.key, letter.value, letter.message_id))
    front().output.rows(columns, rows, empty=f"{name} has no dead letters")


@queue.command()
@click.argument("name", type=QUEUE)
@click.option("--token", "tokens", type=int, multiple=True, help="Only this dead letter; repeatable. Default: all.")
@click.option("--max", "limit", type=click.IntRange(min=1), default=MANY, help="At most so many.")
@YES
def redrive(name: Queue, tokens: tuple[int, ...], limit: int, yes: bool) -> None:
    """Put dead letters back into queue NAME. A dry run without --yes.

    Their attempts are counted anew. Each is written back before it leaves the dead letters: a crash in between may
    duplicate one, never lose one.
    """
    with front().bus() as bus:
        moved: int | None
        if yes:
            moved = bus.admin.redrive(name, tokens=tokens or None, max_messages=limit)
        elif not tokens and bus.capabilities[mq.Capability.BROWSE_DEAD_LETTERS].level is mq.Level.UNSUPPORTED:
            _described(bus, name)
            moved = None  # they can be moved there, and not looked at
        else:
            letters = bus.admin.dead_letters(name, max_messages=MANY if tokens else limit)
            moved = sum(1 for letter in letters if not tokens or letter.token in tokens)
    messages = None if moved is None else min(moved, limit)
    dry_run_or(yes, {"action": "redrive", "destination": str(name), "messages": messages})
