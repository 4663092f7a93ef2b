"""Reading one stream ahead: blocks on the loop thread in, blocks on the consumer's thread out.

The rule: what is buffered is bounded by the prefetch, for the broker is given credit (which is all that an ack means on
a stream) for what was taken, not for what arrived. A seek starts another generation; what the one before still brings
is dropped.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import repeat
from typing import TYPE_CHECKING, Any

from pika import exceptions as amqp

from mqbridge.errors import MqbridgeError, NotFound
from mqbridge.messages import Delivery, RawHeaders
from mqbridge.spi import Block
from mqbridge.topology import Topic
from mqbridge_rabbitmq import errors, records
from mqbridge_rabbitmq.errands import OFFSET_HEADER, Row
from mqbridge_rabbitmq.loop import Loop
from mqbridge_rabbitmq.naming import stream_name
from mqbridge_rabbitmq.wire import AmqpConnection, shut, usable

if TYPE_CHECKING:
    from mqbridge.ledger import Page

PREFETCH = 500
"""Records that may be on their way or buffered for one partition."""


class StreamBlock(Block):
    """What one turn of the loop brought of a partition. Fields are decoded when they are asked for."""

    __slots__ = ("_rows", "channel", "count", "destination", "lease", "next_offset", "partition", "tag")

    def __init__(self, topic: Topic[Any], partition: int, lease: int, rows: list[Row], channel: Any, tag: int) -> None:
        self.destination = topic
        self.partition: int | None = partition
        self.lease = lease
        self.count = len(rows)
        self.next_offset = rows[-1][0] + 1
        self.channel = channel
        self.tag = tag
        self._rows = rows

    def key(self, index: int) -> bytes | None:
        return records.key_of(self._rows[index][1])

    def raw(self, index: int) -> bytes | None:
        row = self._rows[index]
        return records.value_of(row[1], row[2])

    def headers(self, index: int) -> RawHeaders | None:
        return records.pairs_of(self._rows[index][1])

    def timestamp_ms(self, index: int) -> int:
        return records.timestamp_ms_of(self._rows[index][1])

    def message_id(self, index: int) -> str | None:
        return records.message_id_of(self._rows[index][1])

    def offset(self, index: int) -> int:
        return self._rows[index][0]

    def deliveries(self, lo: int, hi: int, page: Page) -> list[Delivery[Any]]:
        value_of = records.value_of
        values = [value_of(properties, body) for _, properties, body in self._rows[lo:hi]]
        return list(map(Delivery, repeat(self), range(lo, hi), repeat(page), values))


class StreamReader:
    """The reading place in one partition. `take` and `seek` on the consumer's thread, the rest on the loop's.

    `failed` hears why the broker ended the reading; the connection's end is the owner's to know, who calls `open` with
    the next one: reading goes on where it was.
    """

    def __init__(
        self,
        loop: Loop,
        topic: Topic[Any],
        partition: int,
        lease: int,
        position: int,
        ready: Callable[[], None],
        failed: Callable[[StreamReader, MqbridgeError], None],
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.lease = lease
        self.paused = False
        self.stopped = False
        self._loop = loop
        self._ready = ready
        self._failed = failed
        self._position = position
        self._blocks: deque[StreamBlock] = deque()
        self._generation = 0
        self._moving = threading.Lock()  # held for a few assignments, never while calling out
        self._connection: AmqpConnection | None = None
        self._channel: Any = None
        self._rows: list[Row] = []
        self._last_tag = 0

    # --- the consumer's thread

    def take(self) -> StreamBlock | None:
        """The next block, or None. The broker is given credit for it."""
        if self.paused or self.stopped:
            return None
        with self._moving:
            if not self._blocks:
                return None
            block = self._blocks.popleft()
        self._loop.call(lambda: self._credit(block))
        return block

    def seek(self, offset: int) -> None:
        """Go on at `offset`; what was read is dropped before this returns."""
        with self._moving:
            self._generation += 1
            self._blocks.clear()
            self._position = offset
            self.stopped = False
        self._loop.call(self._again)

    def at(self, offset: int) -> bool:
        """Nothing was read since it was sent there."""
        with self._moving:
            return self._position == offset

    # --- the loop's

    def open(self, connection: AmqpConnection) -> None:
        """Read on this connection from the position on."""
        self._connection = connection
        self._again()

    def close(self) -> None:
        """Read no more; what is buffered is not given any more."""
        self.stopped = True
        self._connection = None
        self._drop_channel()
        with self._moving:
            self._generation += 1
            self._blocks.clear()

    def _again(self) -> None:
        self._drop_channel()
        connection = self._connection
        if connection is None or not connection.is_open:
            return
        with self._moving:
            generation, offset = self._generation, self._position
        try:
            self._channel = connection.channel(
                on_open_callback=lambda channel: self._opened(channel, generation, offset)
            )
        except amqp.AMQPError:
            return  # the connection is ending: `open` follows with the next one
        self._channel.add_on_close_callback(self._closed)

    def _drop_channel(self) -> None:
        channel, self._channel = self._channel, None
        self._rows = []
        shut(channel)

    def _opened(self, channel: Any, generation: int, offset: int) -> None:
        if channel is not self._channel:
            shut(channel)
            return
        channel.add_on_cancel_callback(self._cancelled)

        def arrived(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
            if channel is not self._channel:
                return  # a late one of a channel that was given up
            # The broker begins with a whole chunk: older versions deliver what lies before the offset in it.
            at = int(properties.headers[OFFSET_HEADER])
            self._last_tag = method.delivery_tag
            if at < offset:
                channel.basic_ack(method.delivery_tag, multiple=True)
                return
            if not self._rows:
                self._loop.soon(lambda: self._flush(channel, generation))
            self._rows.append((at, properties, body))

        channel.basic_qos(prefetch_count=PREFETCH)
        channel.basic_consume(stream_name(self.topic, self.partition), arrived, arguments={OFFSET_HEADER: offset})

    def _flush(self, channel: Any, generation: int) -> None:
        """What this turn brought becomes a block."""
        if channel is not self._channel or not self._rows:
            return
        rows, self._rows = self._rows, []
        block = StreamBlock(self.topic, self.partition, self.lease, rows, channel, self._last_tag)
        with self._moving:
            if generation != self._generation:
                return
            self._position = block.next_offset
            self._blocks.append(block)
        self._ready()

    def _credit(self, block: StreamBlock) -> None:
        if block.channel is self._channel and usable(block.channel):
            block.channel.basic_ack(block.tag, multiple=True)

    def _cancelled(self, _frame: Any) -> None:
        name = stream_name(self.topic, self.partition)
        self._drop_channel()
        self._failed(
            self,
            NotFound(
                f"{self.topic}/{self.partition}: the broker ended the reading of stream {name}: it was deleted, or no "
                "replica of it runs on this node. Nothing was lost by that; ensure() makes a missing one.",
                engine=errors.ENGINE,
            ),
        )

    def _closed(self, channel: Any, native: BaseException) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        self._rows = []
        if isinstance(native, amqp.ChannelClosedByBroker):
            self._failed(self, errors.channel_error(native, f"reading {self.topic}/{self.partition}"))
