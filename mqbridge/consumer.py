"""Receiving: what both consumers share. The rule of this room: one thread polls, any thread settles.

What a topic's offsets mean is in topic_consumer.py, what a queue's tokens mean in queue_consumer.py, workers and
order in dispatch.py.
"""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from operator import length_hint
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

from mqbridge.capabilities import Capability as Cap
from mqbridge.errors import Closed, ConcurrentUse, InvalidSpec, MqbridgeError
from mqbridge.messages import Delivery
from mqbridge.waiting import Deadline, Signal, now_s, wait

if TYPE_CHECKING:
    from mqbridge.bus import Bus
    from mqbridge.dispatch import RunStats, Stop
    from mqbridge.semantics.backoff import RetryPolicy
    from mqbridge.spi import Subscription

T = TypeVar("T")
U = TypeVar("U")
log = logging.getLogger("mqbridge.consumer")
AckMode = Literal["explicit", "before", "auto"]


def check_delay(delay_s: float) -> None:
    """Refuse what is no delay, here: in a batch of verbs the engine would refuse its neighbours with it."""
    if isinstance(delay_s, bool) or not isinstance(delay_s, int | float) or not 0 <= delay_s < float("inf"):
        raise InvalidSpec(f"delay_s must be a number from 0 on, not {delay_s!r}; nothing was settled", field="delay_s")


def raise_first(errors: Sequence[MqbridgeError]) -> None:
    """Raise the first, with the others as its notes."""
    if errors:
        for other in errors[1:]:
            errors[0].add_note(f"also: {type(other).__name__}: {other}")
        raise errors[0]


MAX_LATE = 100
WHOLE_BLOCKS = 1 << 30
"""As `max_messages`: take a block as it is, without cutting it."""
LOOK_S = 0.05
"""How often a stream looks at what the engine says, in the middle of a block too."""
STRIDE = 64
"""How many deliveries a fast stream hands over without looking at the time."""


class BaseConsumer(Generic[T]):
    """Polling, streaming, closing, and the guard against two threads."""

    _subscription: Subscription

    def __init__(self, bus: Bus, ack: AckMode, settle_interval_s: float) -> None:
        self._bus = bus
        self._ack = ack
        self._ready = Signal()
        self._polling = threading.Lock()
        self._held: list[Delivery[T]] = []
        self._pending: Iterator[Delivery[T]] = iter(self._held)
        self._closed = False
        self._fatal: MqbridgeError | None = None
        # Settlements that came too late, for commit() to raise; the oldest give way where nobody asks.
        self._late: deque[MqbridgeError] = deque(maxlen=MAX_LATE)
        self._settle_interval_s = settle_interval_s
        self._job: int | None = None

    def _start(self) -> None:
        """Begin the background settling; the last step of a constructor."""
        self._job = self._bus._pump.every(self._settle_interval_s, self._settle_now)
        self._bus._closables[self] = None

    # --- polling

    def poll(self, max_messages: int = 500, timeout: float = 1.0) -> list[Delivery[T]]:
        """Up to `max_messages` deliveries, as soon as one is there; an empty list after `timeout` seconds.

        One thread at a time: a second one raises `ConcurrentUse`. Raises what ended the consumer, if something did.
        """
        if not isinstance(max_messages, int) or max_messages < 1:
            raise InvalidSpec(f"max_messages must be 1 or more, not {max_messages!r}", field="max_messages")
        if not isinstance(timeout, int | float):
            raise InvalidSpec(f"timeout must be a number of seconds, not {timeout!r}", field="timeout")
        self._enter()
        try:
            if length_hint(self._pending):
                self._look()  # leftovers are no reason to be deaf: a small `max_messages` makes many of them
            got = list(islice(self._pending, max_messages)) or self._wait_for(max_messages, Deadline(timeout))
            if self._ack == "auto":
                self._seen(got)
            return got
        finally:
            self._polling.release()

    def stream(self, idle_timeout_s: float | None = None) -> Iterator[Delivery[T]]:
        """Deliveries one by one; ends when none came for `idle_timeout_s` seconds (None: never) or the consumer is
        closed.

        Leaving the loop early loses nothing: what was fetched comes with the next `poll` or `stream`.
        """
        while not self._closed:
            self._enter()
            try:
                batch = self._pending
                first = next(batch, None)
                if first is None:
                    got = self._wait_for(WHOLE_BLOCKS, Deadline(idle_timeout_s))
                    if not got:
                        return
                    batch = self._hand(got)
                    first = next(batch)
                if self._ack == "auto":
                    self._seen((first,))
            finally:
                self._polling.release()
            looked_s = now_s()
            yield first
            yield from self._rest(batch, looked_s)

    def _rest(self, batch: Iterator[Delivery[T]], looked_s: float) -> Iterator[Delivery[T]]:
        """The rest of a block. The iterator is shared with poll(): whoever comes next goes on where a loop was left.

        A handler may take longer over one block than a rebalance waits or `max_poll_interval_s` allows. So events are
        looked at in between; the slower the handler, the closer, and a fast one pays next to nothing.
        """
        auto = self._ack == "auto"
        stride = 1
        while length_hint(batch):
            time_s = now_s()
            if time_s - looked_s >= LOOK_S:
                stride, looked_s = 1, time_s
                self._look_in_passing()
            elif auto:
                for delivery in batch:
                    self._seen((delivery,))
                    yield delivery
                    break
            else:
                yield from islice(batch, stride)
                stride = min(stride * 2, STRIDE)

    def _look_in_passing(self) -> None:
        """Not while somebody else polls: what there is to see, he sees."""
        if self._polling.acquire(blocking=False):
            try:
                if not self._closed:
                    self._look()
            finally:
                self._polling.release()

    def __iter__(self) -> Iterator[Delivery[T]]:
        return self.stream()

    def _hand(self, deliveries: list[Delivery[T]]) -> Iterator[Delivery[T]]:
        """Fetched, to be shown by and by: to whoever polls or streams next."""
        self._held = deliveries
        self._pending = iter(deliveries)
        return self._pending

    def _withdraw(self, gone: Callable[[Delivery[T]], bool]) -> None:
        """Take back what was fetched and not shown. In place, so that a stream under way does not show it either."""
        shown = len(self._held) - length_hint(self._pending)
        self._held[shown:] = [delivery for delivery in self._held[shown:] if not gone(delivery)]

    def _enter(self) -> None:
        self._bus._guard.check()
        if not self._polling.acquire(blocking=False):
            raise ConcurrentUse(
                "a second thread polls this consumer while the first one does. Nothing was fetched; give each thread a "
                "consumer of its own, or hand deliveries to workers with run()."
            )
        if self._closed:
            self._polling.release()
            raise Closed("this consumer is closed; make another with bus.consumer()")

    def _wait_for(self, max_messages: int, deadline: Deadline) -> list[Delivery[T]]:
        while True:
            self._ready.clear()
            self._handle_events()
            if self._fatal is not None:
                raise self._fatal
            got = self._fetch(max_messages)
            if got:
                return got
            if deadline.passed() or self._closed:
                return []
            self._ready.wait(deadline.left_s(self._next_due_s()))

    def _keep_alive(self) -> None:
        """A poll that takes nothing: events are handled and membership stays alive while handlers are busy."""
        self._enter()
        try:
            self._look()
        finally:
            self._polling.release()

    def _look(self) -> None:
        """Hear what the engine says, and give a sign of life; takes nothing."""
        self._handle_events()
        if self._fatal is not None:
            raise self._fatal
        self._subscription.take(0)

    def _seen(self, deliveries: Sequence[Delivery[T]]) -> None:
        """``ack="auto"``: what the application was shown counts as settled."""
        for delivery in deliveries:
            if not delivery.settled:
                delivery.ack()

    # --- what the two kinds differ in

    @abstractmethod
    def _handle_events(self) -> None: ...

    @abstractmethod
    def _fetch(self, max_messages: int) -> list[Delivery[T]]: ...

    @abstractmethod
    def _settle_now(self) -> None:
        """Tell the engine what is settled; never blocks, any thread."""

    @abstractmethod
    def _next_due_s(self) -> float | None:
        """Seconds until something of this consumer's own becomes due."""

    @abstractmethod
    def commit(self, timeout: float = 30.0) -> None: ...

    @abstractmethod
    def close(self, timeout: float = 30.0) -> None: ...

    # --- workers

    def run(
        self,
        handler: Callable[[Delivery[T]], Any],
        *,
        workers: int = 1,
        order: Literal["key", "partition", "none"] = "key",
        retry: RetryPolicy | None = None,
        handler_timeout_s: float | None = None,
        stop: Stop | threading.Event | None = None,
    ) -> RunStats:
        """Call `handler` for each delivery on `workers` threads until `stop` is set; returns what was done.

        A handler that returns has its delivery acked; one that raises goes to the `retry` policy (the consumer's,
        else 3 attempts with backoff); a delivery that the handler settled is left alone. `Fenced`, `Denied` and
        `Closed` propagate. `order` keeps deliveries of one key, or of one partition, one after another; with "none"
        none waits for another. A handler may take minutes: membership stays alive, and no more is fetched than
        `workers` can hold. `handler_timeout_s`: a handler that takes longer counts as failed and its late result is
        ignored; its thread cannot be stopped and is replaced.
        """
        from mqbridge.dispatch import Dispatcher

        return Dispatcher(self, handler, workers, order, retry, handler_timeout_s, stop).run()

    def _run_policy(self) -> RetryPolicy:
        """What `run` does about failures when nobody says."""
        from mqbridge.semantics.backoff import RetryPolicy

        return RetryPolicy()

    @abstractmethod
    def _give_up(self, delivery: Delivery[Any], error: BaseException) -> None:
        """It failed as often as `run` may try it: dead-letter it, or `ConfigurationError` if there is nowhere to."""

    # --- escape hatch

    def run_on_client(self, kind: type[U], fn: Callable[[U], Any], timeout: float = 30.0) -> Any:
        """Call ``fn(native)`` with the native object of that type, on the thread that owns it, while polling is held
        off; what it returns or raises comes back here. `InvalidSpec` where there is no such object.

        Nothing else of this consumer goes on meanwhile, heartbeats of the client may be among it: be brief. After
        `OperationTimeout` the function may still run.
        """
        self._bus.capabilities.need(Cap.UNWRAP, "run_on_client()")
        self._enter()
        try:
            outcome: Future[Any] = Future()

            def run(native: U) -> None:
                try:
                    outcome.set_result(fn(native))
                except BaseException as error:  # noqa: BLE001 - the caller's own, raised again where he waits
                    outcome.set_exception(error)

            wait(lambda done: self._subscription.call(kind, run, done), timeout, "run_on_client()")
            return outcome.result(0)
        finally:
            self._polling.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except MqbridgeError as failure:
            error.add_note(f"while closing the consumer: {type(failure).__name__}: {failure}")

    def _forget_late(self) -> None:
        """What came too late before `close`, and nobody asked commit() about: those messages are delivered again, which
        at least once means, so it is no failure of closing. It is logged."""
        late = [self._late.popleft() for _ in range(len(self._late))]
        for text, times in Counter(str(error) for error in late).items():
            log.warning("%s%s", text, f" ({times} times)" if times > 1 else "")

    def _finish(self) -> None:
        """The common end of `close`."""
        self._closed = True
        self._withdraw(lambda _delivery: True)
        if self._job is not None:
            self._bus._pump.cancel(self._job)
        self._bus._closables.pop(self, None)
        self._ready.set()
        if self._bus._hooks.closed is not None:
            self._bus._hooks.closed(what="consumer")
