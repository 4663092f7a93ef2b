"""Administering topics and groups on RabbitMQ: exchanges, streams, token queues. The rule: nothing that a queue owns is
touched here, and what a group committed is changed by its owner alone, which an admin call becomes first.

Making a topic: the exchange first, with the number of partitions among its arguments, which a second declare does not
change, so that of two programs with different numbers one sees that it is late (without the management API, which reads
arguments back, both succeed and the larger number stands); then stream after stream with its binding, which makes it
visible. Every step may be repeated, so `ensure` mends what a crash left undone.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mqbridge.capabilities import Capability
from mqbridge.errors import InvalidSpec, Mismatch, NotFound
from mqbridge.semantics.naming import check_name
from mqbridge.spi import (
    Completion,
    GroupDescription,
    GroupSummary,
    PartitionOffsets,
    TopicDescription,
)
from mqbridge.topology import Retention, Topic
from mqbridge_rabbitmq import errors, groups, offsets
from mqbridge_rabbitmq.errands import Scratch, Step, ask, run
from mqbridge_rabbitmq.management import Management
from mqbridge_rabbitmq.naming import stream_name, topic_exchange

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection

T = TypeVar("T")
LARGEST_SEGMENT_BYTES = 500_000_000
SMALLEST_SEGMENT_BYTES = 100_000
ORDER = "x-stream-partition-order"
SUPER_STREAM = "x-super-stream"
TIMEOUT_S = 60.0


class TopicAdmin:
    """The SPI's Admin calls for topics and groups."""

    def __init__(self, connection: RabbitConnection) -> None:
        self.connection = connection

    def _run(
        self, what: str, work: Callable[[Scratch], Coroutine[Step[Any], Any, T]], done: Completion[T]
    ) -> None:
        run(self.connection.asking, what, work, done, timeout_s=TIMEOUT_S, outcome="unknown")

    # --- topics

    def create_topic(self, topic: Topic[Any], done: Completion[Topic[Any]]) -> None:
        self._run(f"creating {topic}", lambda scratch: self._create(scratch, topic), done)

    async def _create(self, scratch: Scratch, topic: Topic[Any]) -> Topic[Any] | None:
        wanted = topic.partitions or 1
        try:
            await scratch.declare_exchange(topic_exchange(topic))
        except NotFound:
            pass
        else:
            found = await self._standing(scratch, topic, wanted)
            if found is not None:
                return found
        try:
            await scratch.declare_exchange(topic_exchange(topic), arguments=exchange_arguments(wanted))
            intended = await self._intended(topic)
            if intended is not None and intended != wanted:
                return Topic(topic.name, partitions=intended, physical_name=topic.physical_name)
            await self._make_streams(scratch, topic, range(wanted), stream_arguments(topic))
        except Mismatch:
            # Another program makes it at this moment, or made it otherwise: what stands there is the answer.
            found = await self._standing(scratch, topic, None)
            if found is None:
                raise
            return found
        return None

    async def _standing(self, scratch: Scratch, topic: Topic[Any], wanted: int | None) -> Topic[Any] | None:
        """What is there; None if it is incomplete and of that many partitions, so that making it goes on."""
        try:
            found, intended = await self._look(scratch, topic)
        except NotFound:
            return None if wanted is not None else Topic(topic.name, physical_name=topic.physical_name)
        assert found.partitions is not None, "a look counts them"
        complete = found.partitions >= (intended or found.partitions)
        if complete or wanted != intended:
            return found
        return None

    async def _make_streams(
        self, scratch: Scratch, topic: Topic[Any], partitions: range, arguments: Mapping[str, Any]
    ) -> None:
        exchange = topic_exchange(topic)
        for partition in partitions:
            stream = stream_name(topic, partition)
            await scratch.declare_queue(stream, arguments=arguments)
            await scratch.bind(stream, exchange, str(partition), {ORDER: partition})

    async def _look(self, scratch: Scratch, topic: Topic[Any]) -> tuple[Topic[Any], int | None]:
        """The topic as it is, and how many partitions it was to have. Without the management API AMQP tells how many
        there are, and nothing of their retention."""
        count = await offsets.partition_count(scratch, self.connection, topic)
        bare = Topic(topic.name, partitions=count, cleanup="delete", physical_name=topic.physical_name)
        api = self.connection.management
        if api.away:
            return bare, None
        names = topic_exchange(topic), stream_name(topic, 0)
        try:
            exchange, stream = await ask(
                self.connection.loop,
                api,
                f"describing {topic}",
                lambda api: (api.exchange(names[0]), api.queue(names[1])),
            )
        except offsets.TELLS_NOTHING:
            return bare, None
        intended = _whole(exchange.get("arguments", {}).get(offsets.PARTITIONS_ARGUMENT))
        return read_topic(topic.name, count, stream.get("arguments", {}), topic.physical_name), intended

    async def _intended(self, topic: Topic[Any]) -> int | None:
        """The number in the exchange's arguments, which are those of its first declare; None if nobody tells."""
        api, name = self.connection.management, topic_exchange(topic)
        if api.away:
            return None
        try:
            found = await ask(self.connection.loop, api, f"creating {topic}", lambda api: api.exchange(name))
        except offsets.TELLS_NOTHING:
            return None
        return _whole(found.get("arguments", {}).get(offsets.PARTITIONS_ARGUMENT))

    def delete_topic(self, topic: Topic[Any], done: Completion[None]) -> None:
        self._run(f"deleting {topic}", lambda scratch: self._delete(scratch, topic), done)

    async def _delete(self, scratch: Scratch, topic: Topic[Any]) -> None:
        """Exchange, streams, and the committed offsets of all groups, which would be wrong in a topic of that name that
        is made later. Without the management API groups cannot be listed, and theirs stay."""
        exchange = topic_exchange(topic)
        missing: NotFound | None = None
        try:
            await scratch.declare_exchange(exchange)
        except NotFound as error:
            missing = error
        # The exchange goes first: where it is gone and streams are not, a deletion was interrupted, and goes on here.
        bound = 0 if missing is not None else await offsets.more_partitions(scratch, self.connection, topic, 0)
        count = max(bound, await offsets.existing_streams(scratch, topic, bound))
        if missing is None:
            await scratch.delete_exchange(exchange)
        elif not count:
            raise missing
        for partition in range(count):
            await scratch.delete_queue(stream_name(topic, partition))
        for name, (_, of, _) in (await groups.token_queues(self.connection, required=False)).items():
            if of == topic.name:
                await scratch.delete_queue(name)

    def list_topics(self, done: Completion[Sequence[Topic[Any]]]) -> None:
        self.connection.management.ask("listing topics", list_topics, done)

    def describe_topic(self, topic: Topic[Any], done: Completion[TopicDescription]) -> None:
        self._run(f"describing {topic}", lambda scratch: self._describe(scratch, topic), done)

    async def _describe(self, scratch: Scratch, topic: Topic[Any]) -> TopicDescription:
        found, _ = await self._look(scratch, topic)
        partitions: dict[int, PartitionOffsets] = {}
        for partition in range(found.partitions or 0):
            edges = await offsets.edges(scratch, stream_name(topic, partition))
            partitions[partition] = PartitionOffsets(edges.start, edges.end, edges.end, edges.end)
        return TopicDescription(found, partitions, None)

    def add_partitions(self, topic: Topic[Any], partitions: int, done: Completion[None]) -> None:
        self._run(f"adding partitions to {topic}", lambda scratch: self._add(scratch, topic, partitions), done)

    async def _add(self, scratch: Scratch, topic: Topic[Any], partitions: int) -> None:
        found, _ = await self._look(scratch, topic)
        count = found.partitions or 0
        if partitions < count:
            raise InvalidSpec(
                f"{topic} has {count} partitions and cannot shrink to {partitions}. Nothing was changed.",
                field="partitions",
                engine=errors.ENGINE,
            )
        retention = found.retention if found.retention is not None else topic.retention
        like = Topic(topic.name, retention=retention, physical_name=topic.physical_name)
        await self._make_streams(scratch, topic, range(count, partitions), stream_arguments(like))
        self.connection.partitions.found(topic, partitions)

    def offset_at(self, topic: Topic[Any], timestamp_ms: int, done: Completion[Mapping[int, int | None]]) -> None:
        self._run(f"offsets of {topic}", lambda scratch: self._offset_at(scratch, topic, timestamp_ms), done)

    async def _offset_at(self, scratch: Scratch, topic: Topic[Any], timestamp_ms: int) -> Mapping[int, int | None]:
        count = await offsets.partition_count(scratch, self.connection, topic)
        return {p: await offsets.offset_at(scratch, stream_name(topic, p), timestamp_ms) for p in range(count)}

    def delete_records(self, topic: Topic[Any], before: Mapping[int, int], done: Completion[None]) -> None:
        done(None, self.connection.capabilities.refusal(Capability.DELETE_RECORDS, f"deleting records of {topic}"))

    # --- groups

    def list_groups(self, done: Completion[Sequence[GroupSummary]]) -> None:
        self._run("listing groups", lambda scratch: groups.summaries(scratch, self.connection), done)

    def describe_group(self, group: str, done: Completion[GroupDescription]) -> None:
        self._run(
            f"describing group {group}", lambda scratch: groups.describe(scratch, self.connection, group), done
        )

    def commit_offsets(self, group: str, topic: Topic[Any], offsets: Mapping[int, int], done: Completion[None]) -> None:
        self._run(
            f"setting the offsets of group {group}",
            lambda scratch: groups.commit(scratch, self.connection, group, topic, offsets),
            done,
        )

    def delete_group(self, group: str, done: Completion[None]) -> None:
        self._run(f"deleting group {group}", lambda scratch: groups.delete(scratch, self.connection, group), done)


# --- arguments


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def exchange_arguments(partitions: int) -> dict[str, Any]:
    """With what RabbitMQ's own tools know a super stream by."""
    return {SUPER_STREAM: True, offsets.PARTITIONS_ARGUMENT: partitions}


def stream_arguments(topic: Topic[Any]) -> dict[str, Any]:
    """Retention works by whole segments and always keeps the last one, so segments are made small enough for it."""
    arguments: dict[str, Any] = {"x-queue-type": "stream"}
    retention = topic.retention or Retention()
    if retention.max_age_s is not None:
        arguments["x-max-age"] = f"{max(1, round(retention.max_age_s))}s"
    if retention.max_bytes is not None:
        arguments["x-max-length-bytes"] = int(retention.max_bytes)
        segment = min(LARGEST_SEGMENT_BYTES, max(SMALLEST_SEGMENT_BYTES, int(retention.max_bytes) // 4))
        arguments["x-stream-max-segment-size-bytes"] = segment
    return arguments


_UNITS = {"Y": 31_536_000, "M": 2_592_000, "D": 86_400, "h": 3600, "m": 60, "s": 1}


def read_topic(name: str, partitions: int, arguments: Mapping[str, Any], physical_name: str | None) -> Topic[Any]:
    age = arguments.get("x-max-age")
    max_age_s = None
    if isinstance(age, str) and age[:-1].isdigit() and age[-1] in _UNITS:
        max_age_s = float(int(age[:-1]) * _UNITS[age[-1]])
    retention = Retention(max_age_s, arguments.get("x-max-length-bytes"))
    return Topic(name, partitions=partitions, retention=retention, cleanup="delete", physical_name=physical_name)


def list_topics(api: Management) -> list[Topic[Any]]:
    """Direct exchanges that end in ``.mqt`` or say that they are super streams, and have a first stream. One whose name
    is not derived is that of a topic with this `physical_name`, whatever its program calls it."""
    queues = {queue["name"]: queue for queue in api.queues()}
    found: list[Topic[Any]] = []
    for exchange in api.exchanges():
        physical = exchange["name"]
        derived = physical.endswith(".mqt")
        if exchange.get("type") != "direct" or not (derived or exchange.get("arguments", {}).get(SUPER_STREAM)):
            continue
        try:
            name = check_name("topic", physical.removesuffix(".mqt"))
        except ValueError:
            continue  # made by others, and no portable name: who needs it knows it
        count = 0
        while f"{physical}-{count}" in queues:
            count += 1
        if count:
            arguments = queues[f"{physical}-0"].get("arguments", {})
            found.append(read_topic(name, count, arguments, None if derived else physical))
    return found
