"""Where a stream begins and ends, where a time is in it, and how many partitions a topic has.

The rule: it is asked by reading. AMQP 0-9-1 tells no offset, and the message counts of a stream are sampled; a
delivery carries its offset, and `Scratch.settled` says when nothing more is to come. Offsets are not contiguous, so an
end is the offset after the last record, and the difference of two offsets an upper bound of a count.
"""

from __future__ import annotations

import datetime as _dt
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mqbridge.errors import Denied, NotFound, Rejected, Unreachable
from mqbridge.topology import Topic
from mqbridge_rabbitmq import errors, records
from mqbridge_rabbitmq.errands import Scratch, ask
from mqbridge_rabbitmq.naming import stream_name, topic_exchange

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection

log = logging.getLogger("mqbridge.rabbitmq")

READ_AHEAD = 256
TELLS_NOTHING = (Denied, Rejected, Unreachable)
"""The management API is not there, or not for this user: asked over AMQP then."""
PARTITIONS_ARGUMENT = "x-mqbridge-partitions"
"""On the exchange: how many streams were to be made with it."""


@dataclass(frozen=True, slots=True)
class Edges:
    """`start` is the first readable offset, `end` the one after the last record; both 0 of a stream that never held
    any."""

    start: int
    end: int


async def edges(scratch: Scratch, stream: str) -> Edges:
    """Read from both ends: a record from the first on, the last chunk from the last on."""
    head = await scratch.feed(stream, "first", 1)
    tail = await scratch.feed(stream, "last", READ_AHEAD)
    end = start = 0
    while True:
        await scratch.settled(stream)
        if head.rows:
            start = head.rows[0][0]
        came = len(tail.rows)
        if came:
            end = tail.rows[-1][0] + 1
            tail.rows.clear()
        if came < READ_AHEAD and (head.rows or not came):
            break
        tail.credit()
    await scratch.cancel(head)
    await scratch.cancel(tail)
    return Edges(start, end)


async def offset_at(scratch: Scratch, stream: str, timestamp_ms: int) -> int | None:
    """The first offset whose record has this time or a later one; None if there is none.

    The broker finds a chunk by the time at which it was appended, to the second; the rest is filtered here, by the
    records' own times. A record that says it is from after its own appending may be passed over, unless the time asked
    for lies in the future.
    """
    spec: Any = "first"
    if 0 < timestamp_ms <= records.now_ms():
        spec = _dt.datetime.fromtimestamp(timestamp_ms // 1000, _dt.UTC)
    feed = await scratch.feed(stream, spec, READ_AHEAD)
    found: int | None = None
    while found is None:
        await scratch.settled(stream)
        came = len(feed.rows)
        found = next((offset for offset, p, _ in feed.rows if records.timestamp_ms_of(p, 0) >= timestamp_ms), None)
        feed.rows.clear()
        if came < READ_AHEAD:
            break
        feed.credit()
    await scratch.cancel(feed)
    return found


async def partition_count(scratch: Scratch, connection: RabbitConnection, topic: Topic[Any]) -> int:
    """How many partitions a topic has; `NotFound` where it, or its first stream, is missing."""
    exchange = topic_exchange(topic)
    await scratch.declare_exchange(exchange)
    count = await more_partitions(scratch, connection, topic, 0)
    if count == 0:
        raise NotFound(
            f"{topic}: exchange {exchange} is there, and its stream {stream_name(topic, 0)} is not: it is just being "
            "made, or making it was interrupted. Nothing was applied. Run admin.ensure() for it again.",
            engine=errors.ENGINE,
        )
    return count


async def more_partitions(scratch: Scratch, connection: RabbitConnection, topic: Topic[Any], known: int) -> int:
    """The number of partitions of a topic that had `known`.

    By its bindings, if the management API answers; else by asking for one stream after the other, from `known` on,
    until one is not there, which the broker logs as an error.
    """
    api = connection.management
    if not api.away:
        exchange = topic_exchange(topic)
        question = ask(connection.loop, api, f"partitions of {topic}", lambda api: api.bindings_from(exchange))
        try:
            return bound_partitions(await question)
        except TELLS_NOTHING:
            log.debug("the management API does not tell the partitions of %s; asking over AMQP", topic)
    return await existing_streams(scratch, topic, known)


async def existing_streams(scratch: Scratch, topic: Topic[Any], first: int) -> int:
    """The number of the first stream, from `first` on, that is not there."""
    partition = first
    while True:
        try:
            await scratch.declare_queue(stream_name(topic, partition))
        except NotFound:
            return partition
        partition += 1


def bound_partitions(bindings: list[dict[str, Any]]) -> int:
    """How many partitions the bindings of an exchange make: the keys 0, 1, 2 ... without a hole."""
    keys = {binding.get("routing_key") for binding in bindings}
    count = 0
    while str(count) in keys:
        count += 1
    return count
