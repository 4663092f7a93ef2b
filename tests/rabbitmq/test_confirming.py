"""The window of a confirmed channel, against a scripted broker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from pika import exceptions as amqp
from pika import spec

from mqbridge.errors import ConnectionLost, Denied, MqbridgeError, NotFound, Rejected, Unroutable
from mqbridge_rabbitmq.confirming import Outlet
from mqbridge_rabbitmq.records import SEQUENCE


class Loop:
    """Runs what it is given when the test says so."""

    def __init__(self) -> None:
        self.jobs: deque[Callable[[], None]] = deque()

    def call(self, job: Callable[[], None]) -> None:
        self.jobs.append(job)

    soon = call

    def later(self, _delay_s: float, job: Callable[[], None]) -> Any:
        self.jobs.append(job)
        return SimpleNamespace(cancel=lambda: self.jobs.remove(job) if job in self.jobs else None)

    def run(self) -> None:
        while self.jobs:
            self.jobs.popleft()()


class Channel:
    """A channel that opens at once and says what the test wants."""

    def __init__(self, number: int) -> None:
        self.channel_number = number
        self.is_open = True

    def add_on_close_callback(self, fn: Callable[[Any, BaseException], None]) -> None:
        self._on_close = fn

    def add_on_return_callback(self, fn: Callable[..., None]) -> None:
        self._on_return = fn

    def confirm_delivery(self, fn: Callable[[Any], None], callback: Callable[[Any], None]) -> None:
        self._on_confirm = fn
        callback(None)

    def ack(self, tag: int, multiple: bool = False) -> None:
        self._on_confirm(SimpleNamespace(method=spec.Basic.Ack(tag, multiple)))

    def nack(self, tag: int, multiple: bool = False) -> None:
        self._on_confirm(SimpleNamespace(method=spec.Basic.Nack(tag, multiple)))

    def returns(self, sequence: int) -> None:
        properties = SimpleNamespace(headers={SEQUENCE: sequence})
        self._on_return(self, SimpleNamespace(reply_code=312, reply_text="NO_ROUTE"), properties, b"")

    def closed(self, code: int, text: str = "TEXT") -> None:
        self.is_open = False
        self._on_close(self, amqp.ChannelClosedByBroker(code, text))

    def close(self) -> None:
        self.is_open = False


class Connection:
    def __init__(self) -> None:
        self.is_open = True
        self.unsent_bytes = 0
        self.params = SimpleNamespace(frame_max=131072)
        self.channels: list[Channel] = []
        self.writes: list[bytes] = []
        self._opened: Callable[[Any], None] | None = None

    def channel(self, on_open_callback: Callable[[Any], None]) -> Channel:
        channel = Channel(len(self.channels) + 1)
        self.channels.append(channel)
        self._opened = on_open_callback
        return channel

    def open(self) -> Channel:
        assert self._opened is not None
        self._opened(self.channels[-1])
        return self.channels[-1]

    def emit(self, frames: bytes) -> None:
        self.writes.append(frames)


class Owner:
    what = "queue:q"
    to_queue = False

    def __init__(self) -> None:
        self.resend = False
        self.good: list[str] = []
        self.bad: list[tuple[str, MqbridgeError]] = []
        self.missing = False

    def marshal(self, item: str, sequence: int, _channel: int, _frame_max: int) -> bytes:
        if item == "unsendable":
            raise Rejected("too large")
        return f"{item}#{sequence} ".encode()

    def confirmed(self, items: Sequence[str]) -> None:
        self.good += items

    def failed(self, items: Sequence[str], error: MqbridgeError) -> None:
        self.bad += [(item, error) for item in items]

    def resends(self, _item: str) -> bool:
        return self.resend

    def body_bytes(self, item: str) -> int:
        return len(item)

    def check(self, channel: Channel, good: Callable[[], None]) -> None:
        if self.missing:
            channel.closed(404)
        else:
            good()

    @property
    def kinds(self) -> dict[str, tuple[type[MqbridgeError], str]]:
        return {item: (type(error), error.outcome) for item, error in self.bad}


class World:
    def __init__(self, window: int = 4) -> None:
        self.loop = Loop()
        self.wire: Any = SimpleNamespace(loop=self.loop, blocked=False, attach=lambda _t: None, detach=lambda _t: None)
        self.owner = Owner()
        wire: Any = self.wire
        self.outlet: Outlet[str] = Outlet(wire, window, self.owner)
        self.connection = Connection()

    def up(self) -> Channel:
        self.connection = Connection()
        self.outlet.up(self.connection)  # type: ignore[arg-type]
        channel = self.connection.open()
        self.loop.run()
        return channel

    def put(self, *items: str) -> None:
        for item in items:
            self.outlet.waiting.append(item)
            self.outlet.wake()
        self.loop.run()

    def lose(self) -> None:
        self.connection.is_open = False
        self.outlet.down(ConnectionLost("gone"))
        self.loop.run()

    @property
    def written(self) -> str:
        return b"".join(self.connection.writes).decode().strip()


@pytest.fixture
def world() -> World:
    return World()


def proven(world: World) -> Channel:
    """A channel that has seen its first confirm, with a whole window."""
    channel = world.up()
    world.put("first")
    channel.ack(1)
    world.loop.run()
    world.connection.writes.clear()
    world.owner.good.clear()
    return channel


def test_one_is_out_until_the_first_confirm_then_a_window(world: World) -> None:
    """So that a refusal at the beginning is known to have applied nothing."""
    channel = world.up()
    world.put("a", "b", "c", "d", "e", "f")
    assert world.written == "a#1"
    channel.ack(1)
    world.loop.run()
    assert world.written.split() == ["a#1", "b#2", "c#3", "d#4", "e#5"]
    assert world.outlet.outstanding == 4


def test_confirms_in_any_order_end_each_message_once(world: World) -> None:
    """Single confirms out of order and cumulative ones over them."""
    channel = proven(world)
    world.put("b", "c", "d", "e")
    channel.ack(4)
    channel.ack(5, multiple=True)
    world.loop.run()
    assert sorted(world.owner.good) == ["b", "c", "d", "e"]
    assert world.outlet.outstanding == 0
    assert world.owner.bad == []


def test_a_return_fails_the_message_it_names(world: World) -> None:
    """The confirm that follows is not taken for success; its neighbours are confirmed."""
    channel = proven(world)
    world.put("b", "c", "d")
    channel.returns(3)
    channel.ack(4, multiple=True)
    world.loop.run()
    assert world.owner.kinds == {"c": (Unroutable, "not_applied")}
    assert world.owner.good == ["b", "d"]


def test_a_return_from_the_default_exchange_means_that_the_queue_is_gone(world: World) -> None:
    """A queue is always bound there by its name."""
    world.owner.to_queue = True
    channel = proven(world)
    world.put("b")
    channel.returns(2)
    channel.ack(2)
    world.loop.run()
    assert world.owner.kinds == {"b": (NotFound, "not_applied")}


def test_a_refused_message_is_rejected(world: World) -> None:
    """basic.nack: the queue is full."""
    world.owner.to_queue = True
    channel = proven(world)
    world.put("b", "c", "d")
    channel.nack(3, multiple=True)
    channel.ack(4)
    world.loop.run()
    assert world.owner.kinds == {"b": (Rejected, "not_applied"), "c": (Rejected, "not_applied")}
    assert world.owner.good == ["d"]


def test_a_refusal_behind_an_exchange_is_of_one_queue_of_several(world: World) -> None:
    """The others may have the message: to call it not applied, or to be sent again, would be a promise of nobody's."""
    channel = proven(world)
    world.put("b")
    channel.nack(2)
    world.loop.run()
    ((_, error),) = world.owner.bad
    assert (type(error), error.outcome, error.retryable) == (Rejected, "unknown", False)


@pytest.mark.parametrize("ending", ["nack", "return", "close"])
def test_a_refusal_of_what_was_sent_before_leaves_its_outcome_unknown(world: World, ending: str) -> None:
    """The attempt that was lost may have been stored."""
    world.owner.resend = world.owner.to_queue = True
    proven(world)
    world.put("b")
    world.lose()
    channel = world.up()
    assert world.written == "b#1"
    if ending == "close":
        channel.closed(403)
    elif ending == "return":
        channel.returns(1)
        channel.ack(1)
    else:
        channel.nack(1)
    world.loop.run()
    ((item, error),) = world.owner.bad
    assert (item, error.outcome, error.retryable) == ("b", "unknown", False)


def test_a_message_that_the_broker_finds_too_large_fails_alone(world: World) -> None:
    """The close names its size: those behind it were discarded and go out again, those before it may be stored."""
    channel = proven(world)
    world.put("b", "large", "c", "d")
    channel.closed(406, "PRECONDITION_FAILED - message size 5 is larger than configured max size 4")
    assert world.owner.kinds == {"b": (Rejected, "unknown"), "large": (Rejected, "not_applied")}
    world.loop.run()
    world.connection.writes.clear()
    again = world.connection.open()
    again.ack(1)
    world.loop.run()
    again.ack(2)
    world.loop.run()
    assert world.written == "c#1 d#2"
    assert world.owner.good == ["c", "d"]


def test_with_resend_those_before_the_one_that_is_too_large_go_again_first(world: World) -> None:
    """As when a connection is lost: their outcome is unknown for the same reason."""
    world.owner.resend = True
    channel = proven(world)
    world.put("b", "large", "c")
    channel.closed(406, "PRECONDITION_FAILED - message size 5 is larger than configured max size 4")
    assert world.owner.kinds == {"large": (Rejected, "not_applied")}
    assert (list(world.outlet.again), list(world.outlet.waiting)) == (["b"], ["c"])


def test_a_new_connection_does_not_get_a_second_channel_from_an_old_timer(world: World) -> None:
    """The channel was closed and was to be opened again when the connection went: two channels would mix confirms."""
    channel = proven(world)
    world.put("b")
    channel.closed(404)
    world.connection.is_open = False
    world.outlet.down(ConnectionLost("gone"))
    world.connection = Connection()
    world.outlet.up(world.connection)  # type: ignore[arg-type]
    world.loop.run()
    assert len(world.connection.channels) == 1


def test_confirms_of_a_channel_that_is_gone_end_nothing(world: World) -> None:
    """Its tags mean other messages on the next one."""
    old = proven(world)
    world.lose()
    world.up()
    world.put("b")
    old.returns(1)
    old.ack(1)
    world.loop.run()
    assert (world.owner.good, world.owner.bad) == ([], [])
    assert world.outlet.outstanding == 1


def test_a_report_that_a_fault_took_does_not_silence_the_next_connection(world: World) -> None:
    """What was to run at the end of a turn is gone with it."""
    channel = proven(world)
    world.put("b")
    channel.ack(2)
    world.loop.jobs.clear()
    world.lose()
    channel = world.up()
    world.put("c")
    channel.ack(1)
    world.loop.run()
    assert world.owner.good == ["b", "c"]


def test_what_is_out_when_the_connection_breaks_is_unknown_and_the_rest_waits(world: World) -> None:
    """Nothing unsent is failed, nothing sent is sent again."""
    proven(world)
    world.put("b", "c", "d", "e", "f", "g")
    world.lose()
    assert world.owner.kinds == dict.fromkeys("bcde", (ConnectionLost, "unknown"))
    channel = world.up()
    assert world.written == "f#1"
    channel.ack(1)
    world.loop.run()
    channel.ack(2)
    world.loop.run()
    assert world.owner.good == ["f", "g"]


def test_with_resend_what_was_out_goes_again_first_in_order(world: World) -> None:
    """Duplicates may come of it, disorder not."""
    world.owner.resend = True
    proven(world)
    world.put("b", "c", "d", "e", "f")
    world.lose()
    assert world.owner.bad == []
    channel = world.up()
    channel.ack(1)
    world.loop.run()
    assert world.written.split() == ["b#1", "c#2", "d#3", "e#4", "f#5"]


def test_what_was_out_once_is_unknown_when_it_is_given_up(world: World) -> None:
    """A message to be sent again may have been applied by the first attempt."""
    world.owner.resend = True
    proven(world)
    world.put("b", "c", "d", "e", "f")
    world.lose()
    world.outlet.close()
    outcomes = {item: error.outcome for item, error in world.owner.bad}
    assert outcomes == {**dict.fromkeys("bcde", "unknown"), "f": "not_applied"}


def test_a_channel_closed_for_one_of_several_leaves_the_newest_certain(world: World) -> None:
    """The one it closed for, or one after it: the newest was not applied in any case."""
    channel = proven(world)
    world.put("b", "c")
    channel.closed(404)
    assert world.owner.kinds == {"b": (NotFound, "unknown"), "c": (NotFound, "not_applied")}


def test_a_refused_first_message_is_known_not_to_be_applied(world: World) -> None:
    """No permission: each message is refused alone, on a channel of its own."""
    world.up()
    world.put("a", "b")
    world.connection.channels[-1].closed(403)
    world.loop.run()
    world.connection.open()
    world.loop.run()
    world.connection.channels[-1].closed(403)
    assert world.owner.kinds == {"a": (Denied, "not_applied"), "b": (Denied, "not_applied")}


def test_a_missing_destination_fails_what_waits_and_is_looked_for_again(world: World) -> None:
    """Who sends later finds it if it is back."""
    channel = proven(world)
    world.owner.missing = True
    channel.closed(404)
    world.outlet.waiting.extend(("b", "c"))
    world.loop.run()
    world.connection.open()
    assert world.owner.kinds == dict.fromkeys("bc", (NotFound, "not_applied"))
    world.owner.missing = False
    world.put("d")
    world.connection.open().ack(1)
    world.loop.run()
    assert world.owner.good == ["d"]


def test_a_blocked_wire_takes_nothing(world: World) -> None:
    """What waits during an alarm is not given to the socket, where it could not be kept."""
    proven(world)
    world.wire.blocked = True
    world.put("b")
    assert world.written == ""
    world.wire.blocked = False
    world.outlet.unblocked()
    assert world.written == "b#2"


def test_a_message_that_cannot_be_marshalled_fails_alone(world: World) -> None:
    """It takes no sequence number of the channel, so confirms stay matched."""
    channel = proven(world)
    world.put("b", "unsendable", "c")
    channel.ack(3, multiple=True)
    world.loop.run()
    assert world.owner.good == ["b", "c"]
    assert world.owner.kinds == {"unsendable": (Rejected, "not_applied")}


def test_close_ends_everything_once(world: World) -> None:
    """What is out is unknown, what waits was not applied, and nothing is reported twice."""
    channel = proven(world)
    world.put("b", "c", "d", "e", "f")
    channel.ack(2)
    world.outlet.close()
    world.loop.run()
    assert world.owner.good == ["b"]
    assert {item: error.outcome for item, error in world.owner.bad} == {
        **dict.fromkeys("cde", "unknown"),
        "f": "not_applied",
    }
