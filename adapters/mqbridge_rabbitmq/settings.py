"""From a URL and options to pika's parameters. The rule: everything is checked before any I/O, and a password goes into
pika's credentials and the management client, nowhere else.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import pika

from mqbridge.errors import ConfigurationError
from mqbridge.spi import ConnectRequest, Url

OPTIONS: Final[Mapping[str, str]] = {
    "ca": "file with the certificates that the brokers' certificates are checked against; default: the system's",
    "cert": "file with the client's certificate, for brokers that ask for one",
    "key": "file with the key of the client's certificate",
    "key_password": "password of that key",
    "verify": "yes (default), or no: take any certificate and any host name",
    "server_name": "the name that the broker's certificate must have; default: the host of the URL",
    "heartbeat_s": "the connection is dead after two of these without a sign of life; default 10",
    "blocked_timeout_s": "give a connection up when an alarm has blocked publishers for so long; default 300",
    "client_name": "what the broker's logs and the management pages call this client; default mqbridge",
    "max_message_bytes": "refuse larger messages before they are sent; default 16777216, as the broker's "
    "max_message_size",
    "window": "how many messages a producer may have unconfirmed at one destination; default 4096",
    "management": "the management API, http(s)://host:port; default http(s)://FIRSTHOST:15672 (15671 for amqps)",
}

WANTED: Final = (4, 3)
"""The first version whose quorum queues tell a release from a failed attempt, and which this adapter was seen with."""
PORT: Final = {"amqp": 5672, "amqps": 5671}
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""RabbitMQ's default of max_message_size since 4.0."""


@dataclass(frozen=True)
class Settings:
    """What a connection was asked for. The parameters and the password are kept out of the repr."""

    text: str
    username: str
    vhost: str
    hosts: tuple[tuple[str, int], ...]
    heartbeat_s: float
    max_message_bytes: int
    window: int
    client_name: str
    management: str
    timeout_s: float
    password: str = field(repr=False)
    blocked_timeout_s: float = 300.0
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    server_name: str | None = None

    def parameters(self, host: tuple[str, int], role: str) -> Any:
        """pika's parameters for one host; `role` (publish, consume, admin) goes into the connection's name."""
        name, port = host
        tls = None if self.tls is None else pika.SSLOptions(self.tls, self.server_name or name)
        # Each host gets its share, so that the caller hears why the last one failed before its time is up.
        attempt_s = max(0.5, min(0.9 * self.timeout_s / len(self.hosts), 10.0))
        return pika.ConnectionParameters(
            host=name,
            port=port,
            virtual_host=self.vhost,
            credentials=pika.PlainCredentials(self.username, self.password),
            heartbeat=round(self.heartbeat_s),
            blocked_connection_timeout=self.blocked_timeout_s,
            connection_attempts=1,
            socket_timeout=attempt_s,
            stack_timeout=attempt_s,
            ssl_options=tls,
            client_properties={"connection_name": f"{self.client_name} {role}", "product": "mqbridge"},
        )


def read_settings(request: ConnectRequest) -> Settings:
    """The settings of a connection; `ConfigurationError` says what is wrong, without any I/O."""
    url, options = request.url, request.options
    if not url.hosts:
        raise ConfigurationError(
            f"{url.text} names no broker; write amqp://host/, amqp://user:password@host:5672/vhost"
        )
    hosts = tuple((name, port or PORT[url.scheme]) for name, port in url.hosts)
    heartbeat_s = _number(options, "heartbeat_s", 10.0)
    if heartbeat_s < 1 or heartbeat_s > 3600:
        raise ConfigurationError(f"heartbeat_s must be from 1 to 3600, not {heartbeat_s:g}: AMQP counts whole seconds")
    tls = _tls(url, options)
    return Settings(
        text=url.text,
        username=url.username if url.username is not None else "guest",
        password=url.password if url.password is not None else "guest",
        vhost=_vhost(url),
        hosts=hosts,
        heartbeat_s=heartbeat_s,
        blocked_timeout_s=_number(options, "blocked_timeout_s", 300.0),
        max_message_bytes=int(_number(options, "max_message_bytes", MAX_MESSAGE_BYTES)),
        window=int(_number(options, "window", 4096)),
        client_name=str(options.get("client_name", "mqbridge")),
        management=_management(url, options, hosts[0][0]),
        timeout_s=request.timeout_s,
        tls=tls,
        server_name=str(options["server_name"]) if "server_name" in options else None,
    )


def _vhost(url: Url) -> str:
    """``/vhost``; no path, ``/`` and ``/%2F`` are the default one."""
    name = url.path[1:] if url.path.startswith("/") else url.path
    if len(name.encode()) > 255:
        raise ConfigurationError(f"the virtual host in {url.text} is longer than 255 bytes (AMQP 0-9-1 path)")
    return name or "/"


def _tls(url: Url, options: Mapping[str, Any]) -> ssl.SSLContext | None:
    given = [name for name in ("ca", "cert", "key", "key_password", "verify", "server_name") if name in options]
    if url.scheme != "amqps":
        if given:
            raise ConfigurationError(
                f"option {given[0]!r} is about TLS, and {url.text} does not use it; write amqps://"
            )
        return None
    verify = str(options.get("verify", "yes"))
    if verify not in ("yes", "no"):
        raise ConfigurationError(f"verify must be yes or no, not {verify!r}")
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if verify == "no":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"), options.get("key_password"))
        elif "key" in options:
            raise ConfigurationError("option 'key' is the key of a certificate: give cert= too")
    except (OSError, ssl.SSLError) as error:  # FileNotFoundError names no file
        files = ", ".join(f"{name}={options[name]}" for name in ("ca", "cert", "key") if name in options)
        raise ConfigurationError(f"the TLS files cannot be used ({files}): {error}") from error
    return context


def _management(url: Url, options: Mapping[str, Any], host: str) -> str:
    tls = url.scheme == "amqps"
    shown = f"[{host}]" if ":" in host else host
    text = str(options.get("management", f"https://{shown}:15671" if tls else f"http://{shown}:15672"))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError("option management is not a URL of the form http://host:port") from error
    if "@" in parts.netloc:
        raise ConfigurationError("option management takes no user and password: those of the URL are used")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigurationError(f"option management must be a URL of the form http://host:port, not {text!r}")
    return text.rstrip("/")


def _number(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"option {name} must be a number, not {value!r}") from None
    if not number > 0 or number == float("inf"):
        raise ConfigurationError(f"option {name} must be above zero, not {value!r}")
    return number
