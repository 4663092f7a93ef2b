"""The native reference engine: a broker in a library, behind the SPI. The only door in.

``native:`` is in memory and private, ``native:?name=x`` in memory and shared within the process, ``native:./folder``
or ``native:/folder`` durable and shared by the processes that open the folder: the first one hosts, the others reach
it by a Unix socket in the folder, and when it dies another takes over. What was confirmed survives SIGKILL; with
``durability=disk`` also the loss of power.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from mqbridge import spi
from mqbridge.capabilities import Capabilities
from mqbridge.errors import ConfigurationError, ConnectionLost, InvalidSpec, MqbridgeError, Unsupported
from mqbridge.native.administering import NativeAdmin
from mqbridge.native.claims import CLAIMS
from mqbridge.native.group_member import GroupMember
from mqbridge.native.queue_client import QueueClient
from mqbridge.native.replaying import NativeReplay
from mqbridge.native.runtime.clock import Clock, RealClock, as_stepped
from mqbridge.native.runtime.rooms import Settings
from mqbridge.native.runtime.serve import serve as host_folder
from mqbridge.native.runtime.session import Folder, Memory, Session, SessionOptions
from mqbridge.native.runtime.timers import Linger, Periodic
from mqbridge.native.sending import NativeSender
from mqbridge.topology import Topic

T = TypeVar("T")
Note = dict[str, Any]

MAX_MESSAGE_BYTES: Final = 16 << 20
HEARTBEAT_S: Final = 0.5
ASK_AGAIN_S: Final = 0.2
MAX_ORPHAN_NOTES: Final = 1000

OPTIONS: Final = {
    "name": "share a broker in memory within this process, by this name",
    "durability": "os (survives the death of processes) or disk (survives the loss of power); left out: what the "
    "folder is open with, or os",
    "segment_bytes": "where a partition's log begins a new file; left out: what the folder is open with, or 64 MiB",
    "takeover_timeout_s": "say so when a new host has not been found for this long, and look on; default 10",
    "clock": "a clock object, for tests (mqbridge.testing.VirtualClock)",
}


class NativeEngine:
    """What the entry point names."""

    name = "native"
    schemes: tuple[str, ...] = ("native",)
    spi_version = spi.VERSION
    options: Mapping[str, str] = OPTIONS

    def connect(self, request: spi.ConnectRequest, done: spi.Completion[spi.Connection]) -> None:
        try:
            connection = NativeConnection(request)
        except MqbridgeError as error:
            done(None, error)
        else:
            done(connection, None)

    def serve(
        self, request: spi.ConnectRequest, stop: threading.Event, on_ready: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """Host the folder of the URL until `stop` is set; `on_ready` hears who does. It blocks: no part of the SPI."""
        target, settings = _target(request)
        if not isinstance(target, Folder):
            raise ConfigurationError(
                "native: is a broker in the memory of one process, so nobody else could reach it. Nothing was started; "
                "serve a folder: native:./folder"
            )

        def ready(session: Session) -> None:
            on_ready({"role": session.role, "epoch": session.session_epoch, "folder": str(target.path.resolve())})

        def changed(state: str, epoch: int) -> None:
            if state == "restored":
                request.on_state("connected", f"epoch {epoch}")
            elif state == "lost":
                request.on_state("reconnecting", f"the host of epoch {epoch} is gone; taking over or following another")
            elif state == "unreachable":
                request.on_state("reconnecting", "no host of the folder could be reached; looking on")
            else:
                request.on_state("closed", "the folder cannot be hosted any more")

        options = SessionOptions(
            settings=settings,
            connect_timeout_s=request.timeout_s,
            takeover_timeout_s=_number(request.options, "takeover_timeout_s", 10.0),
        )
        host_folder(target.path, stop, ready, options, changed)


ENGINE = NativeEngine()


class NativeConnection:
    """One bus's way to a native broker. Notes and completions come one at a time, through the session's mailbox."""

    def __init__(self, request: spi.ConnectRequest) -> None:
        target, settings = _target(request)
        self.clock: Clock = request.options.get("clock") or RealClock()
        self.capabilities = Capabilities("native", CLAIMS, emulation=request.emulation)
        self.limits = spi.Limits(max_message_bytes=MAX_MESSAGE_BYTES)
        self.members: list[GroupMember] = []
        self.queue_clients: list[QueueClient] = []
        self.consumers: dict[int, QueueClient] = {}
        self.replays: list[NativeReplay] = []
        self.senders: set[NativeSender] = set()
        self.closed = False
        self._on_state = request.on_state
        self._listeners: dict[tuple[str, str], Callable[[Note], None]] = {}
        self._orphans: deque[Note] = deque(maxlen=MAX_ORPHAN_NOTES)
        self._backlogs = Linger(0.02)
        self._repeats = Linger(ASK_AGAIN_S)
        stepped = as_stepped(self.clock)
        # Before the broker ticks at the new time, those that live in this process say that they do.
        self._unsubscribe = None if stepped is None else stepped.subscribe(self._heartbeat)
        self.session = Session.open(
            target,
            self.clock,
            self._note,
            self._state,
            SessionOptions(
                settings=settings,
                connect_timeout_s=request.timeout_s,
                takeover_timeout_s=_number(request.options, "takeover_timeout_s", 10.0),
            ),
        )
        self._heart = None if stepped is not None else Periodic(HEARTBEAT_S, self._heartbeat, "mqbridge-heartbeat")
        self.admin: spi.Admin = NativeAdmin(self)

    # --- the SPI

    def open_sender(self, spec: spi.SenderSpec) -> spi.Sender:
        if spec.compression is not None:
            raise Unsupported(
                f"compression={spec.compression!r}: the native engine stores batches as they are. Nothing was "
                "sent; leave "
                "compression out.",
                capability="compression",
                engine="native",
            )
        sender = NativeSender(self, spec)
        self.senders.add(sender)
        return sender

    def subscribe(self, spec: spi.TopicSubscriptionSpec, ready: Callable[[], None]) -> spi.TopicSubscription:
        if spec.session_timeout_s < 3 * HEARTBEAT_S:
            raise ConfigurationError(
                f"session_timeout_s must be at least {3 * HEARTBEAT_S:g} (three heartbeats), not "
                f"{spec.session_timeout_s:g}"
            )
        return GroupMember(self, spec, ready)

    def subscribe_queue(self, spec: spi.QueueSubscriptionSpec, ready: Callable[[], None]) -> spi.QueueSubscription:
        return QueueClient(self, spec, ready)

    def replay(self, topic: Topic[Any], ready: Callable[[], None]) -> spi.ReplaySource:
        return NativeReplay(self, topic, ready)

    def unwrap(self, kind: type[T]) -> T | None:
        return self.session if isinstance(self.session, kind) else None

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any]) -> None:
        """A subscription's `call`: the session may be used on any thread, so on this one."""
        native = self.unwrap(kind)
        if native is None:
            done(None, InvalidSpec(f"the native consumer has no {kind.__name__} inside", field="kind"))
        else:
            done(fn(native), None)

    def close(self, timeout_s: float, done: spi.Completion[None]) -> None:
        self.closed = True
        if self._heart is not None:
            self._heart.close()
        if callable(self._unsubscribe):
            self._unsubscribe()
        self._backlogs.close()
        self._repeats.close()
        for sender in list(self.senders):
            sender.close(lambda _result, _error: None)
        try:
            self.session.close()
        except MqbridgeError as error:
            done(None, error)
        else:
            done(None, None)

    def abandon(self) -> None:
        self.closed = True

    # --- notes and states

    def _note(self, note: Note) -> None:
        kind = note["note"]
        if kind == "data":
            place = (note["topic"], note["partition"])
            # Copies: another thread may close one meanwhile, and the loop would pass over its neighbour.
            for member in list(self.members):
                member.data(place)
            for replay in list(self.replays):
                replay.data(note["partition"])
        elif "consumer" in note:
            client = self.consumers.get(note["consumer"])
            if client is not None:
                client.note(note)
        else:
            listener = self._listeners.get((note["group"], note["member"]))
            if listener is not None:
                listener(note)
            else:
                # It comes before the answer to the join that made the member: kept for it.
                self._orphans.append(note)

    def claim_notes(self, member: tuple[str, str], listener: Callable[[Note], None]) -> list[Note]:
        """From now on `listener` hears the notes of this member; those that came already are returned."""
        self._listeners[member] = listener
        mine = [note for note in self._orphans if (note["group"], note["member"]) == member]
        for note in mine:
            self._orphans.remove(note)
        return mine

    def disclaim_notes(self, member: tuple[str, str]) -> None:
        self._listeners.pop(member, None)

    def _state(self, state: str, _epoch: int) -> None:
        everybody: list[Any] = [*self.members, *self.queue_clients, *self.replays]
        if state == "lost":
            self._orphans.clear()
            for one in everybody:
                one.lost()
            self._on_state("reconnecting", "the host of the folder is gone; looking for another")
        elif state == "restored":
            for one in everybody:
                one.restored()
            for sender in list(self.senders):
                sender.restored()
            self._on_state("connected", f"the host of the folder is {self.session.role}")
        elif state == "unreachable":
            # A state and no more: whoever holds the folder may be recovering a large one, and everybody goes on after.
            self._on_state("reconnecting", str(self.session.trouble))
        else:
            error = self.session.failure
            assert error is not None, "a session that fails says why"
            for one in everybody:
                one.failed(error)
            for sender in list(self.senders):
                sender.fail(error)
            self._on_state("closed", str(error))

    def ask_again(self, error: MqbridgeError, job: Callable[[], None]) -> bool:
        """For what the library asks in its own name: whether `error` passes. If so, `job` runs soon, or everybody is
        told when there is a host again.
        """
        if isinstance(error, ConnectionLost):
            if self.session.role != "down":
                self._repeats.add(job)
            return True
        if error.retryable and error.outcome == "not_applied":
            self._repeats.add(job)
            return True
        return False

    def wake_backlogs(self) -> None:
        """A shipment waits for a host; the host may be there already."""
        self._backlogs.add(self._try_backlogs)

    def _try_backlogs(self) -> None:
        if self.session.role != "down" or self.session.failure is not None or self.closed:
            for sender in list(self.senders):
                sender.restored()

    def _heartbeat(self) -> None:
        for member in list(self.members):
            member.heartbeat()
        for sender in list(self.senders):
            sender.expire()


def _target(request: spi.ConnectRequest) -> tuple[Memory | Folder, Settings]:
    url, options = request.url, request.options
    if url.hosts or url.username is not None:
        raise ConfigurationError(
            f"{url.text} names a host; the native engine is a folder of this machine (native:./folder, "
            "native:/folder) or "
            "memory (native:)"
        )
    durability = options.get("durability")
    if durability not in ("os", "disk", None):
        raise ConfigurationError(f"durability must be 'os' or 'disk', not {durability!r}")
    segment_bytes = int(_number(options, "segment_bytes", 0.0)) if "segment_bytes" in options else None
    settings = Settings(durability=durability, segment_bytes=segment_bytes)
    if not url.path:
        return Memory(options.get("name")), settings
    if "name" in options:
        raise ConfigurationError("name= is for a broker in memory (native:?name=x); a folder is shared by its path")
    if sys.platform == "win32":
        raise Unsupported(
            "a folder needs Unix sockets and file locks, which this library does not have on Windows",
            capability="SEVERAL_PROCESSES",
            engine="native",
            instead="native: in memory",
        )
    # Made absolute now: a program that changes its directory later still means this folder.
    return Folder(Path(url.path).expanduser().absolute()), settings


def _number(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"option {name} must be a number, not {value!r}") from None
    if number <= 0:
        raise ConfigurationError(f"option {name} must be above zero, not {value!r}")
    return number
