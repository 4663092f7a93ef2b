"""Looking at RabbitMQ with pika and the management API.

The rule: nothing of the engine's code. What names and headers mean on RabbitMQ is written down here a second time: a
queue and an exchange have their own names, a topic x is the exchange ``x.mqt`` and the streams ``x.mqt-N``, what a
group has committed is the newest token in the queues ``GROUP:x.mqg-N``, and what AMQP has no field for is in
``mqbridge-*``.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import urllib.error
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pika
import pika.exceptions

from mqbridge_conformance.brokers.servers import Management
from mqbridge_conformance.brokers.url_options import first_host, options_of, tls_of
from mqbridge_conformance.native_files import Pairs
from mqbridge_conformance.observers.seen import LIBRARY, Counts, Letter, Names, Observer, Record
from mqbridge_conformance.results import CannotTell

__all__ = ["RabbitMQObserver"]

_TOPIC: Final = re.compile(r"(?P<topic>.+)\.mqt\Z")
_TOKENS: Final = re.compile(r"(?P<group>[^:]+):(?P<topic>[^:]+)\.mqg-(?P<partition>[0-9]+)\Z")
_DERIVED: Final = re.compile(r"\.mq[tg]-[0-9]+\Z|\.mqd(-[0-9]+)?\Z")
_DERIVED_EXCHANGE: Final = re.compile(r"\.mq[tgd]\Z")
_TIMEOUT_S: Final = 15.0
_REPORT_S: Final = 5.0
"""How long the first report of a new queue may take until the management API has it."""
_REASONS: Final = {"maxlen": "max-length", "delivery_limit": "max-attempts"}


class RabbitMQObserver(Observer):
    """Has a connection of its own for each look. What is ready is counted exactly; what is unsettled is as old as the
    management API's last report, so it is compared until it agrees. Nobody can look at a queue without taking from
    it, so its messages are not looked at, but for dead letters and tokens, which are given back uncounted."""

    how = "raw pika and the management API"
    takes_to_look = True

    def __init__(self, url: str) -> None:
        """`url`: as the engine has it. The management API is needed, for AMQP alone cannot list."""
        parts, options = first_host(url), options_of(url)
        try:
            self._management = Management(url)
            self._vhost = quote(self._management.vhost, safe="")
            self._parameters = pika.URLParameters(f"{parts.scheme}://{parts.netloc}/{self._vhost}")
            if parts.scheme == "amqps":
                name = options.get("server_name", parts.hostname)
                self._parameters.ssl_options = pika.SSLOptions(tls_of(options), name)
        except OSError as error:
            raise CannotTell(f"{self.how} cannot use what the URL says of TLS: {error}") from error

    def versions(self) -> dict[str, str]:
        return {"rabbitmq": self._ask("/api/overview")["rabbitmq_version"], "pika": pika.__version__}

    # --- what exists

    def names(self) -> Names:
        exchanges = self._listed("exchanges")
        topics = [found["topic"] for name in exchanges if (found := _TOPIC.match(name))]
        queues = self._listed("queues")
        counts = {topic: sum(bool(re.match(rf"{re.escape(topic)}\.mqt-\d+\Z", q)) for q in queues) for topic in topics}
        return Names(
            counts,
            [name for name in queues if not _DERIVED.search(name)],
            [name for name in exchanges if name and not name.startswith("amq.") and not _DERIVED_EXCHANGE.search(name)],
            sorted({found["group"] for name in queues if (found := _TOKENS.match(name))}),
        )

    def _listed(self, what: str) -> list[str]:
        return sorted(item["name"] for item in self._ask(f"/api/{what}/{self._vhost}"))

    def _ask(self, path: str) -> Any:
        try:
            return self._management.get(path)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                told = f"the management API at {self._management.base} answers {path} with {error.code} {error.reason}"
                raise CannotTell(f"{told}; {self._needs}") from error
        except OSError as error:
            told = f"the management API at {self._management.base} does not answer {path}: {error}"
            raise CannotTell(f"{told}; {self._needs}") from error

    @property
    def _needs(self) -> str:
        return (
            "the observer needs it: say where it is with ?management=http://host:port in the URL, and let user "
            f"{self._management.user!r} ask it (rabbitmqctl set_user_tags USER management)"
        )

    # --- topics

    def records(self, topic: str) -> list[Record]:
        with self._connected() as connection:
            return [
                _record(partition, properties, body)
                for partition in range(self.names().topics.get(topic, 0))
                for properties, body in _stream(connection, f"{topic}.mqt-{partition}")
            ]

    def committed(self, group: str) -> dict[str, int] | None:
        """None while the group has members: the tokens are with them."""
        out: dict[str, int] = {}
        with self._connected() as connection:
            for queue in self._listed("queues"):
                found = _TOKENS.match(queue)
                if found is None or found["group"] != group:
                    continue
                tokens = _tokens(connection, queue)
                if tokens is None:
                    return None
                if tokens:
                    out[f"{found['topic']}/{found['partition']}"] = tokens[-1]
        return out

    # --- queues

    def counts(self, queue: str) -> Counts:
        with self._connected() as connection:
            ready = connection.channel().queue_declare(queue, passive=True).method.message_count
        return Counts(ready, self._unsettled(queue), None)

    def _unsettled(self, queue: str) -> int | None:
        give_up_s = time.monotonic() + _REPORT_S
        pause = threading.Event()
        while True:
            found = self._ask(f"/api/queues/{self._vhost}/{quote(queue, safe='')}") or {}
            reported: int | None = found.get("messages_unacknowledged")
            if reported is not None or time.monotonic() >= give_up_s:
                return reported
            pause.wait(0.05)

    def letters(self, queue: str) -> list[Letter]:
        """Taken, and given back by `basic.nack`, which counts as no attempt (RabbitMQ 4.3), in the queue's order."""
        described = self._ask(f"/api/queues/{self._vhost}/{quote(queue, safe='')}")
        if described is None:
            return []
        target = described["arguments"].get("x-dead-letter-routing-key")
        if target is None:
            return []
        with self._connected() as connection:
            channel = connection.channel()
            found: list[Letter] = []
            while (taken := channel.basic_get(target))[0] is not None:
                letter = _letter(taken[1], taken[2])
                if letter.origin == f"queue:{queue}":
                    found.append(letter)
            channel.basic_nack(0, multiple=True, requeue=True)
            channel.close()
        return found

    def snapshot(self) -> dict[str, Any]:
        names = self.names()
        bindings = [
            [b["source"], b["destination_type"], b["destination"], b["routing_key"], b["arguments"]]
            for b in self._ask(f"/api/bindings/{self._vhost}")
            if b["source"]
        ]
        ready = {}
        with self._connected() as connection:
            channel = connection.channel()
            for name in names.queues:
                ready[name] = channel.queue_declare(name, passive=True).method.message_count
        return {
            "topics": {name: len(self.records(name)) for name in names.topics},
            "queues": ready,
            "exchanges": names.exchanges,
            "groups": names.groups,
            "bindings": sorted(bindings, key=json.dumps),
        }

    @contextlib.contextmanager
    def _connected(self) -> Iterator[pika.BlockingConnection]:
        try:
            connection = pika.BlockingConnection(self._parameters)
        except pika.exceptions.AMQPConnectionError as error:
            raise CannotTell(f"{self.how} cannot connect to RabbitMQ: {error!r}") from error
        try:
            yield connection
        except pika.exceptions.AMQPError as error:
            raise CannotTell(f"RabbitMQ refused {self.how} a look: {error!r}") from error
        finally:
            if connection.is_open:
                connection.close()


def _stream(connection: pika.BlockingConnection, name: str) -> list[tuple[Any, bytes]]:
    """All of a stream: a round that is settled and brings nothing is the end. The broker's own count, which is sampled,
    is a lower bound. It lags behind retention too, and still counts what was removed: but then the offsets, which count
    from 0, have come as far as it says.
    """
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1000)
    found: list[tuple[Any, bytes]] = []
    last_tag = 0

    def take(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal last_tag
        found.append((properties, body))
        last_tag = method.delivery_tag

    channel.basic_consume(name, take, arguments={"x-stream-offset": "first"})
    channel.basic_qos(prefetch_count=1)
    give_up_s = time.monotonic() + _TIMEOUT_S
    while True:
        before = len(found)
        count = _settled(channel, name)
        connection.process_data_events(0)
        if len(found) > before:
            channel.basic_ack(last_tag, multiple=True)
        elif len(found) >= count or (found and found[-1][0].headers["x-stream-offset"] + 1 >= count):
            break
        elif time.monotonic() >= give_up_s:
            raise CannotTell(f"{len(found)} of the {count} messages of {name} came within {_TIMEOUT_S:g} s")
    channel.close()
    return found


def _settled(channel: Any, name: str) -> int:
    """What was there is delivered, as far as the prefetch goes; and how many the broker says there are.

    A consumer begins with a question to the stream's process that nobody waits for; the answer has the channel deliver.
    The next consumer calls that process, so that the answer has come when its turn is over, and what is asked of the
    channel then is answered behind the deliveries (RabbitMQ, `rabbit_stream_queue`, `begin_stream`).
    """
    probe = channel.basic_consume(name, lambda *_: None, arguments={"x-stream-offset": "last"})
    channel.queue_declare(name, passive=True)
    count = int(channel.queue_declare(name, passive=True).method.message_count)
    channel.basic_cancel(probe)
    return count


def _tokens(connection: pika.BlockingConnection, name: str) -> list[int] | None:
    """The committed offsets in a token queue, the one that counts last; None if somebody holds them. A queue with a
    single active consumer refuses basic.get, so they are consumed, and come back when the channel ends."""
    channel = connection.channel()
    declared = channel.queue_declare(name, passive=True).method
    if declared.consumer_count:
        return None
    tokens: list[tuple[int, int, int]] = []
    for method, _, body in channel.consume(name, inactivity_timeout=_TIMEOUT_S):
        if method is None or (tokens and not declared.message_count):
            break
        declared.message_count -= 1
        token = json.loads(body)
        if "offset" in token:
            tokens.append((token["epoch"], token["seq"], -token["offset"]))
        if declared.message_count <= 0:
            break
    channel.close()
    return [-token[2] for token in sorted(tokens)]


# --- what headers mean


def _headers(properties: Any) -> dict[str, Any]:
    return properties.headers or {}


def _bytes(content: Any) -> bytes:
    return bytes(content) if isinstance(content, bytes | bytearray) else str(content).encode()


def _library_header(properties: Any, name: str) -> str | None:
    found = _headers(properties).get(LIBRARY + name)
    return None if found is None else _bytes(found).decode()


def _users(properties: Any) -> Pairs:
    headers = _headers(properties)
    packed = headers.get(f"{LIBRARY}headers")
    if packed is None:
        return tuple((name, _bytes(value)) for name, value in headers.items() if not _of_broker_or_library(name))
    # Where names repeat, which a table cannot: lengths of four bytes, each before a name or a value.
    items, at = [], 0
    while at < len(packed):
        size = int.from_bytes(packed[at : at + 4], "big")
        items.append(packed[at + 4 : at + 4 + size])
        at += 4 + size
    return tuple((items[n].decode(), items[n + 1]) for n in range(0, len(items), 2))


def _of_broker_or_library(name: str) -> bool:
    return name.startswith((LIBRARY, "x-death", "x-first-death", "x-last-death")) or name in (
        "x-stream-offset",
        "x-delivery-count",
        "x-acquired-count",
    )


def _record(partition: int, properties: Any, body: bytes) -> Record:
    offset = int(_headers(properties)["x-stream-offset"])
    return Record(partition, offset, *_content(properties, body))


def _content(properties: Any, body: bytes) -> tuple[bytes | None, bytes | None, Pairs, int, str | None]:
    """Key, value, headers, timestamp, message id."""
    headers = _headers(properties)
    key = headers.get(f"{LIBRARY}key")
    stamp_ms = headers.get(f"{LIBRARY}timestamp-ms", (properties.timestamp or 0) * 1000)
    return (
        None if key is None else _bytes(key),
        None if f"{LIBRARY}null" in headers and not body else body,
        _users(properties),
        int(stamp_ms),
        _library_header(properties, "id") or properties.message_id,
    )


def _letter(properties: Any, body: bytes) -> Letter:
    reason = _library_header(properties, "death-reason")
    if reason is not None:
        origin = f"queue:{_library_header(properties, 'death-queue')}"
        attempts = int(_library_header(properties, "death-attempts") or 0)
        error = _library_header(properties, "death-error")
        return Letter(*_content(properties, body), reason, origin, attempts, error)
    deaths = _headers(properties).get("x-death") or [{"reason": "", "queue": ""}]
    reason = _REASONS.get(deaths[0]["reason"], deaths[0]["reason"])
    # Dead-lettered by the broker, which leaves the count of attempts as it was.
    count = _headers(properties).get("x-delivery-count")
    attempts = int(count) if count is not None else int(reason == "rejected")
    return Letter(*_content(properties, body), reason, f"queue:{deaths[0]['queue']}", attempts, None)
