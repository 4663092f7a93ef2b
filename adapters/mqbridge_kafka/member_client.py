"""The consumer of the client, as a member uses it: places, pauses and seeks in the portable layer's names.

The rule of this room: what the client can only do in one way or another, depending on the group's protocol or on what
it is doing, is decided here. All on the thread that owns it, `consumer` included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from mqbridge.spi import TopicPartition, TopicSubscriptionSpec
from mqbridge.topology import Topic
from mqbridge_kafka.cut_off import let_go
from mqbridge_kafka.errors import code_of, translate
from mqbridge_kafka.holding import Holdings
from mqbridge_kafka.settings import Settings, log

HEARTBEAT_MS: Final = 500
"""How soon a member hears of a rebalance."""
Callback = Callable[[Consumer, list[Place]], None]


def reading_config(settings: Settings) -> dict[str, Any]:
    """What every reader of topics is configured with. Of `buffer_bytes` the client fetches a half ahead, and a quarter
    waits in our own store; the last quarter is for what is on its way between them, and what Python adds to records."""
    return {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "allow.auto.create.topics": False,
        "queued.min.messages": 1_000_000,
        "queued.max.messages.kbytes": settings.buffer_bytes >> 11,
        "fetch.queue.backoff.ms": 10,  # the default of a second leaves a fast reader waiting
        "fetch.error.backoff.ms": 100,
    }


def member_config(settings: Settings, spec: TopicSubscriptionSpec) -> dict[str, Any]:
    """The client's configuration for a member."""
    poll_ms = max(1, round(spec.max_poll_interval_s * 1000))
    session_ms = max(1, round(spec.session_timeout_s * 1000))
    config = reading_config(settings) | {
        "group.id": spec.group,
        "isolation.level": spec.isolation,
        "topic.metadata.refresh.interval.ms": round(settings.metadata_s * 1000),
        # Silence of the application is found by its calls of take(): the thread that polls never is silent.
        "max.poll.interval.ms": max(poll_ms, session_ms),
    }
    if spec.instance_id is not None:
        config["group.instance.id"] = spec.instance_id
    if spec.rebalance == "server":
        config["group.protocol"] = "consumer"  # session and heartbeat are the broker's there (KIP-848)
        return config
    config["group.protocol"] = "classic"
    config["session.timeout.ms"] = session_ms
    config["heartbeat.interval.ms"] = max(1, min(HEARTBEAT_MS, session_ms // 3))
    config["partition.assignment.strategy"] = "range" if spec.rebalance == "eager" else "cooperative-sticky"
    return config


class MemberClient:
    """Owns the Consumer of one member."""

    def __init__(
        self, config: Mapping[str, Any], topics: Mapping[str, Topic[Any]], incremental: bool, holdings: Holdings
    ) -> None:
        self.topics = topics
        self.held_back = False
        """Paused as a whole, because the application is slow."""
        self._physical = {topic.name: name for name, topic in topics.items()}
        self._incremental = incremental
        self._holdings = holdings
        self._given: set[tuple[str, int]] = set()
        """What the client was given to read: of what the group has assigned, what has a place to begin."""
        try:
            self.consumer = Consumer(dict(config))
        except (KafkaException, ValueError, TypeError) as error:
            raise translate(error, f"consuming in group {config['group.id']}", outcome="not_applied") from error

    def subscribe(self, on_assign: Callback, on_revoke: Callback, on_lost: Callback) -> None:
        self.consumer.subscribe(list(self.topics), on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)

    def close(self, late_s: float, late: Callable[[], None]) -> None:
        """Leave the group. The client waits for the answer to a commit that is under way, and tries one that got none
        again without an end (librdkafka, `rd_kafka_cgrp_try_terminate`); `late` is called if that takes `late_s`, by
        another thread."""
        timer = threading.Timer(late_s, late)
        timer.daemon = True
        timer.start()
        try:
            self.consumer.close()
        except (KafkaException, RuntimeError) as error:
            log.info("leaving a group: %s", error)
        timer.cancel()

    def drop(self) -> None:
        """Without leaving the group: it would reach nobody, and might not end."""
        held = [self.consumer]
        del self.consumer
        let_go(held)

    # --- names

    def portable(self, place: Place) -> TopicPartition:
        return self.topics[place.topic].name, place.partition

    def physical(self, place: TopicPartition) -> str:
        return self._physical[place[0]]

    def native(self, places: Iterable[TopicPartition]) -> list[Place]:
        """Those of the partitions that are ours."""
        return [Place(self._physical[place[0]], place[1]) for place in places if place in self._holdings]

    # --- assignments

    def assign(self, places: list[Place]) -> None:
        """These are ours now, to be read from their offsets on; eager members are given all they have at once."""
        if self._incremental:
            self.consumer.incremental_assign(places)
        else:
            self.consumer.assign(places)
            self._given.clear()
        self._given.update((place.topic, place.partition) for place in places)
        self._pause_again(places)

    def unassign(self, places: list[Place]) -> None:
        """These are not ours any more; the client takes it for an error to be told so of what it was not given."""
        if self._incremental:
            given = [place for place in places if (place.topic, place.partition) in self._given]
            self._given.difference_update((place.topic, place.partition) for place in given)
            self.consumer.incremental_unassign(given)
        else:
            self._given.clear()
            self.consumer.unassign()

    # --- places

    def seek(self, place: TopicPartition, lease: int, offset: int) -> None:
        """Read on from `offset`, if the lease is still ours."""
        if self._holdings.lease(place) != lease:
            return
        self.skip(place, offset)
        self._holdings.moved(place, lease)

    def skip(self, place: TopicPartition, offset: int) -> None:
        """Go on at `offset`, on the client's own account: the application chose nothing."""
        native = Place(self.physical(place), place[1], offset)
        try:
            self.consumer.seek(native)
        except KafkaException as error:
            if code_of(error) != KafkaError._STATE:
                raise
            # It does not read this partition now, for instance after an offset that was lost: begin it anew.
            self._begin_anew(native)

    def _begin_anew(self, native: Place) -> None:
        if self._incremental:
            self.consumer.incremental_unassign([native])
            self.assign([native])
            return
        positions = self._holdings.positions().items()
        self.assign([Place(self.physical(place), place[1], offset) for place, offset in positions])

    # --- pauses

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """The application's pause; while all is held back, it is paused anyway."""
        places = self.native(partitions)
        if places and not self.held_back:
            self.consumer.pause(places)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        places = self.native(partitions)
        if places and not self.held_back:
            self.consumer.resume(places)

    def hold_back(self) -> None:
        """Pause everything: what the client has fetched is dropped, and fetched again later."""
        self.held_back = True
        self.consumer.pause(self.consumer.assignment())

    def go_on(self) -> None:
        self.held_back = False
        self.consumer.resume([place for place in self.consumer.assignment() if not self._is_paused(place)])

    def _is_paused(self, place: Place) -> bool:
        return self.portable(place) in self._holdings.paused

    def _pause_again(self, places: Sequence[Place]) -> None:
        """What the client has just begun to read, and should not; and the reverse, for it keeps a partition's pause
        while the partition is not its own (librdkafka, `RD_KAFKA_TOPPAR_F_APP_PAUSE`)."""
        shut = [place for place in places if self.held_back or self._is_paused(place)]
        open_ = [place for place in places if place not in shut]
        if open_:
            self.consumer.resume(open_)
        if shut:
            self.consumer.pause(shut)
