"""What the core needs from outside, and what its rooms owe the broker.

The rule: structural types only; whoever has these methods fits, and nothing outside is imported. The storage
room's own protocols promise the same and say more; an error of storage passes through the core to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias


class Now(NamedTuple):
    """The time of a call. `mono_s` drives timeouts within this life of the broker; what must survive a
    restart (ages, delays) is reckoned in `wall_ms`."""

    mono_s: float
    wall_ms: int


class Batch(Protocol):
    """An immutable table of records, by columns."""

    @property
    def count(self) -> int: ...

    @property
    def keys(self) -> Sequence[bytes | None]: ...

    @property
    def values(self) -> Sequence[bytes | None]: ...

    @property
    def headers(self) -> Sequence[Headers | None] | None: ...

    @property
    def timestamps_ms(self) -> Sequence[int]: ...

    @property
    def max_timestamp_ms(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def slice(self, lo: int, hi: int) -> Batch: ...


Headers: TypeAlias = tuple[tuple[str, bytes], ...]
MakeBatch: TypeAlias = Callable[
    [
        Sequence[bytes | None],
        Sequence[bytes | None],
        Sequence[Headers | None] | None,
        Sequence[int],
    ],
    Batch,
]
EncodeBatch: TypeAlias = Callable[[Any], bytes]
DecodeBatch: TypeAlias = Callable[[bytes], Batch]


class Segment(Protocol):
    """What retention sees of a segment. `max_timestamp_ms` is -1 when it is empty."""

    @property
    def base_offset(self) -> int: ...

    @property
    def next_offset(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def max_timestamp_ms(self) -> int: ...

    @property
    def active(self) -> bool: ...


class Log(Protocol):
    """One partition's records at consecutive offsets."""

    @property
    def start_offset(self) -> int: ...

    @property
    def next_offset(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def append(self, batch: Any) -> int:
        """Store the batch, whole or not at all; the offset of its first record."""

    def read(self, offset: int, max_bytes: int) -> Sequence[tuple[int, Batch]]:
        """Whole batches with their base offsets, the first one containing `offset`; none at `next_offset`."""

    def offset_at(self, timestamp_ms: int) -> int | None: ...

    def segments(self) -> Sequence[Segment]:
        """Oldest first; the last one is active."""

    def roll(self) -> None: ...

    def drop_segments_before(self, offset: int) -> int: ...

    def set_start_offset(self, offset: int) -> None: ...


class Journal(Protocol):
    """An order of opaque entries that can be replayed, and replaced as a whole."""

    @property
    def size_bytes(self) -> int: ...

    def append(self, payload: bytes) -> None: ...

    def replay(self) -> Iterator[bytes]: ...

    def rewrite(self, payloads: Iterable[bytes]) -> None: ...


class Store(Protocol):
    """Where logs and journals are. `epoch` is raised durably by each opening of the store."""

    @property
    def epoch(self) -> int: ...

    def journal(self, name: str) -> Journal: ...

    def remove_journal(self, name: str) -> None: ...

    def partition_log(self, topic: str, partition: int) -> Log: ...

    def remove_topic(self, topic: str) -> None:
        """Delete all logs of a topic at once; harmless if there is none."""


Notify: TypeAlias = Callable[[int, dict[str, Any]], None]
"""Queue a note for a session; a session that is gone is no error."""

Reply: TypeAlias = tuple[dict[str, Any], list[Any]]
Op: TypeAlias = Callable[[int, dict[str, Any], Sequence[Any], Now], Reply]
"""(session, args, batches, now) -> (JSON-able reply, batches)."""


class Topology(Protocol):
    """The "meta" journal as a room sees it."""

    def append(self, entry: dict[str, Any]) -> None:
        """Durable on return. If it raises, the caller changes nothing in memory."""


class Room(Protocol):
    """What the broker knows of a room: operations, and its part in recovery and in the passing of time."""

    @property
    def ops(self) -> Mapping[str, Op]: ...

    def restore_meta(self, entry: dict[str, Any]) -> bool:
        """Take an entry of the journal, whose "t" says what it is; whether it concerned this room."""

    def snapshot_meta(self) -> Iterable[dict[str, Any]]:
        """The entries that make the present state, for a journal rewritten from them alone."""

    def recover(self, now: Now) -> None:
        """Once, after all entries were restored."""

    def close_session(self, session: int, clean: bool, now: Now) -> None: ...

    def tick(self, now: Now) -> None: ...

    def next_deadline(self, now: Now) -> float | None: ...
