"""What a queue was declared to be, as far as that decides what may become of a message.

The rule: all that was ever declared is put together; where two declarations contradict each other, or nobody declared
anything, the policy is not known, and no finding may rest on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mqbridge_conformance.history import Event, History

__all__ = ["Policy", "policies"]

_TOLD: Final = (
    "max_attempts",
    "dead_letter",
    "message_ttl_s",
    "expires_s",
    "max_length",
    "max_bytes",
    "overflow",
    "max_priority",
    "type",
)


@dataclass(frozen=True, slots=True)
class Policy:
    """Of one queue. `dead_letters` are all that it was ever declared to dead-letter to: at most one if it is known."""

    known: bool = False
    max_attempts: int | None = None
    dead_letters: tuple[str, ...] = ()
    message_ttl_s: float | None = None
    expires: bool = False
    max_length: int | None = None
    bounded: bool = False
    """Has it a limit, of whatever kind?"""
    drops: bool = False
    """Does it drop the oldest when it is full?"""
    max_priority: int | None = None
    backoff_s: float = 0.0
    classic: bool = False

    @property
    def dead_letter(self) -> str | None:
        """Where it dead-letters to; None if nowhere."""
        return self.dead_letters[0] if self.dead_letters else None

    @property
    def keeps(self) -> bool:
        """Does a message stay until it is settled, whatever happens?"""
        return self.known and not self.expires and not self.drops and self.message_ttl_s is None


def policies(history: History) -> Mapping[str, Policy]:
    """Of every queue that was declared."""
    told: dict[str, list[Event]] = {}
    for event in history.said("declare"):
        if event.dest is not None and event.dest.startswith("queue:"):
            told.setdefault(event.dest, []).append(event)
    return {dest: _policy(events) for dest, events in told.items()}


def _policy(events: Iterable[Event]) -> Policy:
    values: dict[str, list[Any]] = {name: [] for name in (*_TOLD, "retry_backoff")}
    for event in events:
        for name, found in values.items():
            value = event.more.get(name)
            if value is not None and value not in found:
                found.append(value)
    one = {name: found[0] if found else None for name, found in values.items()}
    bounded = one["max_length"] is not None or one["max_bytes"] is not None
    return Policy(
        known=all(len(values[name]) <= 1 for name in _TOLD),
        max_attempts=one["max_attempts"],
        dead_letters=tuple(values["dead_letter"]),
        message_ttl_s=one["message_ttl_s"],
        expires=one["expires_s"] is not None,
        max_length=one["max_length"],
        bounded=bounded,
        drops=bounded and one["overflow"] == "drop-head",
        max_priority=one["max_priority"],
        backoff_s=max((_longest_s(backoff) for backoff in values["retry_backoff"]), default=0.0),
        classic="classic" in values["type"],
    )


def _longest_s(backoff: Any) -> float:
    told = backoff if isinstance(backoff, Mapping) else {}
    return max((float(told[name]) for name in ("first_delay_s", "max_delay_s") if told.get(name)), default=0.0)
