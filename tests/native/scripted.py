"""A way to a broker that answers when the test says so, and a connection around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mqbridge.errors import ConnectionLost, MqbridgeError
from mqbridge.native.storage.batches import RecordBatch
from tests.native.runtime.fakes import HandClock


class ScriptedLink:
    """Keeps what it was asked until the test answers; refuses with `refusal`, if there is one: when it is told to, or
    before the call returns (`prompt`).
    """

    session_epoch = 1

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], Sequence[RecordBatch], Any]] = []
        self.refusal: MqbridgeError | None = None
        self.refused: list[Callable[[], None]] = []
        self.prompt = False

    def call(self, op: str, args: dict[str, Any], batches: Sequence[RecordBatch], done: Any) -> bool:
        if self.refusal is not None:
            error = self.refusal
            self.refused.append(lambda: done(None, [], error))
            if self.prompt:
                assert len(self.refused) == 1, "asked again within the refusal"
                done(None, [], error)
            return False
        self.asked.append((op, args, batches, done))
        return True

    def close(self, clean: bool = True) -> None:
        """Nothing to close."""

    @property
    def ops(self) -> list[str]:
        return [op for op, *_ in self.asked]

    def answer(self, reply: dict[str, Any], *batches: RecordBatch) -> None:
        """The oldest call that is open."""
        self.asked.pop(0)[3](reply, list(batches), None)

    def fail(self, error: MqbridgeError) -> None:
        self.asked.pop(0)[3](None, [], error)

    def tell_refusals(self) -> None:
        """Refusals come through the mailbox: later than the refused call returns, if another thread is at it."""
        refused, self.refused = self.refused, []
        for tell in refused:
            tell()


class ScriptedSession:
    def __init__(self) -> None:
        self.link = ScriptedLink()
        self.role = "client"
        self.failure: MqbridgeError | None = None

    def call(self, op: str, args: dict[str, Any], batches: Sequence[RecordBatch], done: Any) -> None:
        self.link.call(op, args, batches, done)


class ScriptedConnection:
    """What members, queue clients and senders use of a connection. Timers run when the test says so."""

    def __init__(self) -> None:
        self.session = ScriptedSession()
        self.clock = HandClock()
        self.closed = False
        self.members: list[Any] = []
        self.queue_clients: list[Any] = []
        self.consumers: dict[int, Any] = {}
        self.senders: set[Any] = set()
        self.woken = 0
        self.repeats: list[Callable[[], None]] = []

    def wake_backlogs(self) -> None:
        self.woken += 1

    def ask_again(self, error: MqbridgeError, job: Callable[[], None]) -> bool:
        if isinstance(error, ConnectionLost) or (error.retryable and error.outcome == "not_applied"):
            self.repeats.append(job)
            return True
        return False

    def claim_notes(self, member: tuple[str, str], listener: Any) -> list[dict[str, Any]]:
        return []

    def disclaim_notes(self, member: tuple[str, str]) -> None:
        """Nobody is told anything by itself."""
