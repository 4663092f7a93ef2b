"""The broker without I/O: one door to topics, groups, queues and exchanges.

The rule: every entry takes `now`, is called by one thread at a time, and returns at once; what concerns other
sessions comes out as notes. No thread, clock, random number, socket or file is in here or behind it: storage,
batches and ids come in through the constructor. The same calls in the same order on the same store give the
same replies and notes.

Here sessions are known, operations are handed to the room that has them, and what rooms share (the "meta"
journal, recovery, time) is walked through in one fixed order. What an operation does belongs to its room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

from mqbridge import errors
from mqbridge.native.core import meta
from mqbridge.native.core.ports import (
    Batch,
    DecodeBatch,
    EncodeBatch,
    MakeBatch,
    Now,
    Op,
    Reply,
    Room,
    Store,
)
from mqbridge.native.core.queues.room import QueueRoom
from mqbridge.native.core.topics.groups import GroupRoom
from mqbridge.native.core.topics.room import TopicRoom
from mqbridge.native.core.turns import run_all
from mqbridge.semantics.naming import nearest

Note: TypeAlias = dict[str, Any]


class Broker:
    """All of the native engine's state. `recover` comes first and once; then sessions open, call, and close.

    `make_batch`, `encode_batch` and `decode_batch` make and translate record batches; `new_id` gives member
    ids, each different from all before, in earlier lives of the broker too.
    """

    def __init__(
        self,
        store: Store,
        make_batch: MakeBatch,
        encode_batch: EncodeBatch,
        decode_batch: DecodeBatch,
        new_id: Callable[[], str],
    ) -> None:
        self._meta = meta.MetaJournal(store.journal("meta"))
        self._sessions: dict[int, None] = {}
        self._last_session = 0
        self._notes: list[tuple[int, Note]] = []
        self._recovered = False
        topics = TopicRoom(store, self._meta, self._notify)
        groups = GroupRoom(topics, self._meta, self._notify, new_id, store.epoch)
        queues = QueueRoom(store, make_batch, encode_batch, decode_batch, self._notify, self._meta)
        # Groups listen to topics, so in a snapshot topics come first.
        self._rooms: tuple[Room, ...] = (topics, groups, queues)
        self._ops: dict[str, Op] = {name: op for room in self._rooms for name, op in room.ops.items()}

    def recover(self, now: Now) -> None:
        """Make the state that the store's journals and logs describe. Once, before anything else.

        CorruptLog if an entry cannot be understood: what was confirmed would be missing, so the broker does
        not start.
        """
        if self._recovered:
            raise errors.ConfigurationError("the broker has recovered already; nothing was done")
        for number, entry in enumerate(self._meta.replay()):
            try:
                # Each room sees each entry: the end of a topic concerns its groups too.
                known = [room.restore_meta(entry) for room in self._rooms]
            except (LookupError, TypeError, ValueError) as error:
                raise meta.unreadable(number, entry) from error
            if not any(known):
                raise meta.unreadable(number, entry)
        for room in self._rooms:
            room.recover(now)
        self._recovered = True

    def open_session(self, now: Now) -> int:
        """A number for one connected client process."""
        self._check_recovered()
        self._last_session += 1
        self._sessions[self._last_session] = None
        return self._last_session

    def close_session(self, session: int, clean: bool, now: Now) -> None:
        """The connection is gone; `clean` if it said good-bye. Harmless if the session is closed already."""
        if session not in self._sessions:
            return
        del self._sessions[session]
        for room in self._rooms:
            room.close_session(session, clean, now)

    def call(self, session: int, op: str, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        """Carry out one operation: (JSON-able reply, batches).

        Raises an error of the library, and then nothing has changed, except where its `outcome` says
        otherwise.
        """
        self._check_recovered()
        if session not in self._sessions:
            raise errors.Closed(
                f"session {session} is closed or was never opened; nothing was done: open one"
            )
        handler = self._ops.get(op)
        if handler is None:
            meant = nearest(op, self._ops)
            hint = f"; the nearest is {meant!r}" if meant else ""
            raise errors.ConfigurationError(f"there is no operation {op!r}{hint}; nothing was done")
        return handler(session, args, batches, now)

    def tick(self, now: Now) -> None:
        """Do what is due: timeouts, expiry, delays, retention, a shorter journal.

        Every room has its turn, whatever fails in another; then the first error is raised, with the others as
        notes.
        """
        self._check_recovered()
        turns: list[Callable[[], object]] = [partial(room.tick, now) for room in self._rooms]
        turns.append(partial(self._meta.compact_if_due, self._snapshot))
        run_all(turns)

    def next_deadline(self, now: Now) -> float | None:
        """When the next tick is due, in `mono_s`; None if nothing waits for time."""
        self._check_recovered()
        deadlines = (room.next_deadline(now) for room in self._rooms)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def take_notes(self) -> list[tuple[int, Note]]:
        """(session, note) of all that was to be told since the last time, in order."""
        notes, self._notes = self._notes, []
        return notes

    def _notify(self, session: int, note: Note) -> None:
        # Who is gone hears nothing: its queue messages went back already, its group members time out.
        if session in self._sessions:
            self._notes.append((session, note))

    def _snapshot(self) -> Iterator[dict[str, Any]]:
        return chain.from_iterable(room.snapshot_meta() for room in self._rooms)

    def _check_recovered(self) -> None:
        if not self._recovered:
            raise errors.ConfigurationError(
                "the broker has not recovered yet; nothing was done: call recover first"
            )
