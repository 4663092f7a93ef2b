"""A queue's subscription and its settling, against a scripted channel."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pika
import pytest

from mqbridge.errors import ConnectionLost, InvalidSpec, NotFound
from mqbridge.spi import Disconnected, Fatal, QueueSubscriptionSpec, Reconnected, SettleVerb
from mqbridge.topology import Queue
from mqbridge_rabbitmq.queue_consumer import QueueClient


class Loop:
    """Calls run at once, timers when the test says so."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []
        self.turn: list[Callable[[], None]] = []

    def call(self, job: Callable[[], None]) -> None:
        job()

    def soon(self, job: Callable[[], None]) -> None:
        self.turn = [job]

    def end_turn(self) -> None:
        turn, self.turn = self.turn, []
        for job in turn:
            job()

    def later(self, _delay_s: float, job: Callable[[], None]) -> Any:
        self.timers.append(job)
        return SimpleNamespace(cancel=lambda: self.timers.remove(job) if job in self.timers else None)


class Channel:
    """Writes down what is sent; the test delivers and answers."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.is_open = True
        self.sent: list[tuple[Any, ...]] = []
        self.barriers: list[Callable[[Any], None]] = []
        self._tag = 0

    def add_on_close_callback(self, fn: Callable[[Any, BaseException], None]) -> None:
        self.closed = fn

    def add_on_cancel_callback(self, fn: Callable[[Any], None]) -> None:
        self.cancelled = fn

    def basic_qos(self, prefetch_count: int, callback: Callable[[Any], None]) -> None:
        assert prefetch_count == 10
        self.barriers.append(callback)

    def basic_consume(self, _queue: str, deliver: Any, callback: Callable[[Any], None], **_options: Any) -> None:
        self._deliver = deliver
        callback(None)

    def deliver(self, *bodies: bytes, redelivered: bool = False, attempt: int = 1) -> None:
        for body in bodies:
            self._tag += 1
            again = redelivered or attempt > 1
            method = SimpleNamespace(delivery_tag=self._tag, redelivered=again, exchange="", routing_key="q")
            properties: Any = pika.BasicProperties(headers={"x-delivery-count": attempt - 1} if attempt > 1 else None)
            self._deliver(self, method, properties, body)
        self.loop.end_turn()

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        self.sent.append(("ack", tag, multiple))

    def basic_nack(self, tag: int, multiple: bool = False, requeue: bool = True) -> None:
        self.sent.append(("nack", tag, multiple, requeue))

    def basic_reject(self, tag: int, requeue: bool) -> None:
        self.sent.append(("reject", tag, requeue))

    def _rpc(self, method: Any, callback: Callable[[Any], None], _replies: Any) -> None:
        assert isinstance(method, pika.spec.Basic.Cancel)
        self.sent.append(("cancel",))
        self.barriers.append(callback)

    def close(self) -> None:
        self.sent.append(("close",))
        self.is_open = False

    def answer(self) -> None:
        self.barriers.pop(0)(None)


class World:
    def __init__(self, *, before: bool = False) -> None:
        self.loop = Loop()
        self.channels: list[Channel] = []
        self.carried: list[tuple[str, Any, bytes, Callable[[Any], None]]] = []
        wire = SimpleNamespace(
            connection=SimpleNamespace(is_open=True, channel=self._channel),
            attach=lambda tenant: tenant.up(None),
            detach=lambda _tenant: None,
        )
        connection: Any = SimpleNamespace(
            loop=self.loop,
            consuming=wire,
            known_queues={},
            courier=SimpleNamespace(carry=lambda *copy: self.carried.append(copy)),
        )
        spec = QueueSubscriptionSpec(Queue("q", max_attempts=3), 10, 0, before)
        self.client = QueueClient(connection, spec, lambda: None)
        self._opened(self.channels[0])

    def _channel(self, on_open_callback: Callable[[Any], None]) -> Channel:
        channel = Channel(self.loop)
        self.channels.append(channel)
        self._opened = on_open_callback
        return channel

    @property
    def channel(self) -> Channel:
        return self.channels[-1]

    def ready(self) -> Channel:
        self.channel.answer()
        return self.channel

    def lose(self) -> None:
        self.channel.is_open = False
        self.client.down(ConnectionLost("gone"))

    def again(self) -> Channel:
        self.client.up(None)  # type: ignore[arg-type]
        self._opened(self.channels[-1])
        return self.ready()


@pytest.fixture
def world() -> World:
    return World()


def take(client: QueueClient) -> list[tuple[bytes | None, int]]:
    found = []
    while (block := client.take(100)) is not None:
        found += [(block.raw(index), block.offset(index)) for index in range(block.count)]
    return found


def test_nothing_new_is_handed_out_until_the_loss_was_read(world: World) -> None:
    """Else a delivery of the new channel would be lost with the page that the event ends."""
    world.ready().deliver(b"1")
    ((_, old),) = take(world.client)
    world.lose()
    world.again().deliver(b"1", redelivered=True)
    assert take(world.client) == []
    kinds = [type(event) for event in world.client.events()]
    assert kinds == [Disconnected, Reconnected]
    ((value, new),) = take(world.client)
    assert value == b"1"
    assert new != old


def test_what_was_not_handed_out_goes_with_its_channel(world: World) -> None:
    """Its tags mean other messages on the next one."""
    world.ready().deliver(b"1", b"2")
    world.lose()
    world.client.events()
    assert take(world.client) == []


def test_an_old_token_is_refused_and_sends_nothing(world: World) -> None:
    """Tag 1 of the new channel is another message."""
    world.ready().deliver(b"1")
    ((_, old),) = take(world.client)
    world.lose()
    channel = world.again()
    channel.deliver(b"2")
    answers: list[Any] = []
    world.client.settle([SettleVerb("ack", [old])], lambda *answer: answers.append(answer))
    channel.answer()
    assert answers == [((old,), None)]
    assert channel.sent == []


def test_settlements_share_a_barrier_and_end_behind_it(world: World) -> None:
    """One synchronous method is out at a time; what comes meanwhile waits for the next one."""
    channel = world.ready()
    channel.deliver(*(b"%d" % number for number in range(4)))
    tokens = [token for _, token in take(world.client)]
    answers: list[int] = []
    for number, token in enumerate(tokens):
        world.client.settle([SettleVerb("ack", [token])], lambda *_answer, number=number: answers.append(number))
    assert (answers, len(channel.barriers)) == ([], 1)
    channel.answer()
    assert (answers, len(channel.barriers)) == ([0], 1)
    channel.answer()
    assert (answers, channel.barriers) == ([0, 1, 2, 3], [])


def test_a_settlement_without_an_answer_is_unknown(world: World) -> None:
    """The channel is gone before the barrier came back."""
    channel = world.ready()
    channel.deliver(b"1")
    ((_, token),) = take(world.client)
    answers: list[Any] = []
    world.client.settle([SettleVerb("ack", [token])], lambda *answer: answers.append(answer))
    world.lose()
    ((result, error),) = answers
    assert result is None
    assert (type(error), error.outcome) == (ConnectionLost, "unknown")


def test_a_rejection_with_a_text_is_acked_behind_its_confirmed_copy(world: World) -> None:
    """Neither the ack nor the answer comes before the dead letter is safe, and no other ack covers it."""
    channel = world.ready()
    channel.deliver(b"1", b"2")
    (_, first), (_, second) = take(world.client)
    answers: list[Any] = []
    world.client.settle(
        [SettleVerb("reject", [first], 0.0, "why"), SettleVerb("ack", [second])],
        lambda *answer: answers.append(answer),
    )
    assert channel.sent == [("ack", 2, False)]
    ((target, properties, body, ended),) = world.carried
    assert (target, body) == ("q.dlq", b"1")
    assert properties.headers["mqbridge-death-error"] == b"why"
    world.client.settle([SettleVerb("ack", [first])], lambda *answer: answers.append(answer))
    channel.answer()
    assert answers == [((first,), None)]
    assert channel.barriers == []
    ended(None)
    assert channel.sent[1:] == [("ack", 1, False)]
    channel.answer()
    assert answers[1:] == [((), None)]


def test_a_last_retry_is_a_confirmed_copy_with_or_without_a_text(world: World) -> None:
    """Else nobody hears of a death that the broker cannot carry out. An attempt that is not the last costs no copy."""
    channel = world.ready()
    channel.deliver(b"early")
    channel.deliver(b"last", attempt=3)
    (_, early), (_, last) = take(world.client)
    world.client.settle([SettleVerb("retry", [early]), SettleVerb("retry", [last])], lambda *_answer: None)
    assert channel.sent == [("reject", 1, True)]
    ((target, properties, body, ended),) = world.carried
    assert (target, body) == ("q.dlq", b"last")
    assert properties.headers["mqbridge-death-reason"] == b"max-attempts"
    assert "mqbridge-death-error" not in properties.headers
    ended(None)
    assert channel.sent[1:] == [("ack", 2, False)]


def test_at_most_once_hands_out_behind_the_answer() -> None:
    """Before it, nobody knows whether the message will come again."""
    world = World(before=True)
    channel = world.ready()
    channel.deliver(b"1", b"2")
    assert take(world.client) == []
    assert channel.sent == [("ack", 2, True)]
    channel.answer()
    assert [value for value, _ in take(world.client)] == [b"1", b"2"]


def test_closing_cancels_gives_back_and_closes_in_this_order(world: World) -> None:
    """A close alone counts an attempt of each message that is out; a cancel behind the rest has them come again. What
    was on its way comes behind CancelOk and is given back too, until two barriers have brought nothing."""
    channel = world.ready()
    channel.deliver(b"1")
    take(world.client)
    ended: list[Any] = []
    world.client.close(lambda *answer: ended.append(answer))
    back = ("nack", 0, True, True)
    channel.deliver(b"2")
    assert channel.sent == [("cancel",)]
    channel.answer()
    channel.deliver(b"3")
    channel.answer()
    channel.answer()
    assert channel.sent == [("cancel",), back, back, back]
    channel.answer()
    assert channel.sent[4:] == [("close",)]
    assert take(world.client) == []
    channel.closed(channel, pika.exceptions.ChannelClosedByClient(0, "bye"))
    assert ended == [(None, None)]


def test_closing_waits_for_a_barrier(world: World) -> None:
    """pika holds a cancel back while a synchronous method is out, and would send the rest before it."""
    channel = world.ready()
    channel.deliver(b"1", b"2")
    (_, first), _ = take(world.client)
    world.client.settle([SettleVerb("ack", [first])], lambda *_answer: None)
    world.client.close(lambda *_answer: None)
    assert channel.sent == [("ack", 1, False)]
    channel.answer()
    assert channel.sent[1:] == [("cancel",)]


def test_one_channel_consumes_after_a_cancel_and_a_lost_connection(world: World) -> None:
    """The timer of the first loss must not add a channel to that of the second: they would settle each other's tags."""
    old = world.ready()
    old.cancelled(None)
    (timer,) = world.loop.timers
    world.client.down(ConnectionLost("gone"))
    assert world.loop.timers == []
    world.again()
    timer()
    assert len(world.channels) == 2
    old.deliver(b"late")
    world.client.events()
    assert take(world.client) == []


@pytest.mark.parametrize("consumed", [True, False])
def test_a_406_ends_a_consume_and_not_a_consumer(world: World, consumed: bool) -> None:
    """To one that consumes it is said over a delivery, as when consumer_timeout has passed."""
    channel = world.channel
    if consumed:
        world.ready()
    channel.is_open = False
    channel.closed(channel, pika.exceptions.ChannelClosedByBroker(406, "PRECONDITION_FAILED - timeout"))
    assert any(isinstance(event, Fatal) for event in world.client.events()) is not consumed
    assert bool(world.loop.timers) is consumed


def test_a_cancel_by_the_broker_is_a_loss_that_mends_itself(world: World) -> None:
    """consumer_timeout, or a moved leader: consume again on a fresh channel."""
    world.ready().deliver(b"1")
    world.channel.cancelled(None)
    assert world.channel.sent[-1] == ("close",)
    (timer,) = world.loop.timers
    timer()
    world._opened(world.channels[-1])
    world.ready()
    assert [type(event) for event in world.client.events()] == [Disconnected, Reconnected]


@pytest.mark.parametrize(
    ("code", "text", "ends"),
    [
        (404, "NOT_FOUND - no queue 'q' in vhost '/'", True),
        (404, "NOT_FOUND - home node 'rabbit@a' of durable queue 'q' in vhost '/' is down or inaccessible", False),
        (403, "ACCESS_REFUSED", True),
        (541, "INTERNAL_ERROR", False),
    ],
)
def test_a_missing_queue_ends_it_and_a_node_that_is_down_does_not(
    world: World, code: int, text: str, ends: bool
) -> None:
    """Both are 404; only the first stays so."""
    channel = world.ready()
    channel.is_open = False
    channel.closed(channel, pika.exceptions.ChannelClosedByBroker(code, text))
    fatal = [event for event in world.client.events() if isinstance(event, Fatal)]
    assert bool(fatal) is ends
    assert bool(world.loop.timers) is not ends
    if code == 404 and ends:
        assert isinstance(fatal[0].error, NotFound)


def test_a_prefetch_that_amqp_cannot_say_is_refused() -> None:
    """basic.qos has 16 bits."""
    connection: Any = SimpleNamespace(loop=None, consuming=None)
    with pytest.raises(InvalidSpec, match="65535"):
        QueueClient(connection, QueueSubscriptionSpec(Queue("q"), 65536, 0, False), lambda: None)
