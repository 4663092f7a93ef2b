"""One ShareConsumer of the client, and the settings of its group.

The rule of this room: what a share group is told, and how the client is spoken to; what the messages mean is not
decided here. A ShareClient belongs to one thread. Facts measured on Kafka 4.3.1 with confluent-kafka 2.16.1:

- A broker makes no assignment at a member's first heartbeat, and the next comes 5 s later. A repeated `subscribe`
  sends one at once; with `share.assignment.interval.ms=0` later members are served within 40 ms.
- A poll acquires whole batches; the next poll is refused until every record of the last one is acknowledged locally.
- Acknowledgements of one commit succeed or fail for a whole partition.
- When a client closes, or its connection breaks, what it holds is given back at once; when it hangs, after the lock.
  Either way the delivery is counted, at the acquisition, and that count is kept by the broker only with the next
  change of state: after a broker's crash it may be lower.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import AcknowledgeType, IllegalStateException, KafkaError, KafkaException, Message, ShareConsumer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from mqbridge.errors import InvalidSpec
from mqbridge_kafka.asking import answer, insist
from mqbridge_kafka.cut_off import Lifeline, let_go
from mqbridge_kafka.errors import native_error
from mqbridge_kafka.letters import Arrived
from mqbridge_kafka.records import NativeHeaders, timestamp_ms_of
from mqbridge_kafka.settings import client_log, log

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

COMMIT_S: Final = 10.0
NUDGES_S: Final = (0.1, 0.3, 0.8, 1.5, 3.0)
"""After joining: when the subscription is repeated, for an assignment without the wait for the next heartbeat."""
STALE_S: Final = 1.0
SOCKET_TIMEOUT_MS: Final = 10_000
LEAVE_S: Final = 2.0
FETCH_WAIT_MS: Final = 200
"""How long a broker holds a fetch open while there is nothing. To close the client waits for its last one."""
STATISTICS_MS: Final = 2_000
"""How often the client says what it is connected to: it cannot be asked."""
MAX_POLL_INTERVAL_MS: Final = 86_400_000
"""The client leaves the group when nobody polls for so long; how long a message may be held is the record lock's."""

NEEDED: Final[Mapping[str, str]] = {"share.auto.offset.reset": "earliest", "share.isolation.level": "read_committed"}
WANTED: Final[Mapping[str, str]] = {
    "share.record.lock.duration.ms": "60000",
    "share.delivery.count.limit": "10",
    "share.assignment.interval.ms": "0",
}
"""The most that brokers allow by default. One that does not know a setting, or allows less, keeps its own."""
DEFAULT_LOCK_MS: Final = 30_000
DEFAULT_LIMIT: Final = 5


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What the broker grants: how long a record is ours, and after how many acquisitions it is gone for good."""

    lock_s: float
    deliveries: int


def configure_group(client: AdminClient, group: str) -> None:
    """Set what a queue's share group must be, before anybody can write to the queue."""

    def put(settings: Mapping[str, str]) -> None:
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=entries)
        insist(
            lambda: answer(client.incremental_alter_configs([resource])[resource]),
            f"configuring share group {group}",
            lambda: False,
        )

    put(NEEDED)
    for name, value in WANTED.items():
        try:
            put({name: value})
        except InvalidSpec as error:
            log.info("share group %s keeps the broker's own %s: %s", group, name, error)


def group_limits(client: AdminClient, group: str) -> GroupLimits:
    """What stands for a group now."""
    resource = ConfigResource(ResourceType.GROUP, group)
    entries = insist(
        lambda: answer(client.describe_configs([resource])[resource]),
        f"looking at share group {group}",
        lambda: False,
    )

    def number(name: str, default: int) -> int:
        entry = entries.get(name)
        return default if entry is None or entry.value is None else int(entry.value)

    return GroupLimits(
        number("share.record.lock.duration.ms", DEFAULT_LOCK_MS) / 1000,
        number("share.delivery.count.limit", DEFAULT_LIMIT),
    )


class _NoPreview(logging.Filter):
    """The client warns with every share consumer that it is a preview. The claims say it; nobody needs it each time."""

    def filter(self, record: logging.LogRecord) -> bool:
        return '"Preview"' not in record.getMessage()


client_log.addFilter(_NoPreview())


class ShareClient:
    """A member of a share group that consumes one topic. Used by one thread."""

    def __init__(
        self, connection: KafkaConnection, topic: str, group: str, max_records: int, on_away: Callable[[str], None]
    ) -> None:
        self._topic = topic
        self._on_away = on_away
        config: dict[str, Any] = connection.config("share-consumer") | {
            "group.id": group,
            "share.acknowledgement.mode": "explicit",
            "max.poll.records": max_records,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "max.poll.interval.ms": MAX_POLL_INTERVAL_MS,
            "socket.timeout.ms": SOCKET_TIMEOUT_MS,
            "error_cb": self._on_error,
            "statistics.interval.ms": STATISTICS_MS,
            "stats_cb": self._on_statistics,
        }
        self._reaches = True
        self._lifeline = Lifeline(partial(connection.config, "probe"))
        self.native = ShareConsumer(config)
        self._subscribe()
        self._joined_s = time.monotonic()
        self._nudges = list(NUDGES_S)
        self._served_s = self._joined_s

    def _subscribe(self) -> None:
        self.native.subscribe([self._topic])

    def _on_error(self, error: KafkaError) -> None:
        # Errors wait until the client is called. Old ones are told while a batch was held, and say nothing of today.
        if error.code() == KafkaError._ALL_BROKERS_DOWN and time.monotonic() - self._served_s < STALE_S:
            self._on_away(error.str())

    def _on_statistics(self, text: str) -> None:
        brokers = json.loads(text)["brokers"].values()
        self._reaches = any(one["state"] == "UP" for one in brokers if one["source"] != "logical")

    @property
    def is_cut_off(self) -> bool:
        """Has it lost its brokers for good? Then it gets nothing any more."""
        return self._lifeline.lost(lambda: self._reaches, self._topic)

    def poll(self, timeout_s: float) -> list[Message]:
        """The next batch, all acquired for us; empty after `timeout_s`. Raises KafkaException."""
        if self._nudges and time.monotonic() - self._joined_s >= self._nudges[0]:
            self._nudges.pop(0)
            self._subscribe()
            timeout_s = min(timeout_s, 0.1)
        elif self._nudges:
            timeout_s = min(timeout_s, 0.1)
        messages = list(self.native.poll(timeout_s))
        self._served_s = time.monotonic()
        if messages:
            self._nudges.clear()
            self._lifeline.heard()
        return messages

    def settle(self, verdicts: Sequence[tuple[Message, AcknowledgeType]]) -> dict[int, KafkaError | None]:
        """Acknowledge records of the last poll and wait for the broker; by partition None, or why it refused all of
        them. A record that the client does not hold any more counts as refused."""
        results: dict[int, KafkaError | None] = {}
        for message, verdict in verdicts:
            try:
                self.native.acknowledge(message, verdict)
            except IllegalStateException:
                results[message.partition() or 0] = KafkaError(KafkaError.INVALID_RECORD_STATE)
        try:
            committed = self.native.commit_sync(COMMIT_S)
        except KafkaException as error:
            failure = native_error(error) or KafkaError(KafkaError._FAIL)
            return {message.partition() or 0: failure for message, _ in verdicts}
        for place, refusal in committed.items():
            error_of = place.error if refusal is None else native_error(refusal)
            results[place.partition] = results.get(place.partition) or error_of
        return results

    def close(self) -> None:
        """Leave the group; what is still held is given back by the broker, counted. The client waits for what is under
        way, which may take long with a broker away; after `LEAVE_S` it goes on by itself."""
        leaving = threading.Thread(target=self._leave, name="mqbridge-kafka-leaving", daemon=True)
        leaving.start()
        leaving.join(LEAVE_S)

    def drop(self) -> None:
        """Without leaving: it would reach nobody."""
        held = [self.native]
        del self.native  # or it would end where the garbage collector finds the two, and hold up whoever is there
        let_go(held)

    def _leave(self) -> None:
        try:
            self.native.close()
        except KafkaException as error:
            log.info("leaving the share group of %s: %s", self._topic, error)


def arrived(message: Message) -> Arrived:
    """A record as the rules of letters see it."""
    headers: NativeHeaders = message.headers() or []  # type: ignore[assignment]
    deliveries = max(1, message.delivery_count() or 1)
    return Arrived(message.value(), message.key(), headers, timestamp_ms_of(message), deliveries)
