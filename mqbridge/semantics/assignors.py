"""Which member of a group reads which partition, and the steps from one assignment to the next.

The one rule: an assignment is disjoint and complete (each partition of a topic that somebody subscribes to
has exactly one member, a subscriber), and the same input gives the same output, whatever the order in which
it is given. Who is a member, when a rebalance starts and how long a revoke may take is the group
coordinator's.

A topic that is not among `partitions` has none yet; subscribing to it is no error (KIP-848). Members are
ranked by their ids, partitions by topic and number.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TypeAlias

TopicPartition: TypeAlias = tuple[str, int]
Members: TypeAlias = Mapping[str, Sequence[str]]
"""Member id -> the topics it subscribes to."""
Owned: TypeAlias = Mapping[str, Collection[TopicPartition]]
Assignment: TypeAlias = dict[str, list[TopicPartition]]
"""Member id -> its partitions, sorted; every member is in it, also one without a partition."""


def range_assign(members: Members, partitions: Mapping[str, int]) -> Assignment:
    """Each topic apart: its subscribers in order get runs of neighbouring partitions, the first ones one
    more.

    Topics of equal partition counts are cut alike, so one member gets the same numbers of each; over many
    topics the first members get more. Kafka's `RangeAssignor`.
    """
    assignment: Assignment = {member: [] for member in sorted(members)}
    for topic, subscribers in _subscribers(members, partitions).items():
        share, more = divmod(partitions[topic], len(subscribers))
        start = 0
        for rank, member in enumerate(subscribers):
            end = start + share + (rank < more)
            assignment[member] += [(topic, partition) for partition in range(start, end)]
            start = end
    return assignment


def round_robin_assign(members: Members, partitions: Mapping[str, int]) -> Assignment:
    """All partitions in order to all members in turn, past those that do not subscribe to the topic.

    With equal subscriptions the counts differ by one at most; with others they may differ by more than they
    must. Kafka's `RoundRobinAssignor`.
    """
    ring = sorted(members)
    assignment: Assignment = {member: [] for member in ring}
    turn = 0
    for topic, subscribers in _subscribers(members, partitions).items():
        takes = frozenset(subscribers)
        for partition in range(partitions[topic]):
            while ring[turn % len(ring)] not in takes:
                turn += 1
            assignment[ring[turn % len(ring)]].append((topic, partition))
            turn += 1
    return assignment


def sticky_assign(members: Members, partitions: Mapping[str, int], owned: Owned | None = None) -> Assignment:
    """As balanced as the subscriptions allow, and beneath that with few moves away from `owned`.

    With equal subscriptions the counts differ by one at most and no balanced assignment keeps more of
    `owned`. With others no assignment has more even counts (no partition, and no chain of them, could go from
    a member to one with two fewer); an assignment that is even already does not change.

    What is owned of unknown topics, beyond the partition count, by unknown members or without a subscription
    is free; of two members who claim one partition the first keeps it.
    """
    subscribers = _subscribers(members, partitions)
    held = _still_held(members, partitions, owned or {})
    taken = {tp for own in held.values() for tp in own}
    free = [(topic, n) for topic in subscribers for n in range(partitions[topic]) if (topic, n) not in taken]
    subscribed = {member: [topic for topic in subscribers if topic in members[member]] for member in held}
    groups = {tuple(topics) for topics in subscribed.values() if topics}
    if len(groups) == 1:
        active = [member for member in held if subscribed[member]]
        _level_equal(active, held, free)
    else:
        _give_to_least(held, free, subscribers)
        _level_by_chains(held, subscribed, subscribers, owned or {})
    return {member: sorted(own) for member, own in held.items()}


@dataclass(frozen=True, slots=True)
class Step:
    """What may happen now on the way to a target: take `revoke` from members, give `assign` to them.

    Both have every member of the current and the target assignment, with sorted partitions. What a member has
    and keeps is in neither. `settled` says that the target is reached.
    """

    revoke: Assignment
    assign: Assignment

    @property
    def settled(self) -> bool:
        """Whether there is nothing to do and nothing to wait for."""
        return not any(self.revoke.values()) and not any(self.assign.values())


def cooperative_step(current: Owned, target: Owned) -> Step:
    """The next step of an incremental rebalance (KIP-429, KIP-848): what a member keeps it goes on reading.

    `current` is what each member holds or was given, until it reported it gone or was removed from the group.
    A partition is assigned only when nobody holds it, so that no two members ever have one; what is to come
    from another member waits until a later step. Take `assign` into `current` when it is sent out.
    """
    held = {tp for own in current.values() for tp in own}
    names = sorted({*current, *target})
    has = {member: set(current.get(member, ())) for member in names}
    wants = {member: set(target.get(member, ())) for member in names}
    return Step(
        revoke={member: sorted(has[member] - wants[member]) for member in names},
        assign={member: sorted(wants[member] - held) for member in names},
    )


def eager_step(current: Owned, target: Owned) -> Step:
    """The next step of a rebalance that stops the group: all give up everything, then all get their target.

    While anybody holds anything of another assignment, everything is to be revoked and nothing is assigned.
    `current` as in `cooperative_step`; the whole `assign` goes into it at once, or the next step would take a
    part of the target for an old assignment.
    """
    names = sorted({*current, *target})
    holds = {member: sorted(set(current.get(member, ()))) for member in names}
    wants = {member: sorted(set(target.get(member, ()))) for member in names}
    nothing: Assignment = {member: [] for member in names}
    if holds == wants:
        return Step(nothing, dict(nothing))
    if any(holds.values()):
        return Step(holds, nothing)
    return Step(nothing, wants)


def _subscribers(members: Members, partitions: Mapping[str, int]) -> dict[str, list[str]]:
    """Topic -> its subscribers, both in order, without topics that have no subscriber or no partition."""
    found: dict[str, list[str]] = {topic: [] for topic in sorted(partitions) if partitions[topic] > 0}
    for member in sorted(members):
        for topic in dict.fromkeys(members[member]):
            if topic in found:
                found[topic].append(member)
    return {topic: subscribers for topic, subscribers in found.items() if subscribers}


def _still_held(members: Members, partitions: Mapping[str, int], owned: Owned) -> Assignment:
    held: Assignment = {member: [] for member in sorted(members)}
    taken: set[TopicPartition] = set()
    for member, own in held.items():
        topics = frozenset(members[member])
        for topic, partition in sorted(set(owned.get(member, ()))):
            valid = topic in topics and 0 <= partition < partitions.get(topic, 0)
            if valid and (topic, partition) not in taken:
                taken.add((topic, partition))
                own.append((topic, partition))
    return held


def _level_equal(active: list[str], held: Assignment, free: list[TopicPartition]) -> None:
    """Level members of equal subscriptions by quota; who holds most gets the larger one, so most is kept."""
    total = sum(len(held[member]) for member in active) + len(free)
    share, more = divmod(total, len(active))
    by_holding = sorted(active, key=lambda member: (-len(held[member]), member))
    quota = {member: share + (rank < more) for rank, member in enumerate(by_holding)}
    for member in active:
        free += held[member][quota[member] :]
        del held[member][quota[member] :]
    # The emptiest first, so that the partitions of each topic are spread as well.
    open_places = [(len(held[member]), member) for member in active if len(held[member]) < quota[member]]
    heapify(open_places)
    for tp in sorted(free):
        count, member = heappop(open_places)
        held[member].append(tp)
        if count + 1 < quota[member]:
            heappush(open_places, (count + 1, member))


def _give_to_least(held: Assignment, free: list[TopicPartition], subscribers: dict[str, list[str]]) -> None:
    """Give each free partition to its subscriber with the fewest, the topics with the least choice first."""
    for topic, partition in sorted(free, key=lambda tp: (len(subscribers[tp[0]]), tp)):
        member = min(subscribers[topic], key=lambda one: (len(held[one]), one))
        held[member].append((topic, partition))


def _level_by_chains(
    held: Assignment, subscribed: dict[str, list[str]], subscribers: dict[str, list[str]], owned: Owned
) -> None:
    """Move partitions along chains of members while that makes the counts more even.

    This is the optimal semi-matching of Harvey, Ladner, Lovasz and Tamir (2003): the counts are as even as
    they can be exactly when no chain leads from a member to one with at least two fewer. Each chain lowers
    the sum of squares, so it ends; the shortest chain moves the fewest.
    """
    before = {tp: member for member in reversed(held) for tp in owned.get(member, ())}
    while True:
        for start in sorted(held, key=lambda member: (-len(held[member]), member)):
            chain = _shortest_chain(start, held, subscribers)
            if chain:
                break
        else:
            return
        for giver, taker in zip(chain, chain[1:], strict=False):
            movable = [tp for tp in held[giver] if tp[0] in subscribed[taker]]
            # Rather what goes home or never was the giver's than what the giver has read until now.
            moved = min(movable, key=lambda tp: (before.get(tp) != taker, before.get(tp) == giver, tp))
            held[giver].remove(moved)
            held[taker].append(moved)


def _shortest_chain(start: str, held: Assignment, subscribers: dict[str, list[str]]) -> list[str]:
    """The members from `start` to the nearest of the emptiest it can pass partitions to; [] if none gains."""
    came_from: dict[str, str | None] = {start: None}
    passed: set[str] = set()
    waiting = [start]
    for giver in waiting:
        for topic in sorted({topic for topic, _ in held[giver]} - passed):
            passed.add(topic)
            for taker in subscribers[topic]:
                if taker not in came_from:
                    came_from[taker] = giver
                    waiting.append(taker)
    # The first of the emptiest in breadth-first order is the nearest of them.
    end: str | None = min(waiting, key=lambda member: len(held[member]))
    if end is None or len(held[end]) > len(held[start]) - 2:
        return []
    chain = []
    while end is not None:
        chain.append(end)
        end = came_from[end]
    return chain[::-1]
