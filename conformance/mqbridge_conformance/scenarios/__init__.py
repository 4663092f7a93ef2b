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
    outages,
    partitioning,
    queues,
    replay,
    routing,
    security,
    sending,
    settlement,
    topics,
    transactions,
)

__all__ = ["ALL", "at_level"]

ALL: tuple[Scenario, ...] = (
    *messages.ALL,
    *sending.ALL,
    *ordering.ALL,
    *partitioning.ALL,
    *groups.ALL,
    *replay.ALL,
    *topics.ALL,
    *transactions.ALL,
    *queues.ALL,
    *settlement.ALL,
    *delivery.ALL,
    *dead_letters.ALL,
    *limits.ALL,
    *routing.ALL,
    *errors.ALL,
    *lifecycle.ALL,
    *outages.ALL,
    *security.ALL,
)


def at_level(level: str) -> list[Scenario]:
    """Those that a run of that level has, in their order: ``quick``, or ``full`` and ``soak``, which have all."""
    return [scenario for scenario in ALL if level in (scenario.level, "full", "soak")]
