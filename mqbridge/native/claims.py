"""What the native engine claims, one row a capability.

The rule: a claim is true or it is not made. What is planned and not built is refused, with `later=True`, so that the
conformance matrix shows it as PENDING and nobody takes it for a final word.
"""

from __future__ import annotations

from mqbridge.capabilities import Capability as Cap
from mqbridge.capabilities import Level, Support


def _direct(how: str, conditions: str = "") -> Support:
    return Support(Level.DIRECT, how=how, conditions=conditions)


def _emulated(how: str, cost: str, conditions: str = "") -> Support:
    return Support(Level.EMULATED, how=how, cost=cost, conditions=conditions)


def _later(how: str, instead: str = "") -> Support:
    return Support(Level.UNSUPPORTED, how=how, instead=instead, later=True)


def _never(how: str, instead: str = "") -> Support:
    return Support(Level.UNSUPPORTED, how=how, instead=instead)


_ONE_COPY = "the native engine keeps one copy of a partition; simulated replicas are not built yet"
_LOG = "records are appended to a log per partition, in the order in which a sender's batches arrive"
_GROUP = "the broker assigns; a partition moves when its old owner has released it"

CLAIMS: dict[Cap, Support] = {
    Cap.ORDER_PER_PARTITION: _direct(_LOG),
    Cap.ORDER_PER_KEY: _direct("records of a key share a partition", "with the by_key partitioner"),
    Cap.PARTITION_BY_KEY: _direct("murmur2 as in Kafka's Java client"),
    Cap.PARTITION_ROUND_ROBIN: _direct("in the sender"),
    Cap.PARTITION_STICKY: _direct("in the sender"),
    Cap.PARTITION_CUSTOM: _direct("in the sender"),
    Cap.SEND_OFFSET: _direct("the log's offset"),
    Cap.GROUPS: _direct(_GROUP),
    Cap.REBALANCE_EAGER: _direct("all members release all, then all are assigned anew"),
    Cap.REBALANCE_COOPERATIVE: _direct(_GROUP),
    Cap.REBALANCE_SERVER: _direct("the same as cooperative: assignment is always the broker's"),
    Cap.STATIC_MEMBERSHIP: _direct(
        "a member that joins with a known instance id takes the slot over; the old one is fenced"
    ),
    Cap.COMMIT_FENCING: _direct("a commit names the lease of each partition; a lease number is never used twice"),
    Cap.REPLAY_BY_OFFSET: _direct("the log is read from there"),
    Cap.REPLAY_BY_TIME: _direct("the first record with that timestamp or a later one, in each partition"),
    Cap.SEEK: _direct("the next fetch starts there"),
    Cap.PAUSE_RESUME: _direct("in the consumer"),
    Cap.END_OFFSETS: _direct("the log's end"),
    Cap.LAG: _direct("end minus committed"),
    Cap.RESET_OFFSETS: _direct("while the group has no members"),
    Cap.TOPIC_RETRY: _emulated("delivered again inside the consumer", "the committed offset waits below it"),
    Cap.TOPIC_DEAD_LETTER: _emulated(
        "a copy to the dead-letter topic, then the ack", "one send", "a crash may duplicate"
    ),
    Cap.DURABLE_ATTEMPTS_ON_TOPIC: _later("attempts on topics are counted in the consumer only", "a Queue"),
    Cap.IDEMPOTENT_SEND: _later("producer ids and sequence numbers are not built yet"),
    Cap.TRANSACTIONS: _later("transactions are not built yet"),
    Cap.READ_COMMITTED: _later("there are no transactions to be committed yet; every record is"),
    Cap.ACKS_LEADER: _later(_ONE_COPY, "acks='all'"),
    Cap.ACKS_NONE: _later(_ONE_COPY, "acks='all'"),
    Cap.MIN_INSYNC: _later(_ONE_COPY),
    Cap.RETENTION_BY_AGE: _direct("whole segments", "the segment that is written to is closed first"),
    Cap.RETENTION_BY_SIZE: _direct("whole segments"),
    Cap.COMPACTION: _later("compaction is not built yet", "cleanup='delete'"),
    Cap.DELETE_RECORDS: _direct("the log's start moves; space is freed by whole segments"),
    Cap.ADD_PARTITIONS: _direct("members get them with their next assignment, at once"),
    Cap.WORK_SHARING: _direct("consumers of a queue take messages in turn"),
    Cap.ACK: _direct("by message"),
    Cap.RELEASE_UNCOUNTED: _direct("back to its place, no attempt counted"),
    Cap.RETRY_COUNTED: _direct("back to its place, one attempt counted"),
    Cap.MAX_ATTEMPTS: _direct("dead-lettered when the last allowed attempt failed"),
    Cap.ATTEMPT_NUMBER: _direct("kept with the message", "a consumer process that dies costs an attempt"),
    Cap.REDELIVERED: _direct("kept with the message"),
    Cap.PREFETCH: _direct("the broker hands out no more"),
    Cap.LONG_HANDLERS: _direct("a message stays with its consumer as long as the consumer's process lives"),
    Cap.DEAD_LETTER: _direct("written to the dead-letter queue before it leaves its own"),
    Cap.BROWSE_DEAD_LETTERS: _direct("a look that takes nothing"),
    Cap.REDRIVE: _direct("written to the target before it leaves the dead-letter queue", "a crash may duplicate"),
    Cap.MESSAGE_TTL: _direct("the smaller of the queue's and the message's", "wherever it stands in the queue"),
    Cap.QUEUE_EXPIRY: _direct("a queue without consumers for that long is deleted; its messages are not dead-lettered"),
    Cap.DELAYED_SEND: _direct("held back by the broker, also across a restart"),
    Cap.DELAYED_RETRY: _direct("held back by the broker, also across a restart"),
    Cap.PRIORITY: _direct("higher first, order within a priority"),
    Cap.LENGTH_LIMIT: _direct("counts messages that are ready or delayed"),
    Cap.SINGLE_ACTIVE_CONSUMER: _direct("the first consumer; then the next by priority and age"),
    Cap.ORDER_IN_QUEUE: _direct("first in, first out", "one sender, one consumer, nothing returned"),
    Cap.DEPTH: _direct("exact"),
    Cap.PURGE: _direct("all that is not out"),
    Cap.ROUTE_DIRECT: _direct("binding key equals routing key"),
    Cap.ROUTE_FANOUT: _direct("to every binding"),
    Cap.ROUTE_TOPIC: _direct("words, * one, # any number"),
    Cap.ROUTE_HEADERS: _direct("all or any of the binding's headers"),
    Cap.ALTERNATE_EXCHANGE: _direct("when the exchange's own bindings give nothing"),
    Cap.BIND_EXCHANGES: _direct("a queue gets one copy, cycles end"),
    Cap.UNROUTABLE_REPORTED: _direct("the receipt fails with Unroutable"),
    Cap.REQUEST_REPLY: _later("request and reply are not built yet", "two queues and message_id"),
    Cap.CONFIRMED_SEND: _direct("after the record is in the log or the queue's journal", "pipelined in batches"),
    Cap.BINARY_VALUES: _direct("bytes are kept as they are"),
    Cap.NULL_VALUE: _direct("null and empty are different"),
    Cap.EMPTY_KEY: _direct("null and empty are different"),
    Cap.REPEATED_HEADERS: _direct("kept, in order"),
    Cap.RESUMES_AFTER_RESTART: _direct("another process of the folder takes over; consumers rejoin by themselves"),
    Cap.SEVERAL_PROCESSES: _direct(
        "the first hosts, others connect by a Unix socket in the folder", "one machine, a local disk"
    ),
    Cap.TLS: _never("nothing leaves the machine", "the folder's permissions"),
    Cap.PASSWORDS: _never("who may use the folder may use the broker", "the folder's permissions"),
    Cap.PERMISSIONS: _never("who may use the folder may use the broker", "the folder's permissions"),
    Cap.UNWRAP: _direct("the Session"),
    Cap.OUTBOX: _later("the outbox pattern is not built yet"),
    Cap.INBOX: _later("the inbox pattern is not built yet"),
}
