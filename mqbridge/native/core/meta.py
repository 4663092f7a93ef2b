"""The "meta" journal: topology and committed offsets, one JSON object an entry.

The rule: an entry is one change, whole; a change of several things that belong together is one entry. Entries
are written before memory is changed, and a journal rewritten from the rooms' snapshots replays to the same
state. What an entry means is known only to the room that wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mqbridge import errors
from mqbridge.native.core.ports import Journal

LEAST_BYTES = 4 << 20
TIMES_LIVE = 4


class MetaJournal:
    """Entries in, entries out. `compact_if_due` keeps it within `TIMES_LIVE` times what the live state
    needs."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._due_bytes = LEAST_BYTES

    @property
    def size_bytes(self) -> int:
        return self._journal.size_bytes

    def append(self, entry: dict[str, Any]) -> None:
        """Durable on return. `Rejected` with nothing written when there is no room."""
        self._journal.append(_encode(entry))

    def replay(self) -> Iterator[dict[str, Any]]:
        """Every entry in order. `CorruptLog` for one that is no object: its checksum was right, so it is
        not ours."""
        for number, payload in enumerate(self._journal.replay()):
            try:
                entry = json.loads(payload)
            except ValueError as error:
                raise unreadable(number, payload) from error
            if not isinstance(entry, dict):
                raise unreadable(number, payload)
            yield entry

    def compact_if_due(self, snapshot: Callable[[], Iterable[dict[str, Any]]]) -> bool:
        """Rewrite the journal if it is large and mostly history. Call it while no operation is under way."""
        size = self._journal.size_bytes
        if size <= self._due_bytes:
            return False
        live = [_encode(entry) for entry in snapshot()]
        live_bytes = sum(map(len, live))
        # Looked at again only after as much growth, so that a large live state is not encoded at every tick;
        # set before the attempt, so that a full disk is not asked at every tick either.
        self._due_bytes = max(LEAST_BYTES, TIMES_LIVE * live_bytes, size + LEAST_BYTES)
        if size <= TIMES_LIVE * live_bytes:
            return False
        self._journal.rewrite(live)
        self._due_bytes = max(LEAST_BYTES, TIMES_LIVE * live_bytes)
        return True


def unreadable(number: int, found: object) -> errors.CorruptLog:
    return errors.CorruptLog(
        f"entry {number} of the journal 'meta' cannot be understood: {found!r:.120}; nothing was changed: "
        "open the folder with the version of mqbridge that wrote it, or a later one",
        file="meta",
        offset_bytes=-1,
    )


def _encode(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode()
