"""Administering topics; what is asked about the rest goes on from here.

The rule of this room: plain steps on a thread of their own (`aside`), each bounded by a timeout, and a change is done
only when a broker shows it. What stands at the broker is reported as a specification, so that `diff` compares like with
like. Groups are in group_administering.py, queues and exchanges in queue_administering.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, ResourceType

from mqbridge.errors import InvalidSpec, NotFound, OperationTimeout
from mqbridge.spi import (
    Completion,
    ExchangeDescription,
    GroupDescription,
    GroupSummary,
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
    SHOWN_S,
    TRY_S,
    answer,
    at_time,
    insist,
    offsets_at,
    partitions_of,
    serves,
)
from mqbridge_kafka.errors import ENGINE, code_of, translate
from mqbridge_kafka.group_administering import GroupAdmin
from mqbridge_kafka.naming import REGISTRY, is_portable_topic, named, topic_of
from mqbridge_kafka.queue_administering import QueueAdmin

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

LOOK_S: Final = 0.05


class KafkaAdmin:
    """The SPI's Admin."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._queues = QueueAdmin(connection)
        self._groups = GroupAdmin(connection)

    @property
    def _client(self) -> AdminClient:
        return self._connection.watch.client

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
        """Until the leader of each partition takes requests: who opens it next finds it, and its first batch is not
        refused for being too early (`errors.SUPPOSED`)."""
        watch, name = self._connection.watch, topic_of(topic)
        self._await(lambda: serves(watch, name), f"creating {named(topic)}: not all leaders of it serve")

    def _await(self, there: Callable[[], bool], what: str) -> None:
        pause = threading.Event()
        deadline_s = time.monotonic() + SHOWN_S
        while not there():
            if time.monotonic() >= deadline_s:
                raise OperationTimeout(
                    f"{what} after {SHOWN_S:g} s. It was applied, and takes effect later.",
                    outcome="applied",
                    engine=ENGINE,
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

    def _read_topic(self, topic: Topic[Any], settings_needed: bool = True) -> Topic[Any]:
        """How the topic stands there; without its settings if they may not be read and are not needed."""
        name = topic_of(topic)
        found = self._describe(name)
        if found is None:
            raise self._no_topic(topic)
        resource = ConfigResource(ResourceType.TOPIC, name)
        asked = self._client.describe_configs([resource], request_timeout=TRY_S)[resource]
        config = _config_of(asked) if settings_needed else _config_if_allowed(asked)
        partitions = found.partitions
        return read_topic(topic.name, len(partitions), len(partitions[0].replicas), config, topic.physical_name)

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
                    values = _config_if_allowed(configs[resources[name]])
                except KafkaException as error:
                    if isinstance(translate(error, "looking"), NotFound):
                        continue  # deleted meanwhile
                    raise
                partitions = found[name].partitions
                listed.append(read_topic(name, len(partitions), len(partitions[0].replicas), values, None))
            return listed

        aside("listing topics", done, steps)

    def describe_topic(self, topic: Topic[Any], done: Completion[TopicDescription]) -> None:
        def steps() -> TopicDescription:
            found = self._read_topic(topic, settings_needed=False)
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
            watch, name = self._connection.watch, topic_of(topic)
            request = [NewPartitions(name, partitions)]
            answer(self._client.create_partitions(request, request_timeout=TRY_S)[name])

            def shown() -> bool:
                found = self._describe(name)
                return found is not None and len(found.partitions) >= partitions and serves(watch, name)

            self._await(shown, f"adding partitions to {named(topic)}: not all leaders of them serve")

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
        self._groups.list_groups(done)

    def describe_group(self, group: str, done: Completion[GroupDescription]) -> None:
        self._groups.describe_group(group, done)

    def commit_offsets(self, group: str, topic: Topic[Any], offsets: Mapping[int, int], done: Completion[None]) -> None:
        self._groups.commit_offsets(group, topic, offsets, done)

    def delete_group(self, group: str, done: Completion[None]) -> None:
        self._groups.delete_group(group, done)

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


def _config_of(asked: Future[Any]) -> dict[str, str | None]:
    return {key: entry.value for key, entry in answer(asked).items()}


def _config_if_allowed(asked: Future[Any]) -> dict[str, str | None] | None:
    """None where the user may use the topic and not look at its settings: that is a permission of its own
    (DESCRIBE_CONFIGS), which who only consumes seldom has."""
    try:
        return _config_of(asked)
    except KafkaException as error:
        if code_of(error) != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise
        return None


def read_topic(
    name: str, partitions: int, replication: int, config: Mapping[str, str | None] | None, physical_name: str | None
) -> Topic[Any]:
    """A topic as a specification; says nothing about settings that are not known. A policy that both compacts and
    deletes counts as compacting."""
    if config is None:
        return Topic(name, partitions=partitions, replication=replication, physical_name=physical_name)
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
