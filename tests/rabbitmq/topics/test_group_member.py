"""How a member joins, and joins again, on scripted connections; and what its token queue is declared with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pika import exceptions as amqp

from mqbridge.errors import LeaseLost, Mismatch, MqbridgeError, OperationTimeout
from mqbridge.spi import Disconnected, Fatal, Reconnected
from mqbridge.topology import Topic
from mqbridge_rabbitmq import errors, group_member, wire
from mqbridge_rabbitmq.errands import Step
from mqbridge_rabbitmq.group_member import AGAIN_S, MOVE_S, GroupMember
from mqbridge_rabbitmq.joining import Joining
from mqbridge_rabbitmq.settings import Settings
from mqbridge_rabbitmq.token_keeping import NODE_GONE_S, TokenKeeper
from mqbridge_rabbitmq.wire import Wire

NO_REPLICA: Any = errors.channel_error(
    amqp.ChannelClosedByBroker(406, "PRECONDITION_FAILED - it does not have a running replica on the local node"),
    "joining group g",
)


class Loop:
    """Calls run at once, timers when the test lets time pass."""

    def __init__(self) -> None:
        self.ioloop = self
        self.now_s = 0.0
        self.on_crash: list[Any] = []
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def call(self, job: Callable[[], None]) -> None:
        job()

    def later(self, delay_s: float, job: Callable[[], None]) -> Any:
        timer = (self.now_s + delay_s, job)
        self._timers.append(timer)
        return SimpleNamespace(cancel=lambda: self._timers.remove(timer) if timer in self._timers else None)

    def pass_s(self, duration_s: float) -> None:
        until_s = self.now_s + duration_s
        while due := [timer for timer in self._timers if timer[0] <= until_s]:
            timer = min(due, key=lambda one: one[0])
            self._timers.remove(timer)
            self.now_s = timer[0]
            timer[1]()
        self.now_s = until_s


class Connection:
    """Opens, and has heard something each time that it is asked."""

    server_properties: dict[str, Any] | None = None

    def __init__(
        self, parameters: Any, on_open_callback: Any, on_close_callback: Any, custom_ioloop: Any, **_more: Any
    ) -> None:
        self.host = parameters.host
        self.is_open = True
        self.bytes = 0
        self._closed = on_close_callback
        custom_ioloop.later(0.0, lambda: on_open_callback(self))

    @property
    def bytes_received(self) -> int:
        self.bytes += 1
        return self.bytes

    def add_on_connection_blocked_callback(self, _heard: Any) -> None:
        """It never is."""

    def add_on_connection_unblocked_callback(self, _heard: Any) -> None:
        """Nor this."""

    def drop(self, error: BaseException) -> None:
        self.is_open = False
        self._closed(self, error)


class World:
    """A member of which each attempt to join ends with what `ends` has for its host; with None it goes on for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **ends: MqbridgeError | None) -> None:
        self.loop = Loop()
        loop: Any = self.loop
        self.joined_at: list[str] = []

        class Attempt:
            def __init__(self, *_words: Any) -> None:
                """Needs nothing."""

            async def all_partitions(_self, scratch: Any) -> Any:
                self.joined_at.append(scratch.connection.host)
                end = ends[scratch.connection.host]
                if end is None:
                    await Step[None](lambda _done: None)
                else:
                    raise end

        monkeypatch.setattr(wire, "AmqpConnection", Connection)
        monkeypatch.setattr(group_member, "Joining", Attempt)
        hosts = tuple((host, 5672) for host in ends)
        settings = Settings("amqp://", "u", "/", hosts, 60.0, 1, 1, "test", "", 10.0, "p")
        self.consuming = Wire(loop, settings, "consume", lambda _state, _why: None)
        self.consuming.connect(lambda _nothing, _error: None)
        connection: Any = SimpleNamespace(
            loop=self.loop, settings=settings, consuming=self.consuming, members=set(), closed=False
        )
        spec: Any = SimpleNamespace(
            group="g", topics=(Topic[bytes]("t"),), session_timeout_s=10.0, max_poll_interval_s=300.0
        )
        self.member = GroupMember(connection, spec, lambda: None)
        self.loop.pass_s(0.0)


def test_a_member_leaves_a_node_without_a_replica(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """None may ever come there: it would ask the same node for ever, and nobody would know."""
    world = World(monkeypatch, first=NO_REPLICA, second=NO_REPLICA, third=None)
    assert world.joined_at == ["first"]
    with caplog.at_level(logging.WARNING, "mqbridge.rabbitmq"):
        world.loop.pass_s(3 * MOVE_S)
    assert world.joined_at == ["first", "second", "third"]
    assert [type(event) for event in world.member.events()] == [Disconnected, Reconnected] * 2
    assert [record.getMessage().split(" for the next")[0] for record in caplog.records] == [
        "group g leaves first:5672",
        "group g leaves second:5672",
    ]


@pytest.mark.parametrize("error", [LeaseLost("gone"), OperationTimeout("slow")])
def test_a_member_that_may_join_later_stays_on_its_node(monkeypatch: pytest.MonkeyPatch, error: MqbridgeError) -> None:
    """What passes is no reason to leave, and none to stop."""
    world = World(monkeypatch, first=error, second=None)
    world.loop.pass_s(3.5 * AGAIN_S)
    assert world.joined_at == ["first"] * 4
    assert world.member.events() == []


def test_a_member_that_can_never_join_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And asks no more."""
    world = World(monkeypatch, first=Mismatch("no stream"), second=None)
    world.loop.pass_s(10.0)
    assert world.joined_at == ["first"]
    assert [type(event) for event in world.member.events()] == [Fatal]


def test_a_reader_without_a_replica_has_its_wire_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The member may have joined on a node that has one, and read on another that has none. Another error is no
    reason: what else is consumed there would be interrupted."""
    world = World(monkeypatch, first=None, second=None)
    reader: Any = SimpleNamespace(topic=Topic[bytes]("t"), partition=0, close=lambda: None, open=lambda _: None)
    hosts = []
    for error in (NO_REPLICA, LeaseLost("other")):
        world.member.readers["t", 0] = reader
        world.member._reading_failed(reader, error)
        world.loop.pass_s(0.2)
        assert isinstance(world.consuming.connection, Connection)
        hosts.append(world.consuming.connection.host)
    assert hosts == ["second", "second"]


def test_a_wire_leaves_a_host_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tenants that find the same would else be back where they were."""
    world = World(monkeypatch, first=None, second=None)
    consuming = world.consuming
    old: Any = consuming.connection
    consuming.move_on(old, NO_REPLICA)
    world.loop.pass_s(0.2)
    new: Any = consuming.connection
    consuming.move_on(old, NO_REPLICA)
    world.loop.pass_s(0.2)
    assert (old.host, new.host) == ("first", "second")
    assert consuming.connection is new


def test_a_token_leaves_a_node_that_is_gone_before_patience_ends() -> None:
    """The broker's own minute would be longer; however short the session is, the wait is for longer than that."""
    declared: list[dict[str, Any]] = []
    channel = SimpleNamespace(
        add_on_close_callback=lambda _heard: None,
        add_on_cancel_callback=lambda _heard: None,
        add_on_return_callback=lambda _heard: None,
        confirm_delivery=lambda _heard: None,
        queue_declare=lambda _queue, durable, arguments: declared.append(arguments),
        basic_consume=lambda *_words, **_more: None,
    )
    opened: list[Callable[[Any], None]] = []

    def open_channel(on_open_callback: Callable[[Any], None]) -> Any:
        opened.append(on_open_callback)
        return channel

    here: Any = SimpleNamespace(connection=SimpleNamespace(channel=open_channel))
    for make in (True, False):
        TokenKeeper(here, "g:t.mqg-0", "m", 1.0, lambda _effect: None, make=make).open()
        opened.pop()(channel)
    (arguments,) = declared
    assert arguments["x-consumer-disconnected-timeout"] == NODE_GONE_S * 1000 == 5000
    none: Any = None
    for session_s in (0.1, 2.0, 10.0, 60.0):
        spec: Any = SimpleNamespace(session_timeout_s=session_s)
        patience_s = Joining(none, spec, none)._patience_s
        assert patience_s >= 1.5 * session_s
        assert patience_s >= NODE_GONE_S + 2
