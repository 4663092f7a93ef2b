"""What the native engine claims, one row a capability.

The rule: a claim is true or it is not made. What is planned and not built is refused, with `later=True`, so that the
conformance matrix shows it as PENDING and nobody takes it for a final word.
"""

from __future__ import annotations

from mqbridge.capabilities import Capability as Cap
from mqbridge.capabilities import Support, direct, emulated, later, never

_ONE_COPY = "the native engine keeps one copy of a partition; simulated replicas are not built yet"
_LOG = "records are appended to a log per partition, in the order in which a sender's batches arrive"
_GROUP = "the broker assigns; a partition moves when its old owner has released it"

CLAIMS: dict[Cap, Support] = {
    Cap.ORDER_PER_PARTITION: direct(_LOG),
    Cap.ORDER_PER_KEY: direct("records of a key share a partition", "with the by_key partitioner"),
    Cap.PARTITION_BY_KEY: direct("murmur2 as in Kafka's Java client"),
    Cap.PARTITION_ROUND_ROBIN: direct("in the sender"),
    Cap.PARTITION_STICKY: direct("in the sender"),
    Cap.PARTITION_CUSTOM: direct("in the sender"),
    Cap.SEND_OFFSET: direct("the log's offset"),
    Cap.GROUPS: direct(_GROUP),
    Cap.REBALANCE_EAGER: direct("all members release all, then all are assigned anew"),
    Cap.REBALANCE_COOPERATIVE: direct(_GROUP),
    Cap.REBALANCE_SERVER: direct("the same as cooperative: assignment is always the broker's"),
    Cap.STATIC_MEMBERSHIP: direct(
        "a member that joins with a known instance id takes the slot over; the old one is fenced"
    ),
    Cap.COMMIT_FENCING: direct("a commit names the lease of each partition; a lease number is never used twice"),
    Cap.REPLAY_BY_OFFSET: direct("the log is read from there"),
    Cap.REPLAY_BY_TIME: direct("the first record with that timestamp or a later one, in each partition"),
    Cap.SEEK: direct("the next fetch starts there"),
    Cap.PAUSE_RESUME: direct("in the consumer"),
    Cap.END_OFFSETS: direct("the log's end"),
    Cap.LAG: direct("end minus committed"),
    Cap.RESET_OFFSETS: direct("while the group has no members"),
    Cap.TOPIC_RETRY: emulated("delivered again inside the consumer", "the committed offset waits below it"),
    Cap.TOPIC_DEAD_LETTER: emulated(
        "a copy to the dead-letter topic, then the ack", "one send", "a crash may duplicate"
    ),
    Cap.DURABLE_ATTEMPTS_ON_TOPIC: later("attempts on topics are counted in the consumer only", "a Queue"),
    Cap.IDEMPOTENT_SEND: later("producer ids and sequence numbers are not built yet"),
    Cap.TRANSACTIONS: later("transactions are not built yet"),
    Cap.READ_COMMITTED: later("there are no transactions to be committed yet; every record is"),
    Cap.ACKS_LEADER: later(_ONE_COPY, "acks='all'"),
    Cap.ACKS_NONE: later(_ONE_COPY, "acks='all'"),
    Cap.MIN_INSYNC: later(_ONE_COPY),
    Cap.RETENTION_BY_AGE: direct("whole segments", "the segment that is written to is closed first"),
    Cap.RETENTION_BY_SIZE: direct("whole segments"),
    Cap.COMPACTION: later("compaction is not built yet", "cleanup='delete'"),
    Cap.DELETE_RECORDS: direct("the log's start moves; space is freed by whole segments"),
    Cap.ADD_PARTITIONS: direct("members get them with their next assignment, at once"),
    Cap.WORK_SHARING: direct("consumers of a queue take messages in turn"),
    Cap.ACK: direct("by message"),
    Cap.RELEASE_UNCOUNTED: direct("back to its place, no attempt counted"),
    Cap.RETRY_COUNTED: direct("back to its place, one attempt counted"),
    Cap.MAX_ATTEMPTS: direct("dead-lettered when the last allowed attempt failed"),
    Cap.ATTEMPT_NUMBER: direct("kept with the message", "a consumer process that dies costs an attempt"),
    Cap.REDELIVERED: direct("kept with the message"),
    Cap.PREFETCH: direct("the broker hands out no more"),
    Cap.LONG_HANDLERS: direct("a message stays with its consumer as long as the consumer's process lives"),
    Cap.DEAD_LETTER: direct("written to the dead-letter queue before it leaves its own"),
    Cap.BROWSE_DEAD_LETTERS: direct("a look that takes nothing"),
    Cap.REDRIVE: direct("written to the target before it leaves the dead-letter queue", "a crash may duplicate"),
    Cap.MESSAGE_TTL: direct("the smaller of the queue's and the message's", "wherever it stands in the queue"),
    Cap.QUEUE_EXPIRY: direct("a queue without consumers for that long is deleted; its messages are not dead-lettered"),
    Cap.DELAYED_SEND: direct("held back by the broker, also across a restart"),
    Cap.DELAYED_RETRY: direct("held back by the broker, also across a restart"),
    Cap.PRIORITY: direct("higher first, order within a priority"),
    Cap.LENGTH_LIMIT: direct("counts messages that are ready or delayed"),
    Cap.SINGLE_ACTIVE_CONSUMER: direct("the first consumer; then the next by priority and age"),
    Cap.ORDER_IN_QUEUE: direct("first in, first out", "one sender, one consumer, nothing returned"),
    Cap.DEPTH: direct("exact"),
    Cap.PURGE: direct("all that is not out"),
    Cap.ROUTE_DIRECT: direct("binding key equals routing key"),
    Cap.ROUTE_FANOUT: direct("to every binding"),
    Cap.ROUTE_TOPIC: direct("words, * one, # any number"),
    Cap.ROUTE_HEADERS: direct("all or any of the binding's headers"),
    Cap.ALTERNATE_EXCHANGE: direct("when the exchange's own bindings give nothing"),
    Cap.BIND_EXCHANGES: direct("a queue gets one copy, cycles end"),
    Cap.UNROUTABLE_REPORTED: direct("the receipt fails with Unroutable"),
    Cap.REQUEST_REPLY: later("request and reply are not built yet", "two queues and message_id"),
    Cap.CONFIRMED_SEND: direct("after the record is in the log or the queue's journal", "pipelined in batches"),
    Cap.BINARY_VALUES: direct("bytes are kept as they are"),
    Cap.NULL_VALUE: direct("null and empty are different"),
    Cap.EMPTY_KEY: direct("null and empty are different"),
    Cap.REPEATED_HEADERS: direct("kept, in order"),
    Cap.RESUMES_AFTER_RESTART: direct("another process of the folder takes over; consumers rejoin by themselves"),
    Cap.SEVERAL_PROCESSES: direct(
        "the first hosts, others connect by a Unix socket in the folder", "one machine, a local disk"
    ),
    Cap.TLS: never("nothing leaves the machine", "the folder's permissions"),
    Cap.PASSWORDS: never("who may use the folder may use the broker", "the folder's permissions"),
    Cap.PERMISSIONS: never("who may use the folder may use the broker", "the folder's permissions"),
    Cap.UNWRAP: direct("the Session"),
    Cap.OUTBOX: later("the outbox pattern is not built yet"),
    Cap.INBOX: later("the inbox pattern is not built yet"),
}
