"""A consumer of a queue. The rules: messages are pushed within the prefetch window and handed out in blocks, one for
what one read of the socket brought; tokens of a channel that is gone are refused, never sent on its successor; the
consumer comes back by itself, and declares nothing.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from pika import exceptions as amqp

from mqbridge import spi
from mqbridge.errors import Denied, InvalidSpec, MqbridgeError, NotFound
from mqbridge.messages import Delivery, RawHeaders
from mqbridge.spi import Disconnected, Event, Fatal, Reconnected
from mqbridge_rabbitmq import errors, naming, records
from mqbridge_rabbitmq.settling import Settling
from mqbridge_rabbitmq.tags import Arrived, Tags
from mqbridge_rabbitmq.wire import AmqpConnection, cancel

if TYPE_CHECKING:
    from mqbridge.ledger import Page
    from mqbridge.topology import Queue
    from mqbridge_rabbitmq.engine import RabbitConnection
    from mqbridge_rabbitmq.loop import Timer

T = TypeVar("T")
log = logging.getLogger("mqbridge.rabbitmq")
MAX_PREFETCH = 65_535
"""basic.qos counts in 16 bits."""
QUIET_BARRIERS = 2
"""Without a new delivery, until a cancelled consumer is taken to be served no more: a quorum queue's deliveries reach
the channel's process by messages of their own, which one barrier may overtake."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


class QueueBlock(spi.Block):
    """Deliveries that came together. Properties are read when somebody asks."""

    __slots__ = ("_arrived", "_at_ms", "_base", "count", "destination", "lease", "next_offset", "partition")

    def __init__(self, queue: Queue[Any], base: int, arrived: Sequence[Arrived]) -> None:
        self.destination = queue
        self.partition = None
        self.lease = 0
        self.count = len(arrived)
        self.next_offset = 0
        self._base = base
        self._arrived = arrived
        self._at_ms = records.now_ms()

    def raw(self, index: int) -> bytes | None:
        _, properties, body = self._arrived[index]
        return body or records.value_of(properties, body)

    def key(self, index: int) -> bytes | None:
        return records.key_of(self._arrived[index][1])

    def headers(self, index: int) -> RawHeaders | None:
        method, properties, _ = self._arrived[index]
        return records.pairs_of(properties, method.exchange, method.routing_key)

    def timestamp_ms(self, index: int) -> int:
        return records.timestamp_ms_of(self._arrived[index][1], self._at_ms)

    def message_id(self, index: int) -> str | None:
        return records.message_id_of(self._arrived[index][1])

    def offset(self, index: int) -> int:
        return self._base + int(self._arrived[index][0].delivery_tag)

    def attempt(self, index: int) -> int:
        method, properties, _ = self._arrived[index]
        return records.attempt_of(properties, method.redelivered)

    def redelivered(self, index: int) -> bool:
        return bool(self._arrived[index][0].redelivered)

    def deliveries(self, lo: int, hi: int, page: Page) -> list[Delivery[Any]]:
        values = [body or records.value_of(properties, body) for _, properties, body in self._arrived[lo:hi]]
        return list(map(Delivery, repeat(self), range(lo, hi), repeat(page), values))


class QueueClient:
    """The SPI's QueueSubscription, and a tenant of the consuming wire."""

    def __init__(
        self, connection: RabbitConnection, spec: spi.QueueSubscriptionSpec, ready: Callable[[], None]
    ) -> None:
        if spec.prefetch > MAX_PREFETCH:
            raise InvalidSpec(f"prefetch must be at most {MAX_PREFETCH} (AMQP 0-9-1 basic.qos)", field="prefetch")
        self._connection = connection
        self._wire = connection.consuming
        self._loop = connection.loop
        self._spec = spec
        self._name = naming.queue_name(spec.queue)
        self._ready = ready
        self._events: deque[Event] = deque()
        self._blocks: deque[QueueBlock] = deque()
        # Between a loss and the reading of its event nothing new is handed out: a token must not be taken for one of
        # the page that the event ends.
        self._stale = False
        self._handing = threading.Lock()
        self._channel: Any = None
        self._tag = ""
        self._generation = 0
        self._tags = Tags(0)
        self._arrived: list[Arrived] = []
        self._consuming = False
        self._was_lost = False
        self._failures = 0
        self._retry: Timer | None = None
        self._closed = False
        self._asking = False
        self._acked: QueueBlock | None = None
        self._closing: spi.Completion[None] | None = None
        self._settling = Settling(connection, spec.queue, self._say)
        self._loop.call(lambda: self._wire.attach(self))

    # --- the wire's tenant

    def up(self, _connection: AmqpConnection) -> None:
        self._begin()

    def down(self, error: MqbridgeError) -> None:
        self._forget(str(error), error)

    def _begin(self) -> None:
        """Open a channel and consume, unless there is one: two would settle each other's tags."""
        self._stop_retry()
        connection = self._wire.connection
        if self._closed or self._channel is not None or connection is None or not connection.is_open:
            return
        try:
            channel = connection.channel(on_open_callback=self._opened)
        except amqp.AMQPError as error:
            self._try_later(error)
            return
        self._channel = channel
        channel.add_on_close_callback(self._channel_closed)

    def _stop_retry(self) -> None:
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()

    def _opened(self, channel: Any) -> None:
        if channel is not self._channel:
            return
        channel.add_on_cancel_callback(self._cancelled)
        channel.basic_qos(prefetch_count=self._spec.prefetch, callback=lambda _frame: self._consume(channel))

    def _consume(self, channel: Any) -> None:
        if channel is not self._channel:
            return
        self._generation += 1
        self._tags = tags = Tags(self._generation)
        self._arrived = []
        self._settling.begin(channel, tags, self._spec.prefetch)
        self._tag = f"mqbridge-{self._generation}-{random.randrange(1 << 32):08x}"
        channel.basic_consume(
            self._name,
            self._deliver,
            consumer_tag=self._tag,
            arguments={"x-priority": self._spec.priority} if self._spec.priority else None,
            callback=lambda _frame: self._consumes(channel),
        )

    def _consumes(self, channel: Any) -> None:
        if channel is not self._channel:
            return
        self._consuming = True
        self._failures = 0
        if self._was_lost:
            self._was_lost = False
            self._say(Reconnected())

    # --- deliveries

    def _deliver(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if channel is not self._channel:
            return  # its tags mean nothing on this one; the broker has it back with its channel
        arrived = (method, properties, body)
        self._tags.delivered(method.delivery_tag, arrived)
        if self._closing is not None:
            return  # nobody will take it
        self._arrived.append(arrived)
        if len(self._arrived) == 1:
            self._loop.soon(self._make_block)

    def _make_block(self) -> None:
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        block = QueueBlock(self._spec.queue, self._tags.base, arrived)
        with self._handing:
            self._blocks.append(block)
        self._ready()

    # --- losing

    def _cancelled(self, _frame: Any) -> None:
        """The broker took the consumer away: queue deleted, consumer timeout, its node gone
        (consumer_cancel_notify)."""
        channel = self._channel
        why = f"the broker took the consumer of {self._spec.queue} away (queue deleted, or consumer_timeout passed)"
        self._forget(why, None)
        if channel is not None and channel.is_open:
            channel.close()
        self._try_later(None)

    def _channel_closed(self, channel: Any, native: BaseException) -> None:
        if channel is not self._channel:
            return
        if self._closing is not None:
            self._end()
            return
        connection = self._wire.connection
        if connection is None or not connection.is_open:
            return  # `down` follows, and knows why
        error = errors.channel_error(native, f"consuming {self._spec.queue}")
        consumed = self._consuming
        self._forget(str(error), error)
        self._try_later(native, consumed)

    def _forget(self, why: str, error: MqbridgeError | None) -> None:
        """What is out is out no more; tell the application, if it had anything."""
        self._channel = None
        self._stop_retry()
        self._settling.lost(None if error is None else error.__cause__)
        if self._closing is not None:
            self._end()
            return
        lost, self._consuming = self._consuming, False
        with self._handing:
            self._arrived = []
            self._blocks.clear()
            if lost and not self._was_lost:
                self._was_lost = True
                self._stale = True
                self._events.append(Disconnected(why))
        if lost:
            self._ready()

    def _try_later(self, native: BaseException | None, consumed: bool = False) -> None:
        """Consume again after a pause, or never if it cannot work. 405 and 406 say so of a consume; to a channel that
        `consumed` the broker says 406 over a delivery, as when consumer_timeout has passed."""
        error = None if native is None else errors.channel_error(native, f"consuming {self._spec.queue}")
        code, text = errors.reply(native)
        # 404 is also what is said of a queue whose node is down; only a queue that is not there has no such name.
        gone = code == 404 and "no queue" in text
        if gone or isinstance(error, Denied) or (code in (405, 406) and not consumed):
            self._wire.detach(self)
            self._say(Fatal(self._gone(native) if gone else error))  # type: ignore[arg-type]
            return
        self._failures += 1
        if self._retry is None and not self._closed:
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures, 10))
            self._retry = self._loop.later(pause_s * random.uniform(0.5, 1.0), self._begin)

    def _gone(self, native: BaseException | None) -> MqbridgeError:
        return errors.caused(
            NotFound(
                f"{self._spec.queue} is not there (any more); nothing can be taken from it, and its messages are gone "
                "with it. Make it with admin.ensure() and consume anew.",
                engine=errors.ENGINE,
            ),
            native,
        )

    # --- the SPI

    def _say(self, event: Event) -> None:
        self._events.append(event)
        self._ready()

    def events(self) -> list[Event]:
        events: list[Event] = []
        with self._handing:
            while self._events:
                events.append(self._events.popleft())
            self._stale = False
        return events

    def take(self, max_records: int) -> spi.Block | None:
        if max_records <= 0:
            return None
        with self._handing:
            if self._spec.before:
                return self._take_acked()
            if not self._stale:
                return self._blocks.popleft() if self._blocks else None
        self._ready()  # the loss is to be read first
        return None

    def _take_acked(self) -> QueueBlock | None:
        """At most once: only what the broker has settled for certain is shown, and that is ours whatever becomes of the
        connection."""
        block, self._acked = self._acked, None
        if not self._asking and self._blocks:
            self._asking = True
            self._ack_before(self._blocks.popleft())
        return block

    def _ack_before(self, block: QueueBlock) -> None:
        def settled(refused: tuple[int, ...] | None, error: MqbridgeError | None) -> None:
            with self._handing:
                self._asking = False
                if error is None and not refused:
                    self._acked = block
            self._ready()

        self.settle([spi.SettleVerb("ack", [block.offset(index) for index in range(block.count)])], settled)

    def settle(self, verbs: Sequence[spi.SettleVerb], done: spi.Completion[tuple[int, ...]]) -> None:
        self._loop.call(lambda: self._settling.settle(verbs, done))

    def close(self, done: spi.Completion[None]) -> None:
        self._loop.call(lambda: self._close(done))

    def _close(self, done: spi.Completion[None]) -> None:
        self._closed = True
        self._wire.detach(self)
        self._stop_retry()
        self._closing = done
        channel = self._channel
        if channel is None or not channel.is_open:
            self._end()
            return
        # After the settlements under way: pika holds a cancel back while a synchronous method is out.
        self._settling.when_idle(lambda: self._give_back(channel))

    def _give_back(self, channel: Any) -> None:
        """Cancel first, or what is given back comes again; give back before the channel closes, for that counts an
        attempt of each delivery that is out. What the queue sent before it heard of the cancel comes behind CancelOk
        too: so it is given back again and again, each time behind a barrier, until two in a row brought nothing."""
        if channel is not self._channel or not channel.is_open:
            self._end()
            return
        if not self._consuming:
            channel.close()
            return
        self._settling.lost(None)  # what is settled from now on is refused
        cancel(channel, self._tag, lambda _frame: self._nack_all(channel, -1, 0))

    def _nack_all(self, channel: Any, newest: int, quiet: int) -> None:
        """Everything up to `newest` was given back, and `quiet` barriers have brought nothing since."""
        if channel is not self._channel or not channel.is_open:
            return  # `_end` was or will be called
        quiet = quiet + 1 if self._tags.newest == newest else 0
        if quiet == QUIET_BARRIERS:
            channel.close()
            return
        newest = self._tags.newest
        channel.basic_nack(0, multiple=True, requeue=True)
        channel.basic_qos(
            prefetch_count=self._spec.prefetch, callback=lambda _frame: self._nack_all(channel, newest, quiet)
        )

    def _end(self) -> None:
        self._channel = None
        self._consuming = False
        done, self._closing = self._closing, None
        if done is not None:
            done(None, None)

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any]) -> None:
        """pika's channel of this consumer, or its connection."""

        def run() -> None:
            native: Any = self._channel
            if isinstance(native, kind):
                done(fn(native), None)
            else:
                self._connection.call(kind, fn, done, self._wire)

        self._loop.call(run)
