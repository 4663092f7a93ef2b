"""Broken engines for the scenarios of topics; see `in_engine`, whose rule this keeps.

The lines of its table go by the families of the scenarios, in their order.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from typing import Any

import pytest

import mqbridge as mq
from mqbridge import admin
from mqbridge.admin import Admin
from mqbridge.capabilities import Capabilities
from mqbridge.consumer import BaseConsumer
from mqbridge.dispatch import Dispatcher
from mqbridge.ledger import Page
from mqbridge.native import sending
from mqbridge.native.administering import NativeAdmin
from mqbridge.native.core.topics import retention
from mqbridge.native.core.topics.groups import GroupRoom
from mqbridge.native.core.topics.membership import Member, Membership
from mqbridge.native.core.topics.offsets import GroupOffsets
from mqbridge.native.core.topics.partition import Partition
from mqbridge.native.engine import NativeConnection
from mqbridge.native.group_member import GroupMember
from mqbridge.native.replaying import NativeReplay
from mqbridge.redelivery import DeadLetters, Redelivery
from mqbridge.semantics import partitioners
from mqbridge.topic_consumer import TopicConsumer
from tests.conformance.saboteurs.breaking import Row, around
from tests.conformance.saboteurs.in_engine import begins_late, commits_past_the_gap, nothing_refused, replay_joins

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


# --- groups


def _one_left_out(retarget: Any, self: Membership) -> None:
    """The highest partition is nobody's."""
    retarget(self)
    highest = max((place for part in self._target.values() for place in part), default=None)
    self._target = {member: [place for place in part if place != highest] for member, part in self._target.items()}


def _always_all_back(rebalance: Any, self: Membership, now_s: float) -> Any:
    self.protocol, kept = "eager", self.protocol
    try:
        return rebalance(self, now_s)
    finally:
        self.protocol = kept


def _only_what_moves(rebalance: Any, self: Membership, now_s: float) -> Any:
    self.protocol, kept = "cooperative", self.protocol
    try:
        return rebalance(self, now_s)
    finally:
        self.protocol = kept


def _nameless(patch: pytest.MonkeyPatch) -> None:
    """An instance id is taken, and means nothing."""
    patch.setattr(Membership, "of_instance", lambda self, instance_id: None)
    patch.setattr(Member, "identity", property(lambda self: self.member_id))


def _skips(patch: pytest.MonkeyPatch) -> None:
    """Where something was committed and more is there, the next owner misses the first message."""
    telling: list[GroupRoom] = []
    position, tell = GroupOffsets.position, GroupRoom._tell

    def told(self: GroupRoom, group: Any, effects: Any) -> None:
        telling.append(self)
        try:
            tell(self, group, effects)
        finally:
            telling.pop()

    def skipped(self: GroupOffsets, place: tuple[str, int]) -> int | None:
        found = position(self, place)
        more = bool(telling and found) and telling[-1]._topics.partitions(place[0])[place[1]].end > (found or 0)
        return (found or 0) + 1 if more else found

    patch.setattr(GroupRoom, "_tell", told)
    patch.setattr(GroupOffsets, "position", skipped)


def _patient_for_ever(heartbeat: Any, self: GroupMember) -> None:
    self._last_take_s = self._connection.clock.mono_s()
    heartbeat(self)


def _settles_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    original = TopicConsumer.commit

    def commit(self: TopicConsumer[Any], timeout: float = 30.0) -> None:
        with contextlib.suppress(mq.LeaseLost):
            original(self, timeout)

    patch.setattr(TopicConsumer, "commit", commit)
    patch.setattr(Page, "refuse", lambda self, index: None)


# --- topics


def _no_difference(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(admin, "diff", lambda wanted, found: ())


def _no_lag(describe: Any, self: Admin, group: str) -> Any:
    found = describe(self, group)
    return replace(found, lag_messages=dict.fromkeys(found.lag_messages, 0))


def _one_less(lag: Any, self: TopicConsumer[Any]) -> dict[tuple[str, int], int]:
    return {place: max(count - 1, 0) for place, count in lag(self).items()}


def _all_when_too_large(outdated: Any, segments: Any, limits: Any, wall_ms: int) -> int:
    too_large = limits.max_bytes is not None and sum(one.size_bytes for one in segments) > limits.max_bytes
    return len(segments) if too_large else outdated(segments, limits, wall_ms)


# --- settlement


def _dies_without_a_trace(die: Any, self: TopicConsumer[Any], delivery: Any, reason: str, error: Any) -> None:
    self._hold(delivery).finish()


def _settled_unconfirmed(die: Any, self: TopicConsumer[Any], delivery: Any, reason: str, error: Any) -> None:
    die(self, delivery, reason, error)
    for _, redelivery in self._burials:
        redelivery.finish()


def _dies_for_no_reason(bury: Any, self: DeadLetters, delivery: Any, reason: str, error: Any) -> Any:
    return bury(self, delivery, reason, None)


def _settled_when_acked(hand_out: Any, self: TopicConsumer[Any], *args: Any) -> Any:
    asked, self._ack = self._ack, "explicit"
    try:
        return hand_out(self, *args)
    finally:
        self._ack = asked


_LEFT_OUT = around(Membership, "_retarget", _one_left_out)

def _one_topic_alone(subscribe: Any, self: NativeConnection, spec: Any, ready: Any) -> Any:
    return subscribe(self, replace(spec, topics=spec.topics[:1]), ready)


SABOTEURS: list[Row] = [
    (
        "several-topics",
        "reads the first topic alone",
        around(NativeConnection, "subscribe", _one_topic_alone),
        "memory",
        "what the member of two topics has",
    ),
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
    *(
        (f"assignment-{protocol}", "leaves a partition out", _LEFT_OUT, "memory", "7 partitions among 3 members")
        for protocol in ("cooperative", "eager", "server")
    ),
    (
        "rebalance-pause-cooperative",
        "asks all back",
        around(Membership, "_rebalance", _always_all_back),
        "memory",
        "what the first member had to give back",
    ),
    (
        "rebalance-pause-eager",
        "asks back what moves",
        around(Membership, "_rebalance", _only_what_moves),
        "memory",
        "what the first member had to give back",
    ),
    ("members-come-and-go", "leaves a partition out", _LEFT_OUT, "memory", "how many partitions each member has"),
    ("member-crash", "skips at a handover", _skips, "memory", "what was sent meanwhile|handover-gap"),
    ("rolling-restart", "skips at a handover", _skips, "memory", "unseen|handover-gap|poll-skip"),
    (
        "stalled-member-fenced",
        "keeps a member that does not poll",
        around(GroupMember, "heartbeat", _patient_for_ever),
        "memory",
        "what the stalled member had not settled: 0 of 6",
    ),
    (
        "stalled-member-fenced",
        "does not say that it refused",
        _settles_without_a_lease,
        "memory",
        "settled a message after its lease was lost",
    ),
    (
        "stopped-member-fenced",
        "lets no session end",
        around(Membership, "expire", lambda expire, self, now_s: []),
        "folder",
        "what the stopped member had not settled: 0 of 10",
    ),
    (
        "static-member-restart",
        "does not know a member by its name",
        _nameless,
        "memory",
        "it has its partitions again|moves at the steady one",
    ),
    ("static-member-fenced", "does not know a member by its name", _nameless, "memory", "0 of 2 came|no error"),
    (
        "pause-and-resume",
        "does not pause",
        around(GroupMember, "_set_paused", lambda set_paused, self, places, paused: None),
        "memory",
        "what comes in a pause",
    ),
    (
        "seek",
        "goes one too far",
        around(GroupMember, "seek", lambda seek, self, place, offset: seek(self, place, offset + 1)),
        "memory",
        "after a seek back",
    ),
    (
        "out-of-order-ack",
        "commits past the gap",
        commits_past_the_gap,
        "memory",
        "the offset, with the first one acked",
    ),
    (
        "settle-once-on-a-topic",
        "settles twice",
        around(Page, "refuse", lambda refuse, self, index: None),
        "memory",
        "after ack\\(\\): no error",
    ),
    (
        "settle-once-on-a-topic",
        "does not wait",
        around(TopicConsumer, "_schedule", lambda schedule, self, redelivery, delay_s: schedule(self, redelivery, 0.0)),
        "memory",
        "delay-early|released for 0.3 s",
    ),
    (
        "topic-dead-letter",
        "drops what is given up",
        around(TopicConsumer, "_die", _dies_without_a_trace),
        "memory",
        "the dead-letter topic: found",
    ),
    (
        "topic-dead-letter",
        "does not say the error",
        around(DeadLetters, "bury", _dies_for_no_reason),
        "memory",
        "key, reason, attempts and error",
    ),
    (
        "topic-dead-letter-unconfirmed",
        "settles before it is confirmed",
        around(TopicConsumer, "_die", _settled_unconfirmed),
        "memory",
        "with a dead letter that nobody took",
    ),
    (
        "ack-before",
        "waits for the ack",
        around(TopicConsumer, "_hand_out", _settled_when_acked),
        "memory",
        "0 is committed where",
    ),
    (
        "ack-auto",
        "commits what is acked alone",
        around(BaseConsumer, "_seen", lambda seen, self, deliveries: None),
        "memory",
        "what is committed by the clock: still",
    ),
    ("topic-specified", "overlooks what differs", _no_difference, "memory", "the plan for another number"),
    ("lag-is-truth", "says that nothing is left", around(Admin, "describe_group", _no_lag), "memory", "as described"),
    (
        "lag-is-truth",
        "does not count the last one",
        around(TopicConsumer, "lag", _one_less),
        "memory",
        "as the member tells it",
    ),
    (
        "partitions-added",
        "does not tell members",
        around(Membership, "partitions_added", lambda added, self, topic, now_s: []),
        "memory",
        "all of it, by a member that was there",
    ),
    (
        "records-deleted",
        "deletes one too many",
        around(Partition, "delete_before", lambda delete, self, offset: delete(self, min(offset + 1, self.end))),
        "memory",
        "start and end after deleting up to a place",
    ),
    (
        "retention-by-size",
        "removes all there is",
        around(retention, "outdated", _all_when_too_large),
        "memory",
        "0 records are left|what is left: the newest",
    ),
    (
        "retention-by-age",
        "is ahead of time",
        around(retention, "outdated", lambda of, segments, limits, wall_ms: of(segments, limits, wall_ms + 3_600_000)),
        "memory",
        "ages of records that are gone",
    ),
    ("compaction", "refuses nothing", around(Capabilities, "need", nothing_refused), "memory", "no error, but None"),
]
