"""From a URL and options to the client's configuration.

The rule of this room: every option is listed, checked before any I/O, and refused by name; what the engine's promises
rest on cannot be overridden. A password goes into the client's configuration and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mqbridge.errors import ConfigurationError
from mqbridge.spi import ConnectRequest, Url

OPTIONS: Final[Mapping[str, str]] = {
    "sasl": "how user and password are shown: PLAIN (default), SCRAM-SHA-256 or SCRAM-SHA-512",
    "ca": "file with the certificates that the brokers' certificates are checked against; default: the system's",
    "cert": "file with the client's certificate, for brokers that ask for one",
    "key": "file with the key of the client's certificate",
    "key_password": "password of that key; in options=, not in the URL, which others than mqbridge show too",
    "verify": "yes (default), or no: take any certificate and any host name",
    "client_id": "what the brokers' logs, quotas and metrics call this client; default mqbridge",
    "rack": "where this client stands, to read from the nearest replica (KIP-392)",
    "metadata_s": "how soon added partitions and removed topics are noticed; default 5",
    "buffer_bytes": "how much a consumer fetches ahead at most; default 67108864 (64 MiB)",
    "queue_batch": "how many messages for a queue share a batch, which one consumer takes whole: 1 to 20, default 5",
    "librdkafka": "further properties of the client, name=value;name=value or a mapping; not those that mqbridge owns",
}

DEFAULT_PORT: Final = 9092
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
RECONNECT_MAX_MS: Final = 1000
"""A broker that is back is found within about a second; the client's own default is ten. A client that waits longer
than between two looks would be taken for one that is cut off (cut_off.py)."""

OWNED: Final = frozenset(
    {
        "acks",
        "allow.auto.create.topics",
        "auto.commit.enable",
        "auto.offset.reset",
        "bootstrap.servers",
        "compression.codec",
        "compression.type",
        "default.topic.config",
        "delivery.timeout.ms",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "error_cb",
        "fetch.queue.backoff.ms",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "isolation.level",
        "linger.ms",
        "log_cb",
        "logger",
        "max.poll.interval.ms",
        "message.timeout.ms",
        "metadata.broker.list",
        "on_commit",
        "on_delivery",
        "partition.assignment.strategy",
        "partitioner",
        "queue.buffering.max.kbytes",
        "queue.buffering.max.ms",
        "queued.max.messages.kbytes",
        "reconnect.backoff.max.ms",
        "request.required.acks",
        "sasl.password",
        "sasl.username",
        "security.protocol",
        "session.timeout.ms",
        "share.acknowledgement.mode",
        "stats_cb",
        "transactional.id",
    }
)

log = logging.getLogger("mqbridge.kafka")
log.addHandler(logging.NullHandler())  # silent unless the application says otherwise, the client's own words too
client_log = logging.getLogger("mqbridge.kafka.client")


@dataclass(frozen=True)
class Settings:
    """What a connection was asked for. `base` holds secrets, so it is kept out of the repr."""

    text: str
    base: Mapping[str, Any] = field(repr=False)
    extra: Mapping[str, str] = field(repr=False)
    metadata_s: float
    buffer_bytes: int
    bootstrap: str
    queue_batch: int = 5

    def config(self, role: str) -> dict[str, Any]:
        """The configuration that every client of this connection begins with; `role` goes into its client id."""
        return {**self.base, "client.id": f"{self.base['client.id']}-{role}", **self.extra}


def read_settings(request: ConnectRequest) -> Settings:
    """The settings of a connection; `ConfigurationError` says what is wrong, without any I/O."""
    url, options = request.url, request.options
    if not url.hosts:
        raise ConfigurationError(f"{url.text} names no broker; write kafka://host:9092, or several with commas")
    if url.path.strip("/"):
        raise ConfigurationError(
            f"{url.text}: Kafka has no databases or virtual hosts, so {url.path!r} means nothing. Leave it out; topics "
            "are named in the program."
        )
    _no_secret_in_query(url)
    tls = url.scheme == "kafkas"
    base: dict[str, Any] = {
        "bootstrap.servers": bootstrap_of(url),
        "client.id": str(options.get("client_id", "mqbridge")),
        "reconnect.backoff.max.ms": RECONNECT_MAX_MS,
        "log.connection.close": False,  # an idle connection that a broker closes is no news
        "logger": client_log,
    }
    base |= _tls(options, tls, url)
    base |= _sasl(options, tls, url)
    if "rack" in options:
        base["client.rack"] = str(options["rack"])
    return Settings(
        url.text,
        base,
        _extra(options.get("librdkafka")),
        _number(options, "metadata_s", 5.0, 0.1),
        int(_number(options, "buffer_bytes", 64 << 20, 1 << 20)),
        str(base["bootstrap.servers"]),
        _queue_batch(options),
    )


def _no_secret_in_query(url: Url) -> None:
    """mqbridge masks what is secret in a URL; process lists, shells and configuration stores do not."""
    for name, value in url.query.items():
        words = f"{name}={value}" if name == "librdkafka" else name
        if "password" in words or "secret" in words or "ssl.key.pem" in words:
            raise ConfigurationError(
                f"option {name!r} in the URL holds a secret, and not only mqbridge, which masks it, sees URLs. Nothing "
                "was done; give it in options= of connect()."
            )


def bootstrap_of(url: Url) -> str:
    """The hosts as librdkafka writes them; an IPv6 address keeps its brackets."""
    return ",".join(f"{f'[{host}]' if ':' in host else host}:{port or DEFAULT_PORT}" for host, port in url.hosts)


def _tls(options: Mapping[str, Any], tls: bool, url: Url) -> dict[str, Any]:
    names = ("ca", "cert", "key", "key_password", "verify")
    given = [name for name in names if name in options]
    if not tls:
        if given:
            raise ConfigurationError(
                f"option {given[0]!r} is about TLS, and {url.text} does not use it. Write kafkas:// instead."
            )
        return {}
    if ("cert" in options) != ("key" in options):
        raise ConfigurationError("cert= and key= belong together: a client certificate is shown by its key")
    if "key_password" in options and "key" not in options:
        raise ConfigurationError("key_password= is the password of key=, which is not given")
    verify = _yes(options, "verify", True)
    found: dict[str, Any] = {
        "enable.ssl.certificate.verification": verify,
        "ssl.endpoint.identification.algorithm": "https" if verify else "none",
    }
    for name, property_name in (
        ("ca", "ssl.ca.location"),
        ("cert", "ssl.certificate.location"),
        ("key", "ssl.key.location"),
        ("key_password", "ssl.key.password"),
    ):
        if name in options:
            found[property_name] = str(options[name])
    return found


def _sasl(options: Mapping[str, Any], tls: bool, url: Url) -> dict[str, Any]:
    mechanism = str(options.get("sasl", "PLAIN")).upper()
    if mechanism not in MECHANISMS:
        raise ConfigurationError(f"sasl must be one of {', '.join(MECHANISMS)}, not {options['sasl']!r}")
    if url.username is None:
        if "sasl" in options:
            raise ConfigurationError(f"sasl={mechanism} needs a user: write {url.scheme}://user:password@host:port")
        return {"security.protocol": "SSL" if tls else "PLAINTEXT"}
    if url.password is None:
        raise ConfigurationError(f"{url.text} names a user and no password: write {url.scheme}://user:password@host")
    return {
        "security.protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": url.username,
        "sasl.password": url.password,
    }


def _extra(given: Any) -> dict[str, str]:
    """The escape to properties that have no option here."""
    if given is None:
        return {}
    pairs: dict[str, str] = {}
    if isinstance(given, Mapping):
        pairs = {str(name): str(value) for name, value in given.items()}
    elif isinstance(given, str):
        for item in filter(None, (part.strip() for part in given.split(";"))):
            name, equals, value = item.partition("=")
            if not equals:
                raise ConfigurationError(f"option librdkafka: {item!r} is not name=value")
            pairs[name.strip()] = value.strip()
    else:
        raise ConfigurationError(f"option librdkafka takes a str or a mapping, not {type(given).__name__}")
    for name in pairs:
        if name in OWNED:
            raise ConfigurationError(
                f"option librdkafka: mqbridge sets {name!r} itself, because what it promises rests on it. Nothing was "
                "done; use the URL, the options, or the arguments of producer() and consumer()."
            )
    return pairs


def _yes(options: Mapping[str, Any], name: str, default: bool) -> bool:
    value = options.get(name, default)
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    found = known.get(str(value).lower())
    if found is None:
        raise ConfigurationError(f"option {name} is yes or no, not {value!r}")
    return found


def _queue_batch(options: Mapping[str, Any]) -> int:
    found = _number(options, "queue_batch", 5, 1)
    if found > 20 or found != int(found):
        raise ConfigurationError(f"option queue_batch is a whole number from 1 to 20, not {options['queue_batch']!r}")
    return int(found)


def _number(options: Mapping[str, Any], name: str, default: float, least: float) -> float:
    value = options.get(name, default)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"option {name} must be a number, not {value!r}") from None
    if not least <= number < float("inf"):
        raise ConfigurationError(f"option {name} must be at least {least:g}, not {value!r}")
    return number
