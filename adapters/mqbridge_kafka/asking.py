"""Questions to the brokers about offsets, asked by threads that may wait: a consumer's own, never an application's.

The rule of this room: a question that the cluster cannot answer yet (a coordinator that loads or moves) is asked again
until its deadline; one that is refused is refused at once. What a consumer or a producer can ask is not asked by the
AdminClient: what that asks of a group's coordinator can end the process (group_process.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import NewTopic

from mqbridge.errors import ConnectionLost, MqbridgeError, NotFound, OperationTimeout, Outcome
from mqbridge.spi import TopicPartition
from mqbridge_kafka.errors import ENGINE, applied, code_of, translate

if TYPE_CHECKING:
    from mqbridge_kafka.watching import Watch

T = TypeVar("T")

TRY_S: Final = 5.0
AGAIN_S: Final = 0.05
TOTAL_S: Final = 30.0
SHOWN_S: Final = 15.0
"""How long a change is waited for until the brokers show it, and until leaders serve: less than the usual
`operation_timeout_s`, so that mostly what was found is told."""
# Timestamps that stand for an edge (ListOffsets).
EARLIEST: Final = -2
LATEST: Final = -1


class Metadata(Protocol):
    """Any client: each can look at topics."""

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any: ...


def insist(
    ask: Callable[[], T], what: str, given_up: Callable[[], bool], total_s: float = TOTAL_S, changes: bool = False
) -> T:
    """What `ask` gives; asked again while the cluster is not ready, until `total_s` or `given_up`. What `changes`
    something is asked again only where it is known that nothing was applied."""
    deadline_s = time.monotonic() + total_s
    pause = threading.Event()
    while True:
        try:
            return ask()
        except (KafkaException, FutureTimeout, MqbridgeError) as error:
            outcome: Outcome | None = None if changes else "not_applied"
            made = translate(error, what, outcome=outcome) if not _is_timeout(error) else _late(what, changes)
            again = isinstance(made, ConnectionLost | OperationTimeout) and (
                not changes or made.outcome == "not_applied"
            )
            if not again or given_up() or time.monotonic() >= deadline_s:
                raise made from error
        pause.wait(AGAIN_S)


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, FutureTimeout) and not isinstance(error, MqbridgeError)


def _late(what: str, changes: bool) -> OperationTimeout:
    outcome: Outcome = "unknown" if changes else "not_applied"
    return OperationTimeout(
        f"{what}: no answer from the brokers in time. {applied(outcome)}", outcome=outcome, engine=ENGINE
    )


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


def serves(watch: Watch, topic: str) -> bool:
    """Does the leader of each partition take requests? For a moment after a topic was made, brokers name leaders that
    refuse them: a broker shows what it was told before it does it (Kafka, `BrokerMetadataPublisher`)."""
    try:
        count = partitions_of(watch.client, [topic])[topic]
        return bool(offsets_at(watch, {(topic, number): LATEST for number in range(count)}))
    except KafkaException as error:
        made = translate(error, "looking")
        if made.retryable or isinstance(made, NotFound):
            return False
        raise


def make_topic(watch: Watch, topic: NewTopic, what: str, given_up: Callable[[], bool], total_s: float) -> None:
    """Make the topic of something unless it is there, and return when it `serves`."""
    deadline_s = time.monotonic() + total_s

    def make() -> None:
        try:
            answer(watch.client.create_topics([topic])[topic.topic])
        except KafkaException as error:
            if code_of(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    insist(make, what, given_up, total_s)
    pause = threading.Event()
    while not given_up() and not serves(watch, topic.topic):
        if time.monotonic() >= deadline_s:
            raise OperationTimeout(
                f"{what}: its topic {topic.topic} is there, and not all leaders of it serve after {total_s:g} s. "
                "Nothing else was done; try again.",
                outcome="not_applied",
                engine=ENGINE,
            )
        pause.wait(AGAIN_S)


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
    # What a client does not know of it does not ask for: partitions that were added since it looked the last time.
    counts = partitions_of(consumer, {name for name, _ in specs})
    places = [Place(name, number, spec) for (name, number), spec in specs.items()]
    found: dict[TopicPartition, int] = {}
    try:
        answered = consumer.offsets_for_times(places, timeout=TRY_S)
    except KafkaException as error:
        if code_of(error) == KafkaError._UNKNOWN_PARTITION and all(number < counts[name] for name, number in specs):
            # It is there, as the broker has just said; the client was told otherwise since, by one that knew less.
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, str(error))) from error
        raise
    for place in answered:
        if place.error is not None:
            raise KafkaException(place.error)
        found[place.topic, place.partition] = place.offset
    return found


def at_time(timestamp_ms: int) -> int:
    """The first record with that timestamp or a later one."""
    return max(0, timestamp_ms)
