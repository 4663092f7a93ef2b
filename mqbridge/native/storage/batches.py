"""The record batch: the unit that is appended, stored, fetched and decoded; a table kept by columns.

The rule: a batch is never changed after it was made, and no step of encoding or decoding calls `struct` per
record. What does not belong here: offsets (the log gives them), checksums (the frame has one), files.

Encoded form, little-endian: a fixed head, then the columns key lengths (i32, -1 is null), value lengths
(i32), timestamps (i64), the keys joined, the values joined; and if any record has headers: headers per record
(i32, -1 is none), name lengths, header value lengths, names and header values joined.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence, Sized
from itertools import accumulate, chain, pairwise

Headers = tuple[tuple[str, bytes], ...]

# version, flags, reserved, records, bytes of keys, bytes of values, headers, bytes of header names and values
_HEAD = struct.Struct("<BBHIIIII")
_VERSION = 1
_HAS_HEADERS = 1
_PER_RECORD_BYTES = 4 + 4 + 8


class RecordBatch:
    """An immutable table of records: keys, values, headers and timestamps in milliseconds.

    Null and empty keys and values differ. `headers` is None when no record has any; a record's own entry may
    be None. `max_timestamp_ms` is -1 for a batch without records.
    """

    __slots__ = (
        "_header_columns",
        "_headers",
        "_key_lengths",
        "_size_bytes",
        "_value_lengths",
        "count",
        "keys",
        "max_timestamp_ms",
        "timestamps_ms",
        "values",
    )

    count: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    timestamps_ms: Sequence[int]
    max_timestamp_ms: int
    _size_bytes: int | None
    _headers: Sequence[Headers | None] | None
    _header_columns: tuple[array[int], array[int], array[int], bytes] | None

    def __init__(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None] | None,
        timestamps_ms: Sequence[int],
    ) -> None:
        self.count = count = len(values)
        if len(keys) != count or len(timestamps_ms) != count or (headers is not None and len(headers) != count):
            raise ValueError("the columns of a batch must have one length")
        self.keys = keys
        self.values = values
        self.timestamps_ms = timestamps_ms
        self.max_timestamp_ms = max(timestamps_ms) if count else -1
        self._headers = headers if headers is not None and any(headers) else None
        self._header_columns = None
        self._size_bytes = None

    @property
    def size_bytes(self) -> int:
        """The encoded size, known without encoding. Measured on first access: what a consumer in the same process
        takes is never asked for it.
        """
        return self._measure() if self._size_bytes is None else self._size_bytes

    def _measure(self) -> int:
        self._key_lengths = _lengths(self.keys)
        self._value_lengths = _lengths(self.values)
        self._size_bytes = size = (
            _HEAD.size
            + _PER_RECORD_BYTES * self.count
            + _blob_bytes(self._key_lengths)
            + _blob_bytes(self._value_lengths)
            + self._headers_size_bytes()
        )
        return size

    @property
    def headers(self) -> Sequence[Headers | None] | None:
        """One entry a record, or None when no record has headers. Decoded on first access, for the whole
        batch.
        """
        if self._headers is None and self._header_columns is not None:
            self._headers = _decode_headers(*self._header_columns)
        return self._headers

    def encode(self) -> bytes:
        """The bytes that `decode` reads. Not remembered: a log encodes a batch once."""
        if self._size_bytes is None:
            self._measure()
        head_columns: tuple[bytes, ...] = ()
        header_count = header_bytes = flags = 0
        columns = self._columns_of_headers()
        if columns is not None:
            counts, name_lengths, value_lengths, blob = columns
            head_columns = (_raw(counts), _raw(name_lengths), _raw(value_lengths), blob)
            header_count, header_bytes, flags = len(name_lengths), len(blob), _HAS_HEADERS
        head = _HEAD.pack(
            _VERSION,
            flags,
            0,
            self.count,
            _blob_bytes(self._key_lengths),
            _blob_bytes(self._value_lengths),
            header_count,
            header_bytes,
        )
        timestamps = self.timestamps_ms
        return b"".join(
            chain(
                (
                    head,
                    _raw(self._key_lengths),
                    _raw(self._value_lengths),
                    _raw(timestamps if isinstance(timestamps, array) else array("q", timestamps)),
                ),
                # Neither null nor empty adds a byte, so one C-level filter serves both.
                filter(None, self.keys),
                filter(None, self.values),
                head_columns,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> RecordBatch:
        """Read what `encode` wrote; ValueError when the lengths in it do not add up to exactly `data`."""
        if len(data) < _HEAD.size:
            raise ValueError(f"a record batch of {len(data)} bytes is shorter than its head")
        version, flags, _, count, key_bytes, value_bytes, header_count, header_bytes = _HEAD.unpack_from(data)
        if version != _VERSION or flags & ~_HAS_HEADERS:
            raise ValueError(f"record batch version {version}, flags {flags:#x} is not known here")
        expected = _HEAD.size + _PER_RECORD_BYTES * count + key_bytes + value_bytes
        if flags & _HAS_HEADERS:
            expected += 4 * count + 8 * header_count + header_bytes
        if expected != len(data):
            raise ValueError(f"a record batch of {len(data)} bytes describes {expected} bytes")
        batch = cls.__new__(cls)
        at = _HEAD.size
        batch._key_lengths = key_lengths = _column("i", data, at, count)
        at += 4 * count
        batch._value_lengths = value_lengths = _column("i", data, at, count)
        at += 4 * count
        batch.timestamps_ms = timestamps = _column("q", data, at, count)
        at += 8 * count
        if _checked_blob_bytes(key_lengths) != key_bytes or _checked_blob_bytes(value_lengths) != value_bytes:
            raise ValueError("the lengths of keys or values do not add up")
        batch.keys = _slices(data, at, key_lengths)
        at += key_bytes
        batch.values = _slices(data, at, value_lengths)
        at += value_bytes
        batch._headers = None
        batch._header_columns = _header_columns(data, at, count, header_count) if flags & _HAS_HEADERS else None
        batch.count = count
        batch.max_timestamp_ms = max(timestamps) if count else -1
        batch._size_bytes = len(data)
        return batch

    def slice(self, lo: int, hi: int) -> RecordBatch:
        """The records lo to hi, without hi, as a batch of its own."""
        if lo <= 0 and hi >= self.count:
            return self
        headers = self.headers
        return RecordBatch(self.keys[lo:hi], self.values[lo:hi], headers and headers[lo:hi], self.timestamps_ms[lo:hi])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordBatch):
            return NotImplemented
        return (
            list(self.keys) == list(other.keys)
            and list(self.values) == list(other.values)
            and list(self.timestamps_ms) == list(other.timestamps_ms)
            and list(self.headers or ()) == list(other.headers or ())
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RecordBatch(count={self.count}, size_bytes={self.size_bytes})"

    def _columns_of_headers(self) -> tuple[array[int], array[int], array[int], bytes] | None:
        if self._header_columns is None and self._headers is not None:
            self._header_columns = _encode_headers(self._headers)
        return self._header_columns

    def _headers_size_bytes(self) -> int:
        columns = self._columns_of_headers()
        if columns is None:
            return 0
        return 4 * self.count + 8 * len(columns[1]) + len(columns[3])


def _lengths(column: Sequence[Sized | None]) -> array[int]:
    try:
        return array("i", map(len, column))  # type: ignore[arg-type]  # a None raises TypeError, and is rare
    except TypeError:
        return array("i", [-1 if item is None else len(item) for item in column])


def _blob_bytes(lengths: array[int]) -> int:
    # Each null is -1 in the sum.
    return sum(lengths) + lengths.count(-1) if lengths else 0


def _checked_blob_bytes(lengths: array[int]) -> int:
    if lengths and min(lengths) < -1:
        raise ValueError("a negative length")
    return _blob_bytes(lengths)


def _raw(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()


def _column(kind: str, data: bytes, at: int, count: int) -> array[int]:
    column: array[int] = array(kind)
    column.frombytes(memoryview(data)[at : at + count * column.itemsize])
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _slices(data: bytes, at: int, lengths: array[int]) -> list[bytes | None]:
    if lengths and min(lengths) < 0:
        # Rare enough to walk plainly: a null takes no bytes.
        out: list[bytes | None] = []
        for length in lengths:
            if length < 0:
                out.append(None)
            else:
                out.append(data[at : at + length])
                at += length
        return out
    return [data[lo:hi] for lo, hi in pairwise(accumulate(lengths, initial=at))]


def _encode_headers(headers: Iterable[Headers | None]) -> tuple[array[int], array[int], array[int], bytes]:
    headers = list(headers)
    counts = _lengths(headers)
    pairs = list(chain.from_iterable(filter(None, headers)))
    names = [name.encode() for name, _ in pairs]
    values = [value for _, value in pairs]
    blob = b"".join(chain(names, values))
    return counts, array("i", map(len, names)), array("i", map(len, values)), blob


def _header_columns(
    data: bytes, at: int, count: int, header_count: int
) -> tuple[array[int], array[int], array[int], bytes]:
    counts = _column("i", data, at, count)
    at += 4 * count
    name_lengths = _column("i", data, at, header_count)
    at += 4 * header_count
    value_lengths = _column("i", data, at, header_count)
    at += 4 * header_count
    blob = data[at:]
    if _checked_blob_bytes(counts) != header_count:
        raise ValueError("the headers of the records do not add up")
    if header_count and min(min(name_lengths), min(value_lengths)) < 0:
        raise ValueError("a negative length of a header")
    if sum(name_lengths) + sum(value_lengths) != len(blob):
        raise ValueError("the lengths of header names and values do not add up")
    return counts, name_lengths, value_lengths, blob


def _decode_headers(
    counts: array[int], name_lengths: array[int], value_lengths: array[int], blob: bytes
) -> list[Headers | None]:
    split = sum(name_lengths)
    raw_names = [blob[lo:hi] for lo, hi in pairwise(accumulate(name_lengths, initial=0))]
    known = {raw: raw.decode() for raw in dict.fromkeys(raw_names)}  # few names, many records
    names = [known[raw] for raw in raw_names]
    values = [blob[lo:hi] for lo, hi in pairwise(accumulate(value_lengths, initial=split))]
    pairs = list(zip(names, values, strict=True))
    if counts.count(1) == len(counts):
        return [*zip(pairs, strict=True)]  # one header each, as all messages of a queue have at least
    out: list[Headers | None] = []
    at = 0
    for count in counts:
        if count < 0:
            out.append(None)
        else:
            out.append(tuple(pairs[at : at + count]))
            at += count
    return out
