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
from typing import Any
from urllib.parse import quote, urlencode

from mqbridge_conformance.brokers.certificates import make_certificates
from mqbridge_conformance.brokers.servers import Management, SecuredKafka
from mqbridge_conformance.brokers.settings import (
    KAFKA_ADMIN,
    NEW_USERS_PASSWORD,
)
from mqbridge_conformance.brokers.tls_end import TlsEnd
from mqbridge_conformance.brokers.url_options import first_host, options_of
from mqbridge_conformance.results import CannotTell

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
    """See `Site`. `url` is that of a broker in plain text, of a user who may make others."""

    engine = "rabbitmq"

    def __init__(self, url: str) -> None:
        self.url = url
        self._parts = first_host(url)
        if self._parts.scheme != "amqp":
            raise CannotTell("the suite puts an end of TLS of its own before a broker: give its URL as amqp://")
        self._management = Management(url)
        self._names: list[str] = []

    def user(self, *rights: str) -> str:
        """He may ask the management API too."""
        name, management = f"user-{secrets.token_hex(4)}", self._management
        given = {right: ".*" if right in rights else "^$" for right in ("configure", "write", "read")}
        self._ask("PUT", f"/api/users/{name}", {"password": NEW_USERS_PASSWORD, "tags": "management"})
        self._names.append(name)
        self._ask("PUT", f"/api/permissions/{quote(management.vhost, safe='')}/{name}", given)
        host = self._parts.netloc.rpartition("@")[2]
        return self._parts._replace(netloc=f"{name}:{NEW_USERS_PASSWORD}@{host}").geturl()

    def _ask(self, method: str, path: str, body: Any = None) -> None:
        try:
            self._management.ask(method, path, body)
        except OSError as error:
            raise CannotTell(
                f"the management API at {self._management.base} does not let {self._management.user!r} make users: "
                f"{error}; the scenarios of security need a user with the tag administrator (rabbitmqctl set_user_tags)"
            ) from error

    @contextlib.contextmanager
    def tls(self, folder: Path) -> Iterator[str]:
        made = make_certificates()
        for name, text in ((AUTHORITY, made.authority), ("server.pem", made.certificate), ("server.key", made.key)):
            (folder / name).write_text(text)
        end = TlsEnd((str(self._parts.hostname), self._parts.port or 5672), folder)
        login = self._parts.netloc.rpartition("@")[0] or "guest:guest"
        options = urlencode({**options_of(self.url), "management": self._management.base})
        try:
            yield f"amqps://{login}@127.0.0.1:{end.port}{self._parts.path or '/'}?{options}"
        finally:
            end.close()

    def close(self) -> None:
        while self._names:
            self._ask("DELETE", f"/api/users/{self._names.pop()}")
