"""Clients that have lost their brokers for good.

The rule of this room: such a client is told by another, a new one, that reaches the brokers while it does not; nothing
else tells it from brokers that are away. It forgets all brokers when their metadata names none, as that of a lone
broker may while it shuts down, and begins anew from bootstrap.servers; but the answer that it forgot them by can take
that back (so its source reads, librdkafka 2.15, `rd_kafka_rebootstrap_tmr_stop`; issue 5301; seen with 2.16). From then
on it connects to nobody and says nothing, and a commit that is under way holds up its close().
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from mqbridge_kafka.asking import Metadata
from mqbridge_kafka.errors import code_of
from mqbridge_kafka.settings import log

CHECK_S: Final = 5.0
"""Between two looks: longer than a client waits before it connects again."""
PROBE_S: Final = 0.5
TIMES: Final = 2
"""So many looks in a row have to find it cut off."""
RENEW: Final = 6
"""The other client is made anew after so many looks."""
REPLACED: Final = "its client lost the brokers for good, and was replaced by a new one"
NOT_YET: Final = "its client lost the brokers for good, and there is no new one yet"
"""Making the new one failed; the next look tries again."""


class Lifeline:
    """Looks after one client; `config` makes that of another one. By the thread that owns the client, outside its
    callbacks."""

    def __init__(self, config: Callable[[], Mapping[str, Any]]) -> None:
        self._config = config
        self._next_s = time.monotonic() + CHECK_S
        self._failed = 0
        self._times = 0
        self._other: Metadata | None = None

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next_s

    @property
    def suspects(self) -> bool:
        """Has the last look found it cut off, if for the first time?"""
        return self._times > 0

    def heard(self) -> None:
        """A broker has answered it: the next look is later."""
        self._failed, self._times, self._other = 0, 0, None
        self._next_s = time.monotonic() + CHECK_S

    def cut_off(self, client: Metadata, topic: str) -> bool:
        """Has it lost its brokers for good? Takes `PROBE_S` twice where brokers are away; no time unless it is due."""
        return self.lost(partial(_finds_a_broker, client, topic), topic)

    def lost(self, reaches: Callable[[], bool], topic: str) -> bool:
        """The same of a client that cannot be asked for metadata; `reaches` says whether it is connected."""
        if not self.due:
            return False
        if reaches():
            self.heard()
            return False
        self._failed += 1
        self._times = self._times + 1 if self._another_finds_one(topic) else 0
        self._next_s = time.monotonic() + CHECK_S
        return self._times >= TIMES

    def _another_finds_one(self, topic: str) -> bool:
        """One that cannot be made finds none, for instance where a file of its certificates is just being replaced."""
        try:
            other = self._another()
        except KafkaException as error:
            log.warning("whether a client lost the brokers for good is not known: making another one: %s", error)
            return False
        return _finds_a_broker(other, topic)

    def _another(self) -> Metadata:
        """One that goes on connecting from look to look; a new one now and then: it may be cut off like the first."""
        if self._other is None or self._failed % RENEW == 0:
            self._other = self._new()
        return self._other

    def _new(self) -> Metadata:
        quiet: dict[str, Any] = {"error_cb": lambda _error: None, "log_level": 0, "allow.auto.create.topics": False}
        return AdminClient({**self._config(), **quiet})


def _finds_a_broker(client: Metadata, topic: str) -> bool:
    """One that takes the question and does not answer it in time counts."""
    try:
        client.list_topics(topic, timeout=PROBE_S)
    except KafkaException as error:
        return code_of(error) not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)
    return True


def let_go(held: list[Any]) -> None:
    """Drop the client in this list, on a thread of its own: it may take its time. Not closed: that might not end."""
    threading.Thread(target=held.clear, name="mqbridge-kafka-let-go", daemon=True).start()
