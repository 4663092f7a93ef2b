"""What is sent is what arrives, byte by byte, on a topic and on a queue."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.native_files import Pairs
from mqbridge_conformance.observers import Record
from mqbridge_conformance.scenario import scenario

DAMAGED = "payload-corruption"
SECOND = dt.datetime(2001, 9, 9, 1, 46, 40, tzinfo=dt.UTC)


class Sent(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: Pairs = ()
    timestamp: dt.datetime | None = None
    message_id: str | None = None


MESSAGES: tuple[Sent, ...] = (
    Sent(b"all bytes", bytes(range(256))),
    Sent(b"empty", b""),
    Sent(b"null", None),
    Sent(None, b"null key"),
    Sent(b"", b"empty key"),
    Sent(None, None),
    Sent(bytes(range(255, -1, -1)), b"binary key"),
    Sent(b"large", b"\x00\xff" * 50_000),
    Sent(b"headers", b"", (("a", b"1"), ("b", b""), ("a", b"2"), ("\u00e9\u4e2d", b"\xff\x00"), ("a", b"1"))),
    Sent(b"one empty header", None, (("", b""),)),
    Sent(b"timestamp", b"", timestamp=SECOND + dt.timedelta(milliseconds=123)),
    Sent(b"epoch", b"", timestamp=dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
    Sent(b"below a millisecond", b"", timestamp=SECOND + dt.timedelta(microseconds=999_999)),
    Sent(b"all", bytes(range(256)), (("h", bytes(range(256))), ("h", b"2")), SECOND, "an-id \u00e9"),
)


@scenario(
    "round-trip",
    "Values, keys, headers and timestamps arrive as they were sent, null and empty told apart",
    needs=(
        Cap.CONFIRMED_SEND,
        Cap.BINARY_VALUES,
        Cap.NULL_VALUE,
        Cap.EMPTY_KEY,
        Cap.REPEATED_HEADERS,
        Cap.GROUPS,
        Cap.WORK_SHARING,
        Cap.ACK,
    ),
    exercises=("topic_messages", "queue_messages", "messages_seen_from_outside"),
)
def round_trip(env: Env) -> None:
    topic, queue = env.topic(), env.queue()
    began_ms = time.time_ns() // 1_000_000
    for destination in (topic, queue):
        with env.bus.producer() as producer:
            for sent in MESSAGES:
                producer.send(
                    destination,
                    sent.value,
                    key=sent.key,
                    headers=sent.headers,
                    timestamp=sent.timestamp,
                    message_id=sent.message_id,
                ).result(env.patience_s)
    ended_ms = time.time_ns() // 1_000_000
    now_ms = (began_ms, ended_ms)
    _compare(env, "from outside, the topic's", env.observer.records(topic.name), now_ms, identified=False)
    seen = env.observer.messages(queue.name)
    if seen is None:
        env.evidence.note(f"{env.observer.how} shows how many messages a queue has, not what is in them")
        env.equal(env.observer.counts(queue.name).ready, len(MESSAGES), "messages in the queue, seen from outside")
    else:
        _compare(env, "from outside, the queue's", seen, now_ms, identified=True)
    with env.bus.consumer(topic, group=env.group(), start=mq.EARLIEST) as reader:
        got = env.receive(reader, len(MESSAGES), "the topic's messages")
        env.count("topic_messages", _compare(env, "the topic's", _as_records(got), now_ms, identified=False))
        for delivery in got:
            delivery.ack()
    with env.bus.consumer(queue) as taker:
        got = env.receive(taker, len(MESSAGES), "the queue's messages")
        env.count("queue_messages", _compare(env, "the queue's", _as_records(got), now_ms, identified=True))
        for delivery in got:
            delivery.ack()


def _as_records(got: Sequence[mq.Delivery[Any]]) -> list[Record]:
    return [Record(d.partition, d.offset, d.key, d.raw, d.headers.pairs, d.timestamp_ms, d.message_id) for d in got]


def _compare(env: Env, whose: str, found: Sequence[Record], now_ms: tuple[int, int], *, identified: bool) -> int:
    """`identified`: messages of queues have an id, whether the sender gave one or not."""
    if whose.startswith("from outside"):
        env.count("messages_seen_from_outside", len(found))
    env.equal(len(found), len(MESSAGES), f"{whose} messages, in number")
    if identified and not env.can(Cap.ORDER_IN_QUEUE):
        sent_order = [(sent.key, sent.value) for sent in MESSAGES]
        found = sorted(found, key=lambda record: sent_order.index((record.key, record.value)))
    for number, (sent, record) in enumerate(zip(MESSAGES, found, strict=True)):
        which = f"{whose} message {number} ({sent.key!r})"
        env.equal(record.value, sent.value, f"{which}: value", DAMAGED)
        env.equal(record.key, sent.key, f"{which}: key", DAMAGED)
        env.equal(record.headers, sent.headers, f"{which}: headers", DAMAGED)
        if sent.timestamp is None:
            env.check(
                now_ms[0] <= record.timestamp_ms <= now_ms[1],
                f"{which}: timestamp {record.timestamp_ms} is not of when it was sent, {now_ms[0]} to {now_ms[1]}",
                DAMAGED,
            )
        else:
            exactly = (sent.timestamp - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
            env.equal(record.timestamp_ms, exactly, f"{which}: timestamp in milliseconds", DAMAGED)
        if sent.message_id is not None or not identified:
            env.equal(record.message_id, sent.message_id, f"{which}: message id", DAMAGED)
        else:
            env.check(record.message_id, f"{which}: a message of a queue has no id")
    if identified:
        env.equal(len({record.message_id for record in found}), len(found), f"{whose} different message ids")
    return len(found)
