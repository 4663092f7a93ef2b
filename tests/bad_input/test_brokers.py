"""Bad input on real brokers, as a program meets it: who may not, what is not there, what is too large.

What an adapter does about it inside is tested beside the adapter's own rooms.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

import mqbridge as mq
from mqbridge.urls import parse_url
from mqbridge_conformance.brokers import settings
from mqbridge_conformance.brokers.kafka_users import kafka_user
from mqbridge_conformance.brokers.secured import Site
from mqbridge_conformance.brokers.servers import Management, SecuredKafka
from tests.bad_input.brokers import (
    PASSWORD,
    SECRETS,
    WRONG,
    Anything,
    Source,
    failure,
    fresh,
    rabbitmq_site,
    received,
    secured_kafka_site,
    told,
)

NAMES = {"kafka": "kafka", "amqp": "rabbitmq"}


class Lines(logging.Handler):
    """What loggers were given, as text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {record.args!r}")


@pytest.fixture(autouse=True)
def _no_password_in_a_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test does: no logger, the clients' own included, is given a password, not even at DEBUG."""
    said = Lines()
    for name in ("mqbridge", "pika"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", [said])
        monkeypatch.setattr(logger, "propagate", False)
        monkeypatch.setattr(logger, "level", logging.DEBUG)
        logger.manager._clear_cache()  # type: ignore[attr-defined]
    yield
    assert not [line for line in said.lines if any(secret in line for secret in SECRETS)]


@pytest.fixture(params=["kafka_url", "rabbitmq_url"])
def url(request: pytest.FixtureRequest) -> str:
    """The run's broker."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["secured_kafka_broker", "rabbitmq_url"])
def site(request: pytest.FixtureRequest) -> Site:
    """A broker that asks who is there."""
    found = request.getfixturevalue(request.param)
    return secured_kafka_site(found) if isinstance(found, SecuredKafka) else rabbitmq_site(found)


@pytest.fixture
def things(site: Site) -> Iterator[tuple[mq.Topic[bytes], mq.Queue[bytes], mq.Exchange]]:
    """A topic with one message, a queue with one, and an exchange that is bound to the queue."""
    topic, queue, exchange = mq.Topic(fresh("t")), mq.Queue(fresh("q")), mq.Exchange(fresh("x"), type="fanout")
    with mq.connect(site.url) as bus:
        bus.admin.ensure(topic, queue, exchange, mq.Binding(exchange, queue))
        with bus.producer() as producer:
            producer.send(topic, b"there")
            producer.send(queue, b"there")
        yield topic, queue, exchange
        for one in (exchange, queue, mq.Queue(f"{queue.name}.dlq"), topic):
            bus.admin.delete(one)


# --- connecting


@pytest.mark.parametrize("wrong", ["password", "user"])
def test_who_is_not_known_is_denied(site: Site, wrong: str) -> None:
    """A wrong password and an unknown user are Denied at once, both alike, and are told what to check."""
    user, password = parse_url(site.url).username, parse_url(site.url).password
    given = f"{user}:{WRONG}@" if wrong == "password" else f"nobody-here:{WRONG}@"
    begun_s = time.monotonic()
    error = failure(lambda: mq.connect(site.url.replace(f"{user}:{password}@", given)))
    told(error, mq.Denied, site.engine, given.partition(":")[0], "Check user", "password")
    assert isinstance(error, PermissionError)
    assert error.__cause__ is not None
    assert not error.retryable
    assert time.monotonic() - begun_s < 5.0


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_passwords_of_each_mechanism(secured_kafka_broker: SecuredKafka, mechanism: str) -> None:
    """The right password sends and receives; the wrong one, and the right one by another mechanism, are Denied."""
    url = kafka_user(secured_kafka_broker, "write", "read", mechanism=mechanism)
    topic = mq.Topic(fresh("t"))
    with mq.connect(secured_kafka_broker.url) as owner:
        owner.admin.ensure(topic)
        with mq.connect(url) as bus:
            with bus.producer() as producer:
                producer.send(topic, b"in").result(10)
            assert received(bus, topic) == [b"in"]
            assert PASSWORD not in f"{bus!r} {bus.admin.health()!r}"
        owner.admin.delete(topic)
    for other in (url.replace(PASSWORD, WRONG), url.partition("?")[0]):
        told(failure(lambda other=other: mq.connect(other)), mq.Denied, "kafka", "sasl=")  # type: ignore[misc]


def test_a_password_that_is_missing_is_asked_for(secured_kafka_broker: SecuredKafka) -> None:
    """A broker that wants a password hangs up on who shows none: the error speaks of user and password."""
    error = failure(lambda: mq.connect(f"kafka://{secured_kafka_broker.bootstrap}"))
    told(error, mq.Unreachable, "kafka", "user", "password")


def test_a_virtual_host_that_is_not_there_or_not_ours(rabbitmq_url: str) -> None:
    """Both are Denied, with its name and how to make it or to be let in."""
    empty = fresh("vhost")
    management = Management(rabbitmq_url)
    management.ask("PUT", f"/api/vhosts/{empty}")
    user = rabbitmq_site(rabbitmq_url).user("write", "read")
    try:
        for url, name in ((rabbitmq_url, "nowhere"), (user, empty)):
            error = failure(lambda url=url, name=name: mq.connect(url.replace("/?", f"/{name}?")))  # type: ignore[misc]
            told(error, mq.Denied, "rabbitmq", name, "add_vhost", "set_permissions")
    finally:
        management.ask("DELETE", f"/api/vhosts/{empty}")


@pytest.fixture
def web_server() -> Iterator[int]:
    """The port of somebody who speaks HTTP."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(5)
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(10)


def _refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("scheme", ["kafka", "amqp"])
@pytest.mark.parametrize("who", ["nobody", "no such host", "a web server", "a web server, asked for TLS"])
def test_who_is_not_a_broker_is_unreachable(scheme: str, who: str, web_server: int) -> None:
    """Refused, unresolvable and strange peers are Unreachable soon: what was tried, why not, and what to check."""
    host, reason = {
        "nobody": (f"127.0.0.1:{_refused_port()}", "refused"),
        "no such host": ("no-such-host.invalid:9999", "not known"),
        "a web server": (f"127.0.0.1:{web_server}", "Check"),
        "a web server, asked for TLS": (f"127.0.0.1:{web_server}", "TLS"),
    }[who]
    asked = f"{scheme}s" if "TLS" in who else scheme
    begun_s = time.monotonic()
    error = failure(lambda: mq.connect(f"{asked}://alice:{PASSWORD}@{host}", connect_timeout_s=5))
    told(error, mq.Unreachable, NAMES[scheme], host, reason, "Check")
    assert error is not None
    assert error.__cause__ is not None
    assert error.retryable
    assert time.monotonic() - begun_s < 5.0


def test_tls_on_a_plain_port_and_plain_on_a_tls_port(url: str, secured_kafka_broker: SecuredKafka) -> None:
    """Neither hangs: Unreachable, and the advice speaks of TLS."""
    scheme = url.partition(":")[0]
    swapped = {url.replace(f"{scheme}://", f"{scheme}s://"): scheme}
    swapped[secured_kafka_broker.tls_url_of("alice", PASSWORD).replace("kafkas://", "kafka://")] = "kafka"
    for one, engine in swapped.items():
        told(failure(lambda one=one: mq.connect(one)), mq.Unreachable, NAMES[engine], "TLS", "Check")  # type: ignore[misc]


@pytest.mark.parametrize("away", ["no-such-host.invalid:9999", "nobody"])
def test_one_of_several_hosts_is_enough(url: str, away: str) -> None:
    """A host that is away, or that has no address, is passed over wherever it stands in the URL."""
    parts = parse_url(url)
    there = f"{parts.hosts[0][0]}:{parts.hosts[0][1]}"
    away = f"127.0.0.1:{_refused_port()}" if away == "nobody" else away
    for hosts in (f"{away},{there}", f"{there},{away}"):
        for _ in range(3):  # the client chooses where it begins by chance
            with mq.connect(url.replace(there, hosts)) as bus:
                assert bus.admin.health()["engine"] == bus.engine
                assert bus.state == "connected"


def test_kafka_over_tls(secured_kafka_broker: SecuredKafka, tmp_path: Path) -> None:
    """With the authority's certificate it sends and receives; without it, and under another name, it is refused."""
    authority = tmp_path / "authority.pem"
    authority.write_text(secured_kafka_broker.authority)
    plain, topic = secured_kafka_broker.tls_url_of(*settings.KAFKA_ADMIN), mq.Topic(fresh("t"))
    with mq.connect(plain, options={"ca": str(authority)}) as bus:
        bus.admin.ensure(topic)
        with bus.producer() as producer:
            producer.send(topic, b"x" * 100_000).result(10)
        assert received(bus, topic) == [b"x" * 100_000]
        bus.admin.delete(topic)
    elsewhere = plain.replace("127.0.0.1", "localhost")
    for url, options in ((plain, {}), (elsewhere, {"ca": str(authority)})):
        error = failure(lambda url=url, options=options: mq.connect(url, options=options))  # type: ignore[misc]
        told(error, mq.Unreachable, "kafka", "certificate", "ca=")


# --- permissions


def test_without_any_right_nothing_is_done(
    site: Site, things: tuple[mq.Topic[bytes], mq.Queue[bytes], mq.Exchange]
) -> None:
    """Making, sending, consuming, replaying, binding and deleting are Denied, each names what was denied, and nothing
    has changed."""
    topic, queue, exchange = things
    made: list[Anything] = [mq.Topic(fresh("t")), mq.Queue(fresh("q")), mq.Exchange(fresh("x"))]
    with mq.connect(site.user()) as bus:
        for one in (*made, topic, queue, exchange):
            _denied(site, failure(lambda one=one: bus.admin.ensure(one)), one)  # type: ignore[misc]
        with bus.producer() as producer:
            for one in things:
                _denied(site, failure(lambda one=one: producer.send(one, b"no")), one)  # type: ignore[misc]
        for source in (topic, queue):
            _denied(site, failure(lambda source=source: received(bus, source)), source)  # type: ignore[misc]
        _denied(site, failure(lambda: list(bus.replay(topic, mq.EARLIEST))), topic)
        _denied(site, failure(lambda: bus.admin.bind(mq.Binding(exchange, queue, key="k"))), exchange)
        for one in things:
            _denied(site, failure(lambda one=one: bus.admin.delete(one)), one)  # type: ignore[misc]
        assert bus.state == "connected"
    with mq.connect(site.url) as owner:
        for one in made:
            assert isinstance(failure(lambda one=one: owner.admin.describe(one)), mq.NotFound)  # type: ignore[misc]
        assert received(owner, topic) == received(owner, queue) == [b"there"]


@pytest.mark.parametrize("right", ["write", "read"])
def test_one_right_is_not_the_other(
    site: Site, things: tuple[mq.Topic[bytes], mq.Queue[bytes], mq.Exchange], right: str
) -> None:
    """Who may write sends and cannot read; who may read is refused each message and receives none of his own; and who
    closes afterwards does not wait."""
    topic, queue, _ = things
    with mq.connect(site.user(right)) as bus:
        producer = bus.producer()
        for source in (topic, queue):
            errors = [failure(lambda source=source: producer.send(source, b"mine")) for _ in range(3)]  # type: ignore[misc]
            if right == "write":
                assert errors == [None, None, None]
                _denied(site, failure(lambda source=source: received(bus, source)), source)  # type: ignore[misc]
            else:
                for error in errors:
                    _denied(site, error, source)
        begun_s = time.monotonic()
        producer.close()
        assert time.monotonic() - begun_s < 5.0
    with mq.connect(site.url) as owner:
        expected = [b"there"] if right == "read" else [b"there", *[b"mine"] * 3]
        assert [d.raw for d in owner.replay(topic, mq.EARLIEST)] == expected


def test_a_group_needs_a_right_of_its_own(site: Site) -> None:
    """Who may read the topic, and not use the group (Kafka) or make its token queues (RabbitMQ), is Denied soon and is
    told that it is the group; he may replay."""
    topic = mq.Topic(fresh("t"))
    right, named = ("read topics", "roup authorization") if site.engine == "kafka" else ("read", ".mqg-0")
    with mq.connect(site.url) as owner:
        owner.admin.ensure(topic)
        with mq.connect(site.user(right)) as bus:
            error = told(failure(lambda: received(bus, topic)), mq.Denied, site.engine, named, "permission")
            assert error.__cause__ is not None
            assert list(bus.replay(topic, mq.EARLIEST)) == []
        owner.admin.delete(topic)


def _denied(site: Site, error: mq.MqbridgeError | None, what: Anything) -> None:
    # Kafka's queues and exchanges are found in a topic of ours: who may not read that is told so.
    named = what.name if isinstance(what, mq.Topic) or site.engine != "kafka" else "mqbridge.registry"
    advice = "set_permissions" if site.engine == "rabbitmq" else "ask for the permission"
    if error is not None and (what.name in str(error) or "group-" in str(error)):
        named = what.name if what.name in str(error) else "group"
    told(error, mq.Denied, site.engine, named, advice)


# --- what is not there, and what stands there differently


@pytest.fixture
def bus(url: str) -> Iterator[mq.Bus]:
    with mq.connect(url) as bus:
        yield bus


def test_what_is_missing_is_not_found_and_not_made(bus: mq.Bus) -> None:
    """Sending, consuming, replaying, describing, growing, purging, binding and deleting make nothing; each error names
    what is missing and says how to make it."""
    topic, queue, exchange = mq.Topic(fresh("none")), mq.Queue(fresh("none")), mq.Exchange(fresh("none"))
    there = mq.Queue(fresh("q"))
    bus.admin.ensure(there)
    admin = bus.admin
    with bus.producer() as producer:
        calls: list[tuple[Anything, Any]] = [
            *((one, lambda one=one: producer.send(one, b"x")) for one in (topic, queue, exchange)),
            *((one, lambda one=one: admin.describe(one)) for one in (topic, queue, exchange)),
            *((one, lambda one=one: admin.delete(one)) for one in (topic, queue, exchange)),
            *((one, lambda one=one: received(bus, one)) for one in (topic, queue)),
            (topic, lambda: list(bus.replay(topic, mq.EARLIEST))),
            (topic, lambda: admin.offsets(topic)),
            (topic, lambda: admin.add_partitions(topic, 9)),
            (queue, lambda: admin.purge(queue)),
            (exchange, lambda: admin.bind(mq.Binding(exchange, there))),
        ]
        for missing, call in calls:
            error = told(failure(call), mq.NotFound, bus.engine, missing.name, "admin.ensure()")
            assert isinstance(error, LookupError)
    found = [*admin.list_topics(), *admin.list_queues(), *admin.list_exchanges()]
    assert not {one.name for one in found} & {topic.name, queue.name, exchange.name}
    for one in (there, mq.Queue(f"{there.name}.dlq")):
        admin.delete(one)


def test_a_difference_is_told_field_by_field(bus: mq.Bus) -> None:
    """Ensuring what stands there otherwise is a Mismatch with each field, wanted and found, and nothing is changed."""
    hour, day = mq.Retention(max_age_s=3600), mq.Retention(max_age_s=86400)
    topic, queue, exchange = fresh("t"), fresh("q"), fresh("x")
    stand: list[Anything] = [
        mq.Topic(topic, partitions=2, retention=hour),
        mq.Queue(queue, max_attempts=3),
        mq.Exchange(exchange, type="direct"),
    ]
    bus.admin.ensure(*stand)
    before = [bus.admin.describe(one) for one in stand]
    cases: list[tuple[Anything, set[tuple[str, Any, Any]]]] = [
        (
            mq.Topic(topic, partitions=3, retention=day),
            {("partitions", 3, 2), ("retention.max_age_s", 86400, 3600)},
        ),
        (mq.Queue(queue, max_attempts=5), {("max_attempts", 5, 3)}),
        (mq.Exchange(exchange, type="topic"), {("type", "topic", "direct")}),
    ]
    for wanted, differences in cases:
        error = failure(lambda wanted=wanted: bus.admin.ensure(wanted))  # type: ignore[misc]
        told(error, mq.Mismatch, bus.engine, wanted.name, "Specify what is there, choose another name")
        assert isinstance(error, mq.Mismatch)
        assert set(error.differences) == differences
        for field, want, found in differences:
            assert f"{field}: wanted {want!r}, found {found!r}".rstrip(".0") in str(error)
    assert [bus.admin.describe(one) for one in stand] == before
    bus.admin.ensure(*stand)
    for one in (*stand, mq.Queue(f"{queue}.dlq")):
        bus.admin.delete(one)


def test_what_others_made_is_compared_too(kafka_url: str, rabbitmq_url: str) -> None:
    """A topic and a queue that other programs made, without mqbridge, are held against the specification."""
    name = fresh("foreign")
    client = AdminClient({"bootstrap.servers": kafka_url.removeprefix("kafka://")})
    client.create_topics([NewTopic(name, 4, 1)])[name].result(20)
    with mq.connect(kafka_url) as bus:
        error = failure(lambda: bus.admin.ensure(mq.Topic(name, partitions=1)))
        told(error, mq.Mismatch, "kafka", "partitions: wanted 1, found 4")
        bus.admin.delete(mq.Topic(name))
    parts = parse_url(rabbitmq_url)
    connection = pika.BlockingConnection(pika.ConnectionParameters(parts.hosts[0][0], parts.hosts[0][1]))
    limited = {"x-queue-type": "quorum", "x-max-length": 7, "x-overflow": "reject-publish"}
    connection.channel().queue_declare(name, durable=True, arguments=limited)
    connection.close()
    with mq.connect(rabbitmq_url) as bus:
        error = failure(lambda: bus.admin.ensure(mq.Queue(name, max_length=9, dead_letter=None)))
        told(error, mq.Mismatch, "rabbitmq", "max_length: wanted 9, found 7")
        bus.admin.delete(mq.Queue(name))


# --- what is too much


def test_what_is_too_large_is_not_sent(bus: mq.Bus) -> None:
    """Above the engine's limit a message is Rejected in send(), with both sizes; just at the limit it is delivered
    whole. Key and headers count."""
    limit = bus.limits.max_message_bytes
    topic, queue = mq.Topic(fresh("t")), mq.Queue(fresh("q"))
    bus.admin.ensure(topic, queue)
    sources: tuple[Source, ...] = (topic, queue)
    with bus.producer() as producer:
        for source in sources:
            for size, more in ((limit + 1, {}), (limit, {"key": b"k"}), (limit - 3, {"headers": {"ab": b"cd"}})):
                with pytest.raises(mq.Rejected) as caught:
                    producer.send(source, b"x" * size, **more)
                told(caught.value, mq.Rejected, caught.value.engine or "", str(limit), str(limit + 1), "split it")
            producer.send(source, b"x" * limit).result(20)
    for source in sources:
        values = received(bus, source)
        assert [len(value or b"") for value in values] == [limit]
        bus.admin.delete(source)
    bus.admin.delete(mq.Queue(f"{queue.name}.dlq"))


@pytest.mark.parametrize("what", ["topic", "queue"])
def test_a_smaller_limit_of_one_topic(kafka_url: str, what: str) -> None:
    """A topic's own max.message.bytes is known to the broker alone: Rejected in the receipt, not applied, with what to
    do; what fits goes on being sent."""
    topic, queue = mq.Topic(fresh("t")), mq.Queue(fresh("q"))
    source: Source = topic if what == "topic" else queue
    with mq.connect(kafka_url) as bus:
        bus.admin.ensure(source)
        name = topic.name if what == "topic" else f"{queue.name}.mqq"
        _set_max_message_bytes(kafka_url, name, 10_000)
        with bus.producer() as producer:
            errors = [producer.send(source, value).exception(15) for value in (b"1", b"x" * 20_000, b"2")]
        told(errors[1], mq.Rejected, "kafka", source.name, "max.message.bytes", "batch_bytes")
        assert (errors[0], errors[2]) == (None, None)
        bus.admin.delete(source)


def _set_max_message_bytes(kafka_url: str, name: str, limit: int) -> None:
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    client = AdminClient({"bootstrap.servers": kafka_url.removeprefix("kafka://")})
    client.incremental_alter_configs([resource])[resource].result(20)


def test_a_full_queue(rabbitmq_url: str) -> None:
    """A queue at its max_length rejects in the receipt, not applied, and takes messages again once there is room."""
    queue = mq.Queue(fresh("q"), max_length=3, dead_letter=None)
    with mq.connect(rabbitmq_url) as bus, bus.producer() as producer:
        bus.admin.ensure(queue)
        errors = [producer.send(queue, b"%d" % number).exception(10) for number in range(20)]
        rejected = [error for error in errors if error is not None]
        assert rejected
        for error in rejected:
            told(error, mq.Rejected, "rabbitmq", queue.name, "full")
            assert error.retryable
        assert bus.admin.depth(queue) == 20 - len(rejected)
        bus.admin.purge(queue)
        producer.send(queue, b"again").result(10)
        bus.admin.delete(queue)
