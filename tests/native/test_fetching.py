"""Reading ahead, against a broker that answers when the test says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from mqbridge.native.fetching import PartitionFetch
from mqbridge.native.runtime.session import Session
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.topology import Topic


class SlowSession:
    """Keeps what it was asked until the test answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], Any]] = []

    def call(self, op: str, args: dict[str, Any], batches: Sequence[RecordBatch], done: Any) -> None:
        self.asked.append((args, done))

    def answer(self, batches: Sequence[RecordBatch] = (), base: int = 0) -> dict[str, Any]:
        args, done = self.asked.pop(0)
        done({"base_offsets": [base] * len(batches), "start": 0, "end": 0}, list(batches), None)
        return args


class InquisitiveBatch(RecordBatch):
    """While it is being cut, somebody polls."""

    __slots__ = ("polled",)
    polled: Callable[[], None]

    def slice(self, lo: int, hi: int) -> RecordBatch:
        self.polled()
        return super().slice(lo, hi)


def _fetch(session: SlowSession, position: int = 0) -> tuple[PartitionFetch, list[str]]:
    calls: list[str] = []
    fetch = PartitionFetch(
        cast(Session, session),
        Topic("t"),
        0,
        1,
        position,
        lambda: calls.append("ready"),
        lambda _fetch, _error: calls.append("failed"),
    )
    return fetch, calls


def test_whoever_is_answered_with_nothing_is_told_of_the_next_append() -> None:
    """An answer that comes after the last block was taken must not leave the partition waiting for a note."""
    session = SlowSession()
    fetch, calls = _fetch(session)
    assert fetch.take() is None
    session.answer([RecordBatch([None], [b"x"], None, [0])])
    assert fetch.take() is not None  # asks for more while its block is still there
    assert session.answer()["watch"]
    assert fetch.take() is None
    assert session.asked == []
    calls.clear()
    fetch.data()
    assert calls == ["ready"]
    fetch.take()
    assert session.asked[0][0]["offset"] == 1


def test_a_poll_during_an_answer_does_not_ask_for_the_same_records_again() -> None:
    """The place is moved on before anybody may ask: else records are delivered twice within one lease."""
    session = SlowSession()
    fetch, _ = _fetch(session, position=5)
    fetch.take()
    batch = InquisitiveBatch([None] * 10, [b"x"] * 10, None, [0] * 10)
    asked_meanwhile: list[int] = []

    def poll() -> None:
        fetch.take()
        asked_meanwhile.append(len(session.asked))

    batch.polled = poll
    session.answer([batch])
    assert asked_meanwhile == [0]
    block = fetch.take()
    assert block is not None
    assert (block.count, block.next_offset) == (5, 10)


def test_a_seek_during_an_answer_stands() -> None:
    """A seek that falls between the look at the generation and the new place is not overwritten, nor are old records
    shown after it.
    """
    session = SlowSession()
    fetch, calls = _fetch(session, position=5)
    fetch.take()
    batch = InquisitiveBatch([None] * 10, [b"x"] * 10, None, [0] * 10)
    batch.polled = lambda: fetch.seek(100)
    session.answer([batch])
    assert calls == []
    assert fetch.take() is None
    assert [args["offset"] for args, _ in session.asked] == [100]
