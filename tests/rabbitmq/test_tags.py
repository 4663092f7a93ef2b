"""Tokens and cumulative acks, against a model of the broker's own bookkeeping."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mqbridge_rabbitmq.tags import GENERATION_SHIFT, Tags

ARRIVED: Any = (None, None, b"")


def delivered(count: int, generation: int = 1) -> Tags:
    tags = Tags(generation)
    for tag in range(1, count + 1):
        tags.delivered(tag, ARRIVED)
    return tags


class Broker:
    """AMQP's rule: an ack of a tag that is not out closes the channel, multiple settles all up to it."""

    def __init__(self, count: int) -> None:
        self.out = set(range(1, count + 1))

    def ack(self, tag: int, multiple: bool) -> None:
        assert tag in self.out, f"406 unknown delivery tag {tag}"
        self.out -= {one for one in self.out if one <= tag} if multiple else {tag}


@given(st.permutations(range(1, 13)), st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=12))
def test_the_broker_settles_what_was_acked_and_nothing_else(order: list[int], cuts: list[tuple[int, bool]]) -> None:
    """Whatever the order and the batches, and with other verbs in between, no frame covers a tag that is still out."""
    tags, broker, at = delivered(12), Broker(12), 0
    for size, single in cuts:
        batch, at = order[at : at + size], at + size
        if single:
            for tag in batch:
                broker.ack(tag, False)
                tags.settle(tag)
        else:
            for tag, multiple in tags.ack(batch):
                broker.ack(tag, multiple)
        assert broker.out == set(order[at:])
        assert len(tags) == len(broker.out)


def test_a_prefix_costs_one_frame() -> None:
    """100 acks in order are one cumulative ack."""
    tags = delivered(100)
    assert tags.ack(range(1, 101)) == [(100, True)]


def test_a_gap_is_acked_one_by_one() -> None:
    """What lies above a message that is still out must not be settled cumulatively."""
    tags = delivered(5)
    assert tags.ack([5, 1, 2, 4]) == [(2, True), (4, False), (5, False)]
    assert tags.ack([3]) == [(3, False)]


def test_tokens_of_another_generation_are_refused() -> None:
    """After a reconnect tag 1 is another message."""
    old, new = delivered(3, 1), delivered(3, 2)
    token = (1 << GENERATION_SHIFT) + 1
    assert old.claim([token]) == ([1], [])
    assert new.claim([token]) == ([], [token])


def test_a_token_is_ours_once() -> None:
    """Settled, held for its copy, or never delivered: refused."""
    tags = delivered(3)
    tags.ack([1])
    tags.hold(2)
    base = tags.base
    assert tags.claim([base + 1, base + 2, base + 3, base + 4]) == ([3], [base + 1, base + 2, base + 4])
    assert tags.ack([2]) == [(2, False)]
