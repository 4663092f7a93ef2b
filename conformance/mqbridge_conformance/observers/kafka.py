"""Looking at Kafka with confluent-kafka, and at share groups by what brokers keep of them (`kafka_shares`).

The rule: nothing of the engine's code. What names and headers mean on Kafka is written down here a second time: a
topic x is the topic x, a queue x the topic ``x.mqq`` with the share group ``mqbridge.x``, an exchange x the key
``exchange:x`` in the topic ``mqbridge.registry``, and headers that begin with ``mqbridge-`` are the library's.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from typing import Any, Final

import confluent_kafka
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from mqbridge_conformance.native_files import Pairs
from mqbridge_conformance.observers.kafka_login import KafkaLogin
from mqbridge_conformance.observers.kafka_shares import ShareStates
from mqbridge_conformance.observers.kafka_wire import release
from mqbridge_conformance.observers.seen import LIBRARY, Counts, Letter, Names, Observer, Record
from mqbridge_conformance.results import CannotTell

__all__ = ["KafkaObserver"]

_QUEUE: Final = ".mqq"
_GROUP_OF_QUEUE: Final = "mqbridge."
_REGISTRY: Final = "mqbridge.registry"
_COORDINATOR_MOVES: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
_EXCHANGE: Final = "exchange:"
_TIMEOUT_S: Final = 15.0
_EARLIEST: Final[OffsetSpec] = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: Final[OffsetSpec] = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class KafkaObserver(Observer):
    """Reads without a group and commits nothing. Of a queue it can tell what is not settled, and what of that is ready
    only while nothing was taken yet: Kafka tells nobody which records are locked."""

    how = "raw Kafka clients"

    def __init__(self, url: str) -> None:
        """`url`: as the engine has it, with user, password and the options of TLS. `CannotTell` if librdkafka does not
        take what it says."""
        self._login = KafkaLogin(url)
        # Quiet: what a scenario does to the broker is no news.
        quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}
        self._base = {**self._login.config, "allow.auto.create.topics": False, **quiet}
        try:
            self._admin = AdminClient(self._base)
        except KafkaException as error:
            raise CannotTell(f"{self.how} do not take what the URL says: {error}") from error
        self._shares = ShareStates(self._admin, self._login)

    def versions(self) -> dict[str, str]:
        """The broker's as far as the protocol tells it, which is without the last number."""
        return {
            "kafka": release(self._login),
            "confluent-kafka": str(confluent_kafka.__version__),
            "librdkafka": str(confluent_kafka.libversion()[0]),
        }

    def names(self) -> Names:
        topics = self._topics()
        return Names(
            {name: count for name, count in topics.items() if not name.endswith(_QUEUE) and name != _REGISTRY},
            [name.removesuffix(_QUEUE) for name in topics if name.endswith(_QUEUE)],
            sorted(key.removeprefix(_EXCHANGE) for key in self._registry() if key.startswith(_EXCHANGE)),
            [name for name in self._groups() if not name.startswith(_GROUP_OF_QUEUE)],
        )

    def _topics(self) -> dict[str, int]:
        try:
            found = self._admin.list_topics(timeout=_TIMEOUT_S).topics
        except KafkaException as error:
            raise CannotTell(f"{self.how} cannot list topics: {error}") from error
        return {name: len(found[name].partitions) for name in sorted(found) if not name.startswith("__")}

    def _groups(self) -> list[str]:
        try:
            listed = self._admin.list_consumer_groups(request_timeout=_TIMEOUT_S).result(_TIMEOUT_S)
        except KafkaException as error:
            raise CannotTell(f"{self.how} cannot list groups: {error}") from error
        return sorted(group.group_id for group in listed.valid)

    def records(self, topic: str) -> list[Record]:
        return [_record(message) for message in self._read(topic)]

    def messages(self, queue: str) -> list[Record]:
        return [_record(message)._replace(partition=None, offset=None) for message in self._left(queue)[0]]

    def counts(self, queue: str) -> Counts:
        left, anybody = self._left(queue)
        if not anybody:
            return Counts(len(left), 0, None)
        return Counts(None, None, None) if left else Counts(0, 0, None)

    def held(self, queue: str) -> int:
        return len(self._left(queue)[0])

    def _left(self, queue: str) -> tuple[list[Message], bool]:
        """What is not settled, for the log keeps what is; and whether the share group ever had a member."""
        topic = queue + _QUEUE
        log = self._read(topic)  # first: what is settled meanwhile is not taken for what is left
        group = _GROUP_OF_QUEUE + queue
        states = {partition: self._shares.state(group, topic, partition) for partition in self._partitions(topic)}
        left = [
            message
            for message in log
            if (state := states.get(message.partition() or 0)) is None or not state.has_settled(message.offset() or 0)
        ]
        return left, any(state is not None for state in states.values())

    def committed(self, group: str) -> dict[str, int] | None:
        # Not AdminClient.list_consumer_group_offsets: librdkafka 2.16 ends the process when the group's coordinator is
        # still loading, for it looks for a consumer that an administrator's client does not have.
        places = [TopicPartition(topic, n) for topic, count in self._topics().items() for n in range(count)]
        reader = Consumer({**self._base, "group.id": group, "enable.auto.commit": False})
        with contextlib.closing(reader):
            found = self._committed(reader, places, group) if places else []
        known = sorted((at.topic, at.partition, at.offset) for at in found if at.offset >= 0)
        return {f"{topic}/{partition}": offset for topic, partition, offset in known}

    def _committed(self, reader: Consumer, places: list[TopicPartition], group: str) -> list[TopicPartition]:
        give_up_s = time.monotonic() + _TIMEOUT_S
        pause = threading.Event()
        while True:
            try:
                return list(reader.committed(places, timeout=_TIMEOUT_S))
            except KafkaException as error:
                if error.args[0].code() not in _COORDINATOR_MOVES or time.monotonic() >= give_up_s:
                    raise CannotTell(f"{self.how} cannot tell the offsets of group {group}: {error}") from error
            pause.wait(0.05)

    def letters(self, queue: str) -> list[Letter]:
        """In whichever queue they are, for where they go is the specification's business; what is settled is gone."""
        left = [
            message
            for topic in self._topics()
            if topic.endswith(_QUEUE)
            for message in self._left(topic.removesuffix(_QUEUE))[0]
            if _library_header(message, "death-queue") == queue
        ]
        return [_letter(one) for one in sorted(left, key=lambda one: int(_library_header(one, "death-at-ms") or 0))]

    def snapshot(self) -> dict[str, Any]:
        names = self.names()
        return {
            "ends": self._ends(self._topics()),
            "registry": self._registry(),
            "groups": {group: self.committed(group) for group in names.groups},
        }

    def _ends(self, topics: dict[str, int]) -> dict[str, list[int]]:
        places = [TopicPartition(topic, partition) for topic, count in topics.items() for partition in range(count)]
        out: dict[str, list[int]] = {f"{at.topic}/{at.partition}": [] for at in places}
        for spec in (_EARLIEST, _LATEST):
            for at, offset in self._listed(places, spec):
                out[f"{at.topic}/{at.partition}"].append(offset)
        return out

    def _listed(self, places: list[TopicPartition], spec: OffsetSpec) -> list[tuple[TopicPartition, int]]:
        try:
            found = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=_TIMEOUT_S)
            return [(at, answer.result(_TIMEOUT_S).offset) for at, answer in found.items()]
        except KafkaException as error:
            raise CannotTell(f"{self.how} cannot list offsets: {error}") from error

    # --- reading

    def _partitions(self, topic: str) -> list[int]:
        return list(range(self._topics().get(topic, 0)))

    def _read(self, topic: str, partitions: Iterable[int] | None = None) -> list[Message]:
        """All of a topic, partition by partition, to the end that it has now."""
        wanted = self._partitions(topic) if partitions is None else list(partitions)
        if not wanted:
            return []
        # Offsets as numbers: "from the beginning" is looked up by this client half a second later.
        places = [TopicPartition(topic, partition) for partition in wanted]
        begin = [TopicPartition(at.topic, at.partition, offset) for at, offset in self._listed(places, _EARLIEST)]
        reader = Consumer(
            {
                **self._base,
                "group.id": "mqbridge-conformance-observer",  # demanded by the client; nothing is ever committed
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,  # the end is told with the first answer that is empty
            }
        )
        with contextlib.closing(reader):
            reader.assign(begin)
            return self._to_the_end(reader, topic, set(wanted))

    def _to_the_end(self, reader: Consumer, topic: str, left: set[int]) -> list[Message]:
        give_up_s = time.monotonic() + _TIMEOUT_S
        found: list[Message] = []
        while left:
            if time.monotonic() >= give_up_s:
                raise CannotTell(f"{self.how} did not come to the end of {topic} within {_TIMEOUT_S:g} s")
            first = reader.poll(0.1)  # `consume` would wait for the batch to be full
            for message in [] if first is None else [first, *reader.consume(500, 0)]:
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition() or 0)
                else:
                    raise CannotTell(f"{self.how} cannot read {topic}: {error}")
        return sorted(found, key=lambda message: (message.partition() or 0, message.offset() or 0))

    def _registry(self) -> dict[str, str]:
        """The newest record of each key stands; a null value takes it away."""
        kept: dict[str, str] = {}
        for message in self._read(_REGISTRY):
            key, value = _bytes(message.key()) or b"", _bytes(message.value())
            if value is None:
                kept.pop(key.decode(), None)
            else:
                kept[key.decode()] = value.decode()
        return kept


def _headers(message: Message) -> list[tuple[str, bytes]]:
    found: Any = message.headers() or []
    return [(name, value if value is not None else b"") for name, value in found]


def _library_header(message: Message, name: str) -> str | None:
    # What was added last stands.
    told = [content for header, content in _headers(message) if header == LIBRARY + name]
    return told[-1].decode() if told else None


def _users(message: Message) -> Pairs:
    return tuple(pair for pair in _headers(message) if not pair[0].startswith(LIBRARY))


def _bytes(content: Any) -> bytes | None:
    return content if content is None else bytes(content)


def _timestamp_ms(message: Message) -> int:
    """Kafka takes no time before 1970; such a one travels in a header."""
    return int(_library_header(message, "timestamp-ms") or message.timestamp()[1])


def _record(message: Message) -> Record:
    return Record(
        message.partition(),
        message.offset(),
        _bytes(message.key()),
        _bytes(message.value()),
        _users(message),
        _timestamp_ms(message),
        _library_header(message, "id"),
    )


def _letter(message: Message) -> Letter:
    return Letter(
        _bytes(message.key()),
        _bytes(message.value()),
        _users(message),
        _timestamp_ms(message),
        _library_header(message, "id"),
        _library_header(message, "death-reason") or "",
        f"queue:{_library_header(message, 'death-queue')}",
        int(_library_header(message, "death-attempts") or 0),
        _library_header(message, "death-error"),
    )
