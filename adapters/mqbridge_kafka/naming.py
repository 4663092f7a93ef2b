"""What destinations are called on Kafka.

The rule of this room: one function for each kind of name, used by every part of the engine, so that a queue, a topic
and an exchange of one name never meet. `physical_name=` goes past the derived names, for topics that others own.
"""

from __future__ import annotations

from typing import Any, Final

from mqbridge.errors import InvalidSpec
from mqbridge.semantics.naming import check_name
from mqbridge.topology import Destination, Queue, Topic

QUEUE_SUFFIX: Final = ".mqq"
SHARE_GROUP_PREFIX: Final = "mqbridge."
REGISTRY: Final = "mqbridge.registry"
"""The compacted topic that holds what Kafka has no place for: specifications of queues, exchanges and bindings."""


def topic_of(destination: Destination) -> str:
    """The Kafka topic behind a Topic or a Queue; an exchange has none, for the sender resolves its bindings."""
    if destination.kind == "exchange":
        raise InvalidSpec(f"{destination} has no topic of its own on Kafka", field="destination", engine="kafka")
    if destination.physical_name is not None:
        return destination.physical_name
    if isinstance(destination, Queue):
        return destination.name + QUEUE_SUFFIX
    if destination.name == REGISTRY:
        raise InvalidSpec(
            f"{destination}: this topic holds what mqbridge knows of queues and exchanges. Nothing was done; choose "
            "another name.",
            field="name",
            engine="kafka",
        )
    return destination.name


def share_group_of(queue: Queue[Any]) -> str:
    """The share group in which all consumers of a queue take their turns."""
    return SHARE_GROUP_PREFIX + queue.name


def is_portable_topic(physical: str) -> bool:
    """Is this Kafka topic one that `list_topics` shows? Not what is derived, internal, or named as no Topic can be."""
    if physical == REGISTRY or physical.startswith("__"):
        return False
    try:
        check_name("topic", physical)
    except ValueError:
        return False
    return True


def named(topic: Topic[Any]) -> str:
    """How a topic is called in an error: with its physical name where that differs."""
    return str(topic) if topic.physical_name in (None, topic.name) else f"{topic} ({topic.physical_name} on Kafka)"
