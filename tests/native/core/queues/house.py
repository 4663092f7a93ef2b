"""A room of queues over a store that remembers every write, a clock moved by hand, and the calls written shortly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from mqbridge import errors
from mqbridge.native.core.ports import Now
from mqbridge.native.core.queues.room import QueueRoom
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.store import MemoryStore
from mqbridge.semantics import reserved

WALL_MS = 1_700_000_000_000


class Write(NamedTuple):
    """One change of a store: an entry appended, a journal rewritten (`entries`), or removed (None)."""

    journal: str
    entries: tuple[bytes, ...] | None
    appended: bool


class WatchedJournal:
    def __init__(self, store: WatchedStore, name: str) -> None:
        self._store = store
        self._name = name

    @property
    def size_bytes(self) -> int:
        return self._store.inner.journal(self._name).size_bytes

    def append(self, payload: bytes) -> None:
        self._store.check_room()
        self._store.apply(Write(self._name, (payload,), appended=True))

    def replay(self) -> Iterator[bytes]:
        return self._store.inner.journal(self._name).replay()

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        self._store.check_room()
        self._store.apply(Write(self._name, tuple(payloads), appended=False))


class WatchedStore:
    """A memory store with its history. `room_for` is how many writes still succeed; None is without end."""

    def __init__(self, history: Sequence[Write] = (), epoch: int = 1) -> None:
        self.inner = MemoryStore()
        self.epoch = epoch
        self.history: list[Write] = []
        self.room_for: int | None = None
        for write in history:
            self.apply(write)

    def journal(self, name: str) -> WatchedJournal:
        return WatchedJournal(self, name)

    def remove_journal(self, name: str) -> None:
        self.apply(Write(name, None, appended=False))

    def partition_log(self, topic: str, partition: int) -> Any:
        raise AssertionError("queues keep no logs")

    def remove_topic(self, topic: str) -> None:
        raise AssertionError("queues keep no logs")

    def check_room(self) -> None:
        if self.room_for is not None:
            if not self.room_for:
                raise errors.Rejected("no room on the disk; nothing was applied", retryable=True)
            self.room_for -= 1

    def apply(self, write: Write) -> None:
        self.history.append(write)
        journal, entries, appended = write
        if entries is None:
            self.inner.remove_journal(journal)
        elif appended:
            self.inner.journal(journal).append(entries[0])
        else:
            self.inner.journal(journal).rewrite(entries)


class Topology:
    def __init__(self, store: WatchedStore) -> None:
        self._journal = store.journal("meta")

    def append(self, entry: dict[str, Any]) -> None:
        self._journal.append(json.dumps(entry).encode())

    def replay(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self._journal.replay()]


class Got(NamedTuple):
    """One delivered message."""

    tag: int
    value: bytes | None
    attempt: int
    redelivered: bool
    key: bytes | None
    headers: dict[str, bytes]
    timestamp_ms: int


class Take(NamedTuple):
    got: list[Got]
    errors: list[list[Any]]
    active: bool

    @property
    def values(self) -> list[bytes | None]:
        return [one.value for one in self.got]

    @property
    def tags(self) -> list[int]:
        return [one.tag for one in self.got]


class House:
    """One life of a room. `crash()` gives the next life over what the store had at a moment."""

    def __init__(self, store: WatchedStore | None = None, now: Now | None = None) -> None:
        self.store = store or WatchedStore()
        self.now = now or Now(1000.0, WALL_MS)
        self.notes: list[tuple[int, dict[str, Any]]] = []
        self.topology = Topology(self.store)
        self.room = QueueRoom(
            self.store,
            RecordBatch,
            RecordBatch.encode,
            RecordBatch.decode,
            lambda session, note: self.notes.append((session, note)),
            self.topology,
        )
        for entry in self.topology.replay():
            assert self.room.restore_meta(entry), entry
        self.room.recover(self.now)

    def crash(self, writes: int | None = None) -> House:
        """The host dies and another one recovers from the first `writes` writes, or from all."""
        history = self.store.history if writes is None else self.store.history[:writes]
        return House(WatchedStore(history, self.store.epoch + 1), Now(self.now.mono_s + 50, self.now.wall_ms))

    def advance(self, seconds: float, *, tick: bool = True) -> None:
        self.now = Now(self.now.mono_s + seconds, self.now.wall_ms + round(seconds * 1000))
        if tick:
            self.room.tick(self.now)

    def call(self, op: str, batches: Sequence[RecordBatch] = (), session: int = 1, **args: Any) -> dict[str, Any]:
        # Through JSON, as over a socket.
        reply, _ = self.room.ops[op](session, json.loads(json.dumps(args)), batches, self.now)
        return dict(json.loads(json.dumps(reply)))

    def queue(self, name: str, **spec: Any) -> dict[str, Any]:
        return self.call("create_queue", name=name, spec=spec)

    def send(self, queue: str, *values: bytes | None, **options: Any) -> dict[str, Any]:
        return dict(self.call("enqueue", [records(*values, **options)], queue=queue)["errors"])

    def publish(self, exchange: str, *values: bytes | None, **options: Any) -> dict[str, Any]:
        return dict(self.call("publish", [records(*values, **options)], exchange=exchange)["errors"])

    def consume(self, queue: str, prefetch: int = 100, priority: int = 0, session: int = 1) -> int:
        return int(self.call("consume", session=session, queue=queue, prefetch=prefetch, priority=priority)["consumer"])

    def take(
        self,
        consumer: int,
        most: int = 100,
        settle: Sequence[Sequence[Any]] = (),
        watch: bool = False,
        session: int = 1,
    ) -> Take:
        args = {"consumer": consumer, "max": most, "settle": [list(item) for item in settle], "watch": watch}
        reply, batches = self.room.ops["take"](session, args, [], self.now)
        json.dumps(reply)
        return Take(_rows(reply, reply["tags"], batches), reply["settled_errors"], reply["active"])

    def browse(self, queue: str, most: int = 100) -> list[Got]:
        reply, batches = self.room.ops["browse"](1, {"queue": queue, "max": most}, [], self.now)
        return _rows(reply, reply["seqs"], batches)

    def drain(self, queue: str) -> list[Got]:
        """Everything ready, taken and acknowledged."""
        consumer = self.consume(queue, prefetch=10_000)
        taken = self.take(consumer, 10_000)
        self.take(consumer, 0, [("ack", tag) for tag in taken.tags])
        self.call("cancel", consumer=consumer)
        return taken.got

    def counts(self, queue: str) -> tuple[int, int, int]:
        """(ready, unsettled, delayed)"""
        found = self.call("describe_queue", name=queue)
        return found["ready"], found["unsettled"], found["delayed"]

    def journal(self, queue: str) -> list[bytes]:
        return list(self.store.inner.journal(f"queue-{queue}").replay())

    def told(self) -> list[tuple[int, str, int]]:
        """(session, note, consumer) of the notes since the last time."""
        notes, self.notes = self.notes, []
        return [(session, note["note"], note["consumer"]) for session, note in notes]


def records(
    *values: bytes | None,
    id: str | None = None,
    priority: int | None = None,
    delay_ms: int | None = None,
    expires_ms: int | None = None,
    routing_key: str | None = None,
    headers: dict[str, bytes] | None = None,
    keys: Sequence[bytes | None] | None = None,
    timestamps_ms: Sequence[int] | None = None,
) -> RecordBatch:
    """A batch of these values, the same headers on each."""
    pairs = list((headers or {}).items())
    for name, option in (
        (reserved.MESSAGE_ID, id),
        (reserved.PRIORITY, priority),
        (reserved.DELAY_MS, delay_ms),
        (reserved.EXPIRES_MS, expires_ms),
        (reserved.ROUTING_KEY, routing_key),
    ):
        if option is not None:
            pairs.append((name, str(option).encode()))
    return RecordBatch(
        keys or [None] * len(values),
        list(values),
        [tuple(pairs)] * len(values) if pairs else None,
        timestamps_ms or [WALL_MS] * len(values),
    )


def _rows(reply: dict[str, Any], numbers: list[int], batches: Sequence[RecordBatch]) -> list[Got]:
    assert len(batches) == bool(numbers)
    if not numbers:
        assert reply["attempts"] == reply["redelivered"] == []
        return []
    (batch,) = batches
    headers = batch.headers or [None] * batch.count
    rows = zip(
        numbers,
        batch.values,
        reply["attempts"],
        reply["redelivered"],
        batch.keys,
        headers,
        batch.timestamps_ms,
        strict=True,
    )
    return [
        Got(tag, value, attempt, again, key, dict(pairs or ()), at)
        for tag, value, attempt, again, key, pairs, at in rows
    ]
