"""Write messaging code once; run it on an embedded broker, on Kafka or on RabbitMQ."""

from mqbridge import codecs, errors, topology
from mqbridge.admin import Admin
from mqbridge.bus import Bus, connect
from mqbridge.capabilities import Capabilities, Capability, Level, Support
from mqbridge.dispatch import RunStats, Stop, stop_on_signals
from mqbridge.errors import (
    AlreadySettled,
    Closed,
    CodecError,
    ConcurrentUse,
    ConfigurationError,
    ConnectionLost,
    CorruptLog,
    Denied,
    Fenced,
    ForkedProcess,
    InvalidSpec,
    LeaseLost,
    Mismatch,
    MqbridgeError,
    NotFound,
    OffsetLost,
    OperationTimeout,
    Rejected,
    SendFailed,
    Unreachable,
    Unroutable,
    Unsupported,
    UnsupportedOption,
)
from mqbridge.messages import Confirmation, Death, Delivery, Headers, Message
from mqbridge.positions import EARLIEST, LATEST, NOW, At, Since
from mqbridge.producer import Producer
from mqbridge.queue_consumer import QueueConsumer
from mqbridge.receipts import BatchReceipt, Receipt
from mqbridge.replay import Replay
from mqbridge.semantics.backoff import RetryPolicy
from mqbridge.topic_consumer import TopicConsumer
from mqbridge.topology import Binding, Exchange, Queue, Retention, Topic, parse

__version__ = "0.1.0.dev0"

__all__ = [
    "EARLIEST",
    "LATEST",
    "NOW",
    "Admin",
    "AlreadySettled",
    "At",
    "BatchReceipt",
    "Binding",
    "Bus",
    "Capabilities",
    "Capability",
    "Closed",
    "CodecError",
    "ConcurrentUse",
    "ConfigurationError",
    "Confirmation",
    "ConnectionLost",
    "CorruptLog",
    "Death",
    "Delivery",
    "Denied",
    "Exchange",
    "Fenced",
    "ForkedProcess",
    "Headers",
    "InvalidSpec",
    "LeaseLost",
    "Level",
    "Message",
    "Mismatch",
    "MqbridgeError",
    "NotFound",
    "OffsetLost",
    "OperationTimeout",
    "Producer",
    "Queue",
    "QueueConsumer",
    "Receipt",
    "Rejected",
    "Replay",
    "Retention",
    "RetryPolicy",
    "RunStats",
    "SendFailed",
    "Since",
    "Stop",
    "Support",
    "Topic",
    "TopicConsumer",
    "Unreachable",
    "Unroutable",
    "Unsupported",
    "UnsupportedOption",
    "codecs",
    "connect",
    "errors",
    "parse",
    "stop_on_signals",
    "topology",
]
