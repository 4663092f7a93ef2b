"""Topics: create, delete, append, fetch, and what retention takes away.

The rule: check everything, write to storage, then change memory; so an operation that raised has changed
nothing that anybody can see. What does not belong here: groups, who listen through `TopicListener`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from mqbridge import errors
from mqbridge.native.core import arguments
from mqbridge.native.core.ports import Batch, Notify, Now, Op, Reply, Store, Topology
from mqbridge.native.core.topics import retention
from mqbridge.native.core.topics.partition import Partition
from mqbridge.native.core.topics.spec import MAX_PARTITIONS, TopicSpec, topic_name
from mqbridge.native.core.turns import run_all

RETENTION_INTERVAL_S = 1.0


@dataclass(slots=True)
class Topic:
    name: str
    spec: TopicSpec
    partitions: list[Partition]


class TopicListener(Protocol):
    """Who must know when topics change. Called after the change is durable and in memory; must not fail."""

    def partitions_added(self, topic: str, now: Now) -> None: ...

    def topic_deleted(self, topic: str, now: Now) -> None: ...


class TopicRoom:
    """The operations on topics; see `ports.Room`."""

    def __init__(self, store: Store, meta: Topology, notify: Notify) -> None:
        self._store = store
        self._meta = meta
        self._notify = notify
        self._topics: dict[str, Topic] = {}
        self._deleted: dict[str, None] = {}  # their logs are still to be removed
        self._listeners: list[TopicListener] = []
        self._next_retention_s: float | None = None
        self.ops: Mapping[str, Op] = {
            "create_topic": self._create,
            "delete_topic": self._delete,
            "list_topics": self._list,
            "describe_topic": self._describe,
            "add_partitions": self._add_partitions,
            "append": self._append,
            "append_many": self._append_many,
            "fetch": self._fetch,
            "offsets": self._offsets,
            "offset_at": self._offset_at,
            "delete_records": self._delete_records,
        }

    # --- for the groups ---

    def listen(self, listener: TopicListener) -> None:
        self._listeners.append(listener)

    def partitions(self, topic: str) -> Sequence[Partition]:
        """The partitions of a topic; none if it does not exist."""
        known = self._topics.get(topic)
        return known.partitions if known else ()

    def existing(self, name: str) -> Topic:
        """The topic, or NotFound."""
        topic = self._topics.get(name)
        if topic is None:
            raise errors.NotFound(f"there is no topic {name!r}; nothing was done: create it first")
        return topic

    # --- administering ---

    def _create(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        name = topic_name(arguments.text(args, "name"))
        spec = TopicSpec.read(args.get("spec"))
        known = self._topics.get(name)
        if known is not None:
            return {"created": False, "spec": known.spec.to_json()}, []
        # A topic of that name whose deletion was cut short may have left records, which are not this one's.
        self._store.remove_topic(name)
        self._deleted.pop(name, None)
        try:
            partitions = self._open(name, spec, 0)
            self._meta.append(_entry(name, spec))
        except errors.MqbridgeError:
            self._store.remove_topic(name)
            raise
        self._topics[name] = Topic(name, spec, partitions)
        return {"created": True, "spec": spec.to_json()}, []

    def _delete(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        topic = self.existing(arguments.text(args, "name"))
        self._meta.append({"t": "topic-deleted", "name": topic.name})
        del self._topics[topic.name]
        for partition in topic.partitions:
            self._wake(partition)  # whoever waits for more is to find out that there is nothing any more
        for listener in self._listeners:
            listener.topic_deleted(topic.name, now)
        self._deleted[topic.name] = None
        with suppress(errors.MqbridgeError):
            # The topic is gone, whatever the disk says; the tick tries again to free its bytes, and reports.
            self._remove_deleted()
        return {}, []

    def _list(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        return {
            "topics": [
                {"name": name, "spec": self._topics[name].spec.to_json()} for name in sorted(self._topics)
            ]
        }, []

    def _describe(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        topic = self.existing(arguments.text(args, "name"))
        partitions = [partition.description() for partition in topic.partitions]
        return {"name": topic.name, "spec": topic.spec.to_json(), "partitions": partitions}, []

    def _add_partitions(
        self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now
    ) -> Reply:
        topic = self.existing(arguments.text(args, "name"))
        count = arguments.integer(args, "partitions", least=1)
        if not topic.spec.partitions < count <= MAX_PARTITIONS:
            raise errors.ConfigurationError(
                f"topic {topic.name!r} has {topic.spec.partitions} partitions and can only grow, to "
                f"{MAX_PARTITIONS} at most, not to {count}; nothing was changed"
            )
        spec = replace(topic.spec, partitions=count)
        # If this fails half-way, empty logs stay behind, which the next attempt takes as they are.
        added = self._open(topic.name, spec, topic.spec.partitions)
        self._meta.append(_entry(topic.name, spec))
        topic.spec = spec
        topic.partitions += added
        for listener in self._listeners:
            listener.partitions_added(topic.name, now)
        return {}, []

    # --- records ---

    def _append(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        partition = self._partition(args)
        if len(batches) != 1:
            raise errors.ConfigurationError(
                f"append takes one batch, not {len(batches)}; nothing was appended"
            )
        base_offset = partition.append(batches[0])
        self._wake(partition)
        return {"base_offset": base_offset}, []

    def _append_many(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        """Each batch stands for itself: what one partition refuses does not hinder the next. The answer carries the
        topic's number of partitions, from which open senders learn that it has changed."""
        topic = self.existing(arguments.text(args, "topic"))
        numbers = arguments.integers(args, "partitions")
        if len(numbers) != len(batches):
            raise errors.ConfigurationError(
                f"{len(batches)} batches came with {len(numbers)} partitions; nothing was appended"
            )
        base_offsets: list[int | None] = []
        failures: list[dict[str, Any] | None] = []
        for number, batch in zip(numbers, batches, strict=True):
            try:
                partition = _numbered(topic, number)
                base_offsets.append(partition.append(batch))
                failures.append(None)
                self._wake(partition)
            except errors.MqbridgeError as error:
                base_offsets.append(None)
                failures.append(
                    {
                        "code": error.code,
                        "message": error.message,
                        "outcome": error.outcome,
                        "retryable": error.retryable,
                    }
                )
        return {"base_offsets": base_offsets, "errors": failures, "partitions": len(topic.partitions)}, []

    def _fetch(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        partition = self._partition(args)
        offset = arguments.integer(args, "offset")
        max_bytes = arguments.integer(args, "max_bytes", least=1)
        watch = arguments.flag(args, "watch")
        found = partition.fetch(offset, max_bytes)
        if watch and not found:
            partition.watch(session)
        reply = {"base_offsets": [base for base, _ in found], "start": partition.start, "end": partition.end}
        return reply, [batch for _, batch in found]

    def _offsets(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        topic = self.existing(arguments.text(args, "topic"))
        return {"partitions": {str(p.number): {"start": p.start, "end": p.end} for p in topic.partitions}}, []

    def _offset_at(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        topic = self.existing(arguments.text(args, "topic"))
        timestamp_ms = arguments.integer(args, "timestamp_ms")
        return {"partitions": {str(p.number): p.offset_at(timestamp_ms) for p in topic.partitions}}, []

    def _delete_records(
        self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now
    ) -> Reply:
        topic = self.existing(arguments.text(args, "topic"))
        before = arguments.partition_offsets(args, "before")
        targets = [(_numbered(topic, number), offset) for number, offset in before.items()]
        for partition, offset in targets:
            partition.check_within(offset)
        for partition, offset in targets:
            partition.delete_before(offset)
        return {}, []

    # --- recovery and time ---

    def restore_meta(self, entry: dict[str, Any]) -> bool:
        if entry.get("t") == "topic":
            name = entry["name"]
            self._deleted.pop(name, None)
            self._topics[name] = Topic(name, TopicSpec.read(entry["spec"]), [])
        elif entry.get("t") == "topic-deleted":
            del self._topics[entry["name"]]
            self._deleted[entry["name"]] = None
        else:
            return False
        return True

    def snapshot_meta(self) -> Iterable[dict[str, Any]]:
        return [_entry(topic.name, topic.spec) for topic in self._topics.values()]

    def recover(self, now: Now) -> None:
        with suppress(errors.MqbridgeError):
            # A crash may have come between a journal entry and the removal of the logs. As above: the tick
            # reports.
            self._remove_deleted()
        for topic in self._topics.values():
            topic.partitions = self._open(topic.name, topic.spec, 0)
        self._next_retention_s = now.mono_s + RETENTION_INTERVAL_S

    def close_session(self, session: int, clean: bool, now: Now) -> None:
        for topic in self._topics.values():
            for partition in topic.partitions:
                partition.unwatch(session)

    def tick(self, now: Now) -> None:
        if self._next_retention_s is None or now.mono_s < self._next_retention_s:
            return
        # Moved on first: a disk that refuses is asked again in a second, not at once.
        self._next_retention_s = now.mono_s + RETENTION_INTERVAL_S
        turns: list[Callable[[], object]] = [self._remove_deleted]
        for topic in self._limited():
            limits = topic.spec.retention
            turns += [partial(retention.enforce, p.log, limits, now.wall_ms) for p in topic.partitions]
        run_all(turns)

    def next_deadline(self, now: Now) -> float | None:
        busy = bool(self._deleted) or any(True for _ in self._limited())
        return self._next_retention_s if busy else None

    # --- inside ---

    def _open(self, name: str, spec: TopicSpec, first: int) -> list[Partition]:
        """The partitions from `first` on."""
        return [
            Partition(name, number, self._store.partition_log(name, number), spec.segment_bytes)
            for number in range(first, spec.partitions)
        ]

    def _remove_deleted(self) -> None:
        while self._deleted:
            name = next(iter(self._deleted))
            self._store.remove_topic(name)
            del self._deleted[name]

    def _limited(self) -> Iterator[Topic]:
        return (topic for topic in self._topics.values() if topic.spec.retention.limited)

    def _partition(self, args: dict[str, Any]) -> Partition:
        topic = self.existing(arguments.text(args, "topic"))
        return _numbered(topic, arguments.integer(args, "partition"))

    def _wake(self, partition: Partition) -> None:
        for session in partition.take_watchers():
            self._notify(session, {"note": "data", "topic": partition.topic, "partition": partition.number})


def _numbered(topic: Topic, number: int) -> Partition:
    if not 0 <= number < len(topic.partitions):
        raise errors.NotFound(
            f"topic {topic.name!r} has the partitions 0 to {len(topic.partitions) - 1} and not {number}; "
            "nothing was done"
        )
    return topic.partitions[number]


def _entry(name: str, spec: TopicSpec) -> dict[str, Any]:
    return {"t": "topic", "name": name, "spec": spec.to_json()}
