"""The journal of topology and offsets: what goes in comes out, and it does not grow for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.core.meta import LEAST_BYTES, MetaJournal
from mqbridge.native.storage.journals import MemoryJournal


def large(number: int) -> dict[str, Any]:
    return {"t": "x", "number": number, "text": "é" * (LEAST_BYTES // 20)}


def test_entries_come_back_in_order() -> None:
    """Each entry is one change, replayed as it was written."""
    journal = MetaJournal(MemoryJournal())
    for number in range(3):
        journal.append({"number": number, "name": "ünï"})
    assert [entry["number"] for entry in journal.replay()] == [0, 1, 2]


def test_history_is_dropped_when_it_is_most_of_the_journal() -> None:
    """Above 4 MiB and four times the live state the journal is rewritten from it, and not before."""
    journal = MetaJournal(MemoryJournal())
    live = [large(0)]
    while journal.size_bytes <= LEAST_BYTES:
        assert not journal.compact_if_due(lambda: live)
        journal.append(large(0))
    assert journal.compact_if_due(lambda: live)
    assert list(journal.replay()) == live
    assert not journal.compact_if_due(lambda: live)


def test_a_large_live_state_is_not_rewritten() -> None:
    """While most of the journal is live, it stays, and is not even looked at again before it has grown."""
    journal = MetaJournal(MemoryJournal())
    live = [large(number) for number in range(60)]
    for entry in live:
        journal.append(entry)
    assert journal.size_bytes > LEAST_BYTES
    looks: list[int] = []

    def snapshot() -> list[dict[str, Any]]:
        looks.append(1)
        return live

    assert not journal.compact_if_due(snapshot)
    assert not journal.compact_if_due(snapshot)
    assert len(looks) == 1


def test_a_rewrite_that_fails_is_not_tried_at_every_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is reported, the entries stay, and it is asked again only after as much growth."""
    stored = MemoryJournal()
    journal = MetaJournal(stored)
    for number in range(60):
        journal.append(large(number))

    def refuse(payloads: object) -> None:
        raise errors.Rejected("no room", retryable=True)

    with monkeypatch.context() as patched:
        patched.setattr(stored, "rewrite", refuse)
        with pytest.raises(errors.Rejected):
            journal.compact_if_due(lambda: [])
        assert not journal.compact_if_due(lambda: [])
    assert len(list(journal.replay())) == 60
    for number in range(30):
        journal.append(large(number))
    assert journal.compact_if_due(lambda: [])


@pytest.mark.parametrize("payload", [b"\xff", b"{", json.dumps([1]).encode()])
def test_an_entry_that_is_none_stops_everything(payload: bytes) -> None:
    """What cannot be understood was confirmed once; going on without it would lose it silently."""
    stored = MemoryJournal()
    stored.append(b"{}")
    stored.append(payload)
    with pytest.raises(errors.CorruptLog, match="entry 1"):
        list(MetaJournal(stored).replay())
