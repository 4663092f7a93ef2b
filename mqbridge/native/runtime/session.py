"""A session: what the engine holds, whichever process has the broker, and across the death of that process.

The rule: there is one way to a broker at a time, and the engine is told when it is lost and when there is one
again. Between the two every call ends at once, not applied. Whoever takes the folder's lock is the next host,
so of several processes that lost theirs exactly one becomes it, and the others connect to it. The search goes on
until there is a host or the session is closed; only what no waiting mends ends it. It must be the same folder: one that
was removed or replaced ends the session, for an empty broker is no successor. What does not belong here: re-joining
groups and consuming again, which the engine does on "restored".
"""

from __future__ import annotations

import copy
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mqbridge import errors
from mqbridge.native.runtime import forks, rooms
from mqbridge.native.runtime.callbacks import Mailbox
from mqbridge.native.runtime.clock import Clock
from mqbridge.native.runtime.links import Args, Done, DownLink, Link, NoteHandler
from mqbridge.native.runtime.local import LocalLink
from mqbridge.native.runtime.remote import MAX_OUTGOING_BYTES, RemoteLink, connect
from mqbridge.native.runtime.rooms import InForce, Settings
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.lock import FolderLock, KnownFolder

_logger = logging.getLogger("mqbridge.native")

State = Literal["lost", "unreachable", "restored", "failed"]
Role = Literal["memory", "host", "client", "down"]

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.1


@dataclass(frozen=True)
class Memory:
    """A broker in this process's memory: private, or shared by all sessions that give the same name."""

    name: str | None = None


@dataclass(frozen=True)
class Folder:
    """A durable broker in a folder, hosted by whichever process has its lock."""

    path: Path


@dataclass(frozen=True)
class SessionOptions:
    """`connect_timeout_s` bounds `open`; a search for a new host that takes longer than `takeover_timeout_s` is
    reported, and goes on; `max_outgoing_bytes` is what may wait for a host that reads slowly. What `settings` asks
    for must be what the broker has, if there is one.
    """

    settings: Settings = Settings()
    connect_timeout_s: float = 10.0
    takeover_timeout_s: float = 10.0
    max_outgoing_bytes: int = MAX_OUTGOING_BYTES


class Session:
    """A link that outlives its host; made by `open`. Thread-safe.

    `on_note(note)`, `on_state(state, epoch)` and the completions of calls come one at a time, in order; none
    may block, nor open or close a session. States: "lost", with the epoch that ended, before the calls it
    cost are completed; then "restored", with the new epoch, or "failed", after which every call ends with
    `failure`: the folder is damaged, gone, not permitted, open with other settings, or the broker was in memory. In
    between "unreachable", each time `takeover_timeout_s` has passed without a host; `trouble` says why. `settings` is
    what the broker has, or the last one had. The first "lost" may come before `open` has returned.
    """

    def __init__(
        self,
        target: Memory | Folder,
        clock: Clock,
        on_note: NoteHandler,
        on_state: Callable[[State, int], None],
        options: SessionOptions,
    ) -> None:
        self.clock = clock
        self._target = target
        self._on_note = on_note
        self._on_state = on_state
        self._options = options
        # The parent package is loaded whenever this module is; importing it by name would be an arrow back up.
        self._version = str(getattr(sys.modules["mqbridge"], "__version__", "unreleased"))
        self._mailbox = Mailbox()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._link: Link = DownLink(self._mailbox, 0, _closed)
        self._room: rooms.Room | None = None
        self._known: KnownFolder | None = None
        self.settings = InForce()
        self._on_fault: Callable[[], None] = self._mailbox.deliver
        self._seeker: threading.Thread | None = None
        self.failure: errors.MqbridgeError | None = None
        self.trouble: errors.MqbridgeError | None = None
        forks.register(self)

    @classmethod
    def open(
        cls,
        target: Memory | Folder,
        clock: Clock,
        on_note: NoteHandler,
        on_state: Callable[[State, int], None],
        options: SessionOptions | None = None,
    ) -> Session:
        """Reach the broker of `target`, becoming its host if there is none.

        ConfigurationError: other settings than the broker's, another protocol, not our folder. Denied: no
        access. Unreachable: the host does not answer within `connect_timeout_s`. CorruptLog: recovery found
        damage.
        """
        session = cls(target, clock, on_note, on_state, options or SessionOptions())
        try:
            session._attach(session._options.connect_timeout_s, restored=False)
        except BaseException:
            session._closing.set()
            session._let_go()
            raise
        return session

    @property
    def session_epoch(self) -> int:
        """The epoch of the broker reached, or of the last one."""
        return self._link.session_epoch

    @property
    def role(self) -> Role:
        """Where the broker is at this moment: here in memory, here in a folder, in another process, or
        nowhere.
        """
        link = self._link
        if isinstance(link, DownLink):
            return "down"
        if isinstance(link, RemoteLink):
            return "client"
        return "memory" if isinstance(self._target, Memory) else "host"

    @property
    def link(self) -> Link:
        """The way to the broker at this moment. Whoever calls on it, not on the session, knows when it is another."""
        return self._link

    @property
    def folder(self) -> Path | None:
        """Where the broker keeps its files; None in memory."""
        return None if isinstance(self._target, Memory) else self._target.path

    def call(self, op: str, args: Args, batches: Sequence[RecordBatch], done: Done) -> None:
        """See `links.Link.call`."""
        self._link.call(op, args, batches, done)

    def close(self, clean: bool = True) -> None:
        """End the session and, for the last one of a broker in this process, the broker: other processes take
        over.

        Errors of flushing the store are raised, with all else closed. Harmless when closed.
        """
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            link, self._link = self._link, DownLink(self._mailbox, self._link.session_epoch, _closed)
            seeker = self._seeker
        if seeker is not None and seeker is not threading.current_thread():
            seeker.join()
        self._let_go()
        try:
            link.close(clean)
        finally:
            self._leave_room()

    def abandon_in_child(self) -> None:
        """See `forks`."""
        self._lock = threading.Lock()
        self._mailbox = Mailbox()
        self._closing.set()
        self._link = DownLink(self._mailbox, self._link.session_epoch, _forked)
        self._room = None
        if self._known is not None:
            forks.close_inherited(self._known.detach())

    def _attach(self, timeout_s: float, *, restored: bool) -> None:
        """Install a link, within a deadline; raises why it could not."""
        give_up_s = time.monotonic() + timeout_s
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                if not restored:
                    self._forget_folder()
                if self._install(self._reach(give_up_s - time.monotonic()), restored=restored):
                    return
                reason: Exception = errors.ConnectionLost("the host went away at once")
            except errors.ConnectionLost as error:
                reason = error
            except errors.MqbridgeError:
                # Some of them are OSErrors too, Denied for one.
                raise
            except PermissionError as error:
                raise errors.Denied(
                    f"the socket in {self._where()} is not for this user: {error}; nothing was done"
                ) from error
            except OSError as error:
                reason = error
            left_s = give_up_s - time.monotonic()
            if left_s <= 0:
                raise self._unreachable(timeout_s, reason) from reason
            # Jitter, so that the processes that lost one host do not try in step.
            self._closing.wait(min(pause_s * random.uniform(0.5, 1.5), left_s))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _reach(self, left_s: float) -> LocalLink | RemoteLink:
        """One attempt: the broker of this process, or the folder's lock, or its host's socket."""
        if isinstance(self._target, Memory):
            room: rooms.Room | None = rooms.enter_memory(
                self._target.name, self._options.settings, self.clock
            )
        else:
            room = self._enter(self._target.path)
        if room is not None:
            return self._sit_down(room)
        return self._connect(self._where(), max(left_s, 0.05))

    def _enter(self, folder: Path) -> rooms.Room | None:
        if self._known is not None:
            # Before entering, which would make a missing folder anew.
            self._known.check()
        room = rooms.enter_folder(folder, self._options.settings, self.clock, self._version, self.settings)
        try:
            if self._known is not None:
                self._known.check()
            else:
                with forks.guard:
                    self._known = KnownFolder(folder)
        except BaseException:
            if room is not None:
                rooms.leave(room)
            raise
        return room

    def _forget_folder(self) -> None:
        known, self._known = self._known, None
        if known is not None:
            known.close()

    def _let_go(self) -> None:
        with forks.guard:
            self._forget_folder()
            forks.forget(self)

    def _sit_down(self, room: rooms.Room) -> LocalLink:
        try:
            link = LocalLink(room.broker, room.store.epoch, self._mailbox, self._on_note)
        except BaseException:
            rooms.leave(room)
            raise
        self._room = room
        self.settings = room.settings
        self._on_fault = partial(self._lost, link, self._mailbox.deliver)
        room.on_fault.append(self._on_fault)
        return link

    def _connect(self, folder: Path, timeout_s: float) -> RemoteLink:
        with connect(folder, timeout_s, self._version, self._closing.is_set) as (connected, reader, hello):
            found = InForce.told(hello.settings)
            self._options.settings.accept(found, f"{folder}, hosted by process {hello.pid},")
            self.settings = found
            return RemoteLink(
                connected,
                reader,
                hello,
                self._mailbox,
                self._on_note,
                self._lost,
                max_outgoing_bytes=self._options.max_outgoing_bytes,
            )

    def _install(self, link: LocalLink | RemoteLink, *, restored: bool) -> bool:
        """Make it the session's link. False when it has ended meanwhile."""
        with self._lock:
            ended = link.ended
            if not ended and not self._closing.is_set():
                self._link = link
                if restored:
                    self._mailbox.put(self._on_state, "restored", link.session_epoch)
                installed = True
            else:
                installed = False
        if not installed:
            link.close()
            self._leave_room()
        self._mailbox.deliver()
        return installed

    def _lost(self, link: Link, fail_calls: Callable[[], None]) -> None:
        """The way to the broker has ended: tell, end the calls it cost, look for another."""
        with self._lock:
            # A link that was never installed is noticed by whoever wanted to install it.
            installed = self._link is link
            if installed:
                epoch = link.session_epoch
                self._link = DownLink(self._mailbox, epoch, _seeking)
                self._mailbox.put(self._on_state, "lost", epoch)
                self._seeker = threading.Thread(
                    target=self._seek, args=(fail_calls,), name="mqbridge-takeover", daemon=True
                )
                # Started under the lock: `close` joins what it finds here.
                self._seeker.start()
        if not installed:
            fail_calls()

    def _seek(self, fail_calls: Callable[[], None]) -> None:
        try:
            fail_calls()
            self._leave_room()
            if isinstance(self._target, Memory):
                raise errors.Unreachable(
                    "the broker in memory stopped itself, and its messages are gone with it; nothing was applied: "
                    "connect again and begin anew",
                    retryable=False,
                )
            while not self._closing.is_set():
                try:
                    self._attach(self._options.takeover_timeout_s, restored=True)
                    return
                except errors.MqbridgeError as error:
                    if not error.retryable:
                        raise
                    self._tell_trouble(error)
                # What is raised at once, a full disk for one, is not tried without end at full speed.
                self._closing.wait(_LONGEST_PAUSE_S)
        except errors.MqbridgeError as error:
            self._fail(error)
        except Exception as fault:
            _logger.exception("the search for a host failed")
            unexpected = errors.Unreachable(
                f"the search for a host failed by an internal fault ({type(fault).__name__}: {fault}); nothing was "
                "applied: open another session",
                retryable=False,
            )
            unexpected.__cause__ = fault
            self._fail(unexpected)

    def _tell_trouble(self, error: errors.MqbridgeError) -> None:
        with self._lock:
            if not self._closing.is_set():
                epoch = self._link.session_epoch
                self.trouble = error
                self._link = DownLink(self._mailbox, epoch, partial(_still_seeking, str(error)))
                self._mailbox.put(self._on_state, "unreachable", epoch)
        self._mailbox.deliver()

    def _fail(self, error: errors.MqbridgeError) -> None:
        with self._lock:
            if not self._closing.is_set():
                epoch = self._link.session_epoch
                self.failure = error
                self._link = DownLink(self._mailbox, epoch, partial(copy.copy, error))
                self._mailbox.put(self._on_state, "failed", epoch)
        self._mailbox.deliver()

    def _leave_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.on_fault.remove(self._on_fault)
            rooms.leave(room)

    def _where(self) -> Path:
        assert isinstance(self._target, Folder)
        return self._target.path

    def _unreachable(self, timeout_s: float, reason: Exception) -> errors.Unreachable:
        folder = self._where()
        pid = FolderLock(folder).holder_pid()
        return errors.Unreachable(
            f"{folder} is held by process {pid or 'unknown'}, which could not be reached within {timeout_s:g} s "
            f"({reason}); nothing was applied: see whether that process is stopped or still recovering, then try "
            "again"
        )


def _closed() -> errors.MqbridgeError:
    return errors.Closed("this session is closed; nothing was applied: open another")


def _forked() -> errors.MqbridgeError:
    return errors.ForkedProcess(
        "this session was opened before a fork, in the parent; nothing was applied: open another"
    )


def _seeking() -> errors.MqbridgeError:
    return errors.ConnectionLost(
        "the host of the folder is gone and another is being sought; nothing was applied: call again when "
        "it is found",
        outcome="not_applied",
    )


def _still_seeking(why: str) -> errors.MqbridgeError:
    return errors.ConnectionLost(f"there is no host, and the search for one goes on: {why}", outcome="not_applied")
