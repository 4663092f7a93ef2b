"""Dead letters: why a message died, what its letter says, and how it comes back.

The rule: a letter is confirmed by its queue before its source forgets the message. So a crash between the two may
show a message in both places, and never in none. When a message dies is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from mqbridge.native.core.ports import Batch, Headers, MakeBatch, Now
from mqbridge.native.core.queues.records import Message
from mqbridge.semantics.reserved import (
    DEATH,
    DEATH_AT_MS,
    DEATH_ATTEMPTS,
    DEATH_ERROR,
    DEATH_QUEUE,
    DEATH_REASON,
    DELAY_MS,
    EXPIRES_MS,
)

REJECTED: Final = "rejected"
EXPIRED: Final = "expired"
MAX_ATTEMPTS: Final = "max-attempts"
MAX_LENGTH: Final = "max-length"

Path: TypeAlias = tuple[str, ...]
"""The queues whose overflow led to this enqueue."""


class Refusal(NamedTuple):
    """Why one record was not taken: an error code of mqbridge.errors, and a sentence."""

    code: str
    message: str


class Death(NamedTuple):
    """One message's death. `attempts` is how often it was tried, `error` the text given to `reject` or `retry`."""

    message: Message
    reason: str
    attempts: int
    error: str | None = None


Enqueue: TypeAlias = Callable[[str, Batch, Now, Path], dict[int, Refusal] | None]
"""(queue, batch, now, path) -> refusals by record, or None: there is no such queue."""

# A letter that expired again, or that waited again, would wander (RabbitMQ removes `expiration` for the same reason).
_NOT_IN_A_LETTER: Final = frozenset((*DEATH, EXPIRES_MS, DELAY_MS))


class DeadLetters:
    """Carries dead messages to dead-letter queues."""

    __slots__ = ("_enqueue", "_make_batch")

    def __init__(self, make_batch: MakeBatch, enqueue: Enqueue) -> None:
        self._make_batch = make_batch
        self._enqueue = enqueue

    def deliver(
        self, origin: str, target: str | None, deaths: Sequence[Death], now: Now, path: Path = ()
    ) -> dict[int, Refusal]:
        """Write letters to `target`; refusals by index. What is not refused may be settled in `origin`.

        Without a target messages are dropped, which only expiry and overflow come to ask for. An overflow that
        comes back to a queue it went through is dropped as well: nowhere on that way is there room. An error of
        storage is raised with perhaps some letters written.
        """
        if target is None or target in path:
            return {}
        batch = self._make_batch(
            [death.message.key for death in deaths],
            [death.message.value for death in deaths],
            [_letter_headers(death, origin, now.wall_ms) for death in deaths],
            [death.message.timestamp_ms for death in deaths],
        )
        refusals = self._enqueue(target, batch, now, (*path, origin))
        if refusals is not None:
            return refusals
        missing = Refusal(
            "not_found",
            f"the dead-letter queue {target!r} of queue {origin!r} does not exist; the message was kept: create it",
        )
        return dict.fromkeys(range(len(deaths)), missing)


def _letter_headers(death: Death, origin: str, wall_ms: int) -> Headers:
    kept = tuple(pair for pair in death.message.headers or () if pair[0] not in _NOT_IN_A_LETTER)
    told: list[tuple[str, bytes]] = [
        (DEATH_REASON, death.reason.encode()),
        (DEATH_QUEUE, origin.encode()),
        (DEATH_ATTEMPTS, b"%d" % death.attempts),
        (DEATH_AT_MS, b"%d" % wall_ms),
    ]
    if death.error is not None:
        told.append((DEATH_ERROR, death.error.encode("utf-8", "backslashreplace")))
    return (*kept, *told)


def origin_of(message: Message) -> str | None:
    """The queue in which a dead letter died, or None if it is no letter of a queue's."""
    for name, value in message.headers or ():
        if name == DEATH_QUEUE:
            return value.decode("ascii", "replace")
    return None


def redriven(messages: Sequence[Message], make_batch: MakeBatch) -> Batch:
    """The messages as they were before they died: without death headers, id and key kept."""
    headers = [
        tuple(pair for pair in message.headers if pair[0] not in DEATH) or None if message.headers else None
        for message in messages
    ]
    return make_batch(
        [message.key for message in messages],
        [message.value for message in messages],
        headers if any(headers) else None,
        [message.timestamp_ms for message in messages],
    )
