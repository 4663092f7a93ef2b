"""Which partition a record goes to.

The one rule: the same key and partition count give the same partition as Kafka's Java client gives, on every
engine, so that programs in several languages may write one topic. What a callable of the user returns is
checked here too (`check_partition`). Counting partitions and finding their leaders is the engine's work.

Kafka sources: `Utils.murmur2`, `BuiltInPartitioner.partitionForKey`, KIP-480 and KIP-794 (keyless records
stay on one partition for about a batch: a batch of many records costs hardly more than a batch of one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from struct import unpack_from
from typing import Final, TypeAlias

Partitioner: TypeAlias = Callable[[str, "bytes | None", "bytes | None", int], int]
"""`(topic name, key, value, partitions) -> partition`, called once a record, in the sender's thread."""

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_U32: Final = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF

MEMO_KEYS: Final = 65_536
MEMO_KEY_BYTES: Final = 256
RUN_RECORDS: Final = 100
RUN_BYTES: Final = 16_384


def murmur2(key: bytes) -> int:
    """The 32-bit murmur2 of `key`, unsigned, bit for bit what `Utils.murmur2` of Kafka's Java client
    computes.

    Java shows the same bits as a signed number: subtract 2**32 from results of 2**31 and above.
    """
    length = len(key)
    h = (_SEED ^ length) & _U32
    words = length >> 2
    for k in unpack_from(f"<{words}I", key):
        k = k * _M & _U32
        h = h * _M & _U32 ^ (k ^ k >> 24) * _M & _U32
    if length & 3:
        h = (h ^ int.from_bytes(key[words << 2 :], "little")) * _M & _U32
    h = (h ^ h >> 13) * _M & _U32
    return h ^ h >> 15


def partition_for_key(key: bytes, partitions: int) -> int:
    """The partition of a record with this key: murmur2 without its sign bit, modulo `partitions` (at least
    1).

    The empty key is a key like any other; a record without a key has no partition of its own. Adding
    partitions moves keys.
    """
    if partitions < 1:
        raise ValueError(f"A topic has at least one partition, not {partitions}.")
    return (murmur2(key) & _POSITIVE) % partitions


def check_partition(result: object, partitions: int) -> int:
    """`result` of a partitioner if it is a partition number of the topic, else `ValueError`.

    `True` and `1.0` are refused: they compare equal to a partition, and come from a mistake.
    """
    if type(result) is not int:
        raise ValueError(
            f"A partitioner returns a partition number from 0 to {partitions - 1}, "
            f"but this one returned {result!r} of type {type(result).__name__}."
        )
    if not 0 <= result < partitions:
        raise ValueError(
            f"A partitioner returned partition {result}, but the topic has the partitions 0 to {partitions - 1}."
        )
    return result


class RoundRobin:
    """Each record to the next partition, whatever its key; counted for each topic apart.

    One counter for all topics would send every record of two alternately written topics of two partitions
    to one partition each. `start` is the first partition, modulo the topic's count: producers that live
    for a few records only should not all start at 0. Safe to call from several threads.
    """

    __slots__ = ("_start", "_turns")

    def __init__(self, start: int = 0) -> None:
        self._start = _check_start(start)
        self._turns: dict[str, Iterator[int]] = {}

    def __call__(self, topic: str, key: bytes | None, value: bytes | None, partitions: int) -> int:
        turns = self._turns.get(topic)
        if turns is None:
            turns = self._turns.setdefault(topic, count(self._start))
        # next() of itertools.count is one step under the interpreter lock: no turn is lost or given twice.
        return next(turns) % partitions


class Sticky:
    """Records stay on one partition for a run, then go to the next one, whatever their key.

    A run ends after `run_records` records or `run_bytes` bytes of keys and values, whichever is first: about
    a producer's batch, whose end a partitioner cannot see. Runs are counted for each topic apart. `start` as
    in `RoundRobin`. Called from several threads at once, a run may be a little longer or shorter than said.
    """

    __slots__ = ("_run_bytes", "_run_records", "_runs", "_start")

    def __init__(self, start: int = 0, *, run_records: int = RUN_RECORDS, run_bytes: int = RUN_BYTES) -> None:
        if run_records < 1 or run_bytes < 1:
            raise ValueError(
                f"A sticky run has at least one record and one byte, not run_records={run_records}, "
                f"run_bytes={run_bytes}."
            )
        self._start = _check_start(start)
        self._run_records = run_records
        self._run_bytes = run_bytes
        # topic -> [partition before the modulo, records left, bytes left]
        self._runs: dict[str, list[int]] = {}

    def __call__(self, topic: str, key: bytes | None, value: bytes | None, partitions: int) -> int:
        run = self._runs.get(topic)
        if run is None:
            run = self._runs.setdefault(topic, [self._start, self._run_records, self._run_bytes])
        turn = run[0]
        run[1] -= 1
        run[2] -= (len(value) if value else 0) + (len(key) if key else 0)
        if run[1] <= 0 or run[2] <= 0:
            run[0] = turn + 1
            run[1] = self._run_records
            run[2] = self._run_bytes
        return turn % partitions


class ByKey:
    """Records of one key to one partition (`partition_for_key`); records without a key in runs, as `Sticky` does.

    The last keys' hashes are remembered, at most `MEMO_KEYS` of at most `MEMO_KEY_BYTES` each, because murmur2 in
    Python costs a microsecond or two; a full memo is emptied, which costs time and changes no result. The memo holds
    hashes, not partitions, so it serves all topics and survives added partitions. Safe to call from several threads.

    A sender keeps the bound `__call__` and not the object: CPython 3.11 then calls it in about 60 % of the time.
    """

    __slots__ = ("_get", "_keyless", "_memo")

    def __init__(self, start: int = 0) -> None:
        self._memo: dict[bytes, int] = {}
        # Bound once: the lookup is the hot path of every keyed send.
        self._get = self._memo.get
        self._keyless = Sticky(start).__call__

    def __call__(self, topic: str, key: bytes | None, value: bytes | None, partitions: int) -> int:
        known = self._get(key)  # type: ignore[arg-type]  # None is no key of the memo, and answers None
        if known is not None:
            return known % partitions
        if key is None:
            return self._keyless(topic, None, value, partitions)
        hashed = murmur2(key) & _POSITIVE
        if len(key) <= MEMO_KEY_BYTES:
            if len(self._memo) >= MEMO_KEYS:
                self._memo.clear()
            self._memo[key] = hashed
        return hashed % partitions


def _check_start(start: int) -> int:
    if start < 0:
        raise ValueError(f"The first partition of a partitioner is 0 or more, not {start}.")
    return start
