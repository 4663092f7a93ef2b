"""The checkers of logs, all of them."""

from __future__ import annotations

from typing import Final

from mqbridge_conformance.checkers.judging import Checker
from mqbridge_conformance.checkers.log_commits import log_commits
from mqbridge_conformance.checkers.log_cycles import log_cycles
from mqbridge_conformance.checkers.log_losses import log_losses
from mqbridge_conformance.checkers.log_order import log_order
from mqbridge_conformance.checkers.log_origin import log_origin
from mqbridge_conformance.checkers.log_owners import log_owners
from mqbridge_conformance.checkers.log_payloads import log_payloads
from mqbridge_conformance.checkers.log_progress import log_progress
from mqbridge_conformance.checkers.log_writes import log_writes

__all__ = ["LOG_CHECKERS"]

LOG_CHECKERS: Final[tuple[Checker, ...]] = (
    log_writes,
    log_origin,
    log_payloads,
    log_order,
    log_losses,
    log_owners,
    log_commits,
    log_progress,
    log_cycles,
)
