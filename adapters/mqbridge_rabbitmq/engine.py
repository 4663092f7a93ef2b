"""RabbitMQ behind the SPI. The rule: this room wires the others together and decides nothing of theirs.

A connection has three wires: one publishes, since an alarm blocks a whole connection; one consumes; one asks, since a
refused question may cost it its connection.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pika

from mqbridge import spi
from mqbridge.capabilities import Capabilities
from mqbridge.errors import InvalidSpec, MqbridgeError
from mqbridge.topology import Queue, Topic
from mqbridge_rabbitmq import errors, records
from mqbridge_rabbitmq.administering import RabbitAdmin
from mqbridge_rabbitmq.claims import CLAIMS
from mqbridge_rabbitmq.courier import Courier
from mqbridge_rabbitmq.group_member import GroupMember
from mqbridge_rabbitmq.loop import Loop
from mqbridge_rabbitmq.management import Management
from mqbridge_rabbitmq.partition_watch import PartitionWatch
from mqbridge_rabbitmq.publishing import RabbitSender
from mqbridge_rabbitmq.queue_consumer import QueueClient
from mqbridge_rabbitmq.replaying import RabbitReplay
from mqbridge_rabbitmq.settings import OPTIONS, read_settings
from mqbridge_rabbitmq.topic_sending import open_topic_channel
from mqbridge_rabbitmq.wire import Wire, WireState

T = TypeVar("T")


class RealClock:
    """The machine's time."""

    def mono_s(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return records.now_ms()


class RabbitEngine:
    """What the entry points name."""

    name = "rabbitmq"
    schemes: tuple[str, ...] = ("amqp", "amqps")
    spi_version = spi.VERSION
    options: Mapping[str, str] = OPTIONS

    def connect(self, request: spi.ConnectRequest, done: spi.Completion[spi.Connection]) -> None:
        """Connect all wires; `Unreachable`, `Denied`, or `OperationTimeout` after the request's time."""
        try:
            connection = RabbitConnection(request)
            connection.open(request.timeout_s)
        except MqbridgeError as error:
            done(None, error)
        else:
            done(connection, None)


ENGINE = RabbitEngine()


class RabbitConnection:
    """One bus's way to RabbitMQ. `wires` are its AMQP connections by role."""

    def __init__(self, request: spi.ConnectRequest) -> None:
        self.settings = read_settings(request)
        self.capabilities = Capabilities("rabbitmq", CLAIMS, emulation=request.emulation)
        self.limits = spi.Limits(max_message_bytes=self.settings.max_message_bytes)
        self.clock: spi.Clock = RealClock()
        self.closed = False
        self.senders: set[RabbitSender] = set()
        self.known_queues: dict[str, Queue[Any]] = {}
        """Queues as they were described last, by physical name: where they dead-letter and after how many attempts."""
        self._on_state = request.on_state
        self._states: dict[str, tuple[WireState, str]] = {}
        self._state: spi.State = "reconnecting"
        self._opened = False
        self.loop = Loop("mqbridge-rabbitmq")
        self.management = Management(self.settings)
        self.wires = {role: self._wire(role) for role in ("publish", "consume", "admin")}
        self.publishing, self.consuming, self.asking = self.wires.values()
        self.courier = Courier(self.publishing)
        self.partitions = PartitionWatch(self)
        self.members: set[GroupMember] = set()
        """They have a connection each, whose heartbeat is made of their session timeout."""
        self.admin: spi.Admin = RabbitAdmin(self)

    def _wire(self, role: str) -> Wire:
        return Wire(self.loop, self.settings, role, lambda state, why: self._wire_state(role, state, why))

    # --- opening and closing

    def open(self, timeout_s: float) -> None:
        """Blocks until all wires have shaken hands, or raises why one could not."""
        failures: list[MqbridgeError] = []
        lock = threading.Lock()
        left = threading.Semaphore(0)

        def answered(_nothing: None, error: MqbridgeError | None) -> None:
            with lock:
                if error is not None:
                    failures.append(error)
            left.release()

        for wire in self.wires.values():
            self.loop.call(lambda wire=wire: wire.connect(answered))  # type: ignore[misc]
        until_s = time.monotonic() + timeout_s
        for _ in self.wires:
            if not left.acquire(timeout=max(0.0, until_s - time.monotonic())):
                failures.append(errors.timed_out(f"connecting to {self.settings.text}", timeout_s, "not_applied"))
                break
            if failures:
                break
        if failures:
            self._shut(1.0)
            raise failures[0]
        self._opened = True

    def close(self, timeout_s: float, done: spi.Completion[None]) -> None:
        self.closed = True
        for sender in list(self.senders):
            sender.close(lambda _result, _error: None)
        self.loop.call(self.courier.close)
        self._shut(timeout_s)
        done(None, None)

    def _shut(self, timeout_s: float) -> None:
        self._opened = False
        left = threading.Semaphore(0)
        members = list(self.members)
        for member in members:
            member.close(lambda _result, _error: left.release())
        for wire in self.wires.values():
            self.loop.call(lambda wire=wire: wire.close(lambda _result, _error: left.release()))  # type: ignore[misc]
        until_s = time.monotonic() + timeout_s
        for _ in range(len(self.wires) + len(members)):
            left.acquire(timeout=max(0.0, until_s - time.monotonic()))
        self.management.close()
        self.loop.stop(max(0.1, until_s - time.monotonic()))

    def abandon(self) -> None:
        self.closed = True
        self.loop.abandon()

    # --- the SPI

    def open_sender(self, spec: spi.SenderSpec) -> spi.Sender:
        sender = RabbitSender(self, spec, open_topic_channel)
        self.senders.add(sender)
        return sender

    def subscribe(self, spec: spi.TopicSubscriptionSpec, ready: Callable[[], None]) -> spi.TopicSubscription:
        return GroupMember(self, spec, ready)

    def subscribe_queue(self, spec: spi.QueueSubscriptionSpec, ready: Callable[[], None]) -> spi.QueueSubscription:
        return QueueClient(self, spec, ready)

    def replay(self, topic: Topic[Any], ready: Callable[[], None]) -> spi.ReplaySource:
        return RabbitReplay(self, topic, ready)

    def unwrap(self, kind: type[T]) -> T | None:
        """pika's objects may be used on their own thread only, so none is given out here: a consumer's `run_on_client`
        reaches them there."""
        return None

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any], wire: Wire) -> None:
        """Run ``fn(pika's connection)`` on the loop thread: what subscriptions offer as `call`."""

        def run() -> None:
            native: Any = wire.connection
            if not isinstance(native, kind):
                if native is None and issubclass(pika.SelectConnection, kind):
                    done(None, errors.no_connection(f"a call with {kind.__name__}"))
                else:
                    done(None, InvalidSpec(f"the RabbitMQ consumer has no {kind.__name__} inside", field="kind"))
                return
            done(fn(native), None)

        self.loop.call(run)

    # --- states

    def _wire_state(self, role: str, state: WireState, why: str) -> None:
        """On the loop thread: the worst of the wires is the state of the connection."""
        self._states[role] = (state, why)
        for worst in ("reconnecting", "blocked"):
            found = next((text for one, text in self._states.values() if one == worst), None)
            if found is not None:
                self._tell("reconnecting" if worst == "reconnecting" else "blocked", found)
                return
        if len(self._states) == len(self.wires):
            self._tell("connected", why)

    def _tell(self, state: spi.State, why: str) -> None:
        changed = state != self._state
        self._state = state
        if changed and self._opened and not self.closed:
            self._on_state(state, why)

    @property
    def version(self) -> tuple[int, ...]:
        """The broker's version, of the last handshake."""
        text = str(self.asking.server.get("version", ""))
        return tuple(int(part) for part in re.findall(r"[0-9]+", text)[:3])
