"""Reading a range of a topic. The rule: no group, no lease, no state at the broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mqbridge.errors import InvalidSpec, MqbridgeError
from mqbridge.native.fetching import PartitionFetch
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.spi import Block, Completion, Start
from mqbridge.topology import Topic

if TYPE_CHECKING:
    from mqbridge.native.engine import NativeConnection

Reply = dict[str, Any]


class NativeReplay:
    """The SPI's ReplaySource."""

    def __init__(self, connection: NativeConnection, topic: Topic[Any], ready: Callable[[], None]) -> None:
        self._connection = connection
        self._topic = topic
        self._ready = ready
        self._fetches: dict[int, PartitionFetch] = {}
        self._ends: dict[int, int] = {}
        self._failure: MqbridgeError | None = None
        connection.replays.append(self)

    def bounds(self, start: Start, end: Start, done: Completion[Mapping[int, tuple[int, int]]]) -> None:
        call = self._connection.session.call
        name = self._topic.name

        def with_offsets(reply: Reply | None, _batches: list[RecordBatch], error: MqbridgeError | None) -> None:
            if error is not None or reply is None:
                done(None, error)
                return
            known = {int(p): (item["start"], item["end"]) for p, item in reply["partitions"].items()}
            unknown = sorted((set(start.offsets) | set(end.offsets)) - set(known))
            if unknown:
                done(
                    None,
                    InvalidSpec(f"{self._topic} has no partition {unknown[0]}; it has {len(known)}", field="offsets"),
                )
                return
            self._resolve(
                start,
                known,
                low=True,
                then=lambda lows: self._resolve(
                    end,
                    known,
                    low=False,
                    then=lambda highs: done({p: (lows[p], highs[p]) for p in known}, None),
                    failed=done,
                ),
                failed=done,
            )

        call("offsets", {"topic": name}, (), with_offsets)

    def _resolve(
        self,
        place: Start,
        known: Mapping[int, tuple[int, int]],
        *,
        low: bool,
        then: Callable[[dict[int, int]], None],
        failed: Completion[Any],
    ) -> None:
        if place.kind == "since":

            def found(reply: Reply | None, _batches: list[RecordBatch], error: MqbridgeError | None) -> None:
                if error is not None or reply is None:
                    failed(None, error)
                    return
                offsets = reply["partitions"]
                then({p: known[p][1] if offsets[str(p)] is None else offsets[str(p)] for p in known})

            args = {"topic": self._topic.name, "timestamp_ms": place.timestamp_ms}
            self._connection.session.call("offset_at", args, (), found)
            return
        if place.kind == "at":
            default = 0 if low else 1
            then({p: min(max(place.offsets.get(p, known[p][default]), known[p][0]), known[p][1]) for p in known})
            return
        edge = 0 if place.kind == "earliest" else 1
        then({p: known[p][edge] for p in known})

    def begin(self, ranges: Mapping[int, tuple[int, int]]) -> None:
        for partition, (first, end) in ranges.items():
            self._ends[partition] = end
            self._fetches[partition] = PartitionFetch(
                self._connection.session, self._topic, partition, 0, first, self._ready, self._failed
            )

    def _failed(self, _fetch: PartitionFetch, error: MqbridgeError) -> None:
        if not self._connection.ask_again(error, self._ready):
            self.failed(error)

    def failed(self, error: MqbridgeError) -> None:
        """There will be no host any more, or the broker cannot read it."""
        self._failure = error
        self._ready()

    def data(self, partition: int) -> None:
        fetch = self._fetches.get(partition)
        if fetch is not None:
            fetch.data()

    def lost(self) -> None:
        """Nothing is lost: reading goes on when there is a host again."""

    def restored(self) -> None:
        for fetch in list(self._fetches.values()):
            fetch.rewind()
        self._ready()

    def take(self, max_records: int) -> Block | None:
        for partition, fetch in list(self._fetches.items()):
            block = fetch.take()
            if block is not None:
                if block.next_offset >= self._ends[partition]:
                    del self._fetches[partition]
                return block
        return None

    def failure(self) -> MqbridgeError | None:
        return self._failure

    def close(self) -> None:
        self._fetches.clear()
        if self in self._connection.replays:
            self._connection.replays.remove(self)
