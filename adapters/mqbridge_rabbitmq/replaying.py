"""Reading a range of a topic. The rule: no group, no token, nothing left at the broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mqbridge.errors import InvalidSpec, MqbridgeError
from mqbridge.spi import Block, Completion, Start
from mqbridge.topology import Topic
from mqbridge_rabbitmq import errors, offsets
from mqbridge_rabbitmq.errands import Scratch, run
from mqbridge_rabbitmq.naming import stream_name
from mqbridge_rabbitmq.streams import StreamReader
from mqbridge_rabbitmq.wire import AmqpConnection

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection

BOUNDS_S = 300.0
"""A place that is given by time may be far from where the broker begins to look for it."""


class RabbitReplay:
    """The SPI's ReplaySource. After a lost connection it goes on where it was."""

    def __init__(self, connection: RabbitConnection, topic: Topic[Any], ready: Callable[[], None]) -> None:
        self._connection = connection
        self._topic = topic
        self._ready = ready
        self._readers: dict[int, StreamReader] = {}
        self._ends: dict[int, int] = {}
        self._failure: MqbridgeError | None = None

    # --- the range

    def bounds(self, start: Start, end: Start, done: Completion[Mapping[int, tuple[int, int]]]) -> None:
        what = f"finding the range of {self._topic}"
        run(self._connection.asking, what, lambda s: self._bounds(s, start, end), done, timeout_s=BOUNDS_S)

    async def _bounds(self, scratch: Scratch, start: Start, end: Start) -> Mapping[int, tuple[int, int]]:
        count = await offsets.partition_count(scratch, self._connection, self._topic)
        unknown = sorted(p for p in set(start.offsets) | set(end.offsets) if p >= count)
        if unknown:
            raise InvalidSpec(
                f"{self._topic} has no partition {unknown[0]}; it has {count}", field="offsets", engine=errors.ENGINE
            )
        ranges: dict[int, tuple[int, int]] = {}
        for partition in range(count):
            stream = stream_name(self._topic, partition)
            edges = await offsets.edges(scratch, stream)
            low = await _resolve(scratch, stream, partition, start, edges, edges.start)
            high = await _resolve(scratch, stream, partition, end, edges, edges.end)
            ranges[partition] = low, high
        return ranges

    # --- reading

    def begin(self, ranges: Mapping[int, tuple[int, int]]) -> None:
        for partition, (first, end) in ranges.items():
            self._ends[partition] = end
            self._readers[partition] = StreamReader(
                self._connection.loop, self._topic, partition, 0, first, self._ready, self._failed
            )
        self._connection.loop.call(lambda: self._connection.consuming.attach(self))

    def up(self, connection: AmqpConnection) -> None:
        for reader in list(self._readers.values()):
            reader.open(connection)

    def down(self, error: MqbridgeError) -> None:
        """Nothing is lost: `up` goes on when there is a connection again."""

    def _failed(self, _reader: StreamReader, error: MqbridgeError) -> None:
        self._failure = error
        self._ready()

    def take(self, max_records: int) -> Block | None:
        for partition, reader in list(self._readers.items()):
            block = reader.take()
            if block is not None:
                if block.next_offset >= self._ends[partition]:
                    del self._readers[partition]
                    self._connection.loop.call(reader.close)
                return block
        return None

    def failure(self) -> MqbridgeError | None:
        return self._failure

    def close(self) -> None:
        readers, self._readers = self._readers, {}

        def run() -> None:
            self._connection.consuming.detach(self)
            for reader in readers.values():
                reader.close()

        self._connection.loop.call(run)


async def _resolve(
    scratch: Scratch, stream: str, partition: int, place: Start, edges: offsets.Edges, default: int
) -> int:
    if place.kind == "since":
        found = await offsets.offset_at(scratch, stream, place.timestamp_ms or 0)
        return edges.end if found is None else min(found, edges.end)
    if place.kind == "at":
        return min(max(place.offsets.get(partition, default), edges.start), edges.end)
    return edges.start if place.kind == "earliest" else edges.end
