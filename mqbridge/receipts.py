"""What became of each send: states in chunks, receipts as views of them.

The rule of this room: a send costs one byte of state and one small object; offsets, errors and waiting are paid for
when reports come, by batch, or when somebody asks. `SendLog` implements the SPI's `Reports` for one channel.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from mqbridge.errors import MqbridgeError, OperationTimeout
from mqbridge.messages import Confirmation
from mqbridge.waiting import Deadline, Turnstile, now_s

if TYPE_CHECKING:
    from mqbridge.hooks import HookSet
    from mqbridge.spi import Channel
    from mqbridge.topology import Destination
    from mqbridge.waiting import Callbacks, ForkGuard

BITS = 10
SIZE = 1 << BITS
MASK = SIZE - 1
RECENT = 64
"""Complete chunks kept at hand for senders that were put to sleep between the engine's number and its chunk."""
PENDING, CONFIRMED, FAILED = 0, 1, 2


class Chunk:
    """The states of `SIZE` consecutive sends of one channel."""

    __slots__ = ("callbacks", "errors", "log", "number", "offsets", "partitions", "reported", "states")

    def __init__(self, log: SendLog, number: int) -> None:
        self.log = log
        self.number = number
        self.states = bytearray(SIZE)
        self.reported = 0
        self.offsets: list[int | None] | None = None
        self.partitions: list[int | None] | None = None
        self.errors: dict[int, MqbridgeError] = {}
        self.callbacks: dict[int, list[Callable[[], None]]] | None = None


class Receipt:
    """One send: it ends confirmed, failed and not applied, or failed with its outcome unknown."""

    __slots__ = ("_chunk", "_index")

    def __init__(self, chunk: Chunk, index: int) -> None:
        self._chunk = chunk
        self._index = index

    @property
    def done(self) -> bool:
        """Has it ended, one way or the other?"""
        return self._chunk.states[self._index] != PENDING

    def result(self, timeout: float | None = None) -> Confirmation:
        """Wait for the confirmation, or raise what the send failed with.

        Seals the batch first, so a waiter does not pay the linger. Without a timeout it ends by the producer's
        `delivery_timeout_s`. A timeout here raises `OperationTimeout`; the send itself goes on.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        chunk, index = self._chunk, self._index
        return Confirmation(
            chunk.log.destination,
            None if chunk.partitions is None else chunk.partitions[index],
            None if chunk.offsets is None else chunk.offsets[index],
        )

    def exception(self, timeout: float | None = None) -> MqbridgeError | None:
        """Wait; the error it failed with, or None. Asking counts as having seen it."""
        chunk, index = self._chunk, self._index
        if chunk.states[index] == PENDING:
            chunk.log.wait_for_one(chunk, index, timeout)
        if chunk.states[index] == CONFIRMED:
            return None
        return chunk.log.observe((chunk.number << BITS) + index, chunk, index)

    def add_done_callback(self, fn: Callable[[Receipt], Any]) -> None:
        """Call ``fn(receipt)`` on the bus's callback thread when it is done."""
        self._chunk.log.add_callback(self._chunk, self._index, lambda: fn(self))

    def __repr__(self) -> str:
        state = ("pending", "confirmed", "failed")[self._chunk.states[self._index]]
        return f"<Receipt {self._chunk.log.destination} #{(self._chunk.number << BITS) + self._index} {state}>"


class BatchReceipt(Sequence[Receipt]):
    """The sends of one `send_many`, as a sequence of receipts made on demand."""

    __slots__ = ("_chunks", "_numbers")

    def __init__(self, chunks: dict[int, Chunk], numbers: Sequence[int]) -> None:
        self._chunks = chunks
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Receipt: ...

    @overload
    def __getitem__(self, index: slice) -> BatchReceipt: ...

    def __getitem__(self, index: int | slice) -> Receipt | BatchReceipt:
        if isinstance(index, slice):
            return BatchReceipt(self._chunks, self._numbers[index])
        number = self._numbers[index]
        return Receipt(self._chunks[number >> BITS], number & MASK)

    @property
    def done(self) -> bool:
        """Have all of them ended?"""
        return all(receipt.done for receipt in self)

    def result(self, timeout: float | None = None) -> list[Confirmation]:
        """Wait for all; the confirmations in order, or the first error raised."""
        deadline = Deadline(timeout)
        return [receipt.result(deadline.left_s()) for receipt in self]


class SendLog:
    """All that is known of the sends of one channel. Any thread."""

    def __init__(
        self, destination: Destination, timeout_s: float, callbacks: Callbacks, hooks: HookSet, guard: ForkGuard
    ) -> None:
        self.destination = destination
        self.channel: Channel
        self.turnstile = Turnstile()
        self.chunks: dict[int, Chunk] = {}
        self.failures: dict[int, MqbridgeError] = {}
        self._recent: dict[int, Chunk] = {}
        self._complete: set[int] = set()
        self._complete_below = 0
        self._blemished: set[int] = set()
        self._lock = threading.Lock()
        self._callbacks = callbacks
        self._hooks = hooks
        self._guard = guard
        self._timeout_s = timeout_s
        self._samples: deque[tuple[float, int]] = deque([(now_s(), 0)])
        self._expired_to = 0

    # --- sends

    def find(self, number: int) -> Chunk:
        """The chunk `number`, made if it is new: a report may come before the sender has seen its own number."""
        with self._lock:
            chunk = self.chunks.get(number) or self._recent.get(number)
            if chunk is None:
                chunk = Chunk(self, number)
                if number < self._complete_below or number in self._complete:
                    self._reconstruct(chunk)
                else:
                    self.chunks[number] = chunk
            return chunk

    def _reconstruct(self, chunk: Chunk) -> None:
        """A sender slept through the whole life of its chunk: all was reported, and failures nobody saw are kept.

        Where some failed and were seen, by `flush` for instance, nobody knows any more which: none is called confirmed.
        """
        chunk.states[:] = bytes((CONFIRMED,)) * SIZE
        if chunk.number not in self._blemished:
            return
        base = chunk.number << BITS
        chunk.states[:] = bytes((FAILED,)) * SIZE
        forgotten = OperationTimeout(
            f"this send to {self.destination} ended long before anybody looked, among others that failed; what became "
            "of it was told to flush() or to the hooks, and is not kept. Sending it again may duplicate it.",
            outcome="unknown",
        )
        for index in range(SIZE):
            chunk.errors[index] = self.failures.get(base + index, forgotten)

    def receipt(self, sequence: int) -> Receipt:
        return Receipt(self.find(sequence >> BITS), sequence & MASK)

    # --- reports (the SPI's Reports)

    def confirmed(self, first: int, count: int, partition: int | None, base_offset: int | None) -> None:
        done = 0
        while done < count:
            sequence = first + done
            chunk = self._chunk(sequence)
            low = sequence & MASK
            high = min(SIZE, low + count - done)
            if partition is not None:
                self._columns(chunk)
                chunk.partitions[low:high] = [partition] * (high - low)  # type: ignore[index]
                if base_offset is not None:
                    chunk.offsets[low:high] = range(base_offset + done, base_offset + done + high - low)  # type: ignore[index]
            with self._lock:  # against give_up_late, which looks and marks in one step too
                if chunk.errors:  # some of them were given up before: their word stands
                    for index in range(low, high):
                        if chunk.states[index] == PENDING:
                            chunk.states[index] = CONFIRMED
                else:
                    chunk.states[low:high] = b"\x01" * (high - low)
            self._reported(chunk, range(low, high))
            done += high - low
        self._progress(count, 0)

    def confirmed_at(self, sequence: Sequence[int], partition: int | None, base_offset: int | None) -> None:
        number = -1
        chunk: Chunk | None = None
        indices: list[int] = []
        for place, item in enumerate(sequence):
            if item >> BITS != number or chunk is None:
                if chunk is not None:
                    self._confirm(chunk, indices)
                number = item >> BITS
                chunk = self._chunk(item)
                self._columns(chunk)
                indices = []
            index = item & MASK
            if base_offset is not None:
                chunk.offsets[index] = base_offset + place  # type: ignore[index]
            chunk.partitions[index] = partition  # type: ignore[index]
            indices.append(index)
        if chunk is not None:
            self._confirm(chunk, indices)
        self._progress(len(sequence), 0)

    def _confirm(self, chunk: Chunk, indices: Sequence[int]) -> None:
        states = chunk.states
        with self._lock:
            for index in indices:
                if states[index] == PENDING:
                    states[index] = CONFIRMED
        self._reported(chunk, indices)

    def failed(self, sequence: Sequence[int], error: MqbridgeError) -> None:
        for item in sequence:
            chunk = self._chunk(item)
            index = item & MASK
            with self._lock:
                if chunk.states[index] == PENDING:
                    chunk.errors[index] = error
                    chunk.states[index] = FAILED
                    self.failures[item] = error
            self._reported(chunk, (index,))
        self._progress(0, len(sequence))

    def room(self) -> None:
        self.turnstile.progress()

    def _chunk(self, sequence: int) -> Chunk:
        number = sequence >> BITS
        return self.chunks.get(number) or self.find(number)

    @staticmethod
    def _columns(chunk: Chunk) -> None:
        if chunk.offsets is None:
            chunk.partitions = [None] * SIZE
            chunk.offsets = [None] * SIZE

    def _reported(self, chunk: Chunk, indices: Sequence[int]) -> None:
        with self._lock:
            chunk.reported += len(indices)
            if chunk.reported >= SIZE:
                self._complete_chunk(chunk)
            waiting = chunk.callbacks
            calls = [call for index in indices for call in waiting.pop(index, ())] if waiting else ()
        for call in calls:
            self._callbacks.submit(call)

    def _complete_chunk(self, chunk: Chunk) -> None:
        if self.chunks.pop(chunk.number, None) is None:
            return
        if chunk.errors:
            self._blemished.add(chunk.number)
        self._recent[chunk.number] = chunk
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        self._complete.add(chunk.number)
        while self._complete_below in self._complete:
            self._complete.discard(self._complete_below)
            self._complete_below += 1

    def _progress(self, confirmed: int, failed: int) -> None:
        self.turnstile.progress()
        if self._hooks.sent is not None:
            self._hooks.sent(destination=self.destination, count=confirmed, failed=failed)

    # --- asking

    def observe(self, sequence: int, chunk: Chunk, index: int) -> MqbridgeError:
        with self._lock:
            self.failures.pop(sequence, None)
        return chunk.errors[index]

    def wait_for_one(self, chunk: Chunk, index: int, timeout_s: float | None) -> None:
        self._guard.check()
        self.channel.seal()
        if not self.turnstile.wait_for(lambda: chunk.states[index] != PENDING, timeout_s):
            raise OperationTimeout(
                f"no confirmation from {self.destination} within {timeout_s:g} s. The send goes on: ask the receipt "
                "again, or wait in flush().",
                outcome="unknown",
            )

    def add_callback(self, chunk: Chunk, index: int, call: Callable[[], None]) -> None:
        with self._lock:
            if chunk.states[index] == PENDING:
                if chunk.callbacks is None:
                    chunk.callbacks = {}
                chunk.callbacks.setdefault(index, []).append(call)
                return
        self._callbacks.submit(call)

    def settled_below(self, target: int) -> bool:
        """Is every send with a number below `target` reported, or given up?"""
        number, index = target >> BITS, target & MASK
        with self._lock:
            for below in range(self._complete_below, number):
                chunk = self.chunks.get(below)
                if chunk is None:
                    if below not in self._complete:
                        return False  # taken by the engine, and its sender has not opened the chunk yet
                elif chunk.states.find(PENDING) >= 0:
                    return False
            if index == 0 or number < self._complete_below or number in self._complete:
                return True
            last = self.chunks.get(number)
            return last is not None and last.states.find(PENDING, 0, index) < 0

    def give_up_late(self) -> None:
        """Fail what has waited longer than the delivery timeout: its outcome is unknown. Called at intervals.

        A sample (time, next number) says that later numbers were sent after that time, so that numbers below the next
        sample are given up `timeout` after the sample before it: never later than promised, and no clock is read per
        send.
        """
        time_s = now_s()
        samples = self._samples
        samples.append((time_s, self.channel.appended))
        while len(samples) > 1 and samples[0][0] + self._timeout_s <= time_s:
            samples.popleft()
            self._expire_below(samples[0][1])

    def _expire_below(self, target: int) -> None:
        if target <= self._expired_to:
            return
        self._expired_to = target
        with self._lock:
            chunks = list(self.chunks.values())
        for chunk in chunks:
            base = chunk.number << BITS
            last = min(SIZE, target - base)
            late = [base + index for index in range(max(0, last)) if chunk.states[index] == PENDING]
            if late:
                error = OperationTimeout(
                    f"{self.destination} did not confirm within delivery_timeout_s={self._timeout_s:g}. The "
                    "message may "
                    "have been applied; sending it again may duplicate it.",
                    outcome="unknown",
                )
                self._fail_late(chunk, late, error)

    def _fail_late(self, chunk: Chunk, late: list[int], error: MqbridgeError) -> None:
        calls: list[Callable[[], None]] = []
        with self._lock:
            for sequence in late:
                index = sequence & MASK
                if chunk.states[index] == PENDING:
                    chunk.errors[index] = error
                    chunk.states[index] = FAILED
                    self.failures[sequence] = error
                    if chunk.callbacks:
                        calls.extend(chunk.callbacks.pop(index, ()))
        for call in calls:
            self._callbacks.submit(call)
        self._progress(0, len(late))
