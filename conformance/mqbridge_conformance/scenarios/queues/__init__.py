"""Queues: sharing, redelivery, bounds."""

from mqbridge_conformance.scenarios.queues.buffering import burst_then_drain
from mqbridge_conformance.scenarios.queues.competing_consumers import competing_consumers
from mqbridge_conformance.scenarios.queues.crash_redelivers import crash_redelivers
from mqbridge_conformance.scenarios.queues.depth import depth
from mqbridge_conformance.scenarios.queues.emptying import purge
from mqbridge_conformance.scenarios.queues.long_handlers import long_handler
from mqbridge_conformance.scenarios.queues.order import order_in_queue
from mqbridge_conformance.scenarios.queues.prefetch_bound import prefetch_bound
from mqbridge_conformance.scenarios.queues.specified import queue_specified

__all__ = ["ALL"]

ALL = (
    queue_specified,
    competing_consumers,
    crash_redelivers,
    prefetch_bound,
    order_in_queue,
    burst_then_drain,
    purge,
    depth,
    long_handler,
)
