"""Who holds which partition of one group: membership, revocation, assignment, as one state machine.

The theory. There is one *target*, computed by an assignor, and there is what is *held*. A partition is held
from the moment it is assigned until its holder says that it released it, leaves, or is removed; a partition
that is held is never assigned. So at no time two members hold one partition, whatever is late or lost between
broker and members. The target may change while members are still on their way to the former one; they just
head for the new one.

    cooperative, server   revoke `held - target` of each member; assign `target - held` as it becomes free
                          (KIP-429 reconciled by the broker as in KIP-848; the former target is what sticks)
    eager                 revoke everything of everybody; when nothing is held any more, assign the target

Each assignment has a new lease number; a partition that is kept keeps its lease. The lease is the fence: an
action under another number comes from a former holder. A holder that does not release within its rebalance
timeout, or does not give a sign of life for its session timeout, is removed.

What does not belong here: offsets, sessions' notes, storage. An event goes in with `now_s`, effects come out,
in order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from mqbridge.semantics.assignors import Assignment, cooperative_step, range_assign, sticky_assign

TopicPartition: TypeAlias = tuple[str, int]
Protocol: TypeAlias = Literal["eager", "cooperative", "server"]

SESSION_TIMEOUT = "session timeout"
REBALANCE_TIMEOUT = "rebalance timeout"
FENCED = "fenced"
TOPIC_DELETED = "topic deleted"


@dataclass(slots=True, eq=False)
class Member:
    """One consumer. `held` maps a partition to its lease; `revoking` maps those asked back to their
    deadline."""

    member_id: str
    session: int
    instance_id: str | None
    topics: tuple[str, ...]
    session_timeout_s: float
    rebalance_timeout_s: float
    last_seen_s: float
    held: dict[TopicPartition, int] = field(default_factory=dict)
    revoking: dict[TopicPartition, float] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What the assignor orders members by: stable for a static member, whose member id changes
        (KIP-345)."""
        return f"member {self.member_id}" if self.instance_id is None else f"instance {self.instance_id}"

    def deadline_s(self) -> float:
        """When this member is to be removed, if nothing comes from it."""
        return min(self.last_seen_s + self.session_timeout_s, *self.revoking.values(), float("inf"))


class Assign(NamedTuple):
    member: Member
    partitions: list[tuple[TopicPartition, int]]
    """Each with its lease."""


class Revoke(NamedTuple):
    member: Member
    partitions: list[TopicPartition]
    deadline_s: float


class Lose(NamedTuple):
    member: Member
    partitions: list[TopicPartition]
    reason: str


class Remove(NamedTuple):
    member: Member
    reason: str


Effect: TypeAlias = Assign | Revoke | Lose | Remove


class Membership:
    """The members of one group. Every event returns its effects; an event that is not allowed is the caller's
    to refuse.

    `next_number` gives numbers that always grow; leases and epochs are drawn from it.
    """

    def __init__(
        self,
        protocol: Protocol,
        partitions_of: Callable[[str], int],
        next_number: Callable[[], int],
    ) -> None:
        self.protocol: Protocol = protocol
        self.epoch = 0
        self.members: dict[str, Member] = {}
        self._partitions_of = partitions_of
        self._next_number = next_number
        self._target: Assignment = {}
        self._draining = False  # eager only: all are giving up, nothing is assigned until nothing is held

    # --- questions ---

    @property
    def state(self) -> str:
        """``empty``, ``rebalancing`` (somebody does not have its target yet) or ``stable``."""
        if not self.members:
            return "empty"
        settled = all(
            sorted(member.held) == sorted(self._target[member.identity]) for member in self.members.values()
        )
        return "stable" if settled and not self._draining else "rebalancing"

    def of_instance(self, instance_id: str | None) -> Member | None:
        if instance_id is None:
            return None
        return next((member for member in self.members.values() if member.instance_id == instance_id), None)

    def deadline_s(self) -> float | None:
        return min((member.deadline_s() for member in self.members.values()), default=None)

    # --- events ---

    def join(self, member: Member, now_s: float) -> list[Effect]:
        """A new member; with the instance id of a present one it takes that one's place, and nobody else
        is disturbed."""
        former = self.of_instance(member.instance_id)
        if former is None:
            self.members[member.member_id] = member
            return self._rebalance(now_s)
        effects = _end(former, FENCED)
        # The place in the order of members is kept too, so that it does not matter to the others' effects.
        self.members = {
            (member.member_id if known is former else member_id): (member if known is former else known)
            for member_id, known in self.members.items()
        }
        if sorted(member.topics) != sorted(former.topics):
            return effects + self._rebalance(now_s)
        return effects + self._advance(now_s)

    def released(self, member_id: str, partitions: Sequence[TopicPartition], now_s: float) -> list[Effect]:
        """The member gave these up. What it does not hold is ignored; what the target still gives it comes
        back, leased anew."""
        member = self.members[member_id]
        for partition in partitions:
            member.held.pop(partition, None)
            member.revoking.pop(partition, None)
        return self._advance(now_s)

    def leave(self, member_id: str, now_s: float) -> list[Effect]:
        """The member goes, and needs no notes about it."""
        del self.members[member_id]
        return self._rebalance(now_s)

    def expire(self, now_s: float) -> list[Effect]:
        """Remove all whose time is over, then rebalance once."""
        effects: list[Effect] = []
        for member in list(self.members.values()):
            if now_s < member.deadline_s():
                continue
            silent = now_s >= member.last_seen_s + member.session_timeout_s
            effects += _end(member, SESSION_TIMEOUT if silent else REBALANCE_TIMEOUT)
            del self.members[member.member_id]
        return effects + self._rebalance(now_s) if effects else effects

    def partitions_added(self, topic: str, now_s: float) -> list[Effect]:
        return self._rebalance(now_s) if self._subscribed(topic) else []

    def topic_deleted(self, topic: str, now_s: float) -> list[Effect]:
        """Its partitions are lost at once: there is nothing to drain or commit. Subscriptions to it end."""
        if not self._subscribed(topic):
            return []
        effects: list[Effect] = []
        for member in self.members.values():
            gone = [partition for partition in member.held if partition[0] == topic]
            for partition in gone:
                del member.held[partition]
                member.revoking.pop(partition, None)
            if gone:
                effects.append(Lose(member, gone, TOPIC_DELETED))
            member.topics = tuple(name for name in member.topics if name != topic)
        return effects + self._rebalance(now_s)

    # --- the machine ---

    def _rebalance(self, now_s: float) -> list[Effect]:
        self.epoch = self._next_number()
        self._retarget()
        self._draining = self.protocol == "eager"
        return self._advance(now_s)

    def _retarget(self) -> None:
        topics = {member.identity: member.topics for member in self.members.values()}
        names = dict.fromkeys(topic for subscribed in topics.values() for topic in subscribed)
        counts = {topic: self._partitions_of(topic) for topic in names}
        # What sticks is the former target and not what is held: a partition on its way from A to B belongs to
        # B already, and is not sent back because a third one joins before A has let go of it.
        eager = self.protocol == "eager"
        self._target = range_assign(topics, counts) if eager else sticky_assign(topics, counts, self._target)

    def _advance(self, now_s: float) -> list[Effect]:
        """Go as far towards the target as what is held allows."""
        if self._draining:
            if any(member.held for member in self.members.values()):
                return [
                    effect
                    for member in self.members.values()
                    for effect in _ask_back(member, member.held, now_s)
                ]
            self._draining = False
        step = cooperative_step(
            {member.identity: member.held for member in self.members.values()}, self._target
        )
        effects: list[Effect] = []
        for member in self.members.values():
            effects += _ask_back(member, step.revoke[member.identity], now_s)
        for member in self.members.values():
            leases = [(partition, self._next_number()) for partition in step.assign[member.identity]]
            member.held.update(leases)
            if leases:
                effects.append(Assign(member, leases))
        return effects

    def _subscribed(self, topic: str) -> bool:
        return any(topic in member.topics for member in self.members.values())


def _end(member: Member, reason: str) -> list[Effect]:
    """What a member is told that is taken out of the group, and with it all that it holds."""
    lost: list[Effect] = [Lose(member, list(member.held), reason)] if member.held else []
    return [*lost, Remove(member, reason)]


def _ask_back(member: Member, partitions: Collection[TopicPartition], now_s: float) -> list[Effect]:
    """Revoke what was not asked back yet; each partition has the deadline of its first asking."""
    fresh = [partition for partition in partitions if partition not in member.revoking]
    if not fresh:
        return []
    member.revoking.update(dict.fromkeys(fresh, now_s + member.rebalance_timeout_s))
    return [Revoke(member, fresh, member.rebalance_timeout_s)]
