"""Reading a range of a topic. The rule: no group, no commit; the client's own thread asks, reads, and knows the end.

A range may end in what no reader sees (transaction markers, aborted or compacted records), so that its last record
comes long before its end: a partition is also done when the client says that it has read to the end of the log.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place

from mqbridge.errors import Closed, InvalidSpec, MqbridgeError, OffsetLost
from mqbridge.spi import Block, Completion, Start
from mqbridge.topology import Topic
from mqbridge_kafka.asking import EARLIEST, LATEST, at_time, insist, offsets_at, partitions_of
from mqbridge_kafka.blocks import EndBlock, TopicBlock
from mqbridge_kafka.cut_off import NOT_YET, REPLACED, Lifeline, let_go
from mqbridge_kafka.errors import ENGINE, rule_of, translate
from mqbridge_kafka.group_member import ENDING, FETCH, LOOK_S, MISSING, OUT_OF_RANGE
from mqbridge_kafka.holding import MAX_RECORDS
from mqbridge_kafka.member_client import reading_config
from mqbridge_kafka.naming import topic_of
from mqbridge_kafka.settings import log
from mqbridge_kafka.watching import never_destroy

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

ISOLATION: Final = "read_committed"
Bounds = Mapping[int, tuple[int, int]]


class KafkaReplay:
    """The SPI's ReplaySource."""

    def __init__(self, connection: KafkaConnection, topic: Topic[Any], ready: Callable[[], None]) -> None:
        self._connection = connection
        self._topic = topic
        self._name = topic_of(topic)
        self._ready = ready
        self._ends: dict[int, int] = {}
        self._reached: dict[int, int] = {}
        self._blocks: deque[tuple[Block, int]] = deque()
        self._records = 0
        self._bytes = 0
        self._max_bytes = connection.settings.buffer_bytes >> 2
        self._failure: MqbridgeError | None = None
        self._closed = False
        self._ended = False
        self._lock = threading.Lock()
        """So that no question gets into the queue after its end."""
        self._commands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._consumer: Consumer | None = None
        self._lifeline = Lifeline(partial(connection.config, "probe"))
        connection.parts[self] = None
        threading.Thread(target=self._run, name="mqbridge-kafka-replay", daemon=True).start()

    # --- the application's side

    def bounds(self, start: Start, end: Start, done: Completion[Bounds]) -> None:
        with self._lock:
            if not self._ended:
                self._commands.put(partial(self._find_bounds, start, end, done))
                return
        done(None, self._why())

    def begin(self, ranges: Bounds) -> None:
        self._commands.put(partial(self._begin, dict(ranges)))

    def take(self, max_records: int) -> Block | None:
        if not self._blocks:
            return None
        block, size = self._blocks.popleft()
        # Only the reading thread adds, and it looks at the sums as a hint.
        self._records -= block.count
        self._bytes -= size
        return block

    def failure(self) -> MqbridgeError | None:
        return None if self._blocks else self._failure

    def close(self, done: Completion[None] | None = None) -> None:
        self._connection.parts.pop(self, None)
        self._closed = True
        self._commands.put(None)
        if done is not None:
            done(None, None)

    def abandon(self) -> None:
        self._closed = True
        if self._consumer is not None:
            never_destroy(self._consumer)

    # --- the thread

    def _run(self) -> None:
        try:
            while not self._closed:
                reading = self._consumer is not None and bool(self._ends)
                self._obey(not reading or self._full)
                if reading and not self._full:
                    self._fetch()
                    self._mind_the_client()
        except KafkaException as error:
            self._fail(translate(error, f"replaying {self._topic}"))
        except MqbridgeError as error:
            self._fail(error)
        finally:
            self._end()

    def _end(self) -> None:
        """Who still waits for an answer is told why there is none."""
        with self._lock:
            self._ended = True
        self._obey_rest()
        if self._consumer is not None:
            self._consumer.close()

    def _obey_rest(self) -> None:
        while True:
            try:
                command = self._commands.get_nowait()
            except Empty:
                return
            if command is not None:
                command()

    def _why(self) -> MqbridgeError:
        return self._failure or Closed(f"the replay of {self._topic} was closed; nothing was read", engine=ENGINE)

    @property
    def _full(self) -> bool:
        return self._records >= MAX_RECORDS or self._bytes >= self._max_bytes

    def _obey(self, wait: bool) -> None:
        try:
            timeout_s = LOOK_S if self._ends else None
            command = self._commands.get(timeout=timeout_s) if wait else self._commands.get_nowait()
        except Empty:
            return
        if command is not None:
            command()

    def _find_bounds(self, start: Start, end: Start, done: Completion[Bounds]) -> None:
        if self._ended or self._closed:
            done(None, self._why())
            return
        try:
            found = self._bounds(start, end)
        except MqbridgeError as error:
            done(None, error)
        else:
            done(found, None)

    def _bounds(self, start: Start, end: Start) -> Bounds:
        client = self._connection.watch.client
        what = f"finding the range of {self._topic}"
        count = insist(lambda: partitions_of(client, [self._name]), what, lambda: self._closed)[self._name]
        unknown = sorted((set(start.offsets) | set(end.offsets)) - set(range(count)))
        if unknown:
            raise InvalidSpec(f"{self._topic} has no partition {unknown[0]}; it has {count}", field="offsets")
        lows = self._offsets(what, dict.fromkeys(range(count), EARLIEST))
        highs = self._offsets(what, dict.fromkeys(range(count), LATEST))
        firsts = self._resolve(what, start, lows, highs, lows)
        ends = self._resolve(what, end, lows, highs, highs)
        return {p: (firsts[p], ends[p]) for p in range(count)}

    def _resolve(
        self, what: str, place: Start, lows: Mapping[int, int], highs: Mapping[int, int], default: Mapping[int, int]
    ) -> dict[int, int]:
        if place.kind == "since":
            found = self._offsets(what, dict.fromkeys(lows, at_time(place.timestamp_ms or 0)))
            return {p: highs[p] if found[p] < 0 else min(found[p], highs[p]) for p in lows}
        if place.kind == "at":
            return {p: min(max(place.offsets.get(p, default[p]), lows[p]), highs[p]) for p in lows}
        return dict(lows if place.kind == "earliest" else highs)

    def _offsets(self, what: str, specs: Mapping[int, int]) -> dict[int, int]:
        watch = self._connection.watch
        named = {(self._name, partition): spec for partition, spec in specs.items()}
        found = insist(lambda: offsets_at(watch, named, ISOLATION), what, lambda: self._closed)
        return {partition: offset for (_, partition), offset in found.items()}

    def _begin(self, ranges: Bounds) -> None:
        if self._ended or self._closed:
            return
        self._ends = {partition: end for partition, (_first, end) in ranges.items()}
        self._reached = {partition: first for partition, (first, _end) in ranges.items()}
        self._consumer = self._reader()

    def _reader(self) -> Consumer:
        """A client that reads on where the range was reached."""
        config = (
            self._connection.config("replay")
            | reading_config(self._connection.settings)
            | {
                "group.id": f"mqbridge-replay-{secrets.token_hex(8)}",  # the client wants one; nobody ever joins it
                "enable.partition.eof": True,
                "isolation.level": ISOLATION,
                "error_cb": self._on_error,
            }
        )
        consumer = Consumer(config)
        consumer.assign([Place(self._name, partition, self._reached[partition]) for partition in self._ends])
        self._lifeline.heard()
        return consumer

    def _mind_the_client(self) -> None:
        """One that is cut off is replaced."""
        if self._consumer is not None and self._lifeline.cut_off(self._consumer, self._name):
            old = [self._consumer]
            try:
                self._consumer = self._reader()
            except KafkaException as error:
                log.warning("replaying %s: %s: %s", self._topic, NOT_YET, error)
                return
            log.warning("replaying %s: %s", self._topic, REPLACED)
            let_go(old)

    def _fetch(self) -> None:
        consumer = self._consumer
        assert consumer is not None, "called while reading"
        messages = consumer.consume(FETCH, 0)
        if not messages:
            first = consumer.poll(LOOK_S)
            if first is None:
                return
            messages = [first, *consumer.consume(FETCH - 1, 0)]
        self._lifeline.heard()
        parts: dict[int, list[Message]] = {}
        for message in messages:
            partition = message.partition()
            if message.error():
                self._on_trouble(message, parts)
            elif partition in self._ends:
                parts.setdefault(partition, []).append(message)
        for partition, part in parts.items():
            self._put(partition, part)
        if self._blocks:
            self._ready()

    def _put(self, partition: int, messages: list[Message]) -> None:
        if partition not in self._ends or not messages:
            return
        block = TopicBlock(self._topic, partition, 0, messages)
        size = sum(map(len, messages))
        self._reached[partition] = block.next_offset
        self._records += block.count
        self._bytes += size
        self._blocks.append((block, size))
        if block.next_offset >= self._ends[partition]:
            self._done(partition)

    def _done(self, partition: int) -> None:
        del self._ends[partition]
        assert self._consumer is not None, "called while reading"
        self._consumer.pause([Place(self._name, partition)])

    def _on_trouble(self, message: Message, parts: dict[int, list[Message]]) -> None:
        error = message.error()
        partition = message.partition()
        assert error is not None, "called for errors alone"
        code = error.code()
        if code == KafkaError._PARTITION_EOF and partition in self._ends:
            self._put(partition, parts.pop(partition, []))
            end = self._ends.get(partition)
            if end is not None and (message.offset() or 0) >= end:
                self._blocks.append((EndBlock(self._topic, partition, end), 0))
                self._done(partition)
        elif code in OUT_OF_RANGE and partition is not None:
            raise self._removed(partition)
        elif code in MISSING or error.fatal() or issubclass(rule_of(code).kind, ENDING):
            raise translate(error, f"replaying {self._topic}", outcome="not_applied")
        elif code != KafkaError._PARTITION_EOF:
            log.info("replaying %s: %s", self._topic, error.str())

    def _removed(self, partition: int) -> MqbridgeError:
        wanted = self._reached.get(partition, 0)
        first = self._offsets(f"replaying {self._topic}", {partition: EARLIEST})[partition]
        return OffsetLost(
            f"replaying {self._topic}/{partition}: offset {wanted} was removed while it was read; the log begins at "
            f"{first} now. Nothing was skipped; start again from there.",
            engine=ENGINE,
            topic=self._topic.name,
            partition=partition,
            committed=wanted,
            start=first,
        )

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._connection.watch.trouble(error.str())

    def _fail(self, error: MqbridgeError) -> None:
        self._failure = error
        self._ready()
