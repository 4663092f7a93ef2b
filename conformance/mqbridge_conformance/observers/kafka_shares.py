"""What the brokers keep of share groups: which node knows it, and under which id it keeps a topic.

The rule: what no node can tell now is asked again for a while, and then said; nothing is guessed.
"""

from __future__ import annotations

import struct
import threading
import time
from typing import Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ClusterMetadata

from mqbridge_conformance.observers.kafka_login import KafkaLogin
from mqbridge_conformance.observers.kafka_wire import NotHere, ShareState, share_state
from mqbridge_conformance.results import CannotTell

__all__ = ["ShareStates"]

_KEPT_IN: Final = "__share_group_state"
_TIMEOUT_S: Final = 15.0


class ShareStates:
    """Of all share groups of a cluster."""

    def __init__(self, admin: AdminClient, login: KafkaLogin) -> None:
        self._admin = admin
        self._login = login

    def state(self, group: str, topic: str, partition: int) -> ShareState | None:
        """Asked of each node until one knows it: a node that was just started does not at once."""
        give_up_s = time.monotonic() + _TIMEOUT_S
        pause = threading.Event()
        last = NotHere(f"no node says what share group {group} has settled")
        while True:
            cluster = self._cluster()
            if _KEPT_IN not in cluster.topics:  # no share group was ever there
                return None
            name = self._id_of(topic)
            for node in cluster.brokers.values():
                try:
                    return share_state(self._login, f"{node.host}:{node.port}", group, name, partition)
                except NotHere as error:
                    last = error
            if time.monotonic() >= give_up_s:
                raise last
            pause.wait(0.05)

    def _cluster(self) -> ClusterMetadata:
        try:
            return self._admin.list_topics(timeout=_TIMEOUT_S)
        except KafkaException as error:
            raise CannotTell(f"raw Kafka clients cannot list topics: {error}") from error

    def _id_of(self, topic: str) -> bytes:
        try:
            described = self._admin.describe_topics(TopicCollection([topic]), request_timeout=_TIMEOUT_S)
            found = described[topic].result(_TIMEOUT_S).topic_id
        except KafkaException as error:
            raise CannotTell(f"raw Kafka clients cannot tell which topic {topic} is: {error}") from error
        return struct.pack(">qq", found.get_most_significant_bits(), found.get_least_significant_bits())
