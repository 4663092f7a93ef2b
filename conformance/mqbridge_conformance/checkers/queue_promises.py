"""What an engine's claims say about queues, as questions that several checkers ask."""

from __future__ import annotations

from typing import Any, Final

from mqbridge_conformance.checkers.judging import Profile
from mqbridge_conformance.checkers.queue_clients import SECOND
from mqbridge_conformance.checkers.queue_facts import Facts

__all__ = ["AT_LEAST_ONCE", "Promises"]

AT_LEAST_ONCE: Final = "at least once: it may come again"
RECORD_LOCK_S: Final = 30.0
_COPYING: Final = ("RELEASE_UNCOUNTED", "RETRY_COUNTED", "MAX_ATTEMPTS", "DEAD_LETTER", "PREFETCH")


class Promises:
    """Of one engine."""

    def __init__(self, facts: Facts, profile: Profile) -> None:
        self._facts = facts
        header: Any = facts.history.header
        self.copying = any(profile.claims.get(name) == "emulated" for name in _COPYING)
        """Does the library write messages anew, so that one who dies in between leaves two?"""
        self.hold_ns = None if profile.has("LONG_HANDLERS") else _half(header.get("record_lock_s"))
        """So long a message is safely held; None: as long as its consumer lives."""
        self.release_counts = not profile.has("RELEASE_UNCOUNTED")

    def held_safely(self, since: int, until: int) -> bool:
        """Can no lease that was taken after `since` have ended by its age?"""
        return self.hold_ns is None or until - since < self.hold_ns

    def one_copy_stays_one(self, since: int, until: int) -> bool:
        """Can the engine have made two of one message in that time, within its claims? False if it can."""
        return not self.copying or (self._facts.smooth(since, until) and self.held_safely(since, until))


def _half(lock_s: float | None) -> int:
    """A lease may be older than its delivery, for a message may be held unseen; so half of the lock is safe."""
    return int((RECORD_LOCK_S if lock_s is None else lock_s) / 2 * SECOND)
