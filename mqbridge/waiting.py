"""Where the library waits for an engine. The rule of this room: no other module turns completions into waiting.

An engine never blocks; it completes and it says ready. Here completions become results, and readiness becomes a
wake-up. An asyncio face replaces this module, and dispatch.py, whose worker threads wait for work of their own.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

from mqbridge.errors import ConnectionLost, ForkedProcess, MqbridgeError, OperationTimeout, Outcome
from mqbridge.spi import Completion

T = TypeVar("T")
log = logging.getLogger("mqbridge.waiting")

now_s = time.monotonic

AGAIN_S = 0.02
"""Between two attempts of an operation that the engine could not take."""


class Deadline:
    """A point in monotonic time; None never comes."""

    __slots__ = ("_at_s",)

    def __init__(self, timeout_s: float | None) -> None:
        self._at_s = None if timeout_s is None else now_s() + timeout_s

    def left_s(self, at_most_s: float | None = None) -> float | None:
        """Seconds left, never negative; None is for ever."""
        if self._at_s is None:
            return at_most_s
        left = max(0.0, self._at_s - now_s())
        return left if at_most_s is None else min(left, at_most_s)

    def passed(self) -> bool:
        return self._at_s is not None and now_s() >= self._at_s


class Pending(Generic[T]):
    """One submitted operation, whose completion can be waited for."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._result: T | None = None
        self._error: MqbridgeError | None = None

    def complete(self, result: T | None, error: MqbridgeError | None) -> None:
        self._result, self._error = result, error
        self._event.set()

    def wait(self, timeout_s: float | None, what: str, outcome: Outcome = "unknown") -> T:
        """The result, or the error raised, or `OperationTimeout`."""
        if not self._event.wait(timeout_s):
            unknown = "It may still be applied; look before you try again"
            advice = unknown if outcome == "unknown" else "Nothing was applied; try again"
            raise OperationTimeout(
                f"{what} got no answer within {timeout_s:.3g} s. {advice}, or give it more time (timeout=, or "
                "operation_timeout_s= of connect()).",
                outcome=outcome,
            )
        if self._error is not None:
            # The completion's error object may be shared by several waiters: raise it as it is, its traceback grows.
            raise self._error
        return cast(T, self._result)


def wait(
    submit: Callable[[Completion[T]], None], timeout_s: float | None, what: str, outcome: Outcome = "unknown"
) -> T:
    """Submit an operation and wait for its completion.

    One that the engine did not take, because its connection is being made anew, is submitted again until the timeout;
    so is one that only looks (`outcome` is "not_applied") and lost its connection under way.
    """
    deadline = Deadline(timeout_s)
    pause = threading.Event()
    while True:
        pending: Pending[T] = Pending()
        submit(pending.complete)
        try:
            return pending.wait(deadline.left_s(), what, outcome)
        except ConnectionLost as error:
            if (error.outcome != "not_applied" and outcome != "not_applied") or deadline.passed():
                raise
            pause.wait(AGAIN_S)


class Signal:
    """A coalesced wake-up: `clear`, look, `wait`. A `set` between clear and wait is not missed."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        if not self._event.is_set():
            self._event.set()

    def clear(self) -> None:
        self._event.clear()

    def wait(self, timeout_s: float | None) -> bool:
        return self._event.wait(timeout_s)


class Turnstile:
    """Lets waiters sleep until somebody reports progress; costs a reporter nothing while nobody waits."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiters = 0
        self.passed = 0
        """How often progress was reported: changes with each report."""

    def progress(self) -> None:
        self.passed += 1
        if self._waiters:
            with self._condition:
                self._condition.notify_all()

    def wait_for(self, arrived: Callable[[], bool], timeout_s: float | None) -> bool:
        """Sleep until `arrived()`, which is called under a lock that reporters take: it looks, and does nothing."""
        with self._condition:
            self._waiters += 1
            try:
                return self._condition.wait_for(arrived, timeout_s)
            finally:
                self._waiters -= 1


class Pump:
    """One background thread of a bus, which runs small jobs at intervals: settling, drain checks, delivery deadlines.

    A job must not block. One that raises is logged and stays: a fault in one consumer must not stop another's commits.
    The thread starts with the first job and ends with the last.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._condition = threading.Condition()
        self._jobs: dict[int, tuple[float, float, Callable[[], None]]] = {}
        self._next = 0
        self._thread: threading.Thread | None = None

    def every(self, interval_s: float, job: Callable[[], None]) -> int:
        with self._condition:
            self._next += 1
            self._jobs[self._next] = (now_s() + interval_s, interval_s, job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._condition.notify()
            return self._next

    def cancel(self, job: int) -> None:
        with self._condition:
            self._jobs.pop(job, None)
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                if not self._jobs:
                    self._thread = None
                    return
                due_s, number = min((due, number) for number, (due, _, _) in self._jobs.items())
                left_s = due_s - now_s()
                if left_s > 0:
                    self._condition.wait(left_s)
                    continue
                _, interval_s, job = self._jobs[number]
                self._jobs[number] = (now_s() + interval_s, interval_s, job)
            try:
                job()
            except Exception:  # a fault of one job must not stop the others; it is logged with its traceback
                log.exception("a background job of %s failed", self._name)


class Callbacks:
    """The one thread of a bus on which user callbacks run, in order; made when the first one comes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], None]) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._queue.put(call)

    def close(self, timeout_s: float) -> None:
        """Run what is queued, then end."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            try:
                call()
            except Exception:  # the user's code: report it, and serve the next callback
                log.exception("a callback raised")


class ForkGuard:
    """Knows whether this process is the one that made the bus. Checked off the hot path; see `on_fork`."""

    _guards: weakref.WeakSet[ForkGuard] = weakref.WeakSet()

    def __init__(self) -> None:
        self.forked = False
        self._on_fork: list[weakref.WeakMethod[Callable[[], None]]] = []
        ForkGuard._guards.add(self)

    def on_fork(self, method: Callable[[], None]) -> None:
        """A bound method to call in a forked child: it drops what the hot path would use."""
        self._on_fork.append(weakref.WeakMethod(method))

    def check(self) -> None:
        if self.forked:
            raise ForkedProcess(
                "this bus was made in the parent process; after fork its connections and threads are not here. Nothing "
                "was sent. Connect again in the child."
            )

    @classmethod
    def _after_fork(cls) -> None:
        for guard in list(cls._guards):
            guard.forked = True
            for reference in guard._on_fork:
                method = reference()
                if method is not None:
                    method()


os.register_at_fork(after_in_child=ForkGuard._after_fork)
