"""The brokers of this run: one of each kind for all, and one that tests may stop; or why there is none.

The rule: nothing is started before somebody asks, and whoever asks for a broker that cannot be had is told so by
`CannotTell`; `unavailable` tells it beforehand.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import threading
from collections.abc import Callable
from typing import Final

from mqbridge_conformance.brokers import settings
from mqbridge_conformance.brokers.clusters import Cluster, KafkaCluster, RabbitMQCluster
from mqbridge_conformance.brokers.containers import docker_client, ensure_image
from mqbridge_conformance.brokers.linked import LinkedKafka, LinkedRabbitMQ
from mqbridge_conformance.brokers.servers import Broker, KafkaContainer, RabbitMQContainer, Reached, SecuredKafka
from mqbridge_conformance.results import CannotTell

__all__ = ["ENGINES", "broker", "cluster", "remove_all", "secured_kafka", "unavailable", "url_in_environment"]

ENGINES: Final = ("kafka", "rabbitmq")

_CLUSTERS: Final[dict[str, Callable[[], Cluster]]] = {"kafka": KafkaCluster, "rabbitmq": RabbitMQCluster}
_BEGIN: Final[dict[tuple[str, bool], Callable[[], Broker]]] = {
    ("kafka", False): KafkaContainer.begin,
    ("kafka", True): LinkedKafka.begin,
    ("rabbitmq", False): RabbitMQContainer.begin,
    ("rabbitmq", True): LinkedRabbitMQ.begin,
}
_IMAGES: Final = {"kafka": settings.KAFKA_IMAGE, "rabbitmq": settings.RABBITMQ_IMAGE}
_CLIENTS: Final = {"kafka": "confluent_kafka", "rabbitmq": "pika"}

_lock = threading.RLock()
_started: dict[tuple[str, bool], Broker] = {}
_secured: list[SecuredKafka] = []
_clusters: dict[str, Cluster] = {}
_reasons: dict[tuple[str, bool], str | None] = {}


def url_in_environment(engine: str) -> str | None:
    """``MQBRIDGE_KAFKA_URL`` or ``MQBRIDGE_RABBITMQ_URL``, if it is set: used in place of a container."""
    return os.environ.get(f"MQBRIDGE_{engine.upper()}_URL") or None


def broker(engine: str, *, own: bool = False) -> Broker:
    """The run's broker of that engine; with `own` a second one, for tests that stop or freeze theirs, or break the way
    to it.

    It lives until the end of the process, or `remove_all`. A broker that the environment names is used by others too,
    so `own` is always a container. Errors: `CannotTell` if there is none.
    """
    with _lock:
        if reason := unavailable(engine, own=own):
            raise CannotTell(f"no {engine} broker: {reason}")
        if (engine, own) not in _started:
            url = None if own else url_in_environment(engine)
            _started[engine, own] = Reached(url) if url else _BEGIN[engine, own]()
            atexit.register(remove_all)
        return _started[engine, own]


def secured_kafka() -> SecuredKafka:
    """The run's Kafka with passwords, access lists and TLS, a container of its own. Errors: `CannotTell`."""
    with _lock:
        if reason := unavailable("kafka", own=True):
            raise CannotTell(f"no secured kafka broker: {reason}")
        if not _secured:
            _secured.append(SecuredKafka.begin())
            atexit.register(remove_all)
        return _secured[0]


def cluster(engine: str) -> Cluster:
    """The run's cluster of three nodes of that engine, for tests that stop some and leave all running. Errors:
    `CannotTell`."""
    with _lock:
        if reason := unavailable(engine, own=True):
            raise CannotTell(f"no {engine} cluster: {reason}")
        if engine not in _clusters:
            _clusters[engine] = _CLUSTERS[engine]()
            atexit.register(remove_all)
        return _clusters[engine]


def unavailable(engine: str, *, own: bool = False) -> str | None:
    """Why no such broker can be had, in a few words; None if one can. Found out once, and nothing is started."""
    with _lock:
        if (engine, own) not in _reasons:
            _reasons[engine, own] = _find_out(engine, own)
        return _reasons[engine, own]


def _find_out(engine: str, own: bool) -> str | None:
    if importlib.util.find_spec(_CLIENTS[engine]) is None:
        return f"{_CLIENTS[engine]} is not installed"
    if not own and url_in_environment(engine):
        return None
    if importlib.util.find_spec("testcontainers") is None:
        return "testcontainers is not installed"
    try:
        client = docker_client()
    except CannotTell:
        return "no Docker"
    with contextlib.closing(client):
        try:
            ensure_image(client, _IMAGES[engine])
        except CannotTell:
            return f"no image {_IMAGES[engine]}"
    return None


def remove_all() -> None:
    """Remove the containers now, rather than at the end of the process."""
    with _lock:
        while _started:
            _started.popitem()[1].stop()
        while _secured:
            _secured.pop().stop()
        while _clusters:
            _clusters.popitem()[1].stop()
