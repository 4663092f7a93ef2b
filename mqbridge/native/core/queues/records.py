"""A message in memory, and the entries of a queue's journal.

The rule: what an entry says is complete. Replaying the entries of any prefix of a journal gives the queue as it was
after the last of them, without a look at the clock or at the specification of today. What does not belong here: which
message is next, and what a verb means.

Entries, little-endian, one call to a queue is one entry:

- ``H`` head: version, next sequence number. First in every journal that was rewritten.
- ``E`` enqueue: first sequence number, wall clock of the enqueue in ms, the queue's TTL and highest priority at that
  time, the batch. Record i has sequence number first + i.
- ``U`` update: settled numbers; returned messages with failures, due time and whether they are marked as redelivered;
  taken numbers; applied in this order. Numbers that are not there any more are passed over.
- ``S`` snapshot: messages with all that is known of them, the batch.

A taken message is journalled because a host that dies takes the attempt with it: a message that kills its
process must not be tried for ever.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from mqbridge import errors
from mqbridge.native.core.ports import Batch, DecodeBatch, EncodeBatch, Headers, MakeBatch
from mqbridge.semantics.reserved import DELAY_MS, EXPIRES_MS, PRIORITY

READY: Final = 0
TAKEN: Final = 1
DELAYED: Final = 2
BLOCKED: Final = 3
"""Dead, and kept until its dead-letter queue takes it."""
GONE: Final = 4
"""Settled, dead-lettered or dropped. Entries that still lie in an order or a heap are passed over."""

NEVER: Final = 0
LONG_AGO: Final = 1
LONGEST_MS: Final = 10**14
"""Longer delays and times to live, of which three thousand years are one, count as this."""
VERSION: Final = 1
SNAPSHOT_RECORDS: Final = 512
SNAPSHOT_BYTES: Final = 4 << 20

_STORED_OVERHEAD_BYTES: Final = 48
_CONTROL: Final = frozenset((EXPIRES_MS, PRIORITY, DELAY_MS))
_ENQUEUE: Final = struct.Struct("<cqqqh")
_HEAD: Final = struct.Struct("<cHq")
_UPDATE: Final = struct.Struct("<cIII")
_SNAPSHOT: Final = struct.Struct("<cI")


class Message:
    """One message of one queue. `expires_ms` and `due_ms` are wall clock; 0 is never, and not delayed.

    `body_bytes` is the value's length, what limits count; `stored_bytes` about what a snapshot of it takes.
    """

    __slots__ = (
        "body_bytes",
        "due_ms",
        "expires_ms",
        "failures",
        "headers",
        "key",
        "priority",
        "redelivered",
        "seq",
        "state",
        "stored_bytes",
        "timestamp_ms",
        "value",
    )

    headers: Headers | None

    def __init__(self, seq: int, key: bytes | None, value: bytes | None, timestamp_ms: int, expires_ms: int) -> None:
        self.seq = seq
        self.key = key
        self.value = value
        self.headers = None
        self.timestamp_ms = timestamp_ms
        self.expires_ms = expires_ms
        self.due_ms = 0
        self.priority = 0
        self.failures = 0
        self.redelivered = False
        self.state = READY
        self.body_bytes = size = len(value) if value else 0
        self.stored_bytes = size + _STORED_OVERHEAD_BYTES + (len(key) if key else 0)

    def expired(self, wall_ms: int) -> bool:
        return self.expires_ms != NEVER and self.expires_ms <= wall_ms

    def settle(self) -> None:
        """Mark as gone. A heap of times may hold the object for long, so it lets go of the bytes."""
        self.state = GONE
        if self.expires_ms or self.due_ms:
            self.key = self.value = self.headers = None


def messages_of(batch: Batch, first_seq: int, wall_ms: int, ttl_ms: int | None, top_priority: int) -> list[Message]:
    """The batch as messages, reserved headers read. `InvalidSpec` for one that is not a whole number."""
    expires_ms = NEVER if ttl_ms is None else wall_ms + ttl_ms
    headers = batch.headers
    out: list[Message] = []
    append = out.append
    seq = first_seq
    if headers is None:
        for key, value, timestamp_ms in zip(batch.keys, batch.values, batch.timestamps_ms, strict=True):
            append(Message(seq, key, value, timestamp_ms, expires_ms))
            seq += 1
        return out
    for key, value, timestamp_ms, pairs in zip(batch.keys, batch.values, batch.timestamps_ms, headers, strict=True):
        message = Message(seq, key, value, timestamp_ms, expires_ms)
        if pairs:
            message.headers = pairs
            size = 0
            for name, content in pairs:
                size += len(name) + len(content) + 8
                if name in _CONTROL:
                    _apply(message, name, content, wall_ms, top_priority)
            message.stored_bytes += size
        append(message)
        seq += 1
    return out


def _apply(message: Message, name: str, content: bytes, wall_ms: int, top_priority: int) -> None:
    try:
        number = min(int(content), LONGEST_MS)
    except ValueError:
        number = -1
    if number < 0:
        raise errors.InvalidSpec(
            f"the header {name!r} must be a whole number of at least 0, not {content!r}; nothing was enqueued",
            field=name,
        )
    if name == PRIORITY:
        # Above the queue's highest counts as the highest, as on RabbitMQ.
        message.priority = min(number, top_priority)
    elif name == EXPIRES_MS:
        expires_ms = wall_ms + number
        # The lower of queue and message wins (RabbitMQ, "TTL").
        if message.expires_ms == NEVER or expires_ms < message.expires_ms:
            message.expires_ms = expires_ms
    elif number:
        message.due_ms = wall_ms + number


def encode_head(next_seq: int) -> bytes:
    return _HEAD.pack(b"H", VERSION, next_seq)


def encode_enqueue(first_seq: int, wall_ms: int, ttl_ms: int | None, top_priority: int, batch: bytes) -> bytes:
    return _ENQUEUE.pack(b"E", first_seq, wall_ms, -1 if ttl_ms is None else ttl_ms, top_priority) + batch


def encode_update(settled: Sequence[int], returned: Sequence[Message], taken: Sequence[int]) -> bytes:
    """`returned` are the messages as they are after their return."""
    parts = [_UPDATE.pack(b"U", len(settled), len(returned), len(taken))]
    if settled:
        parts.append(struct.pack(f"<{len(settled)}q", *settled))
    parts.extend(
        _RETURNED.pack(message.seq, message.failures, message.due_ms, message.redelivered) for message in returned
    )
    if taken:
        parts.append(struct.pack(f"<{len(taken)}q", *taken))
    return b"".join(parts)


_RETURNED: Final = struct.Struct("<qIq?")
_KEPT: Final = struct.Struct("<qIqqh??")


def encode_snapshots(messages: Sequence[Message], make_batch: MakeBatch, encode_batch: EncodeBatch) -> Iterator[bytes]:
    """The messages, in order of their numbers, as entries that hold all of their state."""
    for part in _parts(messages):
        kept = b"".join(
            _KEPT.pack(
                message.seq,
                message.failures,
                message.expires_ms,
                message.due_ms,
                message.priority,
                message.redelivered,
                message.state == TAKEN,
            )
            for message in part
        )
        yield _SNAPSHOT.pack(b"S", len(part)) + kept + encode_batch(batch_of(part, make_batch))


def _parts(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    lo = size = 0
    for index, message in enumerate(messages):
        if index - lo >= SNAPSHOT_RECORDS or size >= SNAPSHOT_BYTES:
            yield messages[lo:index]
            lo, size = index, 0
        size += message.stored_bytes
    if lo < len(messages):
        yield messages[lo:]


def batch_of(messages: Sequence[Message], make_batch: MakeBatch) -> Batch:
    """The messages as one batch, headers unchanged."""
    headers = [message.headers for message in messages]
    return make_batch(
        [message.key for message in messages],
        [message.value for message in messages],
        headers if any(headers) else None,
        [message.timestamp_ms for message in messages],
    )


def reply_columns(messages: Sequence[Message], make_batch: MakeBatch) -> tuple[list[int], list[bool], list[Batch]]:
    """Attempts, redelivered marks, and one batch or none, for messages that are shown."""
    attempts = [message.failures + 1 for message in messages]
    redelivered = [message.redelivered for message in messages]
    return attempts, redelivered, [batch_of(messages, make_batch)] if messages else []


class Replayed:
    """What the entries of a journal add up to: `messages` by number, in order of number, and the next number."""

    __slots__ = ("_decode_batch", "_name", "messages", "next_seq")

    def __init__(self, name: str, decode_batch: DecodeBatch) -> None:
        self._name = name
        self._decode_batch = decode_batch
        self.messages: dict[int, Message] = {}
        self.next_seq = 0

    def replay(self, entries: Iterable[bytes]) -> None:
        """Apply all entries; `CorruptLog` naming the entry that cannot be understood."""
        for number, entry in enumerate(entries):
            try:
                self._apply(entry)
            except (struct.error, ValueError, IndexError) as error:
                raise errors.CorruptLog(
                    f"entry {number} of the journal of queue {self._name!r} cannot be read: {error}; nothing was "
                    "changed",
                    file=f"queue-{self._name}",
                    offset_bytes=number,
                ) from error

    def _apply(self, entry: bytes) -> None:
        kind = entry[:1]
        if kind == b"E":
            _, first_seq, wall_ms, ttl_ms, top_priority = _ENQUEUE.unpack_from(entry)
            batch = self._decode_batch(entry[_ENQUEUE.size :])
            ttl = None if ttl_ms < 0 else ttl_ms
            for message in messages_of(batch, first_seq, wall_ms, ttl, top_priority):
                if message.due_ms:
                    message.state = DELAYED
                self.messages[message.seq] = message
            self.next_seq = max(self.next_seq, first_seq + batch.count)
        elif kind == b"U":
            self._update(entry)
        elif kind == b"S":
            self._snapshot(entry)
        elif kind == b"H":
            _, version, next_seq = _HEAD.unpack(entry)
            if version != VERSION:
                raise ValueError(f"version {version} is not known here")
            self.next_seq = max(self.next_seq, next_seq)
        else:
            raise ValueError(f"an entry of kind {kind!r}")

    def _update(self, entry: bytes) -> None:
        _, settled, returned, taken = _UPDATE.unpack_from(entry)
        at = _UPDATE.size
        for seq in struct.unpack_from(f"<{settled}q", entry, at):
            self.messages.pop(seq, None)
        at += 8 * settled
        for _ in range(returned):
            seq, failures, due_ms, redelivered = _RETURNED.unpack_from(entry, at)
            at += _RETURNED.size
            message = self.messages.get(seq)
            if message is not None:
                message.failures = failures
                message.due_ms = due_ms
                message.redelivered = redelivered
                message.state = DELAYED if due_ms else READY
        for seq in struct.unpack_from(f"<{taken}q", entry, at):
            message = self.messages.get(seq)
            if message is not None:
                message.state = TAKEN
                message.due_ms = 0

    def _snapshot(self, entry: bytes) -> None:
        _, count = _SNAPSHOT.unpack_from(entry)
        at = _SNAPSHOT.size
        batch = self._decode_batch(entry[at + count * _KEPT.size :])
        if batch.count != count:
            raise ValueError(f"a snapshot of {count} messages with {batch.count} records")
        for message in messages_of(batch, 0, 0, None, 0):
            kept = _KEPT.unpack_from(entry, at)
            at += _KEPT.size
            message.seq, message.failures, message.expires_ms, message.due_ms = kept[:4]
            message.priority, message.redelivered, taken = kept[4:]
            message.state = TAKEN if taken else DELAYED if message.due_ms else READY
            self.messages[message.seq] = message
            self.next_seq = max(self.next_seq, message.seq + 1)
