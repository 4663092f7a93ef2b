"""Clients that find their brokers no more, from a moment on, while others do."""

from __future__ import annotations

import itertools
import threading
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

NOWHERE = "127.0.0.1:1"
"""Nobody listens there."""


def astray(kind: Any, lost: threading.Event | None = None) -> Any:
    """A client of that kind whose first one is connected to nobody, and says nothing of it. Its questions for metadata
    are answered by another one, until it is `lost`."""
    numbers = itertools.count()

    class Astray(kind):  # type: ignore[misc]
        def __init__(self, config: dict[str, Any]) -> None:
            self.guide = None
            if next(numbers) == 0:
                self.guide = AdminClient({"bootstrap.servers": config["bootstrap.servers"], "log_level": 0})
                config = config | {"bootstrap.servers": NOWHERE, "log_level": 0, "error_cb": lambda _error: None}
            super().__init__(config)

        def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
            if self.guide is not None and lost is not None and not lost.is_set():
                return self.guide.list_topics(topic, timeout=timeout)
            return super().list_topics(topic, timeout)

    return Astray


def deaf(kind: Any, lost: threading.Event) -> Any:
    """A consumer of that kind whose first one hears nothing any more once it is `lost`."""
    numbers = itertools.count()

    class Deaf(kind):  # type: ignore[misc]
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            self.first = next(numbers) == 0

        @property
        def hears(self) -> bool:
            return not self.first or not lost.is_set()

        def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
            if not self.hears:
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))
            return super().list_topics(topic, timeout)

        def poll(self, timeout: float = -1) -> Any:
            return super().poll(timeout) if self.hears else None

        def consume(self, num_messages: int = 1, timeout: float = -1) -> Any:
            return super().consume(num_messages, timeout) if self.hears else []

    return Deaf
