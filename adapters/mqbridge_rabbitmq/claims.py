"""What the RabbitMQ engine claims, one row a capability.

The rule: a claim was seen to be true on RabbitMQ 4.3, or it is not made. What is planned and not built is refused with
`later=True`, so that nobody takes it for a final word.
"""

from __future__ import annotations

from mqbridge.capabilities import Capability as Cap
from mqbridge.capabilities import Support, direct, emulated, later, never

_STREAM = "a topic is a super stream: a direct exchange and a stream a partition; mqbridge picks the partition"
_TOKEN = (
    "a token queue for each group and partition: quorum, single active consumer; the newest token is the committed "
    "offset, and whoever holds it owns the partition"
)
_ONE_MEMBER = "one member a group for now; a second one waits for the first to end, then is refused with Unsupported"
_QUORUM = "quorum queues"
_DELAY = "a delay of a single call is not built yet"

_TOPIC_ROWS: dict[Cap, Support] = {
    Cap.ORDER_PER_PARTITION: direct(
        _STREAM, "after an unknown outcome, a duplicate of on_unknown='resend' may repeat a prefix"
    ),
    Cap.ORDER_PER_KEY: direct("records of a key share a partition", "with the by_key partitioner"),
    Cap.PARTITION_BY_KEY: direct("murmur2 as in Kafka's Java client"),
    Cap.PARTITION_ROUND_ROBIN: direct("in the sender"),
    Cap.PARTITION_STICKY: direct("in the sender"),
    Cap.PARTITION_CUSTOM: direct("in the sender"),
    Cap.SEND_OFFSET: never("AMQP's confirms carry no offset", "message_id, and the offset of the delivery"),
    Cap.GROUPS: emulated(_TOKEN, "a quorum queue and two channels a partition; one connection a member", _ONE_MEMBER),
    Cap.REBALANCE_EAGER: later(_ONE_MEMBER, "rebalance=None, one member a group, or a Queue"),
    Cap.REBALANCE_COOPERATIVE: later(_ONE_MEMBER, "rebalance=None, one member a group, or a Queue"),
    Cap.REBALANCE_SERVER: never("the broker knows no groups over AMQP 0-9-1", "rebalance=None, one member a group"),
    Cap.STATIC_MEMBERSHIP: never("the broker knows no members", "a group's one member, which takes over by itself"),
    Cap.COMMIT_FENCING: emulated(
        "a commit counts when its token has come back to its writer, which only the active consumer sees",
        "a round trip through the quorum queue, about 3 ms",
    ),
    Cap.REPLAY_BY_OFFSET: direct("x-stream-offset; what lies before it in the first chunk is dropped"),
    Cap.REPLAY_BY_TIME: emulated(
        "the broker finds the chunk that was appended then, to the second; the rest is filtered by the records' times",
        "up to the records between that chunk and the time are read",
        "a record stamped later than it was appended may be passed over",
    ),
    Cap.SEEK: emulated("the stream is consumed anew from there", "a channel"),
    Cap.PAUSE_RESUME: emulated("no credit is given", "up to 500 records of a partition stay buffered"),
    Cap.END_OFFSETS: emulated(
        "the last chunk is read", "some round trips a partition", "offsets are not contiguous: an upper bound"
    ),
    Cap.LAG: emulated(
        "end minus committed, which the consuming member is asked for",
        "some round trips a partition",
        "needs the management API; an upper bound",
    ),
    Cap.RESET_OFFSETS: emulated(
        "by the owner of the tokens, which the call becomes first",
        "some round trips a partition",
        "while the group has no member",
    ),
    Cap.TOPIC_RETRY: emulated("delivered again inside the consumer", "the committed offset waits below it"),
    Cap.TOPIC_DEAD_LETTER: emulated(
        "a copy to the dead-letter topic, then the ack", "one send", "a crash may duplicate"
    ),
    Cap.DURABLE_ATTEMPTS_ON_TOPIC: later("attempts on topics are counted in the consumer only", "a Queue"),
    Cap.IDEMPOTENT_SEND: never("AMQP 0-9-1 has no deduplication", "message_id, and consumers that know it"),
    Cap.TRANSACTIONS: never("AMQP's tx is atomic for one queue only", "message_id, and consumers that know it"),
    Cap.READ_COMMITTED: never("there are no transactions", "isolation='read_uncommitted'"),
    Cap.ACKS_LEADER: never("a confirm comes from a majority of the replicas", "acks='all'"),
    Cap.ACKS_NONE: never("this adapter confirms every message", "acks='all'"),
    Cap.MIN_INSYNC: never("a majority of the replicas always confirms", "the broker's number of replicas"),
    Cap.RETENTION_BY_AGE: direct("x-max-age: whole segments", "the last segment always stays"),
    Cap.RETENTION_BY_SIZE: direct(
        "x-max-length-bytes: whole segments, made a quarter of it at most", "the last segment always stays"
    ),
    Cap.COMPACTION: never("streams are not compacted", "cleanup='delete'"),
    Cap.DELETE_RECORDS: never("a stream's start moves by its retention alone", "retention, or a new topic"),
    Cap.ADD_PARTITIONS: emulated(
        "more streams and bindings",
        "a question each 2 s to the management API while somebody sends or consumes",
        "producers and members know within 2 s, without the management API within 15 s",
    ),
}

_QUEUE_ROWS: dict[Cap, Support] = {
    Cap.WORK_SHARING: direct("quorum queues; consumers are served in turn"),
    Cap.ACK: direct("basic.ack, for all up to one where nothing in between is out"),
    Cap.RELEASE_UNCOUNTED: direct("basic.nack", f"{_QUORUM} of RabbitMQ 4.3"),
    Cap.RETRY_COUNTED: direct("basic.reject with requeue", f"{_QUORUM}; returned before what was never handed out"),
    Cap.MAX_ATTEMPTS: direct(
        "x-delivery-limit = max_attempts - 1",
        f"{_QUORUM}; a connection that dies costs each message that it had fetched an attempt",
    ),
    Cap.ATTEMPT_NUMBER: direct(
        "x-delivery-count + 1", f"{_QUORUM}; a classic queue only tells a first delivery (1) from a later one (2)"
    ),
    Cap.REDELIVERED: direct("basic.deliver's flag", "also true for what was fetched and never shown"),
    Cap.PREFETCH: direct("basic.qos", "a quorum queue hands out at most 2000"),
    Cap.LONG_HANDLERS: direct(
        "the lease lasts as long as the channel", "shorter than the broker's consumer_timeout (30 minutes by default)"
    ),
    Cap.DEAD_LETTER: direct(
        "by the broker, at least once; with a text, a confirmed copy before the ack",
        f"at least once: {_QUORUM} with overflow='reject'; a crash may duplicate",
    ),
    Cap.BROWSE_DEAD_LETTERS: emulated(
        "basic.get of all that is asked for, then basic.nack",
        "marks them redelivered; while it looks, consumers of that queue do not get them",
    ),
    Cap.REDRIVE: emulated(
        "a confirmed copy, then the ack",
        "one send a message; one at a time from the dead-letter queue",
        "a crash may duplicate",
    ),
    Cap.MESSAGE_TTL: direct(
        "the smaller of the queue's and the message's",
        "removed at the head of the queue only: a later one never is first",
    ),
    Cap.QUEUE_EXPIRY: direct("x-expires: no consumers for that long; its messages are not dead-lettered"),
    Cap.DELAYED_SEND: later(_DELAY, "message_ttl_s on a queue that dead-letters to the target"),
    Cap.DELAYED_RETRY: later(_DELAY, "release() or retry() without delay_s"),
    Cap.PRIORITY: direct("higher first", "0 to 31 on quorum queues, 0 to max_priority on classic ones"),
    # rabbit_fifo.erl, is_over_limit: full is who has more ready than the limit; a classic queue is exact.
    Cap.LENGTH_LIMIT: direct(
        "x-max-length, x-max-length-bytes",
        "a quorum queue that rejects takes one more, and what is under way, before it says that it is full",
    ),
    Cap.SINGLE_ACTIVE_CONSUMER: direct(
        "x-single-active-consumer", "what the leaving one gives back may come after what its successor is given at once"
    ),
    Cap.ORDER_IN_QUEUE: direct("first in, first out", "one sender, one consumer, nothing returned, one priority"),
    Cap.DEPTH: direct("the passive declare's message count"),
    Cap.PURGE: direct("queue.purge: all that is not out"),
    Cap.ROUTE_DIRECT: direct("binding key equals routing key"),
    Cap.ROUTE_FANOUT: direct("to every binding"),
    Cap.ROUTE_TOPIC: direct("words, * one, # any number", "at most two # in a binding key"),
    Cap.ROUTE_HEADERS: direct("all or any of the binding's headers"),
    Cap.ALTERNATE_EXCHANGE: direct("when the exchange's own bindings give nothing"),
    Cap.BIND_EXCHANGES: direct("a queue gets one copy, cycles end"),
    Cap.UNROUTABLE_REPORTED: direct("mandatory messages; the returned one fails its receipt"),
    Cap.REQUEST_REPLY: later("request and reply are not built yet", "two queues and message_id"),
}

_ROWS_OF_BOTH: dict[Cap, Support] = {
    Cap.CONFIRMED_SEND: direct("publisher confirms, a majority of the replicas", "pipelined"),
    Cap.BINARY_VALUES: direct("bytes are kept as they are"),
    Cap.NULL_VALUE: emulated("an empty body and a header", "a header"),
    Cap.EMPTY_KEY: emulated("the key travels in a header; none and empty are different", "a header"),
    Cap.REPEATED_HEADERS: emulated(
        "all pairs in one header, and the last value of each name in the table", "the headers travel twice"
    ),
    Cap.RESUMES_AFTER_RESTART: direct("connections and channels are made anew, consumers consume again by themselves"),
    Cap.SEVERAL_PROCESSES: direct("a broker"),
    Cap.TLS: direct("amqps://, ca=, cert=, key="),
    Cap.PASSWORDS: direct("amqp://user:password@host, SASL PLAIN"),
    Cap.PERMISSIONS: direct("the broker's own: configure, write, read"),
    Cap.UNWRAP: direct("pika's connection or channel, on its own thread, by run_on_client() of a consumer"),
    Cap.OUTBOX: later("the outbox pattern is not built yet"),
    Cap.INBOX: later("the inbox pattern is not built yet"),
}

CLAIMS: dict[Cap, Support] = {**_TOPIC_ROWS, **_QUEUE_ROWS, **_ROWS_OF_BOTH}
