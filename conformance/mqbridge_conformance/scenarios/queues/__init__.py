"""Queues: sharing, redelivery, bounds."""

from mqbridge_conformance.scenarios.queues.competing_consumers import competing_consumers
from mqbridge_conformance.scenarios.queues.crash_redelivers import crash_redelivers
from mqbridge_conformance.scenarios.queues.prefetch_bound import prefetch_bound

__all__ = ["ALL"]

ALL = (competing_consumers, crash_redelivers, prefetch_bound,)
