"""The behaviours, one file each, in families; `ALL` is their order in the matrix."""

from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.scenarios import (
    dead_letters,
    delivery,
    errors,
    groups,
    lifecycle,
    limits,
    messages,
    ordering,
    partitioning,
    queues,
    replay,
    routing,
    settlement,
    topics,
)

__all__ = ["ALL"]

ALL: tuple[Scenario, ...] = (
    *messages.ALL,
    *ordering.ALL,
    *partitioning.ALL,
    *groups.ALL,
    *replay.ALL,
    *topics.ALL,
    *queues.ALL,
    *settlement.ALL,
    *delivery.ALL,
    *dead_letters.ALL,
    *limits.ALL,
    *routing.ALL,
    *errors.ALL,
    *lifecycle.ALL,
)
