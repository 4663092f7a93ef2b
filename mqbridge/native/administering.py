"""The native engine's admin: specifications to and from what the broker stores. The rule: nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mqbridge.errors import MqbridgeError
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.semantics.backoff import RetryPolicy
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
)
from mqbridge.topology import Binding, Destination, Exchange, Queue, Retention, Topic

if TYPE_CHECKING:
    from mqbridge.native.engine import NativeConnection

T = TypeVar("T")
Reply = dict[str, Any]


def topic_spec(topic: Topic[Any]) -> Reply:
    retention = topic.retention or Retention()
    return {
        "partitions": topic.partitions or 1,
        "retention": {"max_age_s": retention.max_age_s, "max_bytes": retention.max_bytes},
        "cleanup": topic.cleanup or "delete",
    }


def read_topic(name: str, spec: Mapping[str, Any]) -> Topic[Any]:
    kept = spec.get("retention") or {}
    retention = Retention(kept.get("max_age_s"), kept.get("max_bytes"))
    return Topic(
        name, partitions=spec["partitions"], retention=retention, cleanup=spec["cleanup"], replication=1, min_insync=1
    )


def queue_spec(queue: Queue[Any]) -> Reply:
    backoff = queue.retry_backoff
    return {
        "max_attempts": queue.max_attempts,
        "dead_letter": None if queue.dead_letter is None else queue.dead_letter.name,
        "message_ttl_s": queue.message_ttl_s,
        "expires_s": queue.expires_s,
        "max_length": queue.max_length,
        "max_bytes": queue.max_bytes,
        "overflow": queue.overflow,
        "max_priority": queue.max_priority,
        "single_active": queue.single_active,
        "retry_backoff": None
        if backoff is None
        else {
            "first_delay_s": backoff.first_delay_s,
            "multiplier": backoff.multiplier,
            "max_delay_s": backoff.max_delay_s,
        },
        "type": queue.type,
    }


def read_queue(name: str, spec: Mapping[str, Any]) -> Queue[Any]:
    fields = dict(spec)
    target, backoff = fields["dead_letter"], fields["retry_backoff"]
    fields["dead_letter"] = None if target is None else Queue(target, dead_letter=None)
    fields["retry_backoff"] = None if backoff is None else RetryPolicy(max_attempts=None, **backoff)
    return Queue(name, **fields)


def read_exchange(name: str, spec: Mapping[str, Any]) -> Exchange:
    alternate = spec.get("alternate")
    return Exchange(name, type=spec["type"], alternate=None if alternate is None else Exchange(alternate))


def _binding_args(binding: Binding) -> Reply:
    return {
        "exchange": binding.exchange.name,
        "destination": [binding.destination.kind, binding.destination.name],
        "key": binding.key,
        "headers": None if binding.headers is None else dict(binding.headers),
        "match": binding.match,
    }


def _read_binding(exchange: Exchange, item: Mapping[str, Any]) -> Binding:
    kind, name = item["destination"]
    destination: Queue[Any] | Exchange = Queue(name) if kind == "queue" else Exchange(name)
    return Binding(exchange, destination, key=item["key"], headers=item["headers"], match=item["match"])


def _read_topic_description(reply: Reply) -> TopicDescription:
    offsets = {
        item["partition"]: PartitionOffsets(item["start"], item["end"], item["end"], item["end"])
        for item in reply["partitions"]
    }
    size = sum(item["size_bytes"] for item in reply["partitions"])
    return TopicDescription(read_topic(reply["name"], reply["spec"]), offsets, size)


def _read_queue_description(reply: Reply) -> QueueDescription:
    queue = read_queue(reply["name"], reply["spec"])
    return QueueDescription(queue, reply["ready"], reply["unsettled"], reply["delayed"], reply["consumers"])


def _read_group(reply: Reply) -> GroupDescription:
    members = tuple(
        MemberDescription(item["member"], item["instance_id"], tuple((topic, p) for topic, p in item["assignment"]))
        for item in reply["members"]
    )
    committed = {(topic, p): offset for topic, p, offset, _end, _lag in reply["offsets"]}
    lag = {(topic, p): lag for topic, p, _offset, _end, lag in reply["offsets"]}
    return GroupDescription(reply["group"], reply["state"], reply["protocol"], members, committed, lag)


class NativeAdmin:
    """The SPI's Admin."""

    def __init__(self, connection: NativeConnection) -> None:
        self._connection = connection

    def _call(self, op: str, args: Reply, done: Completion[T], read: Callable[[Reply], T | None]) -> None:
        def answered(reply: Reply | None, _batches: list[RecordBatch], error: MqbridgeError | None) -> None:
            if error is not None or reply is None:
                done(None, error)
            else:
                done(read(reply), None)

        self._connection.session.call(op, args, (), answered)

    def create_topic(self, topic: Topic[Any], done: Completion[Topic[Any]]) -> None:
        def read(reply: Reply) -> Topic[Any] | None:
            return None if reply["created"] else read_topic(topic.name, reply["spec"])

        self._call("create_topic", {"name": topic.name, "spec": topic_spec(topic)}, done, read)

    def create_queue(self, queue: Queue[Any], done: Completion[Queue[Any]]) -> None:
        def read(reply: Reply) -> Queue[Any] | None:
            return None if reply["created"] else read_queue(queue.name, reply["spec"])

        self._call("create_queue", {"name": queue.name, "spec": queue_spec(queue)}, done, read)

    def create_exchange(self, exchange: Exchange, done: Completion[Exchange]) -> None:
        def read(reply: Reply) -> Exchange | None:
            return None if reply["created"] else read_exchange(exchange.name, reply["spec"])

        alternate = None if exchange.alternate is None else exchange.alternate.name
        spec = {"type": exchange.type, "alternate": alternate}
        self._call("create_exchange", {"name": exchange.name, "spec": spec}, done, read)

    def delete(self, destination: Destination, done: Completion[None]) -> None:
        self._call(f"delete_{destination.kind}", {"name": destination.name}, done, lambda _reply: None)

    def list_topics(self, done: Completion[Sequence[Topic[Any]]]) -> None:
        self._call("list_topics", {}, done, lambda r: [read_topic(item["name"], item["spec"]) for item in r["topics"]])

    def list_queues(self, done: Completion[Sequence[Queue[Any]]]) -> None:
        self._call("list_queues", {}, done, lambda r: [read_queue(item["name"], item["spec"]) for item in r["queues"]])

    def list_exchanges(self, done: Completion[Sequence[Exchange]]) -> None:
        self._call(
            "list_exchanges", {}, done, lambda r: [read_exchange(item["name"], item["spec"]) for item in r["exchanges"]]
        )

    def describe_topic(self, topic: Topic[Any], done: Completion[TopicDescription]) -> None:
        self._call("describe_topic", {"name": topic.name}, done, _read_topic_description)

    def describe_queue(self, queue: Queue[Any], done: Completion[QueueDescription]) -> None:
        self._call("describe_queue", {"name": queue.name}, done, _read_queue_description)

    def describe_exchange(self, exchange: Exchange, done: Completion[ExchangeDescription]) -> None:
        def read(reply: Reply) -> ExchangeDescription:
            found = read_exchange(exchange.name, reply["spec"])
            return ExchangeDescription(found, tuple(_read_binding(found, item) for item in reply["bindings"]))

        self._call("list_bindings", {"exchange": exchange.name}, done, read)

    def bind(self, binding: Binding, done: Completion[None]) -> None:
        self._call("bind", _binding_args(binding), done, lambda _reply: None)

    def unbind(self, binding: Binding, done: Completion[None]) -> None:
        self._call("unbind", _binding_args(binding), done, lambda _reply: None)

    def add_partitions(self, topic: Topic[Any], partitions: int, done: Completion[None]) -> None:
        self._call("add_partitions", {"name": topic.name, "partitions": partitions}, done, lambda _reply: None)

    def offset_at(self, topic: Topic[Any], timestamp_ms: int, done: Completion[Mapping[int, int | None]]) -> None:
        args = {"topic": topic.name, "timestamp_ms": timestamp_ms}
        self._call("offset_at", args, done, lambda r: {int(p): offset for p, offset in r["partitions"].items()})

    def delete_records(self, topic: Topic[Any], before: Mapping[int, int], done: Completion[None]) -> None:
        args = {"topic": topic.name, "before": {str(p): offset for p, offset in before.items()}}
        self._call("delete_records", args, done, lambda _reply: None)

    def list_groups(self, done: Completion[Sequence[GroupSummary]]) -> None:
        def read(reply: Reply) -> Sequence[GroupSummary]:
            return [
                GroupSummary(item["group"], item["state"], item["protocol"], _count(item["members"]))
                for item in reply["groups"]
            ]

        self._call("list_groups", {}, done, read)

    def describe_group(self, group: str, done: Completion[GroupDescription]) -> None:
        self._call("describe_group", {"group": group}, done, _read_group)

    def commit_offsets(self, group: str, topic: Topic[Any], offsets: Mapping[int, int], done: Completion[None]) -> None:
        args = {"group": group, "topic": topic.name, "offsets": {str(p): offset for p, offset in offsets.items()}}
        self._call("reset_offsets", args, done, lambda _reply: None)

    def delete_group(self, group: str, done: Completion[None]) -> None:
        self._call("delete_group", {"group": group}, done, lambda _reply: None)

    def purge(self, queue: Queue[Any], done: Completion[int]) -> None:
        self._call("purge_queue", {"name": queue.name}, done, lambda r: int(r["purged"]))

    def browse(self, queue: Queue[Any], max_messages: int, done: Completion[Sequence[StoredMessage]]) -> None:
        def answered(reply: Reply | None, batches: list[RecordBatch], error: MqbridgeError | None) -> None:
            if error is not None or reply is None:
                done(None, error)
                return
            messages: list[StoredMessage] = []
            if batches:
                batch = batches[0]
                columns = (reply["seqs"], batch.values, batch.keys, batch.headers or [None] * batch.count)
                messages = [StoredMessage(*row) for row in zip(*columns, batch.timestamps_ms, strict=True)]
            done(messages, None)

        self._connection.session.call("browse", {"queue": queue.name, "max": max_messages}, (), answered)

    def move(
        self,
        queue: Queue[Any],
        tokens: Sequence[int] | None,
        to: Queue[Any] | None,
        max_messages: int,
        done: Completion[int],
    ) -> None:
        args = {
            "queue": queue.name,
            "seqs": None if tokens is None else list(tokens),
            "to_queue": None if to is None else to.name,
            "max": max_messages,
        }
        self._call("move", args, done, lambda r: int(r["moved"]))

    def health(self, done: Completion[Mapping[str, Any]]) -> None:
        session = self._connection.session
        found: dict[str, Any] = {"engine": "native", "role": session.role, "epoch": session.session_epoch}
        if session.folder is not None:
            found |= {"durability": session.settings.durability, "folder": str(session.folder)}
        done(found, None)


def _count(members: Any) -> int:
    return members if isinstance(members, int) else len(members)
