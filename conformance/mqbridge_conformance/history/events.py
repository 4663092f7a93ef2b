"""One event of a history, and the words that it is made of.

The rule: an event says what a process saw at its own boundary, when, and nothing about what is right. The invoke of an
operation is written before the call, so a process that is killed leaves an operation without an end, whose outcome is
unknown. Times are CLOCK_MONOTONIC, which all processes of one machine share: histories are never merged across
machines.

``f`` says what it is about; `FIELDS` has the vocabulary, with what each event carries beside process and time. What
does not belong here: how events are written (`recorder`), put together (`loading`) or judged (`checkers`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

__all__ = ["FIELDS", "Error", "Event", "Kind", "identify", "pack_event", "unpack_event"]

Kind: TypeAlias = Literal["invoke", "ok", "fail", "info"]
"""`invoke` before the call; then `ok` it happened, `fail` it certainly did not, `info` nobody knows. A bare observation
(a delivery, an assignment, what an observer saw) is an `ok` without an invoke."""

OUTCOMES: Final = {"not_applied": "not_applied", "unknown": "maybe_applied", "applied": "applied"}
"""The outcomes of mqbridge's errors, as histories call them."""

LONGEST: Final = 512
"""Longer keys and values are told by length and digest."""


class Error(NamedTuple):
    """Why it was not `ok`. `outcome` is ``not_applied``, ``maybe_applied`` or ``applied``."""

    code: str
    outcome: str
    text: str


class Event(NamedTuple):
    """See the module. What an event does not have is None.

    `seq` counts in its process; `t` is monotonic, in nanoseconds; `proc` is a process and its incarnation; `op` is the
    `seq` of the invoke that this ends, or within which it was seen; `dest` is ``topic:NAME``, ``queue:NAME`` or
    ``exchange:NAME``; `client` names a producer or consumer within its process; `lease` is the number of an assignment
    (the generation as the application sees it); `tag` is what settles a delivery of a queue; `more` is what only some
    events have.
    """

    seq: int
    t: int
    proc: str
    kind: Kind
    f: str
    op: int | None = None
    dest: str | None = None
    part: int | None = None
    key: str | None = None
    val: str | None = None
    off: int | None = None
    client: str | None = None
    group: str | None = None
    lease: int | None = None
    tag: int | None = None
    attempt: int | None = None
    redelivered: bool | None = None
    txn: str | None = None
    err: Error | None = None
    more: Mapping[str, Any] = {}

    @property
    def who(self) -> str:
        """The client of a process, named so that no two of a history are the same."""
        return f"{self.proc}/{self.client}"


FIELDS: Final[Mapping[str, str]] = {
    # the run and what exists
    "run": "more: run, engine, target, scenario, seed, claims {capability: level}, legal {anomaly: reason}, "
    "patience_s (so long it waits for what must happen), ...",
    "declare": "dest; more: the specification (partitions; max_attempts, dead_letter, message_ttl_s, ...)",
    "delete": "dest, or group",
    "delete_records": "dest; more: before {partition: offset}",
    "purge": "dest; more: count",
    "add_partitions": "dest; more: partitions",
    "reset": "group, dest; more: to (a position, or offsets {partition: offset})",
    "redrive": "dest (the queue in which they died); more: count",
    # clients
    "open": "client; more: role (producer, topic-consumer, queue-consumer, replay), its options, threads (of one that "
    "several use at once), asked_t (when the call for a consumer or a replay began); group, dest",
    "close": "client; ok: says nothing of its verbs, only `commit` does",
    # what producers and consumers do
    "send": "client, dest, key, val, txn; ok: part, off; more: routing_key, expires_in_s, delay_s, priority, id",
    "flush": "client",
    "poll": "client; ok: more: count",
    "deliver": "within op (a poll): client, dest, part, off | tag, key, val, group, lease, attempt, redelivered, txn; "
    "more: handler: given to a handler of run(), whose workers take turns and which settles by itself",
    "ack": "client, dest, part, off | tag, val, group, lease, txn",
    "release": "as ack; more: delay_s",
    "retry": "as ack; more: delay_s",
    "reject": "as ack; more: reason",
    "read_out": "client, dest: a replay has given all that it will give",
    "commit": "client, group; ok: all verbs before the invoke are with the broker; more: late [[topic, part]] or [tag]",
    "seek": "client, dest, part, off",
    "pause": "client; more: places",
    "resume": "client; more: places",
    "assigned": "client, group, dest, part, lease, off (where it begins, if that is known)",
    "revoked": "client, group, dest, part, lease",
    "lost": "client, group, dest, part, lease",
    # transactions
    "begin": "client, txn",
    "end": "client, txn; more: commit (bool)",
    # databases, for outbox, inbox and exactly-once effects
    "effect": "val (of the message that caused it), dest (what was written to); more: anything",
    "row": "val, key: an outbox row; ok committed, fail rolled back",
    # faults
    "sabotage": "more: code: a broken engine has struck; what it is there for is not excused by it",
    "fault": "more: what, at (process, broker or link); ok: it is in force",
    "heal": "more: what, at; ok: it is over",
    # what observers saw, by clients that are not the library
    "looked": "dest: an operation; the `stored` events within it are all that lay there at one time between its ends",
    "stored": "within op (a look): dest, part, off, key, val: one record of a log, or of a queue (without part)",
    "letters": "dest (the queue in which they died): an operation; the `letter` events within it are all of them",
    "letter": "within op: dest, val, attempt; more: reason",
    "committed": "group, dest, part, off: seen by an observer; an operation, with one ok a partition and then one "
    "without dest, which says that these are all; none of that if it could not be told",
    "left": "dest: an operation; ok: more: ready, unsettled, delayed, as far as they can be told",
    # the end
    "drained": "dest, group: everything that there was has been asked for; what did not come will not come",
}
"""What ``f`` can be, and which fields come with it."""


def identify(data: bytes | None) -> str | None:
    """Bytes as a text that only they have: themselves where they are plain ASCII, else their hex digits; long ones
    by length and digest. None is None."""
    if data is None:
        return None
    if len(data) > LONGEST:
        return f"sha256:{hashlib.sha256(data).hexdigest()}:{len(data)}"
    if data.isascii() and not data.startswith((b"hex:", b"sha256:")) and data.decode("ascii").isprintable():
        return data.decode("ascii")
    return f"hex:{data.hex()}"


def pack_event(event: Event) -> str:
    """One line of JSON, without the fields that are None."""
    fields = {name: value for name, value in zip(Event._fields, event, strict=True) if value is not None}
    if not event.more:
        del fields["more"]
    return json.dumps(fields, separators=(",", ":"), default=str)


def unpack_event(line: str) -> Event:
    """The event of a line. Errors: `ValueError` for what is no event."""
    fields = cast(dict[str, Any], json.loads(line))
    try:
        if "err" in fields:
            fields["err"] = Error(*fields["err"])
        return Event(**fields)
    except TypeError as error:
        raise ValueError(f"{line!r} is no event of a history: {error}") from error
