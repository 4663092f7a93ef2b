"""The brokers of this process: which memory or folder has one here, shared by all sessions that name it.

The rule: one broker for one name or folder in a process, made by the first session and closed by the last.
Whoever enters or leaves holds the lock of that name, so a room is never seen half open or half closed. A
folder's lock is given back last: after the socket is unlinked, the broker stopped and the store closed. A
folder that was removed or replaced under its broker is left as it is, and the broker stops. What does not
belong here: other processes' brokers, and what a session does when its own is gone.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mqbridge import errors
from mqbridge.native.core.broker import Broker
from mqbridge.native.core.ports import Now
from mqbridge.native.runtime import forks
from mqbridge.native.runtime.clock import Clock, RealClock
from mqbridge.native.runtime.host import HostServer
from mqbridge.native.runtime.local import BrokerPort, LocalBroker
from mqbridge.native.runtime.timers import Periodic
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.frames import Durability
from mqbridge.native.storage.lock import FolderLock
from mqbridge.native.storage.logs import SEGMENT_BYTES
from mqbridge.native.storage.store import FolderStore, MemoryStore, Store

_logger = logging.getLogger("mqbridge.native")


_FOLDER_CHECK_S = 1.0


@dataclass(frozen=True)
class InForce:
    """What a broker was opened with.

    `durability`: "os", confirmed data survives the death of processes; "disk", also the loss of power. Not
    used in memory. `segment_bytes`: where a partition's log begins a new file.
    """

    durability: Durability = "os"
    segment_bytes: int = SEGMENT_BYTES

    @classmethod
    def told(cls, fields: Mapping[str, Any]) -> InForce:
        """What a host says it has, as far as it is known here."""
        found, size = cls(), fields.get("segment_bytes")
        if fields.get("durability") == "disk":
            found = replace(found, durability="disk")
        if isinstance(size, int) and size > 0:
            found = replace(found, segment_bytes=size)
        return found


@dataclass(frozen=True)
class Settings:
    """What a session asks for; see `InForce`. None: whatever the broker has, so it conflicts with nothing."""

    durability: Durability | None = None
    segment_bytes: int | None = None

    def over(self, other: InForce) -> InForce:
        """What is asked for, and `other` for what is not."""
        return replace(other, **self._given())

    def accept(self, found: InForce, where: str) -> None:
        """ConfigurationError, naming the options that differ, if `found` is not what is asked for."""
        other = {name: value for name, value in self._given().items() if getattr(found, name) != value}
        if other:
            theirs = ", ".join(f"{name}={getattr(found, name)}" for name in other)
            ours = ", ".join(f"{name}={value}" for name, value in other.items())
            raise errors.ConfigurationError(
                f"{where} is open with {theirs}, and this session asked for {ours}; nothing was done: leave the option "
                "out to take it as it is, or close it everywhere and open it with the other"
            )

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass
class Room:
    """An open broker of this process. `on_fault`: told when the broker had to stop itself."""

    key: str
    broker: LocalBroker
    store: Store
    settings: InForce
    clock: Clock
    server: HostServer | None = None
    lock: FolderLock | None = None
    watch: Periodic | None = None
    users: int = 1
    on_fault: list[Callable[[], None]] = field(default_factory=list)
    closed: bool = False

    def close(self) -> None:
        """In this order, each step also when one before it failed: socket, broker, store, lock. By its key's
        holder.
        """
        if self.closed:
            return
        self.closed = True
        with ExitStack() as last_first:
            if self.lock is not None:
                last_first.callback(self.lock.release)
            last_first.callback(self.store.close)
            last_first.callback(self.broker.close)
            if self.server is not None:
                last_first.callback(self.server.kill if self.broker.stopped else self.server.close)
            if self.watch is not None:
                last_first.callback(self.watch.close)

    def check_folder(self) -> None:
        """Stop the broker if its folder is not there any more, or another one is: what it confirms is nowhere."""
        if self.lock is not None and self.broker.stopped is None:
            try:
                self.lock.check()
            except errors.Unreachable as gone:
                self.broker.fail("watching the folder", gone)


class _Registry:
    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.rooms: dict[str, Room] = {}
        self.parents: dict[str, Room] = {}
        self.keys: dict[str, threading.Lock] = {}
        forks.register(self)

    def abandon_in_child(self) -> None:
        """A child has no broker, and the parent's threads, which may hold these locks, cannot free them here."""
        # Kept referenced: what a room owns closes its descriptors by a hook of its own, which must find it.
        self.parents = self.rooms
        self.guard = threading.Lock()
        self.rooms = {}
        self.keys = {}

    def holding(self, key: str) -> threading.Lock:
        with self.guard:
            return self.keys.setdefault(key, threading.Lock())


_registry = _Registry()


def enter_memory(name: str | None, settings: Settings, clock: Clock) -> Room:
    """The broker in memory of that name, or one that nobody else can name. ConfigurationError for other
    settings.
    """
    if name is None:
        return _open_memory("", settings, clock)
    key = f"memory:{name}"
    with _registry.holding(key):
        room = _share(key, f"native:?name={name}", settings, clock)
        if room is None:
            room = _registry.rooms[key] = _open_memory(key, settings, clock)
        return room


def enter_folder(
    folder: Path, settings: Settings, clock: Clock, version: str, otherwise: InForce
) -> Room | None:
    """The folder's broker if this process has it or can have it; None if another process holds the folder's
    lock. Opened here, it has `otherwise` where `settings` asks for nothing.

    A broker that stopped itself is closed and opened anew. Errors of storage pass through, with the lock
    given back.
    """
    key = f"folder:{os.path.realpath(folder)}"
    with _registry.holding(key):
        room = _registry.rooms.get(key)
        if room is not None:
            room.check_folder()
        if room is not None and room.broker.stopped:
            del _registry.rooms[key]
            _close_stopped(room)
        room = _share(key, f"native:{folder}", settings, clock)
        if room is None:
            lock = FolderLock(folder)
            with forks.guard:
                if not lock.try_acquire():
                    return None
            in_force = settings.over(otherwise)
            room = _registry.rooms[key] = _open_folder(key, folder, lock, in_force, clock, version)
        return room


def leave(room: Room) -> None:
    """One session less; the last one closes the room. Errors of closing the store are raised."""
    with _registry.holding(room.key):
        room.users -= 1
        if room.users == 0:
            if _registry.rooms.get(room.key) is room:
                del _registry.rooms[room.key]
            if room.broker.stopped:
                _close_stopped(room)
            else:
                room.close()


def _close_stopped(room: Room) -> None:
    try:
        room.close()
    except errors.MqbridgeError as error:
        # Opening it again reads and checks what is there, and says what is wrong with it if anything is.
        _logger.warning("a stopped broker could not be closed in order: %s", error)


def _share(key: str, url: str, settings: Settings, clock: Clock) -> Room | None:
    room = _registry.rooms.get(key)
    if room is None:
        return None
    settings.accept(room.settings, f"{url}, in this process,")
    if room.clock is not clock and not (isinstance(room.clock, RealClock) and isinstance(clock, RealClock)):
        raise errors.ConfigurationError(
            f"{url} is open in this process on another clock; nothing was done: use the same clock, or "
            "another name"
        )
    room.users += 1
    return room


def _open_memory(key: str, settings: Settings, clock: Clock) -> Room:
    in_force = settings.over(InForce())
    store = MemoryStore(segment_bytes=in_force.segment_bytes)
    on_fault: list[Callable[[], None]] = []
    broker = LocalBroker(_build_broker(store, clock), clock, partial(_tell, on_fault))
    return Room(key, broker, store, in_force, clock, on_fault=on_fault)


def _open_folder(
    key: str, folder: Path, lock: FolderLock, settings: InForce, clock: Clock, version: str
) -> Room:
    with ExitStack() as undo:
        undo.callback(lock.release)
        store = FolderStore(
            folder, durability=settings.durability, segment_bytes=settings.segment_bytes, check=lock.check
        )
        undo.callback(store.close)
        on_fault: list[Callable[[], None]] = []
        broker = LocalBroker(_build_broker(store, clock), clock, partial(_tell, on_fault))
        undo.callback(broker.close)
        # The socket appears when the broker is recovered: who connects meets no half-open broker.
        server = HostServer(
            broker,
            folder,
            epoch=store.epoch,
            version=version,
            settings=asdict(settings),
            on_failure=partial(broker.fail, "serving other processes"),
            still_ours=lock.still_ours,
        )
        undo.pop_all()
    room = Room(key, broker, store, settings, clock, server, lock, on_fault=on_fault)
    room.watch = Periodic(_FOLDER_CHECK_S, room.check_folder, "mqbridge-folder-watch")
    return room


def _build_broker(store: Store, clock: Clock) -> BrokerPort:
    broker = Broker(store, RecordBatch, RecordBatch.encode, RecordBatch.decode, partial(secrets.token_hex, 8))
    broker.recover(Now(clock.mono_s(), clock.wall_ms()))
    return broker


def _tell(listeners: list[Callable[[], None]]) -> None:
    for listener in list(listeners):
        listener()
