"""A broker that tests can use, and, where it is theirs, stop and start again.

The rule: a broker is ready when a raw client has shaken hands with it, and a method that starts one returns then,
not before. Nothing here goes through the library under test.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from mqbridge_conformance.brokers import settings
from mqbridge_conformance.brokers.certificates import make_certificates
from mqbridge_conformance.brokers.containers import Container
from mqbridge_conformance.brokers.links import Proxy
from mqbridge_conformance.brokers.url_options import first_host, options_of, tls_of
from mqbridge_conformance.results import CannotTell

__all__ = ["Broker", "KafkaContainer", "Management", "RabbitMQContainer", "Reached", "SecuredKafka", "when_ready"]

READY_S: Final = 90.0
_LOOK_EVERY_S: Final = 0.05


class Broker(ABC):
    """One broker: its `url`, and what can be done to it. `CannotTell` for what cannot."""

    url: str
    version: str = ""
    """Of the image that it was started from; empty where only the broker itself can tell."""
    link: Proxy | None = None
    """A way to it that can be broken, where it has one; `linked_url` leads there, and nobody else goes that way."""

    @property
    def linked_url(self) -> str:
        """Its URL by way of `link`; the plain one where there is no such way."""
        return self.url

    @abstractmethod
    def restart(self) -> None:
        """Stop it properly, start it, and wait until it is ready: the same address and the same data."""

    @abstractmethod
    def kill(self) -> None:
        """As a crash: SIGKILL, nothing is written any more."""

    @abstractmethod
    def halt(self) -> None:
        """Stop it properly; `start` starts it again."""

    @abstractmethod
    def start(self) -> None:
        """Start it again after `kill` or `halt`, and wait until it is ready."""

    @abstractmethod
    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""

    @abstractmethod
    def unpause(self) -> None:
        """Have it go on."""

    @abstractmethod
    def exec(self, *command: str) -> str:
        """Run a command beside the broker; its output."""

    @abstractmethod
    def stop(self) -> None:
        """The end: it and its data are removed. Harmless if they are gone."""


class Reached(Broker):
    """A broker that somebody else runs: it is there to be used, and nobody here may stop it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _not_ours(self, what: str) -> CannotTell:
        return CannotTell(
            f"the broker at {_without_password(self.url)} was not started by this run, so it cannot be {what} for a "
            "test; leave the URL out of the environment to have a container"
        )

    def restart(self) -> None:
        raise self._not_ours("restarted")

    def kill(self) -> None:
        raise self._not_ours("killed")

    def halt(self) -> None:
        raise self._not_ours("stopped")

    def start(self) -> None:
        raise self._not_ours("started")

    def pause(self) -> None:
        raise self._not_ours("paused")

    def unpause(self) -> None:
        raise self._not_ours("unpaused")

    def exec(self, *command: str) -> str:
        raise self._not_ours("looked into")

    def stop(self) -> None:
        return


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


class _InContainer(Broker):
    def __init__(self, container: Container) -> None:
        self.container = container
        self._removed = False

    @abstractmethod
    def wait_ready(self) -> None:
        """Until a raw client has shaken hands; `CannotTell` at the deadline or if the broker ended."""

    def restart(self) -> None:
        self.halt()
        self.start()

    def kill(self) -> None:
        self.container.kill()

    def halt(self) -> None:
        self.container.halt()

    def start(self) -> None:
        self.container.run()
        self.wait_ready()

    def pause(self) -> None:
        self.container.pause()

    def unpause(self) -> None:
        self.container.unpause()

    def exec(self, *command: str) -> str:
        return self.container.exec(*command)

    def stop(self) -> None:
        if not self._removed:
            self._removed = True
            self.container.remove()

    def _until(self, ready: Callable[[float], bool], what: str) -> None:
        """Ask `ready`, which may take the seconds that it is given, until it says yes."""
        give_up_s = time.monotonic() + READY_S
        pause = threading.Event()
        while not ready(min(1.0, max(0.1, give_up_s - time.monotonic()))):
            if not self.container.running:
                raise CannotTell(f"{what} ended while it was starting: {self.container.last_words()}")
            if time.monotonic() >= give_up_s:
                raise CannotTell(f"{what} was not ready within {READY_S:g} s: {self.container.last_words()}")
            pause.wait(_LOOK_EVERY_S)


class KafkaContainer(_InContainer):
    """One Kafka node, broker and controller."""

    version = settings.KAFKA_IMAGE.rpartition(":")[2]

    @classmethod
    def begin(cls) -> KafkaContainer:
        container = Container.start(
            settings.KAFKA_IMAGE,
            ports={"kafka": None},
            environment=lambda ports: settings.kafka_environment(ports["kafka"]),
            files={},
            user=settings.KAFKA_CONTAINER_USER,
        )
        return when_ready(cls(container))

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.bootstrap = f"127.0.0.1:{container.ports['kafka']}"
        self.url = f"kafka://{self.bootstrap}"
        self.client_config: dict[str, Any] = {"bootstrap.servers": self.bootstrap}
        """What a raw client needs to reach it."""

    def wait_ready(self) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        # Quiet: that connections are refused until it is ready is what is waited for.
        quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}
        client = AdminClient({**self.client_config, "reconnect.backoff.max.ms": 200, **quiet})

        def ready(timeout_s: float) -> bool:
            try:
                return bool(client.list_topics(timeout=timeout_s).brokers)
            except KafkaException:
                return False

        self._until(ready, f"Kafka at {self.bootstrap}")

    def tool(self, name: str, *args: str) -> str:
        """Run one of Kafka's own tools against the broker; takes seconds, for each starts a JVM."""
        return self.exec(f"/opt/kafka/bin/{name}.sh", "--bootstrap-server", self.bootstrap, *args)


class SecuredKafka(KafkaContainer):
    """One Kafka node that asks for a password and has access lists; `url` and `client_config` are its super user's."""

    @classmethod
    def begin(cls) -> SecuredKafka:
        made = make_certificates()
        container = Container.start(
            settings.KAFKA_IMAGE,
            ports={"kafka": None, "tls": None},
            environment=lambda ports: settings.secured_kafka_environment(ports["kafka"], ports["tls"]),
            files=settings.secured_kafka_files(made.key + made.certificate),
            user=settings.KAFKA_CONTAINER_USER,
        )
        return when_ready(cls(container, made.authority))

    def __init__(self, container: Container, authority: str) -> None:
        super().__init__(container)
        self.authority = authority
        """The certificate, as PEM, that its own is checked against."""
        self.url = self.url_of(*settings.KAFKA_ADMIN)
        self.client_config |= {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": settings.KAFKA_ADMIN[0],
            "sasl.password": settings.KAFKA_ADMIN[1],
        }

    def url_of(self, user: str, password: str) -> str:
        """A URL for that user, in plain text."""
        return f"kafka://{user}:{password}@{self.bootstrap}"

    def tls_url_of(self, user: str, password: str) -> str:
        """A URL for that user over TLS; the option ``ca`` is to name a file with `authority`."""
        return f"kafkas://{user}:{password}@127.0.0.1:{self.container.ports['tls']}"


class RabbitMQContainer(_InContainer):
    """One RabbitMQ node with the management API."""

    @classmethod
    def begin(cls) -> RabbitMQContainer:
        container = Container.start(
            settings.RABBITMQ_IMAGE,
            ports={"amqp": 5672, "management": 15672},
            environment=lambda _: {},
            files=settings.RABBITMQ_FILES,
        )
        return when_ready(cls(container))

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        amqp, management = container.ports["amqp"], container.ports["management"]
        login = f"{settings.RABBITMQ_USER}:{settings.RABBITMQ_PASSWORD}"
        self.url = f"amqp://{login}@127.0.0.1:{amqp}/?management=http://127.0.0.1:{management}"

    def wait_ready(self) -> None:
        import pika
        import pika.exceptions

        address = ("127.0.0.1", self.container.ports["amqp"])
        management = Management(self.url)
        credentials = pika.PlainCredentials(settings.RABBITMQ_USER, settings.RABBITMQ_PASSWORD)

        def ready(timeout_s: float) -> bool:
            if not _speaks_amqp(address, timeout_s):
                return False
            parameters = pika.ConnectionParameters(*address, credentials=credentials)
            try:
                pika.BlockingConnection(parameters).close()
                return "rabbitmq_version" in management.get("/api/overview")
            except (pika.exceptions.AMQPConnectionError, urllib.error.URLError, ConnectionError, TimeoutError):
                return False

        self._until(ready, f"RabbitMQ at {address[0]}:{address[1]}")


def _speaks_amqp(address: tuple[str, int], timeout_s: float) -> bool:
    """It answers the protocol header (AMQP 0-9-1, 4.2.2) with a method frame. Asked before pika is, which logs errors
    of a broker that is not there yet; a published port accepts connections before anybody listens behind it."""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout_s) as talk:
        talk.settimeout(timeout_s)
        talk.sendall(b"AMQP\x00\x00\x09\x01")
        return talk.recv(1) == b"\x01"
    return False


B = TypeVar("B", bound=_InContainer)


def when_ready(broker: B) -> B:
    """The broker when it is ready; one that does not come to be is removed."""
    try:
        broker.wait_ready()
    except BaseException:
        broker.stop()
        raise
    return broker


class Management:
    """RabbitMQ's management API, asked plainly. Its numbers are those of the last report: eventually right."""

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        """`url`: an AMQP URL; ``?management=http(s)://host:port`` says where the API is, else it is on the first host
        at its usual port. Over TLS it is believed by the options of the URL."""
        self._timeout_s = timeout_s
        parts, options = first_host(url), options_of(url)
        usual = f"https://{parts.hostname}:15671" if parts.scheme == "amqps" else f"http://{parts.hostname}:15672"
        self.base = options.get("management", usual).rstrip("/")
        self.vhost = unquote(parts.path.removeprefix("/")) or "/"
        self.user = unquote(parts.username or "guest")
        login = f"{self.user}:{unquote(parts.password or 'guest')}"
        self._authorization = "Basic " + base64.b64encode(login.encode()).decode()
        # What a proxy of the environment makes of 127.0.0.1 is nobody's business here.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.base.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=tls_of(options)))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; None for an empty answer. Errors are urllib's own."""
        request = urllib.request.Request(
            self.base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": self._authorization, "Content-Type": "application/json"},
        )
        with self._opener.open(request, timeout=self._timeout_s) as answer:
            text = answer.read()
        return json.loads(text) if text else None
