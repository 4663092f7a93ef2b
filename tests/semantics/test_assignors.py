"""Assignments are disjoint, complete and balanced, move little, and give no partition to two members on the
way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from math import ceil
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqbridge.semantics.assignors import (
    Assignment,
    Step,
    TopicPartition,
    cooperative_step,
    eager_step,
    range_assign,
    round_robin_assign,
    sticky_assign,
)

Claims = dict[str, set[TopicPartition]]

TOPICS = ["a", "b", "c"]
quick = settings(deadline=None, max_examples=150)
topic_sizes = st.dictionaries(st.sampled_from(TOPICS), st.integers(0, 7), max_size=3)
some_members = st.dictionaries(
    st.sampled_from([f"m{n}" for n in range(6)]),
    st.lists(st.sampled_from([*TOPICS, "unknown"]), max_size=3),
    max_size=6,
)
# What members may claim: also what does not exist, what they do not read, and what another one claims as
# well.
claims = st.dictionaries(
    st.sampled_from([f"m{n:02}" for n in range(7)] + [f"m{n}" for n in range(6)]),
    st.sets(st.tuples(st.sampled_from([*TOPICS, "gone"]), st.integers(0, 8)), max_size=10),
    max_size=7,
)


def all_of(partitions: Mapping[str, int]) -> list[TopicPartition]:
    return [(topic, number) for topic in sorted(partitions) for number in range(partitions[topic])]


def equal(count: int, topics: Sequence[str] = TOPICS) -> dict[str, list[str]]:
    return {f"m{number:02}": list(topics) for number in range(count)}


def loads(assignment: Assignment) -> list[int]:
    return sorted(len(own) for own in assignment.values())


def owners(assignment: Assignment) -> dict[TopicPartition, str]:
    return {tp: member for member, own in assignment.items() for tp in own}


@pytest.mark.parametrize("how", ["range", "round robin", "sticky"])
@quick
@given(members=some_members, partitions=topic_sizes, owned=claims)
def test_every_assignment_is_disjoint_complete_and_to_subscribers(
    how: str, members: dict[str, list[str]], partitions: dict[str, int], owned: Claims
) -> None:
    """Each partition of a topic with a subscriber has one member, who subscribes; every member is listed."""
    assign: dict[str, Callable[[], Assignment]] = {
        "range": lambda: range_assign(members, partitions),
        "round robin": lambda: round_robin_assign(members, partitions),
        "sticky": lambda: sticky_assign(members, partitions, owned),
    }
    assignment = assign[how]()
    read = {topic for topics in members.values() for topic in topics}
    given_out = Counter(tp for own in assignment.values() for tp in own)
    assert given_out == Counter(tp for tp in all_of(partitions) if tp[0] in read)
    assert all(topic in members[member] for member, own in assignment.items() for topic, _ in own)
    assert list(assignment) == sorted(members)
    assert all(own == sorted(own) for own in assignment.values())


@quick
@given(some_members, topic_sizes, claims, st.integers(0, 2**32))
def test_the_order_of_the_input_does_not_matter(
    members: dict[str, list[str]], partitions: dict[str, int], owned: Claims, seed: int
) -> None:
    """Members, topics, subscriptions and claims in another order give the same assignment."""
    random = Random(seed)
    mixed_members = {
        m: random.sample(members[m], len(members[m])) for m in random.sample(sorted(members), len(members))
    }
    mixed_topics = {t: partitions[t] for t in random.sample(sorted(partitions), len(partitions))}
    mixed_claims = {m: random.sample(sorted(owned[m]), len(owned[m])) for m in random.sample(sorted(owned), len(owned))}
    assert range_assign(members, partitions) == range_assign(mixed_members, mixed_topics)
    assert round_robin_assign(members, partitions) == round_robin_assign(mixed_members, mixed_topics)
    assert sticky_assign(members, partitions, owned) == sticky_assign(mixed_members, mixed_topics, mixed_claims)


@quick
@given(st.integers(1, 7), topic_sizes, claims)
def test_sticky_with_equal_subscriptions_keeps_the_most_a_balanced_assignment_can(
    count: int, partitions: dict[str, int], owned: Claims
) -> None:
    """Counts differ by one at most, and no other choice of who gets the larger counts would keep more."""
    members = equal(count)
    assignment = sticky_assign(members, partitions, owned)
    assert loads(assignment)[-1] - loads(assignment)[0] <= 1
    valid: dict[TopicPartition, str] = {}
    for member in members:
        for tp in owned.get(member, ()):
            if tp in all_of(partitions):
                valid.setdefault(tp, member)
    held = Counter(valid.values())
    share, more = divmod(sum(partitions.values()), count)
    best = max(
        sum(min(held[member], share + (member in larger)) for member in members)
        for larger in combinations(members, more)
    )
    assert sum(owners(assignment)[tp] == member for tp, member in valid.items()) == best


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.sets(st.sampled_from(TOPICS)), min_size=1, max_size=3),
    st.fixed_dictionaries({topic: st.integers(0, 3) for topic in TOPICS}),
    st.fixed_dictionaries(
        {f"m{n}": st.sets(st.tuples(st.sampled_from(TOPICS), st.integers(0, 2)), max_size=4) for n in range(3)}
    ),
)
def test_sticky_with_other_subscriptions_is_as_even_as_any_assignment(
    subscriptions: list[set[str]], partitions: dict[str, int], owned: Claims
) -> None:
    """Against all assignments tried one by one: none has a smaller sum of squared counts."""
    members = {f"m{number}": sorted(topics) for number, topics in enumerate(subscriptions)}
    choices = [[m for m in members if topic in members[m]] for topic, _ in all_of(partitions)]
    best = min(
        sum(count**2 for count in Counter(choice).values())
        for choice in product(*(takers for takers in choices if takers))
    )
    assignment = sticky_assign(members, partitions, owned)
    assert sum(len(own) ** 2 for own in assignment.values()) == best
    assert sticky_assign(members, partitions, assignment) == assignment


@quick
@given(st.integers(1, 9), topic_sizes)
def test_a_joining_member_takes_its_share_and_nothing_else_moves(count: int, partitions: dict[str, int]) -> None:
    """At most ceil(partitions / members) move, all to the newcomer, who gets no fewer than it must."""
    before = sticky_assign(equal(count), partitions)
    members = {**equal(count), "aa-new": list(TOPICS)}
    after = sticky_assign(members, partitions, before)
    moved = [tp for tp, member in owners(before).items() if owners(after)[tp] != member]
    total = sum(partitions.values())
    assert sorted(moved) == after["aa-new"]
    assert total // (count + 1) <= len(moved) <= ceil(total / (count + 1))


@quick
@given(st.integers(2, 9), topic_sizes, st.integers(0, 8))
def test_what_a_leaving_member_had_is_all_that_moves(count: int, partitions: dict[str, int], leaver: int) -> None:
    """The others keep everything they had, and are balanced again."""
    before = sticky_assign(equal(count), partitions)
    members = equal(count)
    gone = before.pop(sorted(members)[leaver % count])
    del members[sorted(members)[leaver % count]]
    after = sticky_assign(members, partitions, before)
    moved = sorted(tp for tp, member in owners(after).items() if tp not in before[member])
    assert moved == gone
    assert loads(after)[-1] - loads(after)[0] <= 1


def test_sticky_moves_along_a_chain_where_no_single_move_helps() -> None:
    """x has three of topic a and z none, but z reads only b: y passes a b to z and takes an a from x."""
    members = {"x": ["a"], "y": ["a", "b"], "z": ["b"]}
    owned = {"x": [("a", 0), ("a", 1), ("a", 2)], "y": [("b", 0), ("b", 1)]}
    assignment = sticky_assign(members, {"a": 3, "b": 2}, owned)
    assert loads(assignment) == [1, 2, 2]
    assert len(assignment["x"]) == 2
    assert set(assignment["x"]) < set(owned["x"])


def test_sticky_levels_a_difference_of_two() -> None:
    """x has two and z none: the chain over y ends with one each."""
    members = {"x": ["a"], "y": ["a", "b"], "z": ["b"]}
    owned = {"x": [("a", 0), ("a", 1)], "y": [("b", 0)]}
    assignment = sticky_assign(members, {"a": 2, "b": 1}, owned)
    assert assignment == {"x": [("a", 1)], "y": [("a", 0)], "z": [("b", 0)]}


def test_sticky_passes_on_what_is_new_rather_than_what_was_read() -> None:
    """b 1 came to x as a free partition and goes on to y, so that x keeps b 0, which it has read until now."""
    members = {"x": ["b"], "y": ["a", "b"], "z": ["a"]}
    owned = {"x": [("b", 0)], "y": [("a", 0)]}
    assignment = sticky_assign(members, {"a": 1, "b": 2}, owned)
    assert assignment == {"x": [("b", 0)], "y": [("b", 1)], "z": [("a", 0)]}


@pytest.mark.parametrize("assign", [range_assign, round_robin_assign, sticky_assign])
def test_a_topic_named_twice_is_one_subscription(
    assign: Callable[[dict[str, list[str]], dict[str, int]], Assignment],
) -> None:
    """A repeated topic gives no second share."""
    assert assign({"x": ["a", "a"], "y": ["a"]}, {"a": 4}) == assign({"x": ["a"], "y": ["a"]}, {"a": 4})


def test_of_two_claims_to_a_partition_the_first_member_keeps_it() -> None:
    """A stale claim does not make an assignment with two owners."""
    claim = [("a", 0)]
    assert sticky_assign(equal(2, ["a"]), {"a": 2}, {"m01": claim, "m00": claim}) == {
        "m00": [("a", 0)],
        "m01": [("a", 1)],
    }


def test_more_members_than_partitions_leaves_some_idle() -> None:
    """Four partitions and five members: one has nothing, and is listed."""
    assert loads(sticky_assign(equal(5, ["a"]), {"a": 4})) == [0, 1, 1, 1, 1]


def test_range_gives_neighbours_of_each_topic_apart() -> None:
    """The example of Kafka's RangeAssignor: two topics of three partitions, two members."""
    assert range_assign({"c1": ["t0", "t1"], "c0": ["t1", "t0"]}, {"t0": 3, "t1": 3}) == {
        "c0": [("t0", 0), ("t0", 1), ("t1", 0), ("t1", 1)],
        "c1": [("t0", 2), ("t1", 2)],
    }


def test_round_robin_takes_turns_over_all_topics() -> None:
    """The first example of Kafka's RoundRobinAssignor: the turn goes on from one topic to the next."""
    assert round_robin_assign({"c0": ["t0", "t1"], "c1": ["t0", "t1"]}, {"t0": 3, "t1": 3}) == {
        "c0": [("t0", 0), ("t0", 2), ("t1", 1)],
        "c1": [("t0", 1), ("t1", 0), ("t1", 2)],
    }


def test_round_robin_passes_over_who_does_not_subscribe() -> None:
    """The second example of Kafka's RoundRobinAssignor, where the last member ends with four of six."""
    members = {"c0": ["t0"], "c1": ["t0", "t1"], "c2": ["t0", "t1", "t2"]}
    assert round_robin_assign(members, {"t0": 1, "t1": 2, "t2": 3}) == {
        "c0": [("t0", 0)],
        "c1": [("t1", 0)],
        "c2": [("t1", 1), ("t2", 0), ("t2", 1), ("t2", 2)],
    }


Holding = dict[str, set[TopicPartition]]


def give(current: Holding, step: Step) -> None:
    """Take `assign` into the holdings; nobody may get what anybody has."""
    for member, new in step.assign.items():
        for tp in new:
            assert not any(tp in own for own in current.values()), f"{tp} would have two owners"
            current.setdefault(member, set()).add(tp)


memberships = st.lists(st.integers(0, 5), min_size=1, max_size=4)


@quick
@given(memberships, st.integers(1, 12), st.integers(0, 2**32))
def test_cooperative_steps_reach_each_target_without_two_owners(counts: list[int], partitions: int, seed: int) -> None:
    """Members report revokes one by one in any order, also when the target changes midway; what is kept
    stays.
    """
    random = Random(seed)
    current: Holding = {}
    for round_number, count in enumerate(counts):
        target = sticky_assign(equal(count, ["a"]), {"a": partitions}, current)
        last = round_number == len(counts) - 1
        for _ in range(10_000 if last else random.randrange(8)):
            step = cooperative_step(current, target)
            assert all(not set(step.revoke[member]) & set(own) for member, own in target.items())
            give(current, step)
            pending = [(m, tp) for m, own in cooperative_step(current, target).revoke.items() for tp in own]
            if not pending:
                break
            member, tp = random.choice(pending)
            current[member].remove(tp)
    assert {m: sorted(own) for m, own in current.items() if own} == {m: own for m, own in target.items() if own}
    assert cooperative_step(current, target).settled


def test_cooperative_waits_for_the_old_owner_alone() -> None:
    """What is free goes out at once, what another holds waits until it is reported gone, the rest is not
    touched.
    """
    current = {"x": [("a", 0), ("a", 1)]}
    target = {"x": [("a", 0)], "y": [("a", 1), ("a", 2)]}
    step = cooperative_step(current, target)
    assert step == Step(revoke={"x": [("a", 1)], "y": []}, assign={"x": [], "y": [("a", 2)]})
    assert not step.settled
    current = {"x": [("a", 0)], "y": [("a", 2)]}
    assert cooperative_step(current, target) == Step({"x": [], "y": []}, {"x": [], "y": [("a", 1)]})


def test_cooperative_is_not_settled_while_a_leaver_holds() -> None:
    """A member without a target gives up all it has."""
    step = cooperative_step({"gone": [("a", 0)]}, {"x": [("a", 0)]})
    assert step == Step({"gone": [("a", 0)], "x": []}, {"gone": [], "x": []})
    assert not step.settled


def test_eager_stops_everybody_before_anybody_starts() -> None:
    """Also the member whose part does not change gives it up; assigning waits for the last one."""
    target = {"x": [("a", 0)], "y": [("a", 1)]}
    nothing: Assignment = {"x": [], "y": []}
    current = {"x": [("a", 0)], "y": []}
    assert eager_step({"x": [("a", 0), ("a", 1)]}, target) == Step({"x": [("a", 0), ("a", 1)], "y": []}, nothing)
    assert eager_step(current, target) == Step({"x": [("a", 0)], "y": []}, nothing)
    assert eager_step({}, target) == Step(nothing, {"x": [("a", 0)], "y": [("a", 1)]})
    assert eager_step({"y": [("a", 1)], "x": [("a", 0)]}, target).settled
    assert eager_step({}, {}).settled


@quick
@given(memberships, st.integers(1, 12), st.integers(0, 2**32))
def test_eager_steps_reach_each_target_without_two_owners(counts: list[int], partitions: int, seed: int) -> None:
    """Revokes in any order and targets that change midway end in the last target, never with two owners."""
    random = Random(seed)
    current: Holding = {}
    for round_number, count in enumerate(counts):
        target = sticky_assign(equal(count, ["a"]), {"a": partitions}, current)
        last = round_number == len(counts) - 1
        for _ in range(10_000 if last else random.randrange(4)):
            step = eager_step(current, target)
            give(current, step)
            holders = [member for member, own in step.revoke.items() if own]
            if step.settled:
                break
            if holders:
                current[random.choice(holders)] = set()
    assert {m: sorted(own) for m, own in current.items() if own} == {m: own for m, own in target.items() if own}
