"""How the observer of Kafka gets in: what a URL says of hosts, user, password and TLS, for raw clients.

The rule: nothing of the engine's code. Of the options of its URLs ``sasl`` and those of TLS count here too; what is in
``librdkafka`` is given to librdkafka as it is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from mqbridge_conformance.brokers.url_options import options_of, tls_of, verifies
from mqbridge_conformance.results import CannotTell

__all__ = ["KafkaLogin"]

_PORT: Final = 9092
_HASHES: Final = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}

Say = Callable[[bytes], bytes]
"""One message of the client's, and what the broker answers to it."""


class KafkaLogin:
    """`bootstrap` are the hosts, `config` what librdkafka is to be told. Not shown, for it holds the password."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        self._options = options_of(url)
        self._user, self._password = unquote(user), unquote(password)
        self.tls = parts.scheme == "kafkas"
        self.mechanism = self._options.get("sasl", "PLAIN").upper() if login else ""
        self.bootstrap = ",".join(map(_with_port, hosts.split(",")))
        self.config: Mapping[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": ("SASL_" if login else "") + ("SSL" if self.tls else "PLAINTEXT"),
            **self._sasl(),
            **self._tls(),
            **dict(
                pair.strip().split("=", 1) for pair in self._options.get("librdkafka", "").split(";") if "=" in pair
            ),
        }

    def _sasl(self) -> dict[str, str]:
        if not self.mechanism:
            return {}
        return {"sasl.mechanism": self.mechanism, "sasl.username": self._user, "sasl.password": self._password}

    def _tls(self) -> dict[str, Any]:
        if not self.tls:
            return {}
        files = {"ca": "ssl.ca.location", "cert": "ssl.certificate.location", "key": "ssl.key.location"}
        sure = verifies(self._options)
        return {
            "enable.ssl.certificate.verification": sure,
            "ssl.endpoint.identification.algorithm": "https" if sure else "none",
            **{name: self._options[option] for option, name in files.items() if option in self._options},
        }

    def connect(self, node: str, timeout_s: float) -> socket.socket:
        """A connection to ``host:port``, over TLS if the URL says so; nobody has shown a password on it yet."""
        host, _, port = node.rpartition(":")
        name = host.strip("[]")
        plain = socket.create_connection((name, int(port)), timeout_s)
        if not self.tls:
            return plain
        try:
            return tls_of(self._options).wrap_socket(plain, server_hostname=name)
        except OSError:
            plain.close()
            raise

    def authenticate(self, say: Say) -> None:
        """Show user and password, by the messages that the mechanism has for it."""
        if self.mechanism == "PLAIN":
            say(f"\0{self._user}\0{self._password}".encode())
        elif self.mechanism in _HASHES:
            self._scram(_HASHES[self.mechanism], say)
        else:
            raise CannotTell(f"the observer of Kafka does not know the mechanism sasl={self.mechanism}")

    def _scram(self, digest: str, say: Say) -> None:
        """RFC 5802, without a channel binding."""
        name = self._user.replace("=", "=3D").replace(",", "=2C")
        first = f"n={name},r={secrets.token_hex(16)}"
        told = say(f"n,,{first}".encode()).decode()
        fields = dict(part.split("=", 1) for part in told.split(","))
        salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac(digest, self._password.encode(), salt, rounds)
        last = f"c=biws,r={fields['r']}"
        signed = f"{first},{told},{last}".encode()
        key = hmac.digest(salted, b"Client Key", digest)
        signature = hmac.digest(hashlib.new(digest, key).digest(), signed, digest)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        ended = say(f"{last},p={proof}".encode())
        wanted = hmac.digest(hmac.digest(salted, b"Server Key", digest), signed, digest)
        if ended != b"v=" + base64.b64encode(wanted):
            raise CannotTell("the broker that the observer of Kafka met does not know the password itself")


def _with_port(host: str) -> str:
    _, colon, port = host.rpartition(":")
    return host if colon and port.isdecimal() else f"{host}:{_PORT}"
