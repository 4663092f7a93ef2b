"""Which deliveries are settled: one byte each, marked locally, read in prefixes.

The rule of this room: a mark is a byte in a page, a page lies over one fetched block, and a ledger is the pages of one
lease in delivery order. Marking takes no lock and does no I/O: under the GIL the test and the store in `Delivery.ack`
lie between two evaluation points of the interpreter. Reading the settled prefix is done by one thread, at intervals.
What does not belong here: what a verb means on a topic or a queue (consumer.py and queue_consumer.py), and waiting.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from mqbridge.errors import AlreadySettled, LeaseLost

if TYPE_CHECKING:
    from mqbridge.messages import Delivery
    from mqbridge.spi import Block

OPEN, DONE, HELD, LOST = 0, 1, 2, 3
"""OPEN: not settled. DONE: settled. HELD: this delivery was settled by giving the record back, and its redelivery is
not settled yet, so the prefix stops below it. LOST: the lease ended first."""

_DONE = bytes((DONE,))


class Owner(Protocol):
    """The consumer that a delivery goes back to: the slow verbs, which need more than a mark."""

    def _release(self, delivery: Delivery[Any], delay_s: float) -> None: ...

    def _retry(self, delivery: Delivery[Any], delay_s: float, error: BaseException | str | None) -> None: ...

    def _reject(self, delivery: Delivery[Any], reason: str) -> None: ...


class Page:
    """The marks over one block. `marks[i]` belongs to record i of the block."""

    __slots__ = ("block", "codec", "lost", "marks", "owner", "shown")

    def __init__(self, block: Block, owner: Owner, codec: Any) -> None:
        self.block = block
        self.owner = owner
        self.codec = codec
        self.marks = bytearray(block.count)
        self.shown = 0
        self.lost: str | None = None

    def refuse(self, index: int) -> NoReturn:
        """Say why a verb on record `index` cannot be taken: it was not free any more."""
        if self.marks[index] == LOST:
            raise LeaseLost(
                f"{self.block.describe(index)} is not ours any more: {self.lost}. Its settlement was not applied; "
                "it will be, or has been, delivered to another consumer."
            )
        raise AlreadySettled(
            f"{self.block.describe(index)} was settled before; the first verb stands and this one was not applied."
        )

    def take(self, index: int, mark: int) -> None:
        """Mark record `index`, or raise why not."""
        if self.marks[index]:
            self.refuse(index)
        self.marks[index] = mark

    def settled_prefix(self) -> int:
        """How many records from the start of the page are settled without a gap."""
        return len(self.marks) - len(self.marks.lstrip(_DONE))

    def lose(self, reason: str) -> int:
        """End the lease for all that is not settled; return how many had been shown and were not settled."""
        self.lost = reason
        marks = self.marks
        open_shown = 0
        for index in range(len(marks)):
            if marks[index] != DONE:
                open_shown += index < self.shown
                marks[index] = LOST
        return open_shown


class Ledger:
    """The pages of one lease of one partition, in delivery order, and the offset up to which all is settled."""

    __slots__ = ("_again", "_counted", "_passed", "committed", "lease", "lost", "out", "pages", "partition", "topic")

    def __init__(self, topic: str, partition: int, lease: int, position: int) -> None:
        self.topic = topic
        self.partition = partition
        self.lease = lease
        self.committed = position
        self.pages: deque[Page] = deque()
        self.out = 0
        """Records of the pages that are not settled as a whole."""
        self._passed = 0
        self._counted = 0
        self.lost: str | None = None
        self._again: dict[Page, tuple[Page, int]] = {}

    def open(self, page: Page) -> None:
        self.pages.append(page)
        self.out += len(page.marks)

    def again(self, page: Page, origin: Page, index: int) -> None:
        """`page` is a redelivery of record `index` of `origin`, whose mark it settles when it is done."""
        self._again[page] = (origin, index)

    def replaced(self, page: Page) -> None:
        """That redelivery was given back too; another will follow."""
        self._again.pop(page, None)

    def settled(self) -> int:
        """The next offset after the settled prefix: what may be committed. Whole settled pages are let go."""
        pages = self.pages
        if self._again:
            for page in [page for page in self._again if page.marks[0] == DONE]:
                origin, index = self._again.pop(page)
                origin.marks[index] = DONE
        while pages:
            page = pages[0]
            done = page.settled_prefix()
            self._passed += done - self._counted
            self._counted = done
            if done == len(page.marks):
                self._counted = 0
                self.committed = page.block.next_offset
                self.out -= done
                pages.popleft()
                continue
            if done:
                self.committed = max(self.committed, page.block.offset(done - 1) + 1)
            break
        return self.committed

    def untold(self) -> int:
        """How many records the settled prefix has grown by since this was asked the last time."""
        passed, self._passed = self._passed, 0
        return passed

    def has_unsettled(self) -> bool:
        """Does the application hold a delivery that it has not settled? One it gave back is not held."""
        if any(page.marks[0] == OPEN for page in self._again):
            return True
        return any(page.marks.find(OPEN, 0, page.shown) >= 0 for page in self.pages)

    def lose(self, reason: str) -> int:
        """The lease ended: every later verb is `LeaseLost`. Returns how many shown deliveries were not settled."""
        self.lost = reason
        lost = sum(page.lose(reason) for page in (*self.pages, *self._again))
        self.pages.clear()
        self.out = 0
        self._again.clear()
        return lost
