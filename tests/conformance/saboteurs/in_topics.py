"""Broken engines for the scenarios of topics; see `in_engine`, whose rule this keeps.

The lines of its table go by the families of the scenarios, in their order.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.dispatch import Dispatcher
from mqbridge.native import sending
from mqbridge.redelivery import Redelivery
from mqbridge.semantics import partitioners
from mqbridge.topic_consumer import TopicConsumer
from tests.conformance.saboteurs.in_engine import Saboteur, around, commits_past_the_gap

__all__ = ["SABOTEURS"]

# --- ordering and partitioning


def _released_is_settled(release: Any, self: TopicConsumer[Any], delivery: mq.Delivery[Any], delay_s: float) -> None:
    """What is released is delivered again, and its place is given up at once."""
    hold = self._hold(delivery)
    hold.finish()
    self._schedule(hold, delay_s)


def _retry_uncounted(failed: Any, self: Redelivery) -> Redelivery:
    return self


def _any_hash(patch: pytest.MonkeyPatch) -> None:
    """A hash that is stable and good, and not Kafka's."""
    patch.setattr(partitioners, "murmur2", lambda key: sum(key) + len(key))


def _one_counter(patch: pytest.MonkeyPatch) -> None:
    turns = iter(range(1 << 30))
    patch.setattr(partitioners.RoundRobin, "__call__", lambda self, _topic, _key, _value, count: next(turns) % count)


def _by_chance(patch: pytest.MonkeyPatch) -> None:
    chance = random.Random(5)
    patch.setattr(partitioners.Sticky, "__call__", lambda self, _topic, _key, _value, count: chance.randrange(count))


SABOTEURS: list[tuple[str, str, Saboteur, str, str]] = [
    # scenario, what is broken, how, target, and the words of the check that must find it
    (
        "order-across-restart",
        "commits what is unsettled",
        commits_past_the_gap,
        "memory",
        "what is left|was settled of",
    ),
    (
        "order-under-retry",
        "gives up the place of what is released",
        around(TopicConsumer, "_release", _released_is_settled),
        "memory",
        "settled prefix with one released|committed-too-far",
    ),
    (
        "order-under-retry",
        "does not count an attempt",
        around(Redelivery, "failed", _retry_uncounted),
        "memory",
        "attempt number, redelivered",
    ),
    (
        "order-under-failing-handlers",
        "goes on with the key of what failed",
        around(Dispatcher, "_lane_key", lambda lane_key, self, delivery: id(delivery)),
        "memory",
        "what was begun for",
    ),
    ("partition-by-key", "hashes keys by itself", _any_hash, "memory", "the partitions of the key"),
    ("partition-round-robin", "counts all topics together", _one_counter, "memory", "steps from a record|by partition"),
    ("partition-sticky", "changes partition by chance", _by_chance, "memory", "records in [0-9]+ runs"),
    (
        "partition-custom",
        "believes a partition that is none",
        around(sending, "_refuse_partition", lambda refuse, partition, count: int(partition) % count),
        "memory",
        "a partition 4 of 4: no error",
    ),
]
