"""Brokers that ask who is there: their super user, users of few rights, and the way in over TLS.

The rule: what is made here is forgotten when the site is closed, or with the container. What somebody who may not is
told is judged elsewhere.
"""

from __future__ import annotations

import contextlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from mqbridge_conformance.brokers.certificates import make_certificates
from mqbridge_conformance.brokers.servers import Management, SecuredKafka
from mqbridge_conformance.brokers.settings import (
    KAFKA_ADMIN,
    NEW_USERS_PASSWORD,
    RABBITMQ_PASSWORD,
    RABBITMQ_USER,
)
from mqbridge_conformance.brokers.tls_end import TlsEnd

__all__ = ["AUTHORITY", "KafkaSite", "RabbitMQSite", "Site"]

AUTHORITY = "ca.pem"
"""The file, in the folder that `Site.tls` is given, of the certificate that the broker's is checked against."""


class Site(ABC):
    """`url` is the super user's."""

    engine: str
    url: str

    @abstractmethod
    def user(self, *rights: str) -> str:
        """The URL of a new user with these rights: any of "write" and "read" for everything, but to make nothing."""

    @abstractmethod
    def tls(self, folder: Path) -> contextlib.AbstractContextManager[str]:
        """The super user's URL over TLS, without the option ``ca``, for which the folder has `AUTHORITY`."""

    def close(self) -> None:
        """Forget the users."""
        return


class KafkaSite(Site):
    """See `Site`."""

    engine = "kafka"

    def __init__(self, broker: SecuredKafka) -> None:
        self._broker = broker
        self.url = broker.url

    def user(self, *rights: str) -> str:
        from mqbridge_conformance.brokers.kafka_users import kafka_user

        return kafka_user(self._broker, *rights)

    @contextlib.contextmanager
    def tls(self, folder: Path) -> Iterator[str]:
        (folder / AUTHORITY).write_text(self._broker.authority)
        yield self._broker.tls_url_of(*KAFKA_ADMIN)


class RabbitMQSite(Site):
    """See `Site`. `url` is that of the run's container."""

    engine = "rabbitmq"

    def __init__(self, url: str) -> None:
        self.url = url
        self._login = f"{RABBITMQ_USER}:{RABBITMQ_PASSWORD}@"
        self._management = Management(url)
        self._names: list[str] = []

    def user(self, *rights: str) -> str:
        """He may ask the management API too."""
        name, management = f"user-{secrets.token_hex(4)}", self._management
        given = {right: ".*" if right in rights else "^$" for right in ("configure", "write", "read")}
        management.ask("PUT", f"/api/users/{name}", {"password": NEW_USERS_PASSWORD, "tags": "management"})
        self._names.append(name)
        management.ask("PUT", f"/api/permissions/{quote(management.vhost, safe='')}/{name}", given)
        return self.url.replace(self._login, f"{name}:{NEW_USERS_PASSWORD}@")

    @contextlib.contextmanager
    def tls(self, folder: Path) -> Iterator[str]:
        made = make_certificates()
        for name, text in ((AUTHORITY, made.authority), ("server.pem", made.certificate), ("server.key", made.key)):
            (folder / name).write_text(text)
        parts = urlsplit(self.url)
        end = TlsEnd((str(parts.hostname), parts.port or 5672), folder)
        try:
            yield f"amqps://{self._login}127.0.0.1:{end.port}/?management={self._management.base}"
        finally:
            end.close()

    def close(self) -> None:
        while self._names:
            self._management.ask("DELETE", f"/api/users/{self._names.pop()}")
