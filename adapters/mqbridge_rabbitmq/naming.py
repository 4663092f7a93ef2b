"""Names on the broker. The rule: a queue and an exchange keep their own names; what mqbridge derives ends in a suffix
that portable names cannot have.

A topic x is the direct exchange ``x.mqt`` and its streams ``x.mqt-0``, ``x.mqt-1``...; the tokens of a group are queues
``GROUP:TOPIC.mqg-N``. AMQP keeps queues and exchanges apart, so a topic, a queue and an exchange of one name do not
meet.
"""

from __future__ import annotations

import re
from typing import Any, Final

from mqbridge.topology import Exchange, Queue, Topic

_DERIVED_QUEUE: Final = re.compile(r"\.mq[tg]-[0-9]+\Z")
_TOKEN_QUEUE: Final = re.compile(r"([^:]+):(.+)\.mqg-([0-9]+)")
_DERIVED_EXCHANGE: Final = re.compile(r"\.mq[tg]\Z")


def queue_name(queue: Queue[Any]) -> str:
    return queue.physical_name or queue.name


def exchange_name(exchange: Exchange) -> str:
    return exchange.physical_name or exchange.name


def topic_exchange(topic: Topic[Any]) -> str:
    """The direct exchange of a topic; routing keys are the partitions' numbers."""
    return topic.physical_name or f"{topic.name}.mqt"


def stream_name(topic: Topic[Any], partition: int) -> str:
    return f"{topic_exchange(topic)}-{partition}"


def token_queue(group: str, topic: Topic[Any], partition: int) -> str:
    """The queue that holds a group's committed offset of one partition."""
    return f"{group}:{topic.name}.mqg-{partition}"


def parse_token_queue(name: str) -> tuple[str, str, int] | None:
    """(group, topic, partition) of a token queue's name; None of another's. The colon is in no portable name, and a dot
    would not do: group a.b on topic c is not group a on topic b.c."""
    found = _TOKEN_QUEUE.fullmatch(name)
    return None if found is None else (found[1], found[2], int(found[3]))


def is_portable_queue(name: str) -> bool:
    """Is it a queue of the application, and none that mqbridge or the broker made for itself?"""
    return bool(name) and not name.startswith("amq.") and not _DERIVED_QUEUE.search(name)


def is_portable_exchange(name: str) -> bool:
    return bool(name) and not name.startswith("amq.") and not _DERIVED_EXCHANGE.search(name)
