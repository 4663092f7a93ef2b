"""Administering topics and groups.

The rule of this room: plain steps on a thread of their own (`aside`), each bounded by a timeout, and a change is done
only when a broker shows it. What stands at the broker is reported as a specification, so that `diff` compares like with
like. Queues and exchanges are in queue_administering.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import confluent_kafka
from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, ResourceType

from mqbridge.errors import ConnectionLost, InvalidSpec, NotFound, OperationTimeout, Rejected
from mqbridge.spi import (
    Completion,
    ExchangeDescription,
    GroupDescription,
    GroupSummary,
    MemberDescription,
    PartitionOffsets,
    QueueDescription,
    StoredMessage,
    TopicDescription,
    TopicPartition,
)
from mqbridge.topology import Binding, Destination, Exchange, Queue, Retention, Topic
from mqbridge_kafka.aside import aside
from mqbridge_kafka.asking import (
    EARLIEST,
    LATEST,
    TRY_S,
    answer,
    at_time,
    commit_as_admin,
    committed_of,
    insist,
    offsets_at,
    partitions_of,
)
from mqbridge_kafka.errors import ENGINE, code_of, translate
from mqbridge_kafka.naming import REGISTRY, is_portable_topic, named, topic_of
from mqbridge_kafka.queue_administering import QueueAdmin
from mqbridge_kafka.starting import HAS_MEMBERS

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

T = TypeVar("T")

SHOWN_S: Final = 20.0
"""How long a change is waited for until the brokers show it."""
LOOK_S: Final = 0.05
STATES: Final = {
    ConsumerGroupState.STABLE: "stable",
    ConsumerGroupState.EMPTY: "empty",
    ConsumerGroupState.DEAD: "dead",
    ConsumerGroupState.PREPARING_REBALANCING: "rebalancing",
    ConsumerGroupState.COMPLETING_REBALANCING: "rebalancing",
}
NO_GROUP: Final = (KafkaError.GROUP_ID_NOT_FOUND, KafkaError._UNKNOWN_GROUP)


class KafkaAdmin:
    """The SPI's Admin."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._client: AdminClient = connection.watch.client
        self._queues = QueueAdmin(connection)

    # --- topics

    def create_topic(self, topic: Topic[Any], done: Completion[Topic[Any]]) -> None:
        def steps() -> Topic[Any] | None:
            name = topic_of(topic)
            new = NewTopic(name, topic.partitions or -1, topic.replication or -1, config=topic_config(topic))
            try:
                answer(self._client.create_topics([new], request_timeout=TRY_S)[name])
            except KafkaException as error:
                if code_of(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
                self._await_shown(topic)
                return self._read_topic(topic)
            self._await_shown(topic)
            return None

        aside(f"creating {named(topic)}", done, steps)

    def _await_shown(self, topic: Topic[Any]) -> None:
        """Until a broker shows it, with a leader for each partition: who opens it next finds it."""

        def shown() -> bool:
            found = self._describe(topic_of(topic))
            return found is not None and _has_leaders(found)

        self._await(shown, f"creating {named(topic)}: no broker shows it with all its leaders")

    def _await(self, there: Callable[[], bool], what: str) -> None:
        pause = threading.Event()
        deadline_s = time.monotonic() + SHOWN_S
        while not there():
            if time.monotonic() >= deadline_s:
                raise OperationTimeout(
                    f"{what} after {SHOWN_S:g} s. It was applied, and shows later.", outcome="applied", engine=ENGINE
                )
            pause.wait(LOOK_S)

    def _describe(self, name: str) -> Any | None:
        """What the brokers say about a topic, or None if it is not there."""
        found = self._client.list_topics(name, timeout=TRY_S).topics[name]
        if found.error is None:
            return found
        if isinstance(translate(found.error, "looking"), NotFound):
            return None
        raise KafkaException(found.error)

    def _read_topic(self, topic: Topic[Any]) -> Topic[Any]:
        """How the topic stands there."""
        name = topic_of(topic)
        found = self._describe(name)
        if found is None:
            raise self._no_topic(topic)
        resource = ConfigResource(ResourceType.TOPIC, name)
        entries = answer(self._client.describe_configs([resource], request_timeout=TRY_S)[resource])
        return read_topic(
            topic.name,
            len(found.partitions),
            len(found.partitions[0].replicas),
            {key: entry.value for key, entry in entries.items()},
            topic.physical_name,
        )

    def _no_topic(self, topic: Topic[Any]) -> NotFound:
        return NotFound(
            f"{named(topic)} does not exist. Nothing was done. Make it with admin.ensure(); sending and consuming "
            "never create one.",
            engine=ENGINE,
        )

    def delete(self, destination: Destination, done: Completion[None]) -> None:
        if not isinstance(destination, Topic):
            self._queues.delete(destination, done)
            return

        def steps() -> None:
            name = topic_of(destination)
            answer(self._client.delete_topics([name], request_timeout=TRY_S)[name])
            self._await(lambda: self._describe(name) is None, f"deleting {named(destination)}: a broker still shows it")

        aside(f"deleting {named(destination)}", done, steps)

    def list_topics(self, done: Completion[Sequence[Topic[Any]]]) -> None:
        def steps() -> Sequence[Topic[Any]]:
            found = self._client.list_topics(timeout=TRY_S).topics
            names = sorted(name for name, topic in found.items() if topic.error is None and is_portable_topic(name))
            resources = {name: ConfigResource(ResourceType.TOPIC, name) for name in names}
            configs = self._client.describe_configs(list(resources.values()), request_timeout=TRY_S) if names else {}
            listed: list[Topic[Any]] = []
            for name in names:
                try:
                    entries = answer(configs[resources[name]])
                except KafkaException as error:
                    if isinstance(translate(error, "looking"), NotFound):
                        continue  # deleted meanwhile
                    raise
                partitions = found[name].partitions
                values = {key: entry.value for key, entry in entries.items()}
                listed.append(read_topic(name, len(partitions), len(partitions[0].replicas), values, None))
            return listed

        aside("listing topics", done, steps)

    def describe_topic(self, topic: Topic[Any], done: Completion[TopicDescription]) -> None:
        def steps() -> TopicDescription:
            found = self._read_topic(topic)
            name = topic_of(topic)
            places = [(name, partition) for partition in range(found.partitions or 0)]
            starts = self._offsets(dict.fromkeys(places, EARLIEST))
            ends = self._offsets(dict.fromkeys(places, LATEST))
            stable = self._offsets(dict.fromkeys(places, LATEST), "read_committed")
            # The end of the log itself is no client's business: what is not replicated yet may vanish again.
            offsets = {p[1]: PartitionOffsets(starts[p], ends[p], ends[p], stable[p]) for p in places}
            return TopicDescription(found, offsets, None)

        aside(f"describing {named(topic)}", done, steps)

    def _offsets(
        self, specs: Mapping[TopicPartition, int], isolation: str = "read_uncommitted"
    ) -> dict[TopicPartition, int]:
        watch = self._connection.watch
        return insist(lambda: offsets_at(watch, specs, isolation), "asking for offsets", lambda: False, SHOWN_S)

    def add_partitions(self, topic: Topic[Any], partitions: int, done: Completion[None]) -> None:
        def steps() -> None:
            name = topic_of(topic)
            request = [NewPartitions(name, partitions)]
            answer(self._client.create_partitions(request, request_timeout=TRY_S)[name])

            def shown() -> bool:
                found = self._describe(name)
                return found is not None and len(found.partitions) >= partitions and _has_leaders(found)

            self._await(shown, f"adding partitions to {named(topic)}: no broker shows them")

        aside(f"adding partitions to {named(topic)}", done, steps)

    def offset_at(self, topic: Topic[Any], timestamp_ms: int, done: Completion[Mapping[int, int | None]]) -> None:
        def steps() -> Mapping[int, int | None]:
            name = topic_of(topic)
            count = partitions_of(self._client, [name])[name]
            places = [(name, partition) for partition in range(count)]
            found = self._offsets(dict.fromkeys(places, at_time(timestamp_ms)))
            return {partition: None if offset < 0 else offset for (_, partition), offset in found.items()}

        aside(f"asking for offsets of {named(topic)}", done, steps)

    def delete_records(self, topic: Topic[Any], before: Mapping[int, int], done: Completion[None]) -> None:
        def steps() -> None:
            name = topic_of(topic)
            count = partitions_of(self._client, [name])[name]
            unknown = sorted(set(before) - set(range(count)))
            if unknown:
                raise InvalidSpec(
                    f"{topic} has no partition {unknown[0]}; it has {count}. Nothing was deleted.", field="before"
                )
            if not before:
                return
            places = [Place(name, partition, offset) for partition, offset in before.items()]
            for future in self._client.delete_records(places, request_timeout=TRY_S).values():
                answer(future)

        aside(f"deleting records of {named(topic)}", done, steps)

    # --- groups

    def list_groups(self, done: Completion[Sequence[GroupSummary]]) -> None:
        def steps() -> Sequence[GroupSummary]:
            types = {ConsumerGroupType.CLASSIC, ConsumerGroupType.CONSUMER}
            listing = answer(self._client.list_consumer_groups(types=types, request_timeout=TRY_S))
            if listing.errors:
                raise listing.errors[0]
            names = sorted(item.group_id for item in listing.valid)
            found = [self._coordinated(partial(self._group, name), f"describing group {name}") for name in names]
            return [
                GroupSummary(group.group_id, _state(group), _protocol(group), len(group.members))
                for group in found
                if group is not None
            ]

        aside("listing groups", done, steps)

    def _coordinated(self, ask: Callable[[], T], what: str) -> T:
        """What goes to a group's coordinator. Not while the brokers are away: such a question ends the process if the
        connection breaks under it (librdkafka issue 4605)."""

        def safely() -> T:
            if self._connection.watch.away:
                raise ConnectionLost(
                    f"{what}: the brokers are away. Nothing was applied; try again when they are back.",
                    outcome="not_applied",
                    engine=ENGINE,
                )
            return ask()

        return insist(safely, what, lambda: False, SHOWN_S)

    def _group(self, name: str) -> Any | None:
        try:
            found = answer(self._client.describe_consumer_groups([name], request_timeout=TRY_S)[name])
        except KafkaException as error:
            if code_of(error) in NO_GROUP:
                return None
            raise
        return None if found.state == ConsumerGroupState.DEAD else found

    def describe_group(self, group: str, done: Completion[GroupDescription]) -> None:
        def steps() -> GroupDescription:
            what = f"describing group {group}"
            found = self._coordinated(lambda: self._group(group), what)
            if found is None:
                raise NotFound(f"there is no group {group!r}: nobody consumed or committed under it", engine=ENGINE)
            native = self._coordinated(lambda: committed_of(self._client, group), what)
            ends = self._ends(native)
            committed = {self._portable(place): offset for place, offset in native.items()}
            lag = {
                self._portable(place): None if place not in ends else max(0, ends[place] - offset)
                for place, offset in native.items()
            }
            return GroupDescription(
                group, _state(found), _protocol(found), tuple(map(self._member, found.members)), committed, lag
            )

        aside(f"describing group {group}", done, steps)

    def _ends(self, places: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """The ends of these partitions; without those of topics that are gone."""
        try:
            return self._offsets(dict.fromkeys(places, LATEST))
        except NotFound:
            there = {name for name in {name for name, _ in places} if self._describe(name) is not None}
            return self._offsets({place: LATEST for place in places if place[0] in there})

    def _member(self, member: Any) -> MemberDescription:
        places = member.assignment.topic_partitions if member.assignment is not None else ()
        held = tuple(sorted(self._portable((place.topic, place.partition)) for place in places))
        return MemberDescription(member.member_id, member.group_instance_id or None, held)

    def _portable(self, place: TopicPartition) -> TopicPartition:
        """A topic that this connection knows under another name than Kafka does is called by that name."""
        return self._connection.portable_names.get(place[0], place[0]), place[1]

    def commit_offsets(self, group: str, topic: Topic[Any], offsets: Mapping[int, int], done: Completion[None]) -> None:
        def commit() -> None:
            try:
                commit_as_admin(self._client, group, {(topic_of(topic), p): offset for p, offset in offsets.items()})
            except KafkaException as error:
                if code_of(error) in HAS_MEMBERS:
                    raise _has_members(group) from error
                raise

        def steps() -> None:
            if offsets:
                self._coordinated(commit, f"committing offsets of group {group}")

        aside(f"committing offsets of group {group}", done, steps)

    def delete_group(self, group: str, done: Completion[None]) -> None:
        def delete() -> None:
            answer(self._client.delete_consumer_groups([group], request_timeout=TRY_S)[group])

        def steps() -> None:
            self._coordinated(delete, f"deleting group {group}")

        aside(f"deleting group {group}", done, steps)

    # --- health

    def health(self, done: Completion[Mapping[str, Any]]) -> None:
        def steps() -> Mapping[str, Any]:
            cluster = self._client.list_topics(REGISTRY, timeout=TRY_S)
            configs = self._connection.watch.broker_configs
            return {
                "engine": ENGINE,
                "version": f"confluent-kafka {confluent_kafka.__version__}, librdkafka "
                f"{confluent_kafka.libversion()[0]}",
                "cluster": cluster.cluster_id,
                "brokers": [f"{node.id} {node.host}:{node.port}" for node in cluster.brokers.values()],
                "max_message_bytes": self._connection.limits.max_message_bytes,
                "problems": problems(configs, len(cluster.brokers)),
            }

        aside("asking for health", done, steps)

    # --- queues and exchanges

    def create_queue(self, queue: Queue[Any], done: Completion[Queue[Any]]) -> None:
        self._queues.create_queue(queue, done)

    def create_exchange(self, exchange: Exchange, done: Completion[Exchange]) -> None:
        self._queues.create_exchange(exchange, done)

    def list_queues(self, done: Completion[Sequence[Queue[Any]]]) -> None:
        self._queues.list_queues(done)

    def list_exchanges(self, done: Completion[Sequence[Exchange]]) -> None:
        self._queues.list_exchanges(done)

    def describe_queue(self, queue: Queue[Any], done: Completion[QueueDescription]) -> None:
        self._queues.describe_queue(queue, done)

    def describe_exchange(self, exchange: Exchange, done: Completion[ExchangeDescription]) -> None:
        self._queues.describe_exchange(exchange, done)

    def bind(self, binding: Binding, done: Completion[None]) -> None:
        self._queues.bind(binding, done)

    def unbind(self, binding: Binding, done: Completion[None]) -> None:
        self._queues.unbind(binding, done)

    def purge(self, queue: Queue[Any], done: Completion[int]) -> None:
        self._queues.purge(queue, done)

    def browse(self, queue: Queue[Any], max_messages: int, done: Completion[Sequence[StoredMessage]]) -> None:
        self._queues.browse(queue, max_messages, done)

    def move(
        self,
        queue: Queue[Any],
        tokens: Sequence[int] | None,
        to: Queue[Any] | None,
        max_messages: int,
        done: Completion[int],
    ) -> None:
        self._queues.move(queue, tokens, to, max_messages, done)


# --- specifications to and from the broker's settings


def topic_config(topic: Topic[Any]) -> dict[str, str]:
    """The settings that a specification says something about; the broker's defaults stay for the rest."""
    config: dict[str, str] = {}
    if topic.retention is not None:
        if topic.retention.max_age_s is not None:
            config["retention.ms"] = str(max(1, round(topic.retention.max_age_s * 1000)))
        if topic.retention.max_bytes is not None:
            config["retention.bytes"] = str(topic.retention.max_bytes)
    if topic.cleanup is not None:
        config["cleanup.policy"] = topic.cleanup
    if topic.min_insync is not None:
        config["min.insync.replicas"] = str(topic.min_insync)
    return config


def read_topic(
    name: str, partitions: int, replication: int, config: Mapping[str, str | None], physical_name: str | None
) -> Topic[Any]:
    """A topic as a specification. A policy that both compacts and deletes counts as compacting."""
    age_ms = int(config.get("retention.ms") or -1)
    size = int(config.get("retention.bytes") or -1)
    return Topic(
        name,
        partitions=partitions,
        replication=replication,
        min_insync=int(config.get("min.insync.replicas") or 1),
        retention=Retention(None if age_ms <= 0 else age_ms / 1000, None if size <= 0 else size),
        cleanup="compact" if "compact" in (config.get("cleanup.policy") or "") else "delete",
        physical_name=physical_name,
    )


def problems(configs: Mapping[str, str], brokers: int) -> list[dict[str, str]]:
    """What a person should know about this cluster."""
    found: list[dict[str, str]] = []
    if configs.get("auto.create.topics.enable") == "true":
        found.append(
            {
                "what": "auto.create.topics.enable is on: other clients make topics by misspelling them",
                "advice": "mqbridge never does; set it to false unless something else depends on it",
            }
        )
    if brokers > 1 and configs.get("default.replication.factor") == "1":
        found.append(
            {
                "what": "default.replication.factor is 1: topics made without replication= have one copy",
                "advice": "set it to 3, and min.insync.replicas to 2, or say replication= and min_insync=",
            }
        )
    return found


def _has_leaders(found: Any) -> bool:
    return bool(found.partitions) and all(place.leader >= 0 for place in found.partitions.values())


def _state(group: Any) -> str:
    return STATES.get(group.state, "unknown")


def _protocol(group: Any) -> str | None:
    """The group's way to rebalance, in the words of `consumer(rebalance=...)`."""
    if group.type == ConsumerGroupType.CONSUMER:
        return "server"
    if not group.partition_assignor:
        return None
    return "cooperative" if "cooperative" in group.partition_assignor else "eager"


def _has_members(group: str) -> Rejected:
    return Rejected(
        f"group {group} has members; its offsets can be set only while nobody consumes. Nothing was changed; stop the "
        "consumers and try again.",
        engine=ENGINE,
    )
