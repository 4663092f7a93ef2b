"""Reading a range of a topic, in no group. The rule of this room: a replay settles nothing and disturbs nobody."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from mqbridge.errors import Closed, ConfigurationError
from mqbridge.ledger import DONE, Page
from mqbridge.messages import Delivery
from mqbridge.spi import Start
from mqbridge.topology import Topic
from mqbridge.waiting import Deadline, Signal, wait

if TYPE_CHECKING:
    from mqbridge.bus import Bus

T = TypeVar("T")

__all__ = ["Replay"]


class _NothingToSettle(Page):
    __slots__ = ()

    def refuse(self, index: int) -> NoReturn:
        raise ConfigurationError(
            f"{self.block.describe(index)} was read by a replay: it belongs to no group, and there is nothing to settle"
        )


class Replay(Generic[T]):
    """A bounded reading; made by `Bus.replay`. Iterate it, or `poll` it; it ends at its end.

    `ranges` says what it covers: partition -> (first offset, offset to stop before), fixed when it was made.
    """

    def __init__(self, bus: Bus, topic: Topic[T], start: Start, end: Start) -> None:
        self._bus = bus
        self.topic = topic
        self._ready = Signal()
        self._codec = None if topic.codec.name == "bytes" else topic.codec
        self._source = bus._connection.replay(topic, self._ready.set)
        bounds: Mapping[int, tuple[int, int]] = wait(
            partial(self._source.bounds, start, end),
            bus._operation_timeout_s,
            f"finding the range of {topic}",
            "not_applied",
        )
        self.ranges: dict[int, tuple[int, int]] = {p: (low, max(low, high)) for p, (low, high) in bounds.items()}
        self._left = {p: high for p, (low, high) in self.ranges.items() if low < high}
        self._pending: Iterator[Delivery[T]] = iter(())
        self._closed = False
        self._source.begin({p: self.ranges[p] for p in self._left})
        bus._closables[self] = None

    @property
    def done(self) -> bool:
        """Has all of the range been read from the engine?"""
        return not self._left

    def poll(self, max_messages: int = 500, timeout: float = 1.0) -> list[Delivery[T]]:
        """Up to `max_messages`, as soon as one is there; an empty list when it is done or `timeout` seconds passed."""
        got = list(islice(self._pending, max_messages))
        return got or self._wait_for(max_messages, Deadline(timeout))

    def __iter__(self) -> Iterator[Delivery[T]]:
        while True:
            yield from self._pending
            got = self._wait_for(1 << 30, Deadline(None))
            if not got:
                return
            self._pending = iter(got)

    def _wait_for(self, max_messages: int, deadline: Deadline) -> list[Delivery[T]]:
        self._bus._guard.check()
        if self._closed:
            raise Closed("this replay is closed; make another with bus.replay()")
        while self._left:
            if self._closed:
                raise Closed("this replay was closed while it waited; make another with bus.replay()")
            self._ready.clear()
            failure = self._source.failure()
            if failure is not None:
                raise failure
            block = self._source.take(max_messages)
            if block is not None:
                got = self._cut(block)
                if len(got) > max_messages:
                    self._pending = iter(got)
                    return list(islice(self._pending, max_messages))
                if got:
                    return got
                continue
            if deadline.passed():
                break
            self._ready.wait(deadline.left_s())
        return []

    def _cut(self, block: Any) -> list[Delivery[T]]:
        """The part of a block that lies in the range; a partition whose range is read is done."""
        partition = block.partition
        end = self._left.get(partition)
        if end is None:
            return []
        count = block.count
        while count and block.offset(count - 1) >= end:
            count -= 1
        if block.next_offset >= end:
            del self._left[partition]
        page = _NothingToSettle(block, _nobody, self._codec)
        page.marks[:] = bytes((DONE,)) * block.count
        deliveries: list[Delivery[T]] = block.deliveries(0, count, page)
        return deliveries

    def close(self, timeout: float = 30.0) -> None:
        """End it; twice is harmless."""
        if not self._closed:
            self._closed = True
            deque(self._pending, maxlen=0)  # run dry: an iteration under way holds this very iterator
            self._ready.set()
            self._bus._closables.pop(self, None)
            if not self._bus._guard.forked:
                self._source.close()

    def __enter__(self) -> Replay[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Nobody:
    """The owner of replayed deliveries: the slow verbs say why there is nothing to settle."""

    def _release(self, delivery: Delivery[Any], delay_s: float) -> None:
        delivery._page.refuse(delivery._index)

    def _retry(self, delivery: Delivery[Any], delay_s: float, error: BaseException | str | None) -> None:
        delivery._page.refuse(delivery._index)

    def _reject(self, delivery: Delivery[Any], reason: str) -> None:
        delivery._page.refuse(delivery._index)


_nobody = _Nobody()
