"""Clusters of three nodes in containers, of which some may fail.

The rule: a node is stopped, frozen and cut off from the others like a broker of its own, and clients reach each node
at a port that stays the same. The nodes know each other by names that they have only on a network of their own, so one
that is taken off it is cut off from its peers and can still be reached by clients. Who leads is asked of raw clients.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from mqbridge_conformance.brokers import settings
from mqbridge_conformance.brokers.containers import Container, Network
from mqbridge_conformance.brokers.servers import Broker, Management
from mqbridge_conformance.results import CannotTell

__all__ = ["Cluster", "KafkaCluster", "Node", "RabbitMQCluster"]

NODES: Final = (1, 2, 3)
READY_S: Final = 180.0
_ANSWER_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.1


class Node(Broker):
    """One node; `number` is from 1 on. Its ``url`` leads to it alone."""

    def __init__(self, cluster: Cluster, number: int, container: Container, url: str) -> None:
        self.number = number
        self.container = container
        self.url = url
        self._cluster = cluster

    def restart(self) -> None:
        self.halt()
        self.start()

    def kill(self) -> None:
        self.container.kill()

    def halt(self) -> None:
        self.container.halt()

    def start(self) -> None:
        """Start it again, and wait until it and those that run see each other."""
        self.container.run()
        self._cluster.wait_ready([node.number for node in self._cluster.nodes if node.container.running])

    def pause(self) -> None:
        self.container.pause()

    def unpause(self) -> None:
        self.container.unpause()

    def cut_off(self) -> None:
        """Its peers hear nothing of it, nor it of them; clients reach it still."""
        self._cluster.between.leave(self.container)

    def rejoin(self) -> None:
        """After `cut_off`: it is on the network again; what follows from that takes its time."""
        self._cluster.between.join(self.container, self._cluster.name_of(self.number))

    def exec(self, *command: str) -> str:
        return self.container.exec(*command)

    def stop(self) -> None:
        self.container.remove()


class Cluster(ABC):
    """Three nodes; `url` names them all. `CannotTell` where there is no Docker engine."""

    stem: str
    url: str
    def __init__(self) -> None:
        self.between = Network.create()
        self.nodes: list[Node] = []
        try:
            for number in NODES:
                container = self._container(number)
                self.between.join(container, self.name_of(number))
                self.nodes.append(Node(self, number, container, self._url_of(container)))
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def name_of(self, number: int) -> str:
        """What the other nodes call it."""
        return f"{self.stem}-{number}"

    def node(self, number: int) -> Node:
        """That node."""
        return self.nodes[number - 1]

    def others(self, number: int) -> list[Node]:
        """All but that one."""
        return [node for node in self.nodes if node.number != number]

    def stop(self) -> None:
        """Remove it; harmless if it is gone."""
        while self.nodes:
            self.nodes.pop().stop()
        self.between.remove()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _container(self, number: int) -> Container: ...

    @abstractmethod
    def _url_of(self, container: Container) -> str: ...

    def leader_of(self, destination: str, partition: int = 0) -> Node | None:
        """Who leads a destination of the library, ``topic:NAME`` or ``queue:NAME``, now; None if nobody does."""
        return self.leader(*self.place(destination, partition))

    def in_sync_of(self, destination: str, partition: int = 0) -> set[int]:
        """The numbers of the nodes that have all of such a destination."""
        return self.in_sync(*self.place(destination, partition))

    @abstractmethod
    def place(self, destination: str, partition: int) -> tuple[str, int]:
        """What a destination of the library is called on the broker."""

    @abstractmethod
    def leader(self, name: str, partition: int = 0) -> Node | None:
        """Who leads it now, as most of the nodes that answer say; None if nobody does."""

    @abstractmethod
    def in_sync(self, name: str, partition: int = 0) -> set[int]:
        """The numbers of the nodes that have all of it, as the first node that answers says."""

    @abstractmethod
    def seen_by(self, node: Node, timeout_s: float) -> set[int] | None:
        """The numbers of the nodes that one sees, itself among them; None if it does not answer."""

    def missing(self, timeout_s: float, of: Collection[int] = NODES) -> str:
        """Who of these does not answer, or does not see the others, in words; empty if all is well."""
        for node in self.nodes:
            if node.number in of:
                seen = self.seen_by(node, timeout_s)
                if seen is None:
                    return f"{self.name_of(node.number)} does not answer"
                if not seen.issuperset(of):
                    return f"{self.name_of(node.number)} sees only {sorted(seen)}"
        return ""

    def wait_ready(self, of: Collection[int] = NODES) -> None:
        """Until each of these answers and sees the others; `CannotTell` if one ends instead."""

        def look() -> str:
            found = self.missing(_ANSWER_S, of)
            for node in self.nodes:
                if found and node.number in of and not node.container.running:
                    raise CannotTell(f"{self.name_of(node.number)} has ended: {node.container.last_words()}")
            return found

        self.until(look, "", "the cluster")

    def _most(self, told: Iterable[int]) -> Node | None:
        """The node that most name; one that is cut off has an old opinion."""
        votes = Counter(number for number in told if number in NODES)
        return self.node(votes.most_common(1)[0][0]) if votes else None

    def until(self, look: Callable[[], Any], wanted: Any, what: str) -> None:
        """Wait until `look` gives what is wanted; `CannotTell` at the deadline."""
        give_up_s = time.monotonic() + READY_S
        pause = threading.Event()
        while (found := look()) != wanted:
            if time.monotonic() >= give_up_s:
                raise CannotTell(f"{what} was still {found!r} after {READY_S:g} s, where {wanted!r} was waited for")
            pause.wait(_LOOK_EVERY_S)


class KafkaCluster(Cluster):
    """Three Kafka nodes, each broker and controller; topics have three replicas, two of which must be in sync."""

    stem = "kafka"

    def __init__(self) -> None:
        # A Kafka UUID: 16 bytes, URL-safe base64 without its padding.
        self._id = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "m")
        super().__init__()
        self.bootstrap = ",".join(node.url.removeprefix("kafka://") for node in self.nodes)
        self.url = f"kafka://{self.bootstrap}"

    def _container(self, number: int) -> Container:
        return Container.start(
            settings.KAFKA_IMAGE,
            ports={"kafka": None},
            environment=lambda ports: settings.kafka_cluster_environment(number, ports["kafka"], self._id),
            files={},
            user=settings.KAFKA_CONTAINER_USER,
        )

    def _url_of(self, container: Container) -> str:
        return f"kafka://127.0.0.1:{container.ports['kafka']}"

    def seen_by(self, node: Node, timeout_s: float) -> set[int] | None:
        with contextlib.suppress(_kafka_error()):
            return set(_admin(node).list_topics(timeout=timeout_s).brokers)
        return None

    def place(self, destination: str, partition: int) -> tuple[str, int]:
        kind, _, name = destination.partition(":")
        return (name if kind == "topic" else f"{name}.mqq"), partition

    def leader(self, name: str, partition: int = 0) -> Node | None:
        return self._most(found.leader for found in self._partitions(name, partition))

    def in_sync(self, name: str, partition: int = 0) -> set[int]:
        return next((set(found.isrs) for found in self._partitions(name, partition)), set())

    def _partitions(self, topic: str, partition: int) -> Iterator[Any]:
        """What each node that answers says of a partition."""
        for node in self.nodes:
            with contextlib.suppress(_kafka_error(), KeyError):
                yield _admin(node).list_topics(topic, timeout=_ANSWER_S).topics[topic].partitions[partition]


def _kafka_error() -> type[Exception]:
    from confluent_kafka import KafkaException

    return KafkaException


def _admin(node: Node) -> Any:
    from confluent_kafka.admin import AdminClient

    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}
    return AdminClient({"bootstrap.servers": node.url.removeprefix("kafka://"), **quiet})


class RabbitMQCluster(Cluster):
    """Three RabbitMQ nodes; quorum queues and streams have a replica on each."""

    stem = "rabbitmq"

    def __init__(self) -> None:
        self._cookie = secrets.token_hex(16)
        super().__init__()
        addresses = ",".join(f"127.0.0.1:{node.container.ports['amqp']}" for node in self.nodes)
        login = f"{settings.RABBITMQ_USER}:{settings.RABBITMQ_PASSWORD}"
        self.url = f"amqp://{login}@{addresses}/?management={self._management_base(self.nodes[0].container)}"

    def _container(self, number: int) -> Container:
        return Container.start(
            settings.RABBITMQ_IMAGE,
            ports={"amqp": 5672, "management": 15672},
            environment=lambda _: {"RABBITMQ_ERLANG_COOKIE": self._cookie},
            files=settings.RABBITMQ_CLUSTER_FILES,
            hostname=self.name_of(number),
        )

    @staticmethod
    def _management_base(container: Container) -> str:
        return f"http://127.0.0.1:{container.ports['management']}"

    def _url_of(self, container: Container) -> str:
        login = f"{settings.RABBITMQ_USER}:{settings.RABBITMQ_PASSWORD}"
        return f"amqp://{login}@127.0.0.1:{container.ports['amqp']}/?management={self._management_base(container)}"

    def seen_by(self, node: Node, timeout_s: float) -> set[int] | None:
        with contextlib.suppress(OSError):
            found = Management(node.url, timeout_s).get("/api/nodes")
            return {_number(item["name"]) for item in found if item.get("running")}
        return None

    def place(self, destination: str, partition: int) -> tuple[str, int]:
        kind, _, name = destination.partition(":")
        return (f"{name}.mqt-{partition}" if kind == "topic" else name), 0

    def leader(self, name: str, partition: int = 0) -> Node | None:
        return self._most(_number(found.get("leader")) for found in self._said_of(name))

    def in_sync(self, name: str, partition: int = 0) -> set[int]:
        return next(({_number(node) for node in found.get("online", ())} for found in self._said_of(name)), set())

    def _said_of(self, queue: str) -> Iterator[dict[str, Any]]:
        for node in self.nodes:
            with contextlib.suppress(OSError):
                yield Management(node.url, _ANSWER_S).get(f"/api/queues/%2F/{queue}")


def _number(name: str | None) -> int:
    """Of a node that calls itself ``rabbit@rabbitmq-2``."""
    number = (name or "").rpartition("-")[2]
    return int(number) if number.isdecimal() else 0
