"""What bounds a message or a queue: time to live, delay, priority, length, expiry, one consumer at a time."""

from mqbridge_conformance.scenarios.limits.delays import delayed_retry, delayed_send
from mqbridge_conformance.scenarios.limits.expiry import queue_expiry
from mqbridge_conformance.scenarios.limits.length import length_limit_drops, length_limit_rejects
from mqbridge_conformance.scenarios.limits.message_ttl import message_ttl
from mqbridge_conformance.scenarios.limits.priority import priority
from mqbridge_conformance.scenarios.limits.single_active import single_active_consumer

__all__ = ["ALL"]

ALL = (
    message_ttl,
    delayed_send,
    delayed_retry,
    priority,
    length_limit_rejects,
    length_limit_drops,
    queue_expiry,
    single_active_consumer,
)
