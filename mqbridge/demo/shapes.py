"""The two shapes of one program: a topic with a group for each service, or a fanout exchange with a queue for each.

The rule of this room: all that differs between the shapes, or between engines, is here; the rest of the demo does not
ask. Groups share a log that stays, so the outcome is checked by reading it again; queues are empty when their work is
done.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import mqbridge as mq
from mqbridge.demo.orders import KEY_HEADER, MAX_ATTEMPTS, SERVICES, Service

__all__ = ["PARTITIONS", "Dead", "Logged", "QueueShape", "Shape", "TopicShape", "choose_shape"]

PARTITIONS = 6
RETRY = mq.RetryPolicy(max_attempts=MAX_ATTEMPTS, first_delay_s=0.1, max_delay_s=1.0)

FETCH_AHEAD_S = 0.25
SESSION_S = 6.0
"""How long a process of a service may be silent before its group takes it for dead: the least that a Kafka broker takes
unless it is configured otherwise (group.min.session.timeout.ms), and every other engine takes it too."""
OWN_SESSION_S = 2.0
"""The same where the engine is the demo's own."""
FORGET_S = 3 * SESSION_S
UNTOLD_S = 3.0

Consumer = mq.TopicConsumer[Any] | mq.QueueConsumer[Any]


@dataclass(frozen=True, slots=True)
class Dead:
    """A dead letter as it was found."""

    key: str
    service: str
    reason: str
    attempts: int
    origin: str
    error: str


@dataclass(frozen=True, slots=True)
class Logged:
    """A record as the log holds it."""

    key: str
    body: bytes
    partition: int | None
    offset: int | None


class Shape(ABC):
    """What is made, where orders go, how a service consumes, and how the end is looked at."""

    name: Literal["topic", "queue"]
    heart: tuple[mq.Capability, ...]
    """What an engine should have of its own to be shown in this shape; where it is emulated the other one comes
    first."""
    needs: tuple[mq.Capability, ...]
    destination: mq.Topic[bytes] | mq.Exchange

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    @abstractmethod
    def specs(self) -> list[mq.Topic[Any] | mq.Queue[Any] | mq.Exchange | mq.Binding]:
        """What `admin.ensure` is given."""

    @abstractmethod
    def consumer(self, bus: mq.Bus, service: Service, service_time_s: float) -> Consumer:
        """A member of the service, whose handler takes about `service_time_s`."""

    def retry(self, bus: mq.Bus) -> mq.RetryPolicy:
        """How a service's process tries again what failed."""
        return RETRY

    @abstractmethod
    def dead_letters(self, bus: mq.Bus, service: Service) -> list[Dead]: ...

    @abstractmethod
    def unfinished(self, bus: mq.Bus, service: Service) -> int | None:
        """Messages that the service has not settled; None is unknown."""

    @abstractmethod
    def log(self, bus: mq.Bus) -> Iterator[Logged] | None:
        """All that was sent, read again from the engine; None where nothing stays."""

    def remove(self, bus: mq.Bus) -> None:
        """Delete what `ensure` and the consumers made. Goes on past a failure and raises the first at the end."""
        failures: list[mq.MqbridgeError] = []
        for group in self.groups():
            _forget(failures, partial(self._delete_group, bus, group))
        for spec in reversed(self.specs()):
            if not isinstance(spec, mq.Binding):
                _forget(failures, partial(bus.admin.delete, spec))
                if isinstance(spec, mq.Queue) and spec.dead_letter is not None:
                    _forget(failures, partial(bus.admin.delete, spec.dead_letter))
        if failures:
            raise failures[0]

    def groups(self) -> list[str]:
        """The groups that the services' processes are members of, if any."""
        return []

    @staticmethod
    def _delete_group(bus: mq.Bus, group: str) -> None:
        """A member that was killed is one until its session expires; till then its group cannot be deleted."""
        deadline_s = time.monotonic() + FORGET_S
        while True:
            try:
                return bus.admin.delete_group(group)
            except mq.Rejected:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.5)  # nobody announces that a member is gone


class TopicShape(Shape):
    """One topic; each service is a group, each process of it a member; dead letters in a topic for each group."""

    name = "topic"
    heart = (mq.Capability.GROUPS, mq.Capability.REPLAY_BY_OFFSET)
    needs = (
        mq.Capability.GROUPS,
        mq.Capability.REBALANCE_COOPERATIVE,
        mq.Capability.TOPIC_RETRY,
        mq.Capability.TOPIC_DEAD_LETTER,
        mq.Capability.REPLAY_BY_OFFSET,
        mq.Capability.LAG,
        mq.Capability.SEVERAL_PROCESSES,
    )

    def __init__(self, prefix: str = "", session_timeout_s: float = SESSION_S) -> None:
        super().__init__(prefix)
        self.session_timeout_s = session_timeout_s
        self.destination: mq.Topic[bytes] = mq.Topic(f"{prefix}orders", partitions=PARTITIONS)

    def specs(self) -> list[mq.Topic[Any] | mq.Queue[Any] | mq.Exchange | mq.Binding]:
        return [self.destination, *(self.dead_topic(service) for service in SERVICES)]

    def dead_topic(self, service: Service) -> mq.Topic[bytes]:
        return mq.Topic(f"{self.prefix}orders.{service.name}.dlq", partitions=1)

    def group(self, service: Service) -> str:
        return f"{self.prefix}{service.name}"

    def groups(self) -> list[str]:
        return [self.group(service) for service in SERVICES]

    def consumer(self, bus: mq.Bus, service: Service, service_time_s: float) -> Consumer:
        return bus.consumer(
            mq.Topic(self.destination.name, codec=mq.codecs.json),
            group=self.group(service),
            start=mq.EARLIEST,
            session_timeout_s=self.session_timeout_s,
            dead_letter=self.dead_topic(service),
            retry=RETRY,
        )

    def dead_letters(self, bus: mq.Bus, service: Service) -> list[Dead]:
        with bus.replay(self.dead_topic(service), mq.EARLIEST) as replay:
            return [_dead(service, letter.headers, letter.death) for letter in replay]

    def unfinished(self, bus: mq.Bus, service: Service) -> int | None:
        lags = bus.admin.describe_group(self.group(service)).lag_messages.values()
        known = [lag for lag in lags if lag is not None]
        return sum(known) if len(known) == len(lags) else None

    def log(self, bus: mq.Bus) -> Iterator[Logged] | None:
        return self._log(bus)

    def _log(self, bus: mq.Bus) -> Iterator[Logged]:
        with bus.replay(self.destination, mq.EARLIEST) as replay:
            for record in replay:
                yield Logged(_key(record.headers), record.raw or b"", record.partition, record.offset)


class QueueShape(Shape):
    """A fanout exchange; each service has a queue with three attempts and a dead-letter queue; processes compete."""

    name = "queue"
    heart = (mq.Capability.WORK_SHARING, mq.Capability.ROUTE_FANOUT, mq.Capability.DEAD_LETTER)
    needs = (
        mq.Capability.ROUTE_FANOUT,
        mq.Capability.WORK_SHARING,
        mq.Capability.MAX_ATTEMPTS,
        mq.Capability.DEAD_LETTER,
        mq.Capability.BROWSE_DEAD_LETTERS,
        mq.Capability.SEVERAL_PROCESSES,
    )

    def __init__(self, prefix: str = "") -> None:
        super().__init__(prefix)
        self.destination: mq.Exchange = mq.Exchange(f"{prefix}orders", type="fanout")

    def specs(self) -> list[mq.Topic[Any] | mq.Queue[Any] | mq.Exchange | mq.Binding]:
        queues = [self.queue(service) for service in SERVICES]
        return [*queues, self.destination, *(mq.Binding(self.destination, queue) for queue in queues)]

    def queue(self, service: Service) -> mq.Queue[Any]:
        return mq.Queue(f"{self.prefix}{service.name}", max_attempts=MAX_ATTEMPTS, codec=mq.codecs.json)

    def consumer(self, bus: mq.Bus, service: Service, service_time_s: float) -> Consumer:
        # What one process has fetched its sibling cannot take, so few; but enough to be busy until the next settling.
        ahead = math.ceil(service.threads * FETCH_AHEAD_S / max(service_time_s, 0.001))
        return bus.consumer(self.queue(service), prefetch=min(1000, max(2 * service.threads, ahead)))

    def retry(self, bus: mq.Bus) -> mq.RetryPolicy:
        """At once where the engine cannot hold a message back: the poison order is what is tried again here, and time
        does not heal it."""
        delayed = bus.capabilities[mq.Capability.DELAYED_RETRY].level is not mq.Level.UNSUPPORTED
        return RETRY if delayed else mq.RetryPolicy(max_attempts=MAX_ATTEMPTS, first_delay_s=0.0, max_delay_s=0.0)

    def dead_letters(self, bus: mq.Bus, service: Service) -> list[Dead]:
        letters = bus.admin.dead_letters(self.queue(service), max_messages=100_000)
        return [_dead(service, letter.headers, letter.death) for letter in letters]

    def unfinished(self, bus: mq.Bus, service: Service) -> int | None:
        if bus.capabilities[mq.Capability.DEPTH].level is not mq.Level.UNSUPPORTED:
            return bus.admin.depth(self.queue(service))
        # An engine that counts nothing can still be asked for a message: what it gives was not finished.
        with bus.consumer(mq.Queue(self.queue(service).name), prefetch=1) as consumer:
            got = consumer.poll(timeout=UNTOLD_S)
            for delivery in got:
                delivery.release()
            return len(got)

    def log(self, bus: mq.Bus) -> Iterator[Logged] | None:
        return None


def choose_shape(bus: mq.Bus, wanted: str | None, prefix: str, session_timeout_s: float = SESSION_S) -> Shape:
    """The shape that was asked for, else the first whose heart the engine has of its own, else the first that it can
    play at all.

    Raises `Unsupported`, naming all that is missing, before anything is made.
    """
    shapes: tuple[Shape, ...] = (TopicShape(prefix, session_timeout_s), QueueShape(prefix))

    def is_direct(shape: Shape) -> bool:
        return all(bus.capabilities[need].level is mq.Level.DIRECT for need in shape.heart)

    for shape in sorted(shapes, key=is_direct, reverse=True):
        there = all(bus.capabilities[need].level is not mq.Level.UNSUPPORTED for need in shape.needs)
        if shape.name == wanted or (wanted is None and there):
            bus.require(*shape.needs)
            return shape
    raise mq.Unsupported(
        f"the demo needs a topic with groups, or queues behind a fanout exchange, and {bus.engine} has neither. "
        "Nothing was made.",
        capability="GROUPS,ROUTE_FANOUT",
        engine=bus.engine,
    )


def _forget(failures: list[mq.MqbridgeError], delete: Callable[[], None]) -> None:
    try:
        delete()
    except mq.NotFound:
        return  # a run that broke off early has not made everything
    except mq.MqbridgeError as error:
        failures.append(error)


def _key(headers: mq.Headers) -> str:
    return headers.get(KEY_HEADER, b"").decode(errors="replace")


def _dead(service: Service, headers: mq.Headers, death: mq.Death | None) -> Dead:
    if death is None:
        return Dead(_key(headers), service.name, "unknown", 0, "unknown", "")
    return Dead(_key(headers), service.name, death.reason, death.attempts, death.origin, death.error or "")
