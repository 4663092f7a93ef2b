"""Workers and order: `consumer.run`.

The rule of this room: a lane is a sequence of deliveries that must be handled one after another (a key, a partition,
or a delivery of its own), a worker handles the head of a lane, and the polling thread never waits for a handler, so
that membership stays alive however long one takes.
"""

from __future__ import annotations

import contextlib
import logging
import random
import signal
import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

from mqbridge.errors import (
    AlreadySettled,
    Closed,
    ConfigurationError,
    Denied,
    Fenced,
    LeaseLost,
    MqbridgeError,
)
from mqbridge.ledger import LOST
from mqbridge.messages import Delivery
from mqbridge.semantics.backoff import RetryPolicy
from mqbridge.topic_consumer import TopicConsumer
from mqbridge.waiting import now_s

if TYPE_CHECKING:
    from mqbridge.consumer import BaseConsumer

log = logging.getLogger("mqbridge.run")

__all__ = ["RunStats", "Stop", "stop_on_signals"]

LANE_DEPTH = 32
"""Deliveries taken ahead for each worker: enough to keep it busy, few enough to give back when the run stops."""
POLL_S = 0.05


@dataclass(slots=True)
class RunStats:
    """What a run did, in deliveries. `retried` counts failed attempts that will be tried again."""

    handled: int = 0
    retried: int = 0
    dead_lettered: int = 0
    lost: int = 0
    timed_out: int = 0
    duration_s: float = 0.0


class Stop:
    """Something that `run` watches: `set` it, and the run drains and returns."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask for the stop; any thread, and a signal handler."""
        self._event.set()

    def is_set(self) -> bool:
        """Was it asked for?"""
        return self._event.is_set()


def stop_on_signals(*signals: signal.Signals) -> Stop:
    """A `Stop` that SIGTERM and SIGINT set (or the signals given). Call it in the main thread; it installs the
    handlers."""
    stop = Stop()
    for number in signals or (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


class _Lane:
    __slots__ = ("busy", "key", "not_before_s", "waiting")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.waiting: deque[Delivery[Any]] = deque()
        self.busy = False
        self.not_before_s = 0.0


class _Task:
    """One call of the handler: whoever flips `ended` first, the worker or the watchdog, decides what became of it."""

    __slots__ = ("delivery", "ended", "lane", "started_s")

    def __init__(self, lane: _Lane, delivery: Delivery[Any]) -> None:
        self.lane = lane
        self.delivery = delivery
        self.started_s = 0.0
        self.ended = False


class Dispatcher:
    """One `run`."""

    def __init__(
        self,
        consumer: BaseConsumer[Any],
        handler: Callable[[Delivery[Any]], Any],
        workers: int,
        order: Literal["key", "partition", "none"],
        retry: RetryPolicy | None,
        handler_timeout_s: float | None,
        stop: Stop | threading.Event | None,
    ) -> None:
        if not callable(handler):
            raise ConfigurationError(f"a handler is called with each delivery; {handler!r} cannot be called")
        if workers < 1:
            raise ConfigurationError(f"workers must be 1 or more, not {workers}")
        if order not in ("key", "partition", "none"):
            raise ConfigurationError(f"order must be 'key', 'partition' or 'none', not {order!r}")
        if order == "partition" and not isinstance(consumer, TopicConsumer):
            raise ConfigurationError("order='partition' is for topics: a queue has no partitions; use 'key' or 'none'")
        if consumer._ack != "explicit" and retry is not None:
            raise ConfigurationError(
                f"retry needs ack='explicit': with ack={consumer._ack!r} all is settled beforehand"
            )
        self._consumer = consumer
        self._handler = handler
        self._workers = workers
        self._order = order
        self._policy = retry or consumer._run_policy()
        self._timeout_s = handler_timeout_s
        self._stop = stop or Stop()
        self._lanes: dict[Hashable, _Lane] = {}
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._running: dict[_Task, None] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._outstanding = 0
        self._failure: BaseException | None = None
        self._draining = False
        self._threads = 0
        self._serial = 0
        self._propagator = consumer._bus._hooks.propagator
        self.stats = RunStats()

    def run(self) -> RunStats:
        began_s = now_s()
        for _ in range(self._workers):
            self._add_worker()
        try:
            self._poll_until_stopped()
        finally:
            self._drain()
            self.stats.duration_s = now_s() - began_s
        if self._failure is not None:
            raise self._failure
        with contextlib.suppress(LeaseLost):  # what came too late is delivered elsewhere; counted below
            self._consumer.commit()
        return self.stats

    def _poll_until_stopped(self) -> None:
        limit = self._workers * LANE_DEPTH
        while not self._stop.is_set() and self._failure is None:
            self._watch_handlers()
            self._start_due_lanes()
            room = limit - self._outstanding
            if room <= 0:
                self._consumer._keep_alive()
                with self._idle:
                    self._idle.wait(POLL_S)
                continue
            try:
                batch = self._consumer.poll(room, POLL_S)
            except Closed:
                if self._consumer._closed:
                    return
                raise
            for delivery in batch:
                self._enqueue(delivery)

    # --- lanes

    def _lane_key(self, delivery: Delivery[Any]) -> Hashable:
        if self._order == "partition" and delivery.partition is not None:
            return (delivery.destination.name, delivery.partition)
        if self._order == "key" and delivery.key is not None:
            return (delivery.destination.name, delivery.partition, delivery.key)
        self._serial += 1
        return self._serial

    def _enqueue(self, delivery: Delivery[Any]) -> None:
        key = self._lane_key(delivery)
        with self._lock:
            self._outstanding += 1
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane(key)
            lane.waiting.append(delivery)
            self._advance(lane)

    def _advance(self, lane: _Lane) -> None:
        """Hand the head of a lane to a worker, if it may go. Under the lock."""
        if lane.busy or now_s() < lane.not_before_s:
            return
        if not lane.waiting:
            del self._lanes[lane.key]
            return
        lane.busy = True
        self._tasks.put(_Task(lane, lane.waiting.popleft()))

    def _start_due_lanes(self) -> None:
        with self._lock:
            for lane in [lane for lane in self._lanes.values() if not lane.busy]:
                self._advance(lane)

    # --- workers

    def _add_worker(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"mqbridge-worker-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            with self._lock:
                task.started_s = now_s()
                self._running[task] = None
            if _is_lost(task.delivery):
                # Its partition moved while it waited here: whoever has it now handles it.
                error: BaseException | None = LeaseLost(f"{task.delivery} is another's by now; it was not handled")
            else:
                error = self._call(task.delivery)
            with self._lock:
                self._running.pop(task, None)
                late = task.ended
                task.ended = True
            if late:
                return  # the watchdog has given this one up and put another worker in our place
            self._conclude(task, error)

    def _call(self, delivery: Delivery[Any]) -> BaseException | None:
        try:
            if self._propagator is None:
                self._handler(delivery)
            else:
                with self._propagator.around(delivery):
                    self._handler(delivery)
        except BaseException as error:  # noqa: BLE001 - the handler is the user's code: sys.exit() must not cost a worker
            return error
        return None

    def _watch_handlers(self) -> None:
        if self._timeout_s is None:
            return
        limit_s = now_s() - self._timeout_s
        with self._lock:
            late = [task for task in self._running if task.started_s <= limit_s]
            for task in late:
                task.ended = True
                del self._running[task]
        for task in late:
            log.warning("the handler of %s is over its %g s; its thread is left behind", task.delivery, self._timeout_s)
            self.stats.timed_out += 1
            self._add_worker()
            self._conclude(task, TimeoutError(f"the handler took longer than {self._timeout_s:g} s"))

    # --- what became of a delivery

    def _conclude(self, task: _Task, error: BaseException | None) -> None:
        again: Delivery[Any] | None = None
        delay_s = 0.0
        failure: BaseException | None = None
        try:
            if error is None:
                self._succeeded(task.delivery)
            elif _is_lost(task.delivery):
                self.stats.lost += 1
            elif isinstance(error, Fenced | Denied | Closed) or not isinstance(error, Exception):
                failure = error
            else:
                again, delay_s = self._failed(task.delivery, error)
        except (LeaseLost, AlreadySettled):
            self.stats.lost += 1
        except MqbridgeError as refused:
            refused.__context__ = error
            failure = refused
        except Exception as raised:  # noqa: BLE001 - handed to the thread that called run(), which raises it
            failure = raised
        with self._lock:
            lane = task.lane
            lane.busy = False
            if again is not None and self._draining:
                self._give_back(again)
                self._outstanding -= 1
            elif again is not None:
                lane.waiting.appendleft(again)
                lane.not_before_s = now_s() + delay_s
            else:
                self._outstanding -= 1
            if failure is not None and self._failure is None:
                self._failure = failure
            self._advance(lane)
            self._idle.notify_all()

    def _succeeded(self, delivery: Delivery[Any]) -> None:
        if _is_lost(delivery):
            self.stats.lost += 1
            return
        if not delivery.settled:
            delivery.ack()
        self.stats.handled += 1

    def _failed(self, delivery: Delivery[Any], error: BaseException) -> tuple[Delivery[Any] | None, float]:
        """Apply the policy. On a topic with an order the lane waits with its head; elsewhere the message goes back."""
        if self._consumer._bus._hooks.error is not None:
            self._consumer._bus._hooks.error(error=error, where=f"handling {delivery}")
        if delivery.settled:
            if self._consumer._ack != "explicit":
                log.warning("%s failed and was settled beforehand, so it is not tried again: %r", delivery, error)
            return None, 0.0
        if self._policy.exhausted(delivery.attempt):
            log.warning("%s failed %d times, the last with %r: given up", delivery, delivery.attempt, error)
            self._give_up(delivery, error)
            self.stats.dead_lettered += 1
            return None, 0.0
        delay_s = self._policy.delay_s(delivery.attempt, random.random())
        self.stats.retried += 1
        if isinstance(self._consumer, TopicConsumer) and self._order != "none":
            return self._consumer._again_now(delivery), delay_s
        delivery.retry(delay_s, error)
        return None, 0.0

    def _give_up(self, delivery: Delivery[Any], error: BaseException) -> None:
        try:
            self._consumer._give_up(delivery, error)
        except ConfigurationError as nowhere:
            # No dead-letter destination: the handler's own error ends the run, with the message not settled.
            error.add_note(str(nowhere))
            raise error from None

    # --- ending

    def _drain(self) -> None:
        """Let running handlers end; what has not begun goes back."""
        with self._lock:
            self._draining = True
            for lane in self._lanes.values():
                while lane.waiting:
                    self._give_back(lane.waiting.popleft())
                    self._outstanding -= 1
        with contextlib.suppress(Empty):
            while True:
                task = self._tasks.get_nowait()
                if task is not None:
                    self._give_back(task.delivery)
                    with self._lock:
                        self._outstanding -= 1
        try:
            # Outstanding, not running: a worker may have taken a task and not yet begun with it.
            while self._outstanding:
                with self._idle:
                    self._idle.wait(POLL_S)
                self._watch_handlers()
                self._stay_alive()
        finally:
            for _ in range(self._threads):
                self._tasks.put(None)

    def _stay_alive(self) -> None:
        """While the last handlers end: the group must not take their partitions away."""
        if self._consumer._closed:
            return
        try:
            self._consumer._keep_alive()
        except MqbridgeError as error:
            if self._failure is None:
                self._failure = error

    def _give_back(self, delivery: Delivery[Any]) -> None:
        with contextlib.suppress(LeaseLost, AlreadySettled):
            delivery.release()


def _is_lost(delivery: Delivery[Any]) -> bool:
    return delivery._page.marks[delivery._index] == LOST
