"""Record batches keep what they were given, and refuse bytes that do not add up."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqbridge.native.storage.batches import Headers, RecordBatch

Record = tuple[bytes | None, bytes | None, Headers | None, int]

blobs = st.none() | st.binary(max_size=40)
headers = st.none() | st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=8)), max_size=3).map(tuple)
records = st.lists(st.tuples(blobs, blobs, headers, st.integers(-(2**63), 2**63 - 1)), max_size=20)


def batch_of(rows: list[Record]) -> RecordBatch:
    return RecordBatch([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], [r[3] for r in rows])


def rows_of(batch: RecordBatch) -> list[Record]:
    headers = batch.headers or [None] * batch.count
    return list(zip(batch.keys, batch.values, headers, batch.timestamps_ms, strict=True))


@settings(deadline=None)
@given(records)
def test_decoding_gives_back_what_was_encoded(rows: list[Record]) -> None:
    """Every key, value, header and timestamp survives, null and empty apart, and the size is known
    beforehand.
    """
    batch = batch_of(rows)
    data = batch.encode()
    decoded = RecordBatch.decode(data)
    if any(row[2] for row in rows):
        assert rows_of(decoded) == rows
    else:
        assert decoded.headers is None
        assert [row[:2] + row[3:] for row in rows_of(decoded)] == [row[:2] + row[3:] for row in rows]
    assert decoded == batch
    assert decoded.count == batch.count == len(rows)
    assert decoded.max_timestamp_ms == batch.max_timestamp_ms == max([row[3] for row in rows], default=-1)
    assert decoded.size_bytes == batch.size_bytes == len(data)
    assert decoded.encode() == data


@settings(deadline=None)
@given(records, st.integers(0, 20), st.integers(0, 20))
def test_a_slice_is_the_rows_between(rows: list[Record], lo: int, hi: int) -> None:
    """A slice of a batch, decoded or not, equals a batch of the sliced rows and encodes like one."""
    expected = batch_of(rows[lo:hi])
    for batch in (batch_of(rows), RecordBatch.decode(batch_of(rows).encode())):
        assert batch.slice(lo, hi) == expected
        assert batch.slice(lo, hi).encode() == expected.encode()


def test_null_and_empty_differ() -> None:
    """A null key or value never comes back as an empty one, nor the other way round."""
    batch = RecordBatch.decode(RecordBatch([None, b"", b"k"], [b"", None, b"v"], None, [1, 2, 3]).encode())
    assert list(batch.keys) == [None, b"", b"k"]
    assert list(batch.values) == [b"", None, b"v"]


def test_a_header_may_repeat_and_be_empty() -> None:
    """Headers are a multi-mapping in order: names repeat, and empty names and values are kept."""
    mine: Headers = (("a", b"1"), ("", b""), ("a", b"2"), ("ä", b"\xff"))
    batch = RecordBatch.decode(RecordBatch([None] * 3, [b""] * 3, [None, mine, ()], [0] * 3).encode())
    assert batch.headers == [None, mine, ()]


def test_every_damaged_length_is_noticed() -> None:
    """No single damaged byte in the head's sizes or in a length column is taken for another batch."""
    batch = RecordBatch([b"key", None, b""], [b"value", b"", None], [(("name", b"content"),), None, ()], [5, 6, 7])
    data = batch.encode()
    head, lengths = 24, 4 * batch.count * 2
    names = len(data) - len(b"namecontent") - 8 - 4 * batch.count
    for at in [*range(head + lengths), *range(names, len(data) - len(b"namecontent"))]:
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            if at in (2, 3):  # reserved, without a meaning
                continue
            with pytest.raises(ValueError):
                RecordBatch.decode(bytes(damaged))


def test_damage_that_adds_up_is_noticed_too() -> None:
    """A negative length is refused even where another one makes up for it in the sum."""
    data = RecordBatch([b"abc", b"defg"], [b"", b""], None, [0, 0]).encode()
    lengths = struct.pack("<ii", 3, 4)
    for wrong in ((-2, 9), (9, -2), (-(2**31), 7)):
        damaged = data.replace(lengths, struct.pack("<ii", *wrong), 1)
        assert damaged != data
        with pytest.raises(ValueError):
            RecordBatch.decode(damaged)


@settings(deadline=None)
@given(st.binary(max_size=80), records)
def test_nonsense_is_a_value_error_and_nothing_else(noise: bytes, rows: list[Record]) -> None:
    """Whatever bytes come, decoding gives a batch of exactly that size or raises ValueError."""
    data = batch_of(rows).encode()
    for candidate in (noise, data[: len(noise)] + noise, data + noise, noise + data[len(noise) :]):
        try:
            decoded = RecordBatch.decode(candidate)
        except ValueError:
            continue
        assert decoded.size_bytes == len(candidate)


def test_columns_of_different_lengths_are_refused() -> None:
    """A batch whose columns disagree in length cannot be made."""
    bad: list[tuple[Any, Any, Any, Any]] = [
        ([None], [], None, []),
        ([None], [b""], None, []),
        ([None], [b""], [], [0]),
    ]
    for columns in bad:
        with pytest.raises(ValueError):
            RecordBatch(*columns)
