"""The settled prefix, against a model that looks at every record each time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

import mqbridge as mq
from mqbridge.errors import AlreadySettled, LeaseLost
from mqbridge.ledger import DONE, HELD, Ledger, Page
from tests.fakes import FakeBlock

TOPIC = mq.Topic("orders")


def page_of(ledger: Ledger, offsets: list[int], next_offset: int | None = None) -> Page:
    page = Page(FakeBlock(TOPIC, [b""] * len(offsets), offsets=offsets, next_offset=next_offset), None, None)  # type: ignore[arg-type]
    page.shown = len(offsets)
    return page


class LedgerMachine(RuleBasedStateMachine):
    """Pages with gaps, acks in any order, records given back and delivered again, and again."""

    out = Bundle("out")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger("orders", 0, lease=1, position=5)
        self.next = 5
        self.order: list[int] = []  # offsets in delivery order
        self.after: dict[int, int] = {}  # what is committed once this record and all before it are settled
        self.unsettled: set[int] = set()
        self.told = 0
        self.opened = 0

    @rule(
        target=out,
        gaps=st.lists(st.integers(0, 3), min_size=1, max_size=4),
        tail=st.integers(0, 2),
    )
    def fetch(self, gaps: list[int], tail: int) -> Any:
        offsets = []
        for gap in gaps:
            self.next += gap
            offsets.append(self.next)
            self.next += 1
        self.next += tail
        page = page_of(self.ledger, offsets, self.next)
        self.ledger.open(page)
        self.opened += len(offsets)
        for offset in offsets:
            self.order.append(offset)
            self.after[offset] = offset + 1
            self.unsettled.add(offset)
        self.after[offsets[-1]] = self.next
        return [(page, index, page, index, offset) for index, offset in enumerate(offsets)]

    def _pick(self, held: list[Any], data: st.DataObject) -> Any:
        return held.pop(data.draw(st.integers(0, len(held) - 1)))

    @rule(held=out, data=st.data())
    def ack(self, held: list[Any], data: st.DataObject) -> None:
        if held:
            page, index, _, _, offset = self._pick(held, data)
            page.take(index, DONE)
            self.unsettled.discard(offset)

    @rule(held=out, data=st.data())
    def give_back_and_deliver_again(self, held: list[Any], data: st.DataObject) -> None:
        if not held:
            return
        page, index, origin, at, offset = self._pick(held, data)
        page.take(index, HELD)
        if page is not origin:
            self.ledger.replaced(page)
        again = page_of(self.ledger, [offset])
        self.ledger.again(again, origin, at)
        held.append((again, 0, origin, at, offset))

    @rule(held=out, data=st.data())
    def bury(self, held: list[Any], data: st.DataObject) -> None:
        """Held back, then settled by somebody else: a dead letter that was confirmed."""
        if held:
            page, index, origin, at, offset = self._pick(held, data)
            page.take(index, HELD)
            if page is not origin:
                self.ledger.replaced(page)
            origin.marks[at] = DONE
            self.unsettled.discard(offset)

    @invariant()
    def prefix_is_the_models(self) -> None:
        expected, settled = 5, 0
        for offset in self.order:
            if offset in self.unsettled:
                break
            expected = self.after[offset]
            settled += 1
        assert self.ledger.settled() == expected
        self.told += self.ledger.untold()
        assert self.told == settled

    @invariant()
    def what_is_out_is_known(self) -> None:
        assert self.ledger.has_unsettled() == bool(self.unsettled)
        assert self.ledger.out <= self.opened

    @precondition(lambda self: self.order)
    @rule(held=consumes(out))
    def lose(self, held: list[Any]) -> None:
        """The lease ends: every delivery that is out is refused, and a new lease begins where the prefix ended."""
        at = self.ledger.settled()
        self.ledger.lose("revoked")
        for page, index, *_ in held:
            with pytest.raises(LeaseLost, match="revoked"):
                page.take(index, DONE)
        assert not self.ledger.has_unsettled()
        assert self.ledger.settled() == at
        assert self.ledger.out == 0
        self.__init__()  # type: ignore[misc]


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_prefix_of_one_page(acked: list[bool]) -> None:
    """The prefix ends at the first record that is not settled, whatever is settled beyond it."""
    ledger = Ledger("orders", 0, 1, 0)
    page = page_of(ledger, list(range(len(acked))))
    ledger.open(page)
    for index, done in enumerate(acked):
        if done:
            page.take(index, DONE)
    assert ledger.settled() == (acked.index(False) if False in acked else len(acked))


def test_a_second_verb_is_refused_and_the_first_stands() -> None:
    """The mark of a settled record does not change."""
    ledger = Ledger("orders", 0, 1, 0)
    page = page_of(ledger, [7, 9])
    page.take(0, HELD)
    with pytest.raises(AlreadySettled, match="topic:orders/0/7"):
        page.take(0, DONE)
    assert page.marks[0] == HELD


def test_losing_counts_what_was_shown_and_not_settled() -> None:
    """The count is of deliveries that the application has seen, redeliveries included."""
    ledger = Ledger("orders", 0, 1, 0)
    page = page_of(ledger, [0, 1, 2, 3])
    page.shown = 3
    ledger.open(page)
    page.take(0, DONE)
    page.take(1, HELD)
    ledger.again(page_of(ledger, [1]), page, 1)
    assert ledger.lose("revoked") == 3  # the held one in its page, record 2, and the redelivery
    assert page.marks[0] == DONE
