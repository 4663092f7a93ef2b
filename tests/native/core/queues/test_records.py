"""The journal's entries: what a snapshot is cut into, and what an update passes over."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mqbridge.native.core.queues import records
from mqbridge.native.core.queues.records import DELAYED, TAKEN, Message, Replayed, encode_snapshots, encode_update
from mqbridge.native.storage.batches import RecordBatch


def snapshots(messages: Sequence[Message]) -> list[bytes]:
    return list(encode_snapshots(messages, RecordBatch, RecordBatch.encode))


def replayed(*entries: bytes) -> Replayed:
    out = Replayed("q", RecordBatch.decode)
    out.replay(entries)
    return out


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1025])
def test_a_snapshot_is_cut_by_count(count: int) -> None:
    """Each message is in one entry, and none has more than its share of them."""
    entries = snapshots([Message(seq, None, b"x", 0, 0) for seq in range(count)])
    assert len(entries) == -(-count // records.SNAPSHOT_RECORDS)
    assert list(replayed(*entries).messages) == list(range(count))


def test_a_snapshot_is_cut_by_bytes() -> None:
    """Large messages do not add up to an entry that no journal can hold."""
    value = b"x" * (records.SNAPSHOT_BYTES // 2)
    entries = snapshots([Message(seq, None, value, 0, 0) for seq in range(8)])
    assert max(map(len, entries)) < 2 * records.SNAPSHOT_BYTES
    assert len(replayed(*entries).messages) == 8


def test_an_update_passes_over_what_is_gone() -> None:
    """A settlement, a return and a taking of a number that is not there change nothing else."""
    gone, there = Message(7, None, b"", 0, 0), Message(8, None, b"", 0, 0)
    entries = snapshots([there])
    found = replayed(*entries, encode_update([7], [gone], [7]))
    assert list(found.messages) == [8]


def test_an_update_is_applied_in_its_order() -> None:
    """A message that came back and was handed out again in one call is taken; one that came back to wait is delayed."""
    again, later = Message(1, None, b"", 0, 0), Message(2, None, b"", 0, 0)
    entries = snapshots([again, later])
    again.failures, again.redelivered = 4, True
    later.due_ms = 99
    found = replayed(*entries, encode_update([], [again, later], [1])).messages
    assert (found[1].state, found[1].failures, found[1].redelivered) == (TAKEN, 4, True)
    assert (found[2].state, found[2].due_ms, found[2].redelivered) == (DELAYED, 99, False)
