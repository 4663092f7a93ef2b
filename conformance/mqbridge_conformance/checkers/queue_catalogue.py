"""All checkers of queues."""

from __future__ import annotations

from typing import Final

from mqbridge_conformance.checkers.judging import Checker
from mqbridge_conformance.checkers.queue_attempts import check_attempts
from mqbridge_conformance.checkers.queue_fate import check_fate
from mqbridge_conformance.checkers.queue_letters import check_letters
from mqbridge_conformance.checkers.queue_order import check_order
from mqbridge_conformance.checkers.queue_origin import check_origin
from mqbridge_conformance.checkers.queue_sending import check_limits, check_sends
from mqbridge_conformance.checkers.queue_settling import check_leases, check_prefetch
from mqbridge_conformance.checkers.queue_times import check_times

__all__ = ["QUEUE_CHECKERS"]

QUEUE_CHECKERS: Final[tuple[Checker, ...]] = (
    check_origin,
    check_fate,
    check_leases,
    check_prefetch,
    check_attempts,
    check_letters,
    check_order,
    check_sends,
    check_limits,
    check_times,
)
