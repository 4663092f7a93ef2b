"""A broker that does next to nothing, a clock moved by hand, and waiting with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from mqbridge import errors
from mqbridge.native.core.ports import Now
from mqbridge.native.storage.batches import RecordBatch

DEADLINE_S = 15.0


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition that nothing signals; fails at the deadline."""
    pause = threading.Event()
    give_up = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < give_up, f"not within {deadline_s} s: {what}"
        pause.wait(0.005)


def batch(*values: bytes) -> RecordBatch:
    return RecordBatch([None] * len(values), list(values), None, [0] * len(values))


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.listeners: list[Callable[[], None]] = []

    def mono_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return int(self.now_s * 1000)

    def subscribe(self, fn: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(fn)
        return lambda: self.listeners.remove(fn)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        for fn in list(self.listeners):
            fn()


class FakeBroker:
    """Operations: echo, note, fail, bug, interrupt, hang, deadline, count. Counts what must not overlap."""

    def __init__(self) -> None:
        self.sessions: dict[int, bool | None] = {}
        self.deadline: float | None = None
        self.ticks: list[Now] = []
        self.ticked = threading.Event()
        self.tick_error: BaseException | None = None
        self.notes: list[tuple[int, dict[str, Any]]] = []
        self.calls: list[tuple[int, str]] = []
        self.numbers = 0
        self.hanging = threading.Event()
        self.go_on = threading.Event()
        self._inside = threading.Lock()

    def open_session(self, now: Now) -> int:
        session = len(self.sessions) + 1
        self.sessions[session] = None
        return session

    def close_session(self, session: int, clean: bool, now: Now) -> None:
        self.sessions[session] = clean

    def call(
        self, session: int, op: str, args: dict[str, Any], batches: Sequence[Any], now: Now
    ) -> tuple[dict[str, Any], list[Any]]:
        assert self._inside.acquire(blocking=False), "two calls at the same time"
        try:
            self.calls.append((session, op))
            return self._apply(session, op, args, batches)
        finally:
            self._inside.release()

    def _apply(
        self, session: int, op: str, args: dict[str, Any], batches: Sequence[Any]
    ) -> tuple[dict[str, Any], list[Any]]:
        if op == "note":
            self.numbers += 1
            self.notes.append((args.get("to", session), {"note": "n", "number": self.numbers, **args}))
            return {"number": self.numbers}, []
        if op == "fail":
            raise errors.NotFound("no such thing", thing=args.get("thing"))
        if op == "bug":
            raise KeyError("a bug")
        if op == "interrupt":
            raise KeyboardInterrupt
        if op == "hang":
            self.hanging.set()
            assert self.go_on.wait(DEADLINE_S)
        if op == "deadline":
            self.deadline = args["at"]
        if op == "unsayable":
            return {"what": object()}, []
        return dict(args), list(batches)

    def tick(self, now: Now) -> None:
        self.ticks.append(now)
        if self.deadline is not None and self.deadline <= now.mono_s:
            self.deadline = None
        self.ticked.set()
        if self.tick_error is not None:
            error, self.tick_error = self.tick_error, None
            raise error

    def next_deadline(self, now: Now) -> float | None:
        return self.deadline

    def take_notes(self) -> list[tuple[int, dict[str, Any]]]:
        notes, self.notes = self.notes, []
        return notes


class Calls:
    """Collects completions."""

    def __init__(self) -> None:
        self.ended: list[tuple[dict[str, Any] | None, list[RecordBatch], errors.MqbridgeError | None]] = []
        self.one = threading.Event()

    def __call__(
        self, reply: dict[str, Any] | None, batches: list[RecordBatch], error: errors.MqbridgeError | None
    ) -> None:
        self.ended.append((reply, batches, error))
        self.one.set()

    def reply(self) -> dict[str, Any]:
        """The one reply, once it is there."""
        assert self.one.wait(DEADLINE_S), "the call did not end"
        assert len(self.ended) == 1
        reply, _, error = self.ended[0]
        assert error is None, error
        assert reply is not None
        return reply

    def error(self) -> errors.MqbridgeError:
        """The one error, once it is there."""
        assert self.one.wait(DEADLINE_S), "the call did not end"
        assert len(self.ended) == 1
        error = self.ended[0][2]
        assert error is not None
        return error
