"""One AMQP connection that stays. The rule: whoever uses it attaches, is told `up` and `down`, and opens channels of
its own; nobody but this room connects, and everything here happens on the loop thread.

Alarms block a whole connection (RabbitMQ's connection.blocked: "the broker stops reading from it"), so a bus keeps
separate wires for publishing, for consuming and for asking.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import pika
from pika import exceptions as amqp
from pika import spec

from mqbridge.errors import MqbridgeError, Outcome, Unreachable
from mqbridge.spi import Completion
from mqbridge_rabbitmq import errors
from mqbridge_rabbitmq.loop import Loop, Timer
from mqbridge_rabbitmq.settings import Settings

T = TypeVar("T")
log = logging.getLogger("mqbridge.rabbitmq")

WireState: TypeAlias = Literal["connected", "blocked", "reconnecting", "closed"]
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0
SILENT_TICKS = 4
"""Half heartbeats without a byte from the broker, which sends one each half: then it is taken for dead. pika's own
check takes from heartbeat + 5 s to twice that. Turns of the loop are counted and not seconds, for a process that was
stopped itself has a silence of its own making."""
CLOSE_S = 2.0
"""How long a polite close may take before the socket is dropped."""


class AmqpConnection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """pika's connection, with room for frames that were marshalled elsewhere.

    `_output_marshaled_frames` is where pika's own frames go too; a batch of many costs one call and one write.
    """

    def emit(self, frames: bytes) -> None:
        self._output_marshaled_frames([frames])

    @property
    def unsent_bytes(self) -> int:
        """What waits in this process for the socket."""
        transport = self._transport
        return 0 if transport is None else int(transport.get_write_buffer_size())

    def drop(self, error: BaseException) -> None:
        """End without the closing handshake: the peer does not answer, or our own state is not to be trusted."""
        self._terminate_stream(error)


def usable(channel: Any) -> bool:
    """May something be sent on it? While a connection ends, pika still calls its channels open."""
    return channel is not None and channel.is_open and channel.connection.is_open


def shut(channel: Any) -> None:
    """Close it, without the basic.cancel that pika sends for each consumer before Channel.Close.

    Between the two a quorum queue's next consumer is active while this channel still holds what it had not
    acknowledged: the new owner of a token queue would find it empty. pika sends none for a consumer that it takes for
    cancelled.
    """
    if usable(channel):
        channel._cancelled.update(channel.consumer_tags)
        channel.close()


def cancel(channel: Any, tag: str, cancelled: Callable[[Any], None]) -> None:
    """Cancel a consumer, and go on hearing its deliveries: pika's own basic_cancel rejects, which counts an attempt of,
    each that was on its way."""
    ok = (spec.Basic.CancelOk, {"consumer_tag": tag})
    channel._rpc(spec.Basic.Cancel(consumer_tag=tag), cancelled, [ok])


class Tenant(Protocol):
    """Who uses a wire. Called on the loop thread."""

    def up(self, connection: AmqpConnection) -> None:
        """There is a connection: open channels on it."""

    def down(self, error: MqbridgeError) -> None:
        """It is gone, and all channels with it; `up` follows when there is another, unless the wire was closed."""


class Wire:
    """One connection, made anew for ever once it was made."""

    def __init__(self, loop: Loop, settings: Settings, role: str, on_state: Callable[[WireState, str], None]) -> None:
        self.loop = loop
        self.settings = settings
        self.role = role
        self.connection: AmqpConnection | None = None
        """The open connection, or None."""
        self.blocked = False
        self.closed = False
        self.server: dict[str, Any] = {}
        """The broker's properties, of the last handshake."""
        self._on_state = on_state
        self._tenants: list[Tenant] = []
        self._attempt: AmqpConnection | None = None
        self._first: Completion[None] | None = None
        self._failures = 0
        self._host = 0
        self._retry: Timer | None = None
        self._closing: Completion[None] | None = None
        self._close_timer: Timer | None = None
        loop.on_crash.append(self._crashed)

    # --- connecting

    def connect(self, done: Completion[None]) -> None:
        """The first connection: each host once, in order; the error of the last one, or of the one that refused us."""
        self._first = done
        self._try()

    def _try(self) -> None:
        self._retry = None
        if self.closed:
            return
        hosts = self.settings.hosts
        parameters = self.settings.parameters(hosts[self._host % len(hosts)], self.role)
        try:
            self._attempt = AmqpConnection(
                parameters,
                on_open_callback=self._opened,
                on_open_error_callback=self._failed,
                on_close_callback=self._lost,
                custom_ioloop=self.loop.ioloop,
            )
        except (amqp.AMQPError, OSError) as error:
            self._failed(None, error)

    def _opened(self, connection: AmqpConnection) -> None:
        if connection is not self._attempt or self.closed:
            connection.close()  # one that was given up
            return
        self._attempt = None
        self.connection = connection
        self.server = dict(connection.server_properties or {})
        self.blocked = False
        self._failures = 0
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._listen(connection, connection.bytes_received, 0)
        first, self._first = self._first, None
        host = self.settings.hosts[self._host % len(self.settings.hosts)]
        self._on_state("connected", f"{self.role} at {host[0]}:{host[1]}")
        if first is not None:
            first(None, None)
        for tenant in list(self._tenants):
            if self.connection is connection:
                tenant.up(connection)

    def _failed(self, connection: Any, native: BaseException | None) -> None:
        if connection is not None and connection is not self._attempt:
            return
        self._attempt = None
        if self.closed:
            return
        hosts = self.settings.hosts
        host = hosts[self._host % len(hosts)]
        self._failures += 1
        self._host += 1
        error = errors.connect_error(
            native, self.settings.text, f"{host[0]}:{host[1]}", self.settings.username, self.settings.vhost
        )
        if self._first is not None:
            if error.retryable and self._failures < len(hosts):
                self._try()
                return
            first, self._first = self._first, None
            self.closed = True
            first(None, error)
            return
        log.info("%s: %s", self.role, error)
        self._on_state("reconnecting", str(error))
        # All hosts are tried without a pause between them; then the pause doubles, and half of it is chance, so that
        # the clients of a broker that restarts do not come back in one wave.
        rounds = self._failures // len(hosts)
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(rounds, 10)) if self._failures % len(hosts) == 0 else 0
        self._retry = self.loop.later(pause_s * random.uniform(0.5, 1.0), self._try)

    # --- losing

    def _listen(self, connection: AmqpConnection, received: int, silent: int) -> None:
        """Drop a connection from which nothing comes any more."""

        def tick() -> None:
            if connection is not self.connection:
                return
            now = connection.bytes_received
            ticks = silent + 1 if now == received else 0
            if ticks >= SILENT_TICKS:
                connection.drop(amqp.AMQPHeartbeatTimeout("silent"))
            else:
                self._listen(connection, now, ticks)

        self.loop.later(self.settings.heartbeat_s / 2, tick)

    def _lost(self, connection: AmqpConnection, native: BaseException | None) -> None:
        if self.connection is not connection:
            return
        self.connection = None
        self.blocked = False
        if isinstance(native, Unreachable):  # of `move_on`
            self._host += 1
        if self.closed:
            self._tell_down(errors.connection_error(native, "closing"))
            self._finish_closing()
            return
        error = errors.connection_error(native, f"the {self.role} connection")
        log.info("%s", error)
        self._on_state("reconnecting", str(error))
        self._tell_down(error)
        if not self.closed and self._retry is None:
            self._retry = self.loop.later(FIRST_PAUSE_S * random.random(), self._try)

    def move_on(self, connection: AmqpConnection, error: Unreachable) -> None:
        """Leave the node of this connection, if it is still ours, for the next host: it has not what a tenant needs.
        All tenants hear `error`. Loop thread."""
        if connection is self.connection and connection.is_open:
            host = self.settings.hosts[self._host % len(self.settings.hosts)]
            log.warning("%s leaves %s:%s for the next host: %s", self.role, host[0], host[1], error)
            connection.drop(error)

    def _tell_down(self, error: MqbridgeError) -> None:
        for tenant in list(self._tenants):
            tenant.down(error)

    def _crashed(self, fault: BaseException) -> None:
        attempt, self._attempt = self._attempt, None
        if self.connection is not None:
            if not self.connection.is_closed:
                self.connection.drop(fault)
        elif not self.closed:
            if attempt is not None and not attempt.is_closed:
                attempt.drop(fault)
            if self._retry is None:
                self._retry = self.loop.later(FIRST_PAUSE_S, self._try)

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self.blocked = True
        self._on_state("blocked", f"RabbitMQ takes no messages at the moment: {frame.method.reason}")

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self.blocked = False
        self._on_state("connected", f"{self.role}: RabbitMQ takes messages again")
        for tenant in list(self._tenants):
            unblocked = getattr(tenant, "unblocked", None)
            if unblocked is not None:
                unblocked()

    # --- tenants

    def attach(self, tenant: Tenant) -> None:
        """From now on `tenant` is told; at once, if there is a connection. Loop thread."""
        self._tenants.append(tenant)
        if self.connection is not None:
            tenant.up(self.connection)

    def detach(self, tenant: Tenant) -> None:
        """It is told nothing more. It closes its channels itself. Loop thread."""
        if tenant in self._tenants:
            self._tenants.remove(tenant)

    # --- one operation

    def rpc(
        self,
        what: str,
        steps: Callable[[Any, Callable[[T], None]], None],
        done: Completion[T],
        *,
        timeout_s: float = 30.0,
        outcome: Outcome = "unknown",
    ) -> None:
        """Run ``steps(channel, finish)`` on a channel of its own; `done` hears what `finish` was given (an mqbridge
        error is one), or why the broker closed the channel instead (404, 403, 406 ...), or that the connection broke
        (`outcome`). Any thread.
        """
        self.loop.call(lambda: _Operation(self, what, steps, done, timeout_s, outcome).begin())

    # --- closing

    def close(self, done: Completion[None]) -> None:
        """Close politely, or after `CLOSE_S` at once. Loop thread."""
        if self._closing is not None:
            done(None, None)
            return
        self.closed = True
        self._closing = done
        if self._retry is not None:
            self._retry.cancel()
        if self._crashed in self.loop.on_crash:
            self.loop.on_crash.remove(self._crashed)
        attempt, self._attempt = self._attempt, None
        if attempt is not None and not attempt.is_closed:
            # pika 1.4.4 fails on its own close(), and on ConnectionOpenAborted, in the middle of a handshake.
            attempt.drop(amqp.AMQPConnectionError("closed while connecting"))
        connection = self.connection
        if connection is None or connection.is_closed:
            self._finish_closing()
            return
        self._close_timer = self.loop.later(CLOSE_S, lambda: self._give_up_closing(connection))
        try:
            connection.close()
        except amqp.AMQPError:  # it is closing by itself already
            self._finish_closing()

    def _give_up_closing(self, connection: AmqpConnection) -> None:
        self._close_timer = None
        if not connection.is_closed:
            connection.drop(amqp.AMQPConnectionError("no answer to close"))
        self._finish_closing()

    def _finish_closing(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        done, self._closing = self._closing, None
        if done is not None:
            done(None, None)


class _Operation:
    """One use of a channel of its own. It ends exactly once: finished, refused, lost or out of time."""

    def __init__(
        self,
        wire: Wire,
        what: str,
        steps: Callable[[Any, Callable[[Any], None]], None],
        done: Completion[Any],
        timeout_s: float,
        outcome: Outcome,
    ) -> None:
        self._wire = wire
        self._what = what
        self._steps = steps
        self._done: Completion[Any] | None = done
        self._outcome: Outcome = outcome
        self._timeout_s = timeout_s
        self._timer: Timer | None = None
        self._channel: Any = None
        self._begun = False

    def begin(self) -> None:
        connection = self._wire.connection
        if connection is None or not connection.is_open:
            self._end(None, errors.no_connection(self._what))
            return
        self._timer = self._wire.loop.later(self._timeout_s, self._expired)
        try:
            self._channel = connection.channel(on_open_callback=self._opened)
        except amqp.AMQPError as error:
            self._end(None, errors.connection_error(error, self._what, "not_applied"))
            return
        self._channel.add_on_close_callback(self._closed)

    def _opened(self, channel: Any) -> None:
        self._begun = True
        try:
            self._steps(channel, self._finish)
        except (amqp.AMQPError, ValueError, TypeError) as error:
            self._end(None, errors.channel_error(error, self._what))
            self._close()

    def _finish(self, result: Any) -> None:
        if isinstance(result, MqbridgeError):
            self._end(None, result)
        else:
            self._end(result, None)
        self._close()

    def _closed(self, _channel: Any, native: BaseException) -> None:
        if isinstance(native, amqp.ChannelClosedByBroker):
            self._end(None, errors.channel_error(native, self._what))
        else:
            outcome: Outcome = self._outcome if self._begun else "not_applied"
            self._end(None, errors.connection_error(native, self._what, outcome))

    def _expired(self) -> None:
        self._timer = None
        self._end(None, errors.timed_out(self._what, self._timeout_s, self._outcome))
        self._close()

    def _close(self) -> None:
        if self._channel is not None and self._channel.is_open:
            self._channel.close()

    def _end(self, result: Any, error: MqbridgeError | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        done, self._done = self._done, None
        if done is not None:
            done(result, error)
