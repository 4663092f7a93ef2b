"""The way to a broker as something that can break: a proxy, and what it reads in the bytes that go through it."""

from mqbridge_conformance.brokers.links.frames import ANSWER, BOTH, REQUEST, Frame, Framer, Plain, Way
from mqbridge_conformance.brokers.links.kafka import KafkaFrames
from mqbridge_conformance.brokers.links.native import HostProxy, NativeFrames
from mqbridge_conformance.brokers.links.proxy import Dropping, Proxy
from mqbridge_conformance.brokers.links.rabbitmq import AmqpFrames

__all__ = [
    "ANSWER",
    "BOTH",
    "REQUEST",
    "AmqpFrames",
    "Dropping",
    "Frame",
    "Framer",
    "HostProxy",
    "KafkaFrames",
    "NativeFrames",
    "Plain",
    "Proxy",
    "Way",
]
