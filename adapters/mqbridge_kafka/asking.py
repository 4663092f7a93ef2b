"""Questions to the brokers about offsets, asked by threads that may wait: a consumer's own, never an application's.

The rule of this room: a question that the cluster cannot answer yet (a coordinator that loads or moves) is asked again
until its deadline; one that is refused is refused at once. What a consumer or a producer can ask is not asked by the
AdminClient: its answers end the process when a connection breaks in the wrong moment (assertions of librdkafka 2.16:
`rd_kafka_enq_once_del_source_return`, its issue 4605, and `rd_kafka_admin_response_parse`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient

from mqbridge.errors import ConnectionLost, MqbridgeError, OperationTimeout
from mqbridge.spi import TopicPartition
from mqbridge_kafka.errors import translate

if TYPE_CHECKING:
    from mqbridge_kafka.watching import Watch

T = TypeVar("T")

TRY_S: Final = 5.0
AGAIN_S: Final = 0.05
TOTAL_S: Final = 30.0
# Timestamps that stand for an edge (ListOffsets).
EARLIEST: Final = -2
LATEST: Final = -1


class Metadata(Protocol):
    """Any client: each can look at topics."""

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any: ...


def insist(ask: Callable[[], T], what: str, given_up: Callable[[], bool], total_s: float = TOTAL_S) -> T:
    """What `ask` gives; asked again while the cluster is not ready, until `total_s` or `given_up`."""
    deadline_s = time.monotonic() + total_s
    pause = threading.Event()
    while True:
        try:
            return ask()
        except (KafkaException, FutureTimeout, MqbridgeError) as error:
            made = translate(error, what, outcome="not_applied") if not _is_timeout(error) else _late(what)
            if not isinstance(made, ConnectionLost | OperationTimeout) or given_up() or time.monotonic() >= deadline_s:
                raise made from error
        pause.wait(AGAIN_S)


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, FutureTimeout) and not isinstance(error, MqbridgeError)


def _late(what: str) -> OperationTimeout:
    return OperationTimeout(f"{what}: no answer from the brokers in time", outcome="not_applied", engine="kafka")


def answer(future: Future[Any]) -> Any:
    """What a question of the AdminClient gave. Its futures are completed by a thread of the client."""
    return future.result(TRY_S + 1.0)


def partitions_of(client: Metadata, names: Iterable[str]) -> dict[str, int]:
    """How many partitions topics have; raises for one that is not there. Makes none, for no client of ours may
    (`allow.auto.create.topics`)."""
    counts: dict[str, int] = {}
    for name in names:
        found = client.list_topics(name, timeout=TRY_S).topics[name]
        if found.error is not None:
            raise KafkaException(found.error)
        counts[name] = len(found.partitions)
    return counts


def offsets_at(
    watch: Watch, specs: Mapping[TopicPartition, int], isolation: str = "read_uncommitted"
) -> dict[TopicPartition, int]:
    """The offsets that the specs name (`EARLIEST`, `LATEST`, or `at_time`); -1 where a time lies after the last record.
    `isolation` decides which end is meant: of what is written, or of what is decided."""
    return offsets_by(watch.reader(isolation), specs)


def offsets_by(consumer: Consumer, specs: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """The same, asked by a consumer of one's own."""
    if not specs:
        return {}
    places = [Place(name, number, spec) for (name, number), spec in specs.items()]
    found: dict[TopicPartition, int] = {}
    for place in consumer.offsets_for_times(places, timeout=TRY_S):
        if place.error is not None:
            raise KafkaException(place.error)
        found[place.topic, place.partition] = place.offset
    return found


def committed_of(client: AdminClient, group: str) -> dict[TopicPartition, int]:
    """All that a group has committed; transactions of it that are open make this wait (KIP-447).

    This question and the next go to a coordinator: never while brokers may be away (see `Starting`).
    """
    request = [ConsumerGroupTopicPartitions(group)]
    future = client.list_consumer_group_offsets(request, require_stable=True, request_timeout=TRY_S)[group]
    found: dict[TopicPartition, int] = {}
    for place in answer(future).topic_partitions or ():
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset >= 0:
            found[place.topic, place.partition] = place.offset
    return found


def commit_as_admin(client: AdminClient, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Set offsets of a group without members; the broker refuses (UNKNOWN_MEMBER_ID) while it has some."""
    places = [Place(name, partition, offset) for (name, partition), offset in offsets.items()]
    request = [ConsumerGroupTopicPartitions(group, places)]
    future = client.alter_consumer_group_offsets(request, request_timeout=TRY_S)[group]
    for place in answer(future).topic_partitions or ():
        if place.error is not None:
            raise KafkaException(place.error)


def at_time(timestamp_ms: int) -> int:
    """The first record with that timestamp or a later one."""
    return max(0, timestamp_ms)
