"""A broker in this process: one lock around the state machine, one ticker, one mailbox a session.

The rule: the broker runs under the lock and nothing else does; what it has to tell is put into mailboxes
under the lock, which fixes the order, and delivered after it. Errors of `mqbridge.errors` are answers; any
other exception is a fault of ours that leaves the state in doubt: the broker stops for good, loudly, and a
folder is opened anew from its journals. What does not belong here: sockets, who owns the folder.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mqbridge import errors
from mqbridge.native.core.ports import Now
from mqbridge.native.runtime.callbacks import Mailbox
from mqbridge.native.runtime.clock import Clock, as_stepped
from mqbridge.native.runtime.links import Args, Done, Note, NoteHandler
from mqbridge.native.storage.batches import RecordBatch

_logger = logging.getLogger("mqbridge.native")

# A deadline that stays in the past after a tick must not make the ticker spin.
_MIN_TICK_S = 0.001
# The ticker woke this much too late: the process was stopped or starved. What other processes sent meanwhile
# is still in the sockets, heartbeats among it, so they get a moment to be read before sessions are judged by
# the clock.
_STALL_S = 1.0
_GRACE_S = 0.25
_RETRY_TICK_S = 1.0
_LONGEST_SLEEP_S = 3600.0


class BrokerPort(Protocol):
    """The broker as the runtime uses it: `mqbridge.native.core.broker.Broker`."""

    def open_session(self, now: Now) -> int:
        """A new session's number."""

    def close_session(self, session: int, clean: bool, now: Now) -> None:
        """Give back what the session holds."""

    def call(
        self, session: int, op: str, args: Args, batches: Sequence[Any], now: Now
    ) -> tuple[dict[str, Any], list[Any]]:
        """Apply an operation or raise one of `mqbridge.errors` with nothing applied."""

    def tick(self, now: Now) -> None:
        """Do what is due."""

    def next_deadline(self, now: Now) -> float | None:
        """When something is due next, in mono_s."""

    def take_notes(self) -> list[tuple[int, Note]]:
        """The notes produced since the last time."""


class LocalBroker:
    """Runs a recovered broker for any number of sessions, from any thread.

    Thread-safe. Starts a ticker thread, unless the clock is stepped: then the broker is ticked when the clock
    moves. `on_fault` is called once, outside the lock, when the broker had to be stopped.
    """

    def __init__(self, broker: BrokerPort, clock: Clock, on_fault: Callable[[], None] = lambda: None) -> None:
        self._broker = broker
        self._clock = clock
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._mailboxes: dict[int, tuple[Mailbox, NoteHandler]] = {}
        self._stopped: str | None = None
        self._deadline: float | None = None
        # What the ticker sleeps for; -inf while it is awake, for then it looks at the deadline by itself.
        self._sleeping_until = float("-inf")
        self._ticker: threading.Thread | None = None
        self._unsubscribe: object = None
        stepped = as_stepped(clock)
        if stepped is not None:
            self._unsubscribe = stepped.subscribe(self.tick)
        else:
            self._deadline = broker.next_deadline(self._now())
            self._ticker = threading.Thread(target=self._tick_forever, name="mqbridge-ticker", daemon=True)
            self._ticker.start()

    @property
    def stopped(self) -> str | None:
        """Why it takes no more calls, or None."""
        return self._stopped

    def open_session(self, mailbox: Mailbox, on_note: NoteHandler) -> int:
        """Begin a session, whose notes go to `on_note` through `mailbox`."""
        with self._lock:
            if self._stopped is not None:
                raise errors.ConnectionLost(self._stopped, outcome="not_applied")
            session = self._broker.open_session(self._now())
            self._mailboxes[session] = (mailbox, on_note)
            return session

    def close_session(self, session: int, clean: bool) -> None:
        """End a session; harmless when it or the broker has ended already. An MqbridgeError, a full disk, is
        raised.
        """
        touched: list[Mailbox] = []
        fault: BaseException | None = None
        refusal: errors.MqbridgeError | None = None
        with self._lock:
            if self._mailboxes.pop(session, None) is None or self._stopped is not None:
                return
            now = self._now()
            try:
                try:
                    self._broker.close_session(session, clean, now)
                except errors.MqbridgeError as error:
                    refusal = error
                touched = self._sort_notes()
                self._reschedule(now)
            except BaseException as found:  # noqa: BLE001 - stops the broker, is logged, an interrupt raised again
                self._stop_faulted("closing a session", fault := found)
        for mailbox in touched:
            mailbox.deliver()
        self._after_fault(fault)
        if refusal is not None:
            raise refusal

    def call(
        self, session: int, op: str, args: Args, batches: Sequence[RecordBatch], mailbox: Mailbox, done: Done
    ) -> None:
        """Apply an operation; see `Link.call`."""
        touched: list[Mailbox] = []
        fault: BaseException | None = None
        with self._lock:
            if self._stopped is not None or session not in self._mailboxes:
                mailbox.put(done, None, [], self._refusal())
            else:
                now = self._now()
                try:
                    try:
                        reply, answers = self._broker.call(session, op, args, batches, now)
                        outcome: tuple[Any, ...] = (reply, answers, None)
                    except errors.MqbridgeError as error:
                        outcome = (None, [], error)
                    touched = self._sort_notes()
                    self._reschedule(now)
                except BaseException as found:  # noqa: BLE001 - stops the broker, is logged, an interrupt raised again
                    outcome = (None, [], self._stop_faulted(op, fault := found))
                mailbox.put(done, *outcome)
        for other in touched:
            if other is not mailbox:
                other.deliver()
        mailbox.deliver()
        self._after_fault(fault)

    def tick(self, *_: object) -> None:
        """Do what is due now. MqbridgeErrors, a full disk for instance, are logged and tried again a second
        later.
        """
        with self._lock:
            touched, fault = self._tick()
        for mailbox in touched:
            mailbox.deliver()
        self._after_fault(fault)

    def fail(self, doing: str, fault: BaseException) -> None:
        """Stop for good, because something that the broker depends on failed."""
        with self._lock:
            if self._stopped is not None:
                return
            self._stop_faulted(doing, fault)
        self._on_fault()

    def close(self) -> None:
        """Take no more calls and end the ticker. Sessions have been ended by their owners."""
        with self._lock:
            if self._stopped is None:
                self._stopped = "the native broker of this process is closed; nothing was applied"
            self._mailboxes.clear()
            self._wake.notify_all()
        unsubscribe, self._unsubscribe = self._unsubscribe, None
        if callable(unsubscribe):
            unsubscribe()
        ticker = self._ticker
        if ticker is not None and ticker is not threading.current_thread():
            ticker.join()

    def _now(self) -> Now:
        return Now(self._clock.mono_s(), self._clock.wall_ms())

    def _refusal(self) -> errors.MqbridgeError:
        if self._stopped is not None:
            return errors.ConnectionLost(self._stopped, outcome="not_applied")
        return errors.Closed("this session is closed; nothing was applied: connect again")

    def _sort_notes(self) -> list[Mailbox]:
        """Under the lock: put the new notes into their sessions' mailboxes; which mailboxes have some now."""
        touched: list[Mailbox] = []
        for session, note in self._broker.take_notes():
            found = self._mailboxes.get(session)
            if found is not None:
                mailbox, on_note = found
                mailbox.put(on_note, note)
                if mailbox not in touched:
                    touched.append(mailbox)
        return touched

    def _reschedule(self, now: Now) -> None:
        """Under the lock: wake the ticker only if something is due before what it sleeps for."""
        self._deadline = deadline = self._broker.next_deadline(now)
        if deadline is not None and deadline < self._sleeping_until:
            self._sleeping_until = deadline
            self._wake.notify()

    def _tick(self) -> tuple[list[Mailbox], BaseException | None]:
        """Under the lock. Whom to deliver to, and the fault for which the broker was stopped."""
        if self._stopped is not None:
            return [], None
        now = self._now()
        try:
            try:
                self._broker.tick(now)
                self._deadline = self._broker.next_deadline(now)
                if self._deadline is not None:
                    self._deadline = max(self._deadline, now.mono_s + _MIN_TICK_S)
            except errors.MqbridgeError as error:
                _logger.warning("housekeeping of the native broker failed and is tried again: %s", error)
                self._deadline = now.mono_s + _RETRY_TICK_S
            return self._sort_notes(), None
        except BaseException as fault:  # noqa: BLE001 - stops the broker, is logged, an interrupt raised again
            self._stop_faulted("housekeeping", fault)
            return [], fault

    def _stop_faulted(self, doing: str, fault: BaseException) -> errors.MqbridgeError:
        """Under the lock: the state may be half changed, also by a KeyboardInterrupt between two steps."""
        if isinstance(fault, errors.MqbridgeError):
            # No fault of ours, and it says itself what was applied and what to do.
            what = self._stopped = f"the native broker stopped itself: {fault}"
            _logger.critical("%s", what)
        else:
            what = f"the native broker stopped itself: {doing} was cut short by {type(fault).__name__} ({fault})"
            _logger.critical("%s", what, exc_info=fault)
            self._stopped = (
                f"{what}; nothing was applied: a folder is opened anew from its journals, memory is lost"
            )
        self._wake.notify_all()
        error = errors.ConnectionLost(f"{what}; this operation may have been applied", retryable=False)
        error.__cause__ = fault
        return error

    def _after_fault(self, fault: BaseException | None) -> None:
        if fault is None:
            return
        self._on_fault()
        if not isinstance(fault, Exception):
            raise fault

    def _tick_forever(self) -> None:
        while True:
            with self._lock:
                if self._stopped is not None:
                    return
                if not self._sleep_until_due():
                    continue
            self.tick()

    def _sleep_until_due(self) -> bool:
        """Under the lock, released while asleep. True when a tick is due; False: look again."""
        deadline = self._deadline
        now_s = self._clock.mono_s()
        if deadline is not None and deadline <= now_s:
            return True
        self._sleeping_until = float("inf") if deadline is None else deadline
        self._wake.wait(_LONGEST_SLEEP_S if deadline is None else min(deadline - now_s, _LONGEST_SLEEP_S))
        self._sleeping_until = float("-inf")
        # Measured against what was slept for: a deadline may lie far back for good reasons, after recovery
        # for one.
        late_s = 0.0 if deadline is None else self._clock.mono_s() - deadline
        if late_s > _STALL_S and self._stopped is None:
            _logger.warning("this process did not run for %.1f s; what came in is read first", late_s)
            self._wake.wait(_GRACE_S)
        return False


class LocalLink:
    """A session on a broker of this process; see `Link`."""

    def __init__(self, broker: LocalBroker, epoch: int, mailbox: Mailbox, on_note: NoteHandler) -> None:
        self._broker = broker
        self._mailbox = mailbox
        self._session = broker.open_session(mailbox, on_note)
        self.session_epoch = epoch

    @property
    def ended(self) -> bool:
        """Whether the broker has stopped."""
        return self._broker.stopped is not None

    def call(self, op: str, args: Args, batches: Sequence[RecordBatch], done: Done) -> bool:
        """See `Link`."""
        self._broker.call(self._session, op, args, batches, self._mailbox, done)
        return True

    def close(self, clean: bool = True) -> None:
        """See `Link`."""
        self._broker.close_session(self._session, clean)
