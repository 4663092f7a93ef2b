"""Broken engines for the scenarios of topics; see `in_engine`, whose rule this keeps.

The lines of its table go by the families of the scenarios, in their order.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.admin import Admin
from mqbridge.dispatch import Dispatcher
from mqbridge.native import sending
from mqbridge.native.administering import NativeAdmin
from mqbridge.native.core.topics.groups import GroupRoom
from mqbridge.native.core.topics.partition import Partition
from mqbridge.native.replaying import NativeReplay
from mqbridge.redelivery import Redelivery
from mqbridge.semantics import partitioners
from mqbridge.topic_consumer import TopicConsumer
from tests.conformance.saboteurs.breaking import Saboteur, around
from tests.conformance.saboteurs.in_engine import begins_late, commits_past_the_gap, replay_joins

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


# --- replay


def _to_the_second(offset_at: Any, self: Partition, timestamp_ms: int) -> int | None:
    found: int | None = offset_at(self, timestamp_ms // 1000 * 1000)
    return found


def _reset_at_any_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Admin, "_described_or_none", lambda self, group: None)
    patch.setattr(GroupRoom, "_refuse_with_members", lambda self, name, what: None)


def _never_dry(reset: Any, self: Admin, group: str, topic: Any, to: Any, *, dry_run: bool = True) -> Any:
    return reset(self, group, topic, to, dry_run=False)


def _one_further(commit: Any, self: NativeAdmin, group: str, topic: Any, offsets: dict[int, int], done: Any) -> None:
    commit(self, group, topic, {partition: max(offset - 1, 0) for partition, offset in offsets.items()}, done)


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
    ("replay-last", "begins one too late", around(NativeReplay, "begin", begins_late), "memory", "the last 6 of each"),
    (
        "replay-by-time",
        "knows time to the second",
        around(Partition, "offset_at", _to_the_second),
        "memory",
        "a replay from a millisecond after it",
    ),
    (
        "replay-after-truncation",
        "begins one too late",
        around(NativeReplay, "begin", begins_late),
        "memory",
        "what is left, seen from outside|a first replay",
    ),
    ("group-reset", "resets a group at work", _reset_at_any_time, "memory", "of a group with a member: no error"),
    ("group-reset", "resets on a dry run", around(Admin, "reset_offsets", _never_dry), "memory", "what a dry run plan"),
    (
        "group-reset",
        "resets one further",
        around(NativeAdmin, "commit_offsets", _one_further),
        "memory",
        "the offsets after a reset",
    ),
    (
        "replay-beside-a-group",
        "joins a group",
        around(NativeReplay, "begin", replay_joins),
        "memory",
        "the groups, before and after",
    ),
]
