"""What becomes of an acquired record: how the broker is told, and what is written before.

The rule of this room: pure. A share group counts a delivery when it hands the record out, and drops the record silently
when its own limit is reached; so what must not be counted, and what comes near that limit, is written anew with its
attempts in a header, and what has reached the queue's own limit goes to the dead-letter queue first. Where that cannot
be written, the message itself is written anew (`saved`) before the broker would drop it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from mqbridge_kafka.letters import Arrived, Letter, copy_to_tail, dead_letter

Verb = Literal["ack", "release", "retry", "reject", "return", "expire", "exhaust", "rewrite", "drop", "hand on", "save"]
"""Those of the SPI, and: `expire` (its time to live is over), `exhaust` (consumers died over it too often), `rewrite`
(the broker would soon drop it), `drop` (not ours any more). After a letter that could not be written: `hand on` (to
the next, counted) and `save` (write what `saved` made)."""

WRITE_S: Final = 1.0
"""A letter is begun only while the lock lasts so much longer: what is written too late is there twice."""
PAUSE_FIRST_S: Final = 0.1
PAUSE_MAX_S: Final = 5.0
EXHAUSTED: Final = "its last consumer died, or held it longer than the record lock"


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for the messages of one queue. `limit` is after how many deliveries the broker drops a record."""

    queue: str
    topic: str
    max_attempts: int | None
    dead_letter_topic: str | None
    ttl_ms: int | None
    limit: int
    room_bytes: int

    @property
    def rewrite_at(self) -> int:
        """A record that was acquired so often is written anew unseen: a crash may still come in between."""
        return max(2, self.limit - 1)


class Verdict(NamedTuple):
    """`accept`: the broker forgets the record; else it gives it to the next. `letter` is confirmed before."""

    accept: bool
    letter: Letter | None = None


def on_arrival(message: Arrived, terms: Terms, wall_ms: int) -> Verb | None:
    """What must be done with a record instead of showing it; None to show it."""
    expires_at_ms = message.expires_at_ms(terms.ttl_ms)
    if expires_at_ms is not None and expires_at_ms <= wall_ms:
        return "expire"
    if terms.max_attempts is not None and message.attempt > terms.max_attempts:
        return "exhaust"
    return "rewrite" if message.deliveries >= terms.rewrite_at else None


def judge(verb: Verb, text: str | None, message: Arrived, terms: Terms, wall_ms: int) -> Verdict:
    """What a verb means for one record."""
    if verb == "ack":
        return Verdict(accept=True)
    if verb in ("drop", "hand on"):
        return Verdict(accept=False)
    if verb == "retry":
        return _retry(text, message, terms, wall_ms)
    if verb in ("release", "return", "rewrite"):
        shown = verb == "release" or message.deliveries > 1
        return Verdict(accept=True, letter=copy_to_tail(message, terms.topic, message.attempt - 1, shown=shown))
    if verb == "reject":
        return _dead("rejected", text, message, message.attempt, terms, wall_ms)
    if verb == "expire":
        return _dead("expired", text, message, message.attempt - 1, terms, wall_ms)
    return _dead("max-attempts", text or EXHAUSTED, message, message.attempt - 1, terms, wall_ms)


def _retry(text: str | None, message: Arrived, terms: Terms, wall_ms: int) -> Verdict:
    if terms.max_attempts is not None and message.attempt >= terms.max_attempts:
        return _dead("max-attempts", text, message, message.attempt, terms, wall_ms)
    if message.deliveries + 1 >= terms.rewrite_at:
        return Verdict(accept=True, letter=copy_to_tail(message, terms.topic, message.attempt, shown=True))
    return Verdict(accept=False)


def saved(verb: Verb, message: Arrived, terms: Terms) -> Letter | None:
    """What is written in place of a letter that could not be: the message itself, as the next attempt or, if nobody
    was shown it, as the same one. None while the broker may still be given it back."""
    if message.deliveries < terms.rewrite_at:
        return None
    attempts = message.attempt if verb in ("retry", "reject") else message.attempt - 1
    shown = verb in ("release", "retry", "reject") or message.deliveries > 1
    return copy_to_tail(message, terms.topic, attempts, shown=shown)


def pause_s(times: int) -> float:
    """How long a message rests whose letter could not be written, the more often the longer."""
    return min(PAUSE_MAX_S, PAUSE_FIRST_S * float(1 << min(10, max(0, times - 1))))


def least_left_s(lock_s: float) -> float:
    """So much of the lock must be left for a letter to be begun."""
    return min(WRITE_S, lock_s / 8)


def what_next(verb: Verb, message: Arrived, terms: Terms, *, is_saved: bool) -> str:
    """The sentence that says what becomes of a message whose letter could not be written."""
    again = "it will be delivered again"
    if verb in ("retry", "reject", "expire", "exhaust") and terms.max_attempts is not None:
        attempt = message.attempt + (verb in ("retry", "reject"))
        if attempt > terms.max_attempts or verb == "expire":
            again = "it is not shown again, and its dead letter is tried again by any consumer of the queue"
    if is_saved:
        return f"The message itself was written to the tail of its queue: {again}."
    if message.deliveries < terms.rewrite_at:
        return f"The message is given back after a pause, and that counts: {again}."
    return (
        "Nor could the message itself be written to the tail of its queue; that is tried again until its record lock "
        f"ends or the consumer closes. This is delivery {message.deliveries} of the record, and after {terms.limit} "
        "the broker drops it."
    )


def _dead(reason: str, text: str | None, message: Arrived, attempts: int, terms: Terms, wall_ms: int) -> Verdict:
    """To the dead-letter queue; without one it is dropped, which the queue's specification asked for."""
    if terms.dead_letter_topic is None:
        return Verdict(accept=True)
    letter = dead_letter(
        message,
        terms.dead_letter_topic,
        origin=terms.queue,
        reason=reason,
        attempts=attempts,
        text=text,
        wall_ms=wall_ms,
        room_bytes=terms.room_bytes,
    )
    return Verdict(accept=True, letter=letter)
