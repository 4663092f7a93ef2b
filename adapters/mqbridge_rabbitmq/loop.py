"""The thread on which pika lives. The rule: pika's objects are touched on this thread alone.

pika 1.4's connections are not thread-safe; only a wake-up of its loop is. So other threads leave functions here, and
many that come together cost one wake-up. Nothing that waits may run on this thread: heartbeats run on it too.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop

log = logging.getLogger("mqbridge.rabbitmq")
# A library does not print: without this the interpreter's handler of last resort shows pika's every reconnect.
logging.getLogger("pika").addHandler(logging.NullHandler())

Job = Callable[[], None]


class Timer:
    """A function that will run later, unless it is cancelled. Loop thread only."""

    __slots__ = ("_ioloop", "_timeout")

    def __init__(self, ioloop: Any, delay_s: float, job: Job) -> None:
        self._ioloop = ioloop
        self._timeout: Any = ioloop.call_later(delay_s, self._run(job))

    def _run(self, job: Job) -> Job:
        def run() -> None:
            self._timeout = None
            job()

        return run

    def cancel(self) -> None:
        """It will not run; harmless if it has."""
        if self._timeout is not None:
            self._ioloop.remove_timeout(self._timeout)
            self._timeout = None


class Loop:
    """One thread that runs pika's I/O loop until `stop`."""

    def __init__(self, name: str) -> None:
        self.ioloop: Any = IOLoop()
        self.on_crash: list[Callable[[BaseException], None]] = []
        """Called on the loop thread after an exception that nobody caught, with which pika's state is not to be trusted
        any more: the wires drop their connections and make them anew."""
        self._calls: deque[Job] = deque()
        self._woken = False
        self._soon: list[Job] = []
        self._stopped = False
        self._ended = False
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    @property
    def here(self) -> bool:
        """Is this the loop thread?"""
        return threading.current_thread() is self._thread

    def call(self, job: Job) -> None:
        """Run `job` on the loop thread, after those given before. Any thread. Once the loop has ended nothing of pika's
        is left to be guarded, and it runs here, so that whoever waits for it is answered."""
        if self._ended:
            job()
            return
        self._calls.append(job)
        if not self._woken:  # what was appended before this reads True is taken by the turn that resets it
            self._woken = True
            self.ioloop.add_callback_threadsafe(self._run_calls)

    def soon(self, job: Job) -> None:
        """Run `job` at the end of this turn of the loop: once for all that one read of the socket brought. Loop
        thread."""
        self._soon.append(job)
        if len(self._soon) == 1:
            self.ioloop.call_later(0, self._run_soon)

    def later(self, delay_s: float, job: Job) -> Timer:
        """Run `job` in `delay_s` seconds. Loop thread."""
        return Timer(self.ioloop, delay_s, job)

    def stop(self, timeout_s: float | None = None) -> None:
        """End the thread; what was given before still runs. Waits for it up to `timeout_s`, if another thread
        calls."""
        self._stopped = True
        self.ioloop.add_callback_threadsafe(self.ioloop.stop)
        if timeout_s is not None and not self.here:
            self._thread.join(timeout_s)

    def abandon(self) -> None:
        """In a forked child: the thread is not here, and what it owns is the parent's."""
        self._stopped = True

    def _run_calls(self) -> None:
        self._woken = False
        calls = self._calls
        for count in range(len(calls), 0, -1):
            job = calls.popleft()
            try:
                job()
            except BaseException:
                if count > 1:  # those behind it are to run all the same
                    self.ioloop.add_callback_threadsafe(self._run_calls)
                raise

    def _run_soon(self) -> None:
        jobs, self._soon = self._soon, []
        for place, job in enumerate(jobs):
            try:
                job()
            except BaseException:
                behind = jobs[place + 1 :]
                if behind:  # they are to run all the same, before what was given since
                    self._soon[:0] = behind
                    self.ioloop.call_later(0, self._run_soon)
                raise

    def _main(self) -> None:
        while True:
            try:
                self.ioloop.start()
            except Exception as error:
                log.critical(
                    "a fault on the loop of the RabbitMQ adapter; its connections are made anew", exc_info=True
                )
                for tell in list(self.on_crash):
                    self.ioloop.call_later(0, lambda tell=tell, error=error: tell(error))
            if self._stopped:
                self._ended = True
                self.ioloop.close()
                while self._calls:
                    self._calls.popleft()()
                return
