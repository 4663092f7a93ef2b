"""Threads that do small things later: the linger of a sender, the heartbeat of a connection.

The rule: a job here never blocks, and one thread serves all jobs of its owner.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

_logger = logging.getLogger("mqbridge.native")


class Linger:
    """Calls each function given to `add` once, `delay_s` later. All delays are equal, so the jobs form a
    queue.

    The thread starts with the first job. Adding while it sleeps for an earlier job wakes nobody.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._jobs: deque[tuple[float, Callable[[], None]]] = deque()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._asleep = False
        self._closed = False

    def add(self, job: Callable[[], None]) -> None:
        self._jobs.append((time.monotonic() + self._delay_s, job))
        if self._asleep or self._thread is None:
            with self._condition:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._run, name="mqbridge-linger", daemon=True)
                    self._thread.start()
                self._condition.notify()

    def close(self) -> None:
        """Drop the jobs and end the thread."""
        with self._condition:
            self._closed = True
            self._jobs.clear()
            self._condition.notify()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while not self._closed:
            with self._condition:
                self._asleep = True
                while not self._jobs and not self._closed:
                    self._condition.wait()
                self._asleep = False
                if self._closed:
                    return
                left_s = self._jobs[0][0] - time.monotonic()
                if left_s > 0:
                    self._condition.wait(left_s)
                    continue
                _, job = self._jobs.popleft()
            _run(job)


class Periodic:
    """Calls `job` each `interval_s` seconds until closed."""

    def __init__(self, interval_s: float, job: Callable[[], None], name: str) -> None:
        self._interval_s = interval_s
        self._job = job
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _loop(self) -> None:
        while not self._stop.wait(self._interval_s):
            _run(self._job)


def _run(job: Callable[[], None]) -> None:
    try:
        job()
    except Exception:
        _logger.exception("a timer's job failed; the timer goes on")
