"""Broken engines: each breaks one promise of the native engine, in this process, until the test is over.

The rule: a saboteur is small, changes what the engine does and never what a scenario sees of itself, and names the
words by which the right check, and no other, finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.admin import Admin
from mqbridge.capabilities import Capabilities
from mqbridge.native import sending
from mqbridge.native.administering import NativeAdmin
from mqbridge.native.core.meta import MetaJournal
from mqbridge.native.core.queues.consumers import Consumers
from mqbridge.native.core.queues.deadletter import DeadLetters
from mqbridge.native.core.queues.queue import Queue
from mqbridge.native.core.queues.settling import Settlement
from mqbridge.native.core.topics.groups import GroupRoom
from mqbridge.native.core.topics.offsets import GroupOffsets
from mqbridge.native.core.topics.partition import Partition
from mqbridge.native.queue_client import QueueClient
from mqbridge.native.replaying import NativeReplay
from mqbridge.topic_consumer import TopicConsumer
from tests.conformance.saboteurs.breaking import Row, Saboteur, around

# --- records


def _with_records(change: Callable[[list[Any]], list[Any]]) -> Saboteur:
    return around(sending, "build_batch", lambda build, records, wall_ms: build(change(records), wall_ms))


def _without_headers(records: list[Any]) -> list[Any]:
    return [(number, key, value, None, stamp) for number, key, value, _, stamp in records]


def _one_header_a_name(records: list[Any]) -> list[Any]:
    return [(n, key, value, tuple(dict(pairs or ()).items()), stamp) for n, key, value, pairs, stamp in records]


def _null_as_empty(records: list[Any]) -> list[Any]:
    return [(number, key, value or b"", pairs, stamp) for number, key, value, pairs, stamp in records]


def _empty_key_as_null(records: list[Any]) -> list[Any]:
    return [(number, key or None, value, pairs, stamp) for number, key, value, pairs, stamp in records]


def _whole_seconds(records: list[Any]) -> list[Any]:
    return [(n, key, value, pairs, stamp and stamp // 1000 * 1000) for n, key, value, pairs, stamp in records]


def _two_swapped(records: list[Any]) -> list[Any]:
    """The first two of one key change places; their receipts do not."""
    for first, record in enumerate(records):
        for second in range(first + 1, len(records)):
            other = records[second]
            if record[1] == other[1] and record[2] != other[2]:
                records[first], records[second] = (record[0], *other[1:]), (other[0], *record[1:])
                return records
    return records


# --- groups


def _shared_offsets(patch: pytest.MonkeyPatch) -> None:
    shared: dict[Any, int] = {}
    original = GroupOffsets.__init__

    def init(self: GroupOffsets) -> None:
        original(self)
        self.committed = shared

    patch.setattr(GroupOffsets, "__init__", init)


def _start_at_every_join(bring: Any, self: GroupOffsets, topics: Any, start: Any) -> Any:
    return {
        topic: [[number, start.resolve(topic, number, log)] for number, log in enumerate(logs)]
        for topic, logs in topics.items()
    }


def _forgotten_when_empty(patch: pytest.MonkeyPatch) -> None:
    """A start that was resolved lives as long as the members do, unless one of them has committed."""
    committed: set[str] = set()
    write, forget = GroupRoom._write_offsets, GroupRoom._forget_if_nothing

    def writes(self: GroupRoom, name: str, offsets: Any, attempts: Sequence[Any] = ()) -> None:
        if offsets:
            committed.add(name)
        write(self, name, offsets, attempts)

    def forgets(self: GroupRoom, group: Any) -> None:
        forget(self, group)
        if not group.members and group.name not in committed:
            self._groups.pop(group.name, None)

    patch.setattr(GroupRoom, "_write_offsets", writes)
    patch.setattr(GroupRoom, "_forget_if_nothing", forgets)


def _not_journalled(append: Any, self: MetaJournal, entry: dict[str, Any]) -> None:
    if entry["t"] != "group-start":
        append(self, entry)


def _new_partitions_at_their_end(patch: pytest.MonkeyPatch) -> None:
    original = GroupRoom._tell

    def tell(self: GroupRoom, group: Any, effects: Sequence[Any]) -> None:
        for topic in group.offsets.brought if effects else ():
            for number, partition in enumerate(self._topics.partitions(topic)):
                group.offsets.committed.setdefault((topic, number), partition.end)
        original(self, group, effects)

    patch.setattr(GroupRoom, "_tell", tell)


def _gap_passed_over(fetch: Any, self: Partition, offset: int, max_bytes: int) -> Any:
    return fetch(self, max(offset, self.start), max_bytes)


def commits_past_the_gap(patch: pytest.MonkeyPatch) -> None:
    """What was handed out is committed, settled or not."""
    original = TopicConsumer._hand_out

    def hand_out(self: TopicConsumer[Any], ledger: Any, block: Any, max_messages: int) -> Any:
        deliveries = original(self, ledger, block, max_messages)
        for page in ledger.pages:
            page.marks[:] = b"\x01" * len(page.marks)
        return deliveries

    def ack(self: mq.Delivery[Any]) -> None:
        return

    patch.setattr(TopicConsumer, "_hand_out", hand_out)
    patch.setattr(mq.Delivery, "ack", ack)


def begins_late(begin: Any, self: NativeReplay, ranges: dict[int, tuple[int, int]]) -> None:
    begin(self, {partition: (first + 1, end) for partition, (first, end) in ranges.items()})


def replay_joins(begin: Any, self: NativeReplay, ranges: Any) -> None:
    args = {
        "group": f"{self._topic.name}-replay",
        "topics": [self._topic.name],
        "protocol": "cooperative",
        "instance_id": None,
        "session_timeout_s": 30.0,
        "rebalance_timeout_s": 30.0,
        "start": {"kind": "earliest"},
    }
    self._connection.session.call("join", args, (), lambda *_: None)
    begin(self, ranges)


# --- queues


def _verb_as_ack(*verbs: str) -> Saboteur:
    def other(original: Any, self: Settlement, item: Any, verb: str, tag: int, message: Any) -> None:
        if verb in verbs:
            self.acked.append(message)
            self._acked_tags.append(tag)
        else:
            original(self, item, verb, tag, message)

    return around(Settlement, "_other", other)


def _release_counted(original: Any, self: Settlement, item: Any, verb: str, tag: int, message: Any) -> None:
    given = ["retry", tag, 0.0, None] if verb == "release" else item
    original(self, given, given[0], tag, message)


def _handed_out_twice(take: Any, self: QueueClient, consumer: int, reply: Any, batches: Any, error: Any) -> None:
    take(self, consumer, reply, batches, error)
    if batches:
        self._blocks.append(self._blocks[-1])


def _no_prefetch(may_take: Any, self: Consumers, consumer: Any, wanted: int, ready: int, now_s: float) -> int:
    return min(wanted, ready)


def _letters_dropped(deliver: Any, self: DeadLetters, *args: Any, **options: Any) -> dict[int, Any]:
    return {}


def _letters_without_error(deliver: Any, self: DeadLetters, origin: str, target: Any, deaths: Any, *rest: Any) -> Any:
    return deliver(self, origin, target, [death._replace(error=None) for death in deaths], *rest)


def _one_attempt_more(patch: pytest.MonkeyPatch) -> None:
    original = Settlement.__init__

    def init(self: Settlement, unsettled: Any, spec: Any, wall_ms: int) -> None:
        original(self, unsettled, spec, wall_ms)
        if spec.max_attempts is not None:
            self._spec = replace(spec, max_attempts=spec.max_attempts + 1)

    patch.setattr(Settlement, "__init__", init)


# --- names and refusals


def _created_by_sending(channel: Any, self: sending.NativeSender, destination: Any, *rest: Any) -> None:
    if destination.kind == "topic":
        self.connection.admin.create_topic(destination, lambda *_: None)
    channel(self, destination, *rest)


def _created_by_looking(describe: Any, self: NativeAdmin, topic: mq.Topic[Any], done: Any) -> None:
    """As a Kafka broker does when it is asked for the metadata of a topic and may create it."""
    self.create_topic(topic, lambda *_: None)
    describe(self, topic, done)


def _unroutable_confirmed(report: Any, self: sending.QueueChannel, shipment: Any, reply: dict[str, Any]) -> None:
    report(self, shipment, {**reply, "errors": {}})


def _whole_batch_refused(report: Any, self: sending.QueueChannel, shipment: Any, reply: dict[str, Any]) -> None:
    failures = reply.get("errors") or {}
    numbers = range(len(shipment.sequences[0]))
    told = {str(place): next(iter(failures.values())) for place in numbers} if failures else {}
    report(self, shipment, {**reply, "errors": told})


def _refused_after_it_was_made(ensure: Any, self: Admin, *specs: Any) -> None:
    for spec in specs:
        if isinstance(spec, mq.Topic):
            self._ask(lambda done, name=spec.name: self._spi.create_topic(mq.Topic(name), done), "making it anyway")  # type: ignore[misc]
    ensure(self, *specs)


def nothing_refused(need: Any, self: Capabilities, capability: Any, what: str) -> None:
    return


def _wrong_name(refusal: Any, self: Capabilities, capability: Any, what: str) -> Any:
    error = refusal(self, capability, what)
    error.capability = "SOMETHING_ELSE"
    return error


SABOTEURS: list[Row] = [
    ("round-trip", "loses headers", _with_records(_without_headers), "memory", "headers: found \\(\\)"),
    ("round-trip", "keeps one header of a name", _with_records(_one_header_a_name), "memory", "'headers'.*: headers"),
    ("round-trip", "makes null empty", _with_records(_null_as_empty), "memory", "'null'.*: value: found b''"),
    ("round-trip", "makes an empty key null", _with_records(_empty_key_as_null), "memory", "key: found None"),
    ("round-trip", "keeps whole seconds", _with_records(_whole_seconds), "memory", "timestamp in milliseconds"),
    ("order-per-key", "swaps two records", _with_records(_two_swapped), "memory", "in order: found"),
    (
        "order-per-key",
        "ignores the key",
        around(sending.TopicChannel, "__init__", lambda init, self, s, n, r, _p, c: init(self, s, n, r, None, c)),
        "memory",
        "murmur2 gives",
    ),
    ("two-groups", "shares offsets between groups", _shared_offsets, "memory", "second group"),
    ("two-groups", "commits past a gap", commits_past_the_gap, "memory", "offsets of the second group"),
    (
        "competing-consumers",
        "hands a message out twice",
        around(QueueClient, "_taken", _handed_out_twice),
        "memory",
        "handed out more than once|failed: LeaseLost",
    ),
    (
        "competing-consumers",
        "does not settle",
        around(Settlement, "read", lambda read, self, settle: None),
        "memory",
        "three have settled: still",
    ),
    (
        "crash-redelivers",
        "does not count the attempt",
        around(Queue, "detach", lambda detach, self, gone, now, *, counted: detach(self, gone, now, counted=False)),
        "memory",
        "attempt numbers: found \\{1\\}",
    ),
    (
        "crash-redelivers",
        "drops what a dead consumer held",
        around(Settlement, "give_up", lambda give_up, self, *, counted: self._unsettled.clear()),
        "memory",
        "after the kill",
    ),
    ("release-retry-reject", "drops a released message", _verb_as_ack("release"), "memory", "released.* 1: 0 of 1"),
    ("release-retry-reject", "drops a retried message", _verb_as_ack("retry"), "memory", "retried, attempt 2: 0 of 1"),
    ("release-retry-reject", "drops a rejected message", _verb_as_ack("reject"), "memory", "letters: still \\[\\]"),
    ("release-retry-reject", "counts a release", around(Settlement, "_other", _release_counted), "memory", "released"),
    ("dead-letters", "drops dead letters", around(DeadLetters, "deliver", _letters_dropped), "memory", "still \\[\\]"),
    (
        "dead-letters",
        "does not say the error",
        around(DeadLetters, "deliver", _letters_without_error),
        "memory",
        "error=None",
    ),
    ("dead-letters", "allows one attempt more", _one_attempt_more, "memory", "behind the dead one|last attempt"),
    ("prefetch-bound", "ignores prefetch", around(Consumers, "may_take", _no_prefetch), "memory", "asking again"),
    (
        "replay",
        "begins one too late",
        around(NativeReplay, "begin", begins_late),
        "memory",
        "the first replay",
    ),
    ("replay", "joins a group", around(NativeReplay, "begin", replay_joins), "memory", "the groups, before and after"),
    (
        "start-rules",
        "applies start at every join",
        around(GroupOffsets, "bring", _start_at_every_join),
        "memory",
        "from LATEST: 0 of 3",
    ),
    ("start-rules", "forgets a start nobody used", _forgotten_when_empty, "memory", "between the kill"),
    (
        "start-rules",
        "does not write the start down",
        around(MetaJournal, "append", _not_journalled),
        "folder",
        "offsets of group|committed before",
    ),
    ("start-rules", "skips a new partition", _new_partitions_at_their_end, "memory", "added later holds"),
    (
        "start-rules",
        "passes over a removed offset",
        around(Partition, "fetch", _gap_passed_over),
        "memory",
        "a committed offset that was removed: no error",
    ),
    (
        "unroutable-and-missing",
        "makes topics by sending",
        around(sending.NativeSender, "channel", _created_by_sending),
        "memory",
        "sending to a topic that does not exist: no error",
    ),
    (
        "unroutable-and-missing",
        "makes topics by looking at them",
        around(NativeAdmin, "describe_topic", _created_by_looking),
        "memory",
        "consuming a topic that does not exist: no error",
    ),
    (
        "unroutable-and-missing",
        "confirms what nobody gets",
        around(sending.QueueChannel, "_report", _unroutable_confirmed),
        "memory",
        "where Unroutable is due",
    ),
    (
        "unroutable-and-missing",
        "refuses the whole batch",
        around(sending.QueueChannel, "_report", _whole_batch_refused),
        "memory",
        "routing key 'known'",
    ),
    (
        "refusals",
        "refuses after it was made",
        around(Admin, "ensure", _refused_after_it_was_made),
        "memory",
        "shows after .* was refused",
    ),
    (
        "refusals",
        "refuses after it was made, in its files",
        around(Admin, "ensure", _refused_after_it_was_made),
        "folder",
        "shows after .* was refused",
    ),
    ("refusals", "refuses nothing", around(Capabilities, "need", nothing_refused), "memory", "no error, but None"),
    ("refusals", "names another capability", around(Capabilities, "refusal", _wrong_name), "memory", "SOMETHING_ELSE"),
]
