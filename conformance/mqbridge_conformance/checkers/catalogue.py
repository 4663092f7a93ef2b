"""All checkers, and a history judged by each of them.

The rule: every history is judged by every checker; one that has nothing to look at in it says nothing.
"""

from __future__ import annotations

from typing import Final

from mqbridge_conformance.checkers.exactly_once import EXACTLY_ONCE_CHECKERS
from mqbridge_conformance.checkers.judging import Checker, Judgement, Profile
from mqbridge_conformance.checkers.log_catalogue import LOG_CHECKERS
from mqbridge_conformance.checkers.queue_catalogue import QUEUE_CHECKERS
from mqbridge_conformance.history import History

__all__ = ["ALL", "judge"]

ALL: Final[tuple[Checker, ...]] = (*LOG_CHECKERS, *QUEUE_CHECKERS, *EXACTLY_ONCE_CHECKERS)


def judge(history: History, profile: Profile | None = None) -> tuple[Judgement, ...]:
    """What each checker says of it, under what the run says that it claims, unless a profile is given."""
    promised = profile or Profile.of(history)
    return tuple(checker(history, promised) for checker in ALL)
