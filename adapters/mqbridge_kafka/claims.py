"""What the Kafka engine claims, one row a capability.

The rule: a claim is true or it is not made. What is planned and not built is refused, with `later=True`, so that the
conformance matrix shows it as PENDING and nobody takes it for a final word.
"""

from __future__ import annotations

from mqbridge.capabilities import Capability as Cap
from mqbridge.capabilities import Support, direct, emulated, later, never

_ROUTE = "the sender finds the queues in the registry (a compacted topic), with the rules of AMQP 0-9-1"
_FAN = (
    "one record for each queue that is reached",
    "not atomic: after a failure the outcome is unknown and the error names the queues that have it; a new binding is "
    "seen by open senders within 1 s",
)
_SHARE = "a share group has no such thing"

TOPICS: dict[Cap, Support] = {
    Cap.ORDER_PER_PARTITION: direct(
        "an idempotent producer keeps the order of a partition, also over retries",
        "without idempotence one batch is in flight at a time, which is slower",
    ),
    Cap.ORDER_PER_KEY: direct("records of a key share a partition", "with the by_key partitioner"),
    Cap.PARTITION_BY_KEY: direct("murmur2 as in the Java client", "records without a key stay on a partition a while"),
    Cap.PARTITION_ROUND_ROBIN: direct("in the sender"),
    Cap.PARTITION_STICKY: direct("in the sender"),
    Cap.PARTITION_CUSTOM: direct("in the sender"),
    Cap.SEND_OFFSET: direct("from the delivery report", "acks='none' has no answer, and so no offset"),
    Cap.GROUPS: direct("the consumer group protocols"),
    Cap.REBALANCE_EAGER: direct("the classic protocol with the range assignor"),
    Cap.REBALANCE_COOPERATIVE: direct("the classic protocol with cooperative-sticky (KIP-429)"),
    Cap.REBALANCE_SERVER: direct(
        "group.protocol=consumer (KIP-848)", "session_timeout_s is the broker's group.consumer.session.timeout.ms"
    ),
    Cap.STATIC_MEMBERSHIP: direct(
        "group.instance.id (KIP-345)", "rebalance='server' refuses the new holder of an id, the others fence the old"
    ),
    Cap.COMMIT_FENCING: direct("generation and member id go with each commit, and a lease number of our own"),
    Cap.REPLAY_BY_OFFSET: direct("the log is read from there"),
    Cap.REPLAY_BY_TIME: direct("the first record with that timestamp or a later one, in each partition"),
    Cap.SEEK: direct("the next fetch starts there"),
    Cap.PAUSE_RESUME: direct("in the consumer"),
    Cap.END_OFFSETS: direct("ListOffsets"),
    Cap.LAG: direct("end minus committed"),
    Cap.RESET_OFFSETS: direct("while the group has no members"),
    Cap.TOPIC_RETRY: emulated("delivered again inside the consumer", "the committed offset waits below it"),
    Cap.TOPIC_DEAD_LETTER: emulated(
        "a copy to the dead-letter topic, then the ack", "one send", "a crash may duplicate"
    ),
    Cap.DURABLE_ATTEMPTS_ON_TOPIC: never("a log keeps no count of deliveries", "a Queue"),
    Cap.IDEMPOTENT_SEND: direct(
        "producer id and sequence numbers",
        "within the life of one producer, and with acks='all'; what the client only supposes to be written, for no "
        "broker said where it lies, is unknown",
    ),
    Cap.TRANSACTIONS: later("transactions are not built yet"),
    Cap.READ_COMMITTED: direct("isolation.level", "what other clients write in transactions; it is set explicitly"),
    Cap.ACKS_LEADER: direct("acks=1", "without idempotence; nothing is sent twice unless on_unknown='resend'"),
    Cap.ACKS_NONE: direct("acks=0", "without idempotence; confirmed means handed to the socket"),
    # Partition.effectiveMinIsr: a topic of one replica with min_insync=2 takes acks='all' (seen on 4.3.1).
    Cap.MIN_INSYNC: direct("min.insync.replicas", "of a topic with fewer replicas than that, all it has"),
    Cap.RETENTION_BY_AGE: direct("retention.ms, whole segments", "the segment that is written to stays"),
    Cap.RETENTION_BY_SIZE: direct("retention.bytes, whole segments", "of each partition"),
    Cap.COMPACTION: direct("cleanup.policy=compact", "records need a key; the newest segment is not compacted"),
    Cap.DELETE_RECORDS: direct("the log's start moves; space is freed by whole segments"),
    Cap.ADD_PARTITIONS: direct(
        "members and open producers find them by themselves", "within metadata_s, 5 seconds unless it is set"
    ),
}

QUEUES: dict[Cap, Support] = {
    Cap.WORK_SHARING: direct(
        "a share group (KIP-932) on a topic of one partition, and up to 4 members of it for one consumer",
        "brokers from 4.2 with share groups on; a producer's batch (queue_batch, 5 messages unless it is set) goes to "
        "one consumer as a whole; the client calls its share consumer a preview; what is settled stays on the disk "
        "until purge()",
    ),
    Cap.ACK: direct("ACCEPT, confirmed by the broker before it is reported"),
    Cap.RELEASE_UNCOUNTED: emulated(
        "a share group counts when it hands a message out, so what is released is written anew, with its id and its "
        "attempts in a header, confirmed, and then acknowledged",
        "one write and one place at the tail a release",
        "a crash, or a slow write that outlasts the record lock, between the write and the acknowledgement delivers it "
        "twice, and a slow write is reported as unknown; what a consumer gives back because it crashed, because its "
        "lock ended, or because the copy could not be written, is counted",
    ),
    Cap.RETRY_COUNTED: emulated(
        "RELEASE, which the broker has counted; near its own limit (share.delivery.count.limit, at most 10) the "
        "message is written anew with its attempts in a header, for the broker would drop it",
        "one write every 8 attempts",
        "attempts are counted when a message is acquired; after a broker's crash the last ones may not be",
    ),
    Cap.MAX_ATTEMPTS: emulated(
        "the consumer counts and writes the last failure to the dead-letter queue before it acknowledges it",
        "one write a dead letter",
        "a message whose consumers die over it is dead-lettered by the next consumer; while the dead-letter queue "
        "cannot be written, it is written anew into its own queue before the broker's limit of 10 is reached, and "
        "tried again after at most 5 s; it is lost if its last two deliveries, the 9th and the 10th, both end with "
        "neither write done: consumers that die or close in just that moment, or a log that cannot be written for the "
        "length of both record locks",
    ),
    Cap.ATTEMPT_NUMBER: direct(
        "the share group's delivery count, and what a header carries of earlier copies",
        "a message that comes in just when a consumer closes or stops fetching may be counted once unseen, and each "
        "try to write its dead letter that fails counts",
    ),
    Cap.REDELIVERED: direct(
        "from the attempts, and from the header of a copy", "after a broker's crash a first redelivery may not show it"
    ),
    Cap.PREFETCH: emulated(
        "never more than prefetch deliveries are out: what was acquired beyond is held unseen, and after 5 s written "
        "anew for others",
        "one write for each message given back",
        "fewer are out while they are settled slowly: 8 at first, more while settling takes under a third of the "
        "record lock or the application asks for more while it holds all of them, fewer when settling takes more than "
        "half of the lock",
    ),
    Cap.LONG_HANDLERS: never(
        "the record lock ends after at most 60 s, and this client cannot renew it (KIP-1222)",
        "shorter handlers, or a Topic and a group",
    ),
    Cap.DEAD_LETTER: emulated(
        "the consumer writes the letter, confirmed, then acknowledges the message",
        "one write a letter",
        "a crash in between, or a slow write that outlasts the record lock, writes it twice, and a slow write is "
        "reported as unknown; what no consumer receives is not dead-lettered; while the dead-letter queue cannot be "
        "written the message stays in its queue, and reject() fails at commit()",
    ),
    Cap.BROWSE_DEAD_LETTERS: later(
        "which letters are settled is known to the share group alone, and the client cannot ask it; to read the topic "
        "would show letters that are gone, to acquire them would hide and count them",
        "consume the dead-letter queue and release(), or redrive() all of it",
    ),
    Cap.REDRIVE: emulated(
        "a member of the dead-letter queue's share group writes each letter back, confirmed, then acknowledges it",
        "one write a letter, and 1 to 4 s to find that no more is available",
        "all letters or the first max_messages, not single ones; what another consumer holds stays",
    ),
    Cap.MESSAGE_TTL: emulated(
        "looked at on receipt: what is over is dead-lettered or dropped, and never shown",
        "it stays where it is until a consumer comes",
        "the clocks of sender and consumer agree; a message that waits in an application is shown",
    ),
    Cap.QUEUE_EXPIRY: never(_SHARE),
    Cap.DELAYED_SEND: later("delays are not built yet on Kafka"),
    Cap.DELAYED_RETRY: later("delays are not built yet on Kafka"),
    Cap.PRIORITY: never(_SHARE, "a queue for each priority"),
    Cap.LENGTH_LIMIT: never(_SHARE),
    Cap.SINGLE_ACTIVE_CONSUMER: never(_SHARE, "a Topic with one partition and a group"),
    Cap.ORDER_IN_QUEUE: never("a share group promises no order", "a Topic"),
    Cap.DEPTH: never("the client has no administration of share groups"),
    Cap.PURGE: emulated(
        "the log's start moves to its end",
        "frees the disk by whole segments",
        "messages that are out go too, and their settlement is taken; the number counts records that left the log, so "
        "also settled ones that still lay there",
    ),
    Cap.ROUTE_DIRECT: emulated(_ROUTE, *_FAN),
    Cap.ROUTE_FANOUT: emulated(_ROUTE, *_FAN),
    Cap.ROUTE_TOPIC: emulated(_ROUTE, *_FAN),
    Cap.ROUTE_HEADERS: emulated(_ROUTE, *_FAN),
    Cap.ALTERNATE_EXCHANGE: emulated(_ROUTE, *_FAN),
    Cap.BIND_EXCHANGES: emulated(_ROUTE, *_FAN),
    Cap.UNROUTABLE_REPORTED: emulated("the sender finds no queue, and sends nothing", "none"),
    Cap.REQUEST_REPLY: later("request and reply are not built yet"),
}

BOTH: dict[Cap, Support] = {
    Cap.CONFIRMED_SEND: direct("delivery reports", "pipelined in batches"),
    Cap.BINARY_VALUES: direct("bytes are kept as they are"),
    Cap.NULL_VALUE: direct("null and empty are different"),
    Cap.EMPTY_KEY: direct("null and empty are different"),
    Cap.REPEATED_HEADERS: direct("kept, in order"),
    Cap.RESUMES_AFTER_RESTART: direct(
        "the client connects again; members rejoin by themselves",
        "a broker away for longer than session_timeout_s ends the leases; the group then lets the old member go after "
        "up to as long again",
    ),
    Cap.SEVERAL_PROCESSES: direct("the broker is one for all"),
    Cap.TLS: direct("kafkas://"),
    Cap.PASSWORDS: direct("SASL PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512"),
    Cap.PERMISSIONS: direct("the brokers' access lists; what they refuse is Denied"),
    Cap.UNWRAP: direct("Producer, Consumer and AdminClient of confluent-kafka"),
    Cap.OUTBOX: later("the outbox pattern is not built yet"),
    Cap.INBOX: later("the inbox pattern is not built yet"),
}

CLAIMS: dict[Cap, Support] = {**TOPICS, **QUEUES, **BOTH}
